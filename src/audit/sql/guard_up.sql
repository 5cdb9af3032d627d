-- Event triggers that keep whoever owns a clinic's tables from switching off what fills the trail.
-- Only a superuser makes them, and only a superuser takes them away.
create schema if not exists kine_guard;
revoke all on schema kine_guard from public;

create or replace function kine_guard.refuse_weakening() returns event_trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $guard$
declare
  wrong record;
begin
  -- Who may act as kine_audit changes the trail by its migrations: its installer, for one transaction.
  if to_regrole('kine_audit') is null or pg_has_role(current_user, 'kine_audit', 'USAGE') then
    return;
  end if;
  if tg_event = 'sql_drop' then
    select d.object_identity as name into wrong
      from pg_event_trigger_dropped_objects() d
     where d.object_type = 'trigger'
       and d.address_names[3] in ('record_audit_event', 'record_first_version', 'record_next_version')
       -- It may go with its table.
       and to_regclass(format('%I.%I', d.address_names[1], d.address_names[2])) is not null
     limit 1;
    if found then
      raise exception 'the audit trail is guarded: trigger % is not dropped', wrong.name
        using errcode = 'insufficient_privilege',
              hint = 'change it with `create or replace trigger`, or drop its table';
    end if;
    return;
  end if;
  with recorders as (
    select t.tgrelid, t.tgname::text as name, t.tgtype, t.tgenabled, t.tgqual, t.tgattr, t.tgfoid,
      p.proname = 'record_audit_event' as of_events,
      case p.proname when 'record_audit_event' then array['record_audit_event']
        when 'record_note_version' then array['record_first_version', 'record_next_version'] end as names
      from pg_trigger t
      join pg_proc p on p.oid = t.tgfoid
      join pg_class c on c.oid = t.tgrelid
     where not t.tgisinternal and c.relowner <> 'kine_audit'::regrole
       and (t.tgname in ('record_audit_event', 'record_first_version', 'record_next_version')
            or p.proowner = 'kine_audit'::regrole and p.proname in ('record_audit_event', 'record_note_version'))
  )
  select what.was, what.on_table into wrong
    from (
      select 'its trigger ' || r.name || ' is switched off' as was, r.tgrelid::regclass as on_table
        from recorders r where r.tgenabled not in ('O', 'A')
      union all
      select 'its trigger ' || r.name || ' calls another function', r.tgrelid::regclass
        from recorders r
       where r.tgfoid is distinct from case r.name
               when 'record_audit_event' then to_regprocedure('public.record_audit_event()')
               else to_regprocedure('public.record_note_version()') end
      union all
      select 'its trigger ' || r.name || ' no longer fires for every row that is written', r.tgrelid::regclass
        from recorders r
       where r.of_events
         -- For each row, after, on insert, delete and update.
         and (r.tgtype <> 29 or r.tgqual is not null or r.tgattr <> ''::int2vector)
      union all
      select 'one of its triggers was renamed ' || r.name, r.tgrelid::regclass
        from recorders r where r.name <> all (r.names)
      union all
      select 'the rule ' || w.rulename || ' rewrites what is written to it', w.ev_class::regclass
        from pg_rewrite w join recorders r on r.tgrelid = w.ev_class where w.ev_type in ('2', '3', '4')
    ) what
   order by 2, 1
   limit 1;
  if found then
    raise exception 'the audit trail of table % is guarded: %', wrong.on_table, wrong.was
      using errcode = 'insufficient_privilege',
            hint = 'leave the triggers of the audit trail as the migrations made them';
  end if;
end
$guard$;
revoke all on function kine_guard.refuse_weakening() from public;
comment on function kine_guard.refuse_weakening() is
  'Event trigger: refuses what would keep a write of a clinic''s table out of the audit trail.';

drop event trigger if exists kine_guard_changes;
create event trigger kine_guard_changes on ddl_command_end
  when tag in ('ALTER TABLE', 'CREATE TRIGGER', 'ALTER TRIGGER', 'CREATE RULE')
  execute function kine_guard.refuse_weakening();
alter event trigger kine_guard_changes enable always;
drop event trigger if exists kine_guard_drops;
create event trigger kine_guard_drops on sql_drop
  execute function kine_guard.refuse_weakening();
alter event trigger kine_guard_drops enable always;
