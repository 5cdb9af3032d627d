-- Seals over the audit trail: batches of settled events, chained per clinic, outside the write path.
-- kine_audit owns what follows, and the login that migrates is its member for this one transaction.
do $member$
begin
  if not pg_catalog.pg_has_role(current_user, 'kine_audit', 'USAGE') then
    execute format('grant kine_audit to %I', current_user);
    perform pg_catalog.set_config('kine.joined_audit', current_user, true);
  end if;
exception when insufficient_privilege then
  raise exception 'this migration changes what kine_audit owns, and "%" may not act as it', current_user
    using errcode = 'insufficient_privilege',
          hint = 'run it as a superuser, or as the CREATEROLE role that made kine_audit';
end
$member$;

-- Two roles of their own: one that seals, one that removes what is older than the law asks for. Neither
-- is a member of anything. Roles belong to the cluster; another database may win the race.
do $roles$
declare
  wanted text;
begin
  foreach wanted in array array['kine_sealer', 'kine_retention'] loop
    if not exists (select from pg_catalog.pg_roles r where r.rolname = wanted) then
      begin
        execute format('create role %I nologin', wanted);
      exception when duplicate_object or unique_violation then
        null;
      end;
    end if;
    if exists (select from pg_catalog.pg_roles r where r.rolname = wanted
                and (r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolcanlogin or r.rolreplication or r.rolbypassrls)) then
      raise exception 'role "%" exists with more rights than Kine gives it', wanted
        using errcode = 'object_not_in_prerequisite_state',
              hint = format('alter role %I nologin nosuperuser nocreatedb nocreaterole noreplication nobypassrls', wanted);
    end if;
  end loop;
end
$roles$;
grant usage on schema public to kine_sealer, kine_retention;

create table public.audit_seals (
  tenant_id uuid not null,
  number bigint not null,
  kind text not null,
  cluster bigint not null,
  month date not null,
  since_txid bigint not null,
  until_txid bigint not null,
  seen_txid bigint not null,
  after_at timestamptz not null,
  after_id uuid not null,
  upto_at timestamptz not null,
  upto_id uuid not null,
  closes boolean not null,
  from_at timestamptz not null,
  adopts_from timestamptz,
  adopts_to timestamptz,
  next_from timestamptz not null,
  opened_at timestamptz not null,
  events bigint not null,
  digest bytea not null,
  sealed_at timestamptz not null default clock_timestamp(),
  prev_hash bytea,
  hash bytea not null,
  constraint audit_seals_pkey primary key (tenant_id, number),
  constraint audit_seals_kind_check check (kind in ('events', 'adopted', 'retired')),
  constraint audit_seals_number_check check (number >= 1 and (number = 1) = (prev_hash is null)),
  constraint audit_seals_hash_check check (length(digest) = 32 and length(hash) = 32 and length(prev_hash) = 32),
  constraint audit_seals_events_check check (events >= 0)
);
alter table public.audit_seals owner to kine_audit;
comment on table public.audit_seals is 'Seals over audit_events, chained per clinic: each holds a digest of a range of events and the hash of the seal before. Written by seal_audit_events, never changed.';
comment on column public.audit_seals.tenant_id is 'The clinic.';
comment on column public.audit_seals.number is 'Number of the seal in the clinic''s chain, from 1 without gaps.';
comment on column public.audit_seals.kind is 'events; adopted: what was not sealed when the database came to another cluster; retired: a month that retention removed.';
comment on column public.audit_seals.cluster is 'System identifier of the cluster that sealed; transaction numbers mean something within one cluster only.';
comment on column public.audit_seals.month is 'First day of the month in UTC that the events lie in; a seal never spans two.';
comment on column public.audit_seals.since_txid is 'Events of this transaction and later ones.';
comment on column public.audit_seals.until_txid is 'Events of transactions before this one; all of them had ended when the range was opened.';
comment on column public.audit_seals.seen_txid is 'Transactions from this one on began after the range was opened.';
comment on column public.audit_seals.after_at is 'Events after this time and id, exclusive.';
comment on column public.audit_seals.after_id is 'Tells events at after_at apart.';
comment on column public.audit_seals.upto_at is 'Events up to this time and id, inclusive; infinity where the seal is the last of its transactions.';
comment on column public.audit_seals.upto_id is 'Tells events at upto_at apart.';
comment on column public.audit_seals.closes is 'It is the last seal over its range of transactions.';
comment on column public.audit_seals.from_at is 'Events from this time on; minus infinity unless the database changed its cluster.';
comment on column public.audit_seals.adopts_from is 'For kind adopted: events from this time on are covered whatever their transaction. For kind events: covered only if older.';
comment on column public.audit_seals.adopts_to is 'For kind adopted: events before this time.';
comment on column public.audit_seals.next_from is 'No event of a later range is older than this; where the next search begins.';
comment on column public.audit_seals.opened_at is 'When the range of transactions was opened.';
comment on column public.audit_seals.events is 'How many events it covers; for kind retired: how many were removed.';
comment on column public.audit_seals.digest is 'SHA-256 of its events; for kind retired: of the archive that they were exported to.';
comment on column public.audit_seals.sealed_at is 'When the seal was written.';
comment on column public.audit_seals.prev_hash is 'Hash of the seal before; null for the first.';
comment on column public.audit_seals.hash is 'SHA-256 over prev_hash and all other columns: see audit_seal_hash.';

-- The hash is of text that two readers can agree on: a row's own text form, times in UTC.
create function public.audit_seal_hash(s public.audit_seals) returns bytea
language sql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
as $body$
  select sha256(coalesce(s.prev_hash, ''::bytea) || convert_to(row(
    s.tenant_id, s.number, s.kind, s.cluster, s.month, s.since_txid, s.until_txid, s.seen_txid,
    s.after_at, s.after_id, s.upto_at, s.upto_id, s.closes, s.from_at, s.adopts_from, s.adopts_to, s.next_from,
    s.opened_at, s.events, encode(s.digest, 'hex'), s.sealed_at)::text, 'UTF8'))
$body$;
alter function public.audit_seal_hash(public.audit_seals) owner to kine_audit;
revoke all on function public.audit_seal_hash(public.audit_seals) from public;
comment on function public.audit_seal_hash(public.audit_seals) is
  'The hash that a seal must have, given its own prev_hash.';

create function public.seal_audit_events(at_most integer) returns table (number bigint, events bigint, hash bytea, closes boolean)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
set client_encoding = 'UTF8'
as $body$
declare
  clinic constant uuid := current_setting('app.tenant_id')::uuid;
  here constant bigint := (select c.system_identifier from pg_control_system() c);
  none constant uuid := '00000000-0000-0000-0000-000000000000';
  last public.audit_seals;
  fresh public.audit_seals;
  horizon pg_snapshot;
  taken bigint;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    -- An older snapshot would not see the seal that another session has just written.
    raise exception 'seals are written in transactions that are read committed'
      using errcode = 'invalid_transaction_state';
  end if;
  if at_most not between 1 and 100000 then
    raise exception 'a seal covers 1 to 100000 events, not %', at_most using errcode = 'invalid_parameter_value';
  end if;
  -- One session at a time; the next one continues where this one ends.
  lock table public.audit_seals in share update exclusive mode;
  select s.number + 1, s.hash into fresh.number, fresh.prev_hash
    from public.audit_seals s where s.tenant_id = clinic order by s.number desc limit 1;
  select s.* into last
    from public.audit_seals s where s.tenant_id = clinic and s.kind <> 'retired' order by s.number desc limit 1;
  fresh.number := coalesce(fresh.number, 1);
  fresh.tenant_id := clinic;
  fresh.cluster := here;

  if not last.closes then
    -- A range of transactions that was begun goes on within its bounds. If the database has come to another
    -- cluster since, only events from before that belong to it.
    fresh.kind := last.kind;
    fresh.cluster := last.cluster;
    fresh.since_txid := last.since_txid;
    fresh.until_txid := last.until_txid;
    fresh.seen_txid := last.seen_txid;
    fresh.from_at := last.from_at;
    fresh.adopts_from := case when last.kind = 'events' and last.cluster <> here
                              then coalesce(last.adopts_from, last.sealed_at) else last.adopts_from end;
    fresh.adopts_to := last.adopts_to;
    fresh.next_from := last.next_from;
    fresh.opened_at := last.opened_at;
    fresh.after_at := last.upto_at;
    fresh.after_id := last.upto_id;
  elsif last.cluster <> here then
    -- Transaction numbers of this cluster say nothing about those in the rows. What is not sealed yet is
    -- taken by time instead, once, while nobody writes.
    lock table public.audit_events in share mode;
    fresh.kind := 'adopted';
    fresh.since_txid := last.until_txid;
    fresh.until_txid := 9223372036854775807;
    fresh.seen_txid := 0;
    fresh.opened_at := clock_timestamp();
    fresh.from_at := coalesce(last.adopts_to, last.from_at);
    fresh.adopts_from := case last.kind when 'events' then coalesce(last.adopts_from, last.sealed_at) else last.sealed_at end;
    fresh.adopts_to := fresh.opened_at;
    fresh.next_from := fresh.opened_at;
    fresh.after_at := '-infinity';
    fresh.after_id := none;
  else
    -- Below the horizon every transaction has ended: no event can come to this range later.
    horizon := pg_current_snapshot();
    fresh.kind := 'events';
    fresh.since_txid := case last.kind when 'events' then last.until_txid else 0 end;
    fresh.until_txid := pg_snapshot_xmin(horizon)::text::bigint;
    fresh.seen_txid := pg_snapshot_xmax(horizon)::text::bigint;
    fresh.opened_at := clock_timestamp();
    fresh.from_at := coalesce(last.adopts_to, last.from_at, '-infinity');
    -- A transaction that had not begun at some opening writes no event older than that. Ten minutes are
    -- left for a clock that is set back.
    select greatest(max(s.opened_at) - interval '10 minutes', last.next_from, fresh.from_at) into fresh.next_from
      from (select fresh.opened_at, fresh.seen_txid
            union all
            select e.opened_at, e.seen_txid from public.audit_seals e
             where e.tenant_id = clinic and e.kind = 'events' and e.closes and e.cluster = here) s
     where s.seen_txid <= fresh.until_txid;
    fresh.after_at := coalesce(last.next_from, '-infinity');
    fresh.after_id := none;
  end if;

  -- The events in their order, as the protocol sends them, up to the end of a month: months are what retention removes.
  with found as (
    select e.*
      from public.audit_events e
     where e.tenant_id = clinic
       and (e.occurred_at, e.id) > (fresh.after_at, fresh.after_id)
       and e.occurred_at >= greatest(fresh.after_at, fresh.from_at)
       and case fresh.kind
             when 'adopted' then (e.txid >= fresh.since_txid or e.occurred_at >= fresh.adopts_from)
                                 and e.occurred_at < fresh.adopts_to
             else e.txid >= fresh.since_txid and e.txid < fresh.until_txid
                  and (fresh.adopts_from is null or e.occurred_at < fresh.adopts_from)
           end
     order by e.occurred_at, e.id
     limit at_most
  )
  select count(*), (select count(*) from found),
         sha256(coalesce(string_agg(record_send(row(
           k.occurred_at, k.id, k.action, k.table_name, k.row_id, k.actor_id, k.db_user, k.changed_columns,
           k.txid, k.application_name, k.system_actor, k.digests)), ''), '')),
         date_trunc('month', min(k.occurred_at))::date, max(k.occurred_at), (array_agg(k.id))[count(*)]
    into fresh.events, taken, fresh.digest, fresh.month, fresh.upto_at, fresh.upto_id
    from found k
   where k.occurred_at < (select date_trunc('month', min(f.occurred_at)) + interval '1 month' from found f);

  if fresh.events = 0 then
    if coalesce(last.closes, true) and fresh.kind = 'events' then
      return; -- nothing new, and nothing open
    end if;
    fresh.month := date_trunc('month', fresh.opened_at)::date;
  end if;
  fresh.closes := taken < at_most and taken = fresh.events;
  if fresh.closes then
    fresh.upto_at := 'infinity';
    fresh.upto_id := none;
  end if;
  fresh.sealed_at := clock_timestamp();
  fresh.hash := public.audit_seal_hash(fresh);
  insert into public.audit_seals values (fresh.*);
  return query select fresh.number, fresh.events, fresh.hash, fresh.closes;
end
$body$;
alter function public.seal_audit_events(integer) owner to kine_audit;
revoke all on function public.seal_audit_events(integer) from public;
comment on function public.seal_audit_events(integer) is
  'Writes the next seal of the session''s own clinic over at most so many settled events, and tells it; no row where there was nothing to seal.';

-- How long audit events are kept at the least. Longer by the command line, shorter only by a migration.
create function public.audit_retention_floor() returns interval
language sql immutable
set search_path = pg_catalog, pg_temp
as $body$ select interval '10 years' $body$;
alter function public.audit_retention_floor() owner to kine_audit;
revoke all on function public.audit_retention_floor() from public;
comment on function public.audit_retention_floor() is 'Events younger than this are removed by nobody.';

create or replace function public.create_audit_partition(month date) returns regclass
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $body$
declare
  first_day constant date := date_trunc('month', month)::date;
  part_name constant text := 'audit_events_' || to_char(month, 'YYYY_MM');
  part regclass;
  rule record;
  stray boolean;
begin
  -- Two callers must not both find that the month is missing.
  lock table public.audit_events in share update exclusive mode;
  part := to_regclass(format('public.%I', part_name));
  if part is not null then
    return part;
  end if;

  -- Made apart and closed first, attached last: attaching does not block those who write the current month.
  execute format('create table public.%I (like public.audit_events including all)', part_name);
  part := format('public.%I', part_name)::regclass;
  execute format('comment on table %s is %L', part, 'Audit events of ' || to_char(month, 'YYYY-MM') || ' in UTC.');
  execute format('revoke all on table %s from public, kine_app, kine_auditor, kine_backup, kine_sealer, kine_retention', part);
  execute format('grant select on table %s to kine_backup', part);
  execute format('alter table %s enable row level security', part);
  execute format('alter table %s force row level security', part);
  for rule in
    select p.polname,
           case when p.polpermissive then 'permissive' else 'restrictive' end as kind,
           case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update'
                         when 'd' then 'delete' else 'all' end as command,
           (select string_agg(case r.oid when 0 then 'public' else quote_ident(a.rolname) end, ', ')
              from unnest(p.polroles) as r (oid) left join pg_catalog.pg_roles a on a.oid = r.oid) as roles,
           ' using (' || pg_get_expr(p.polqual, p.polrelid) || ')' as qual,
           ' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')' as with_check
      from pg_catalog.pg_policy p
     where p.polrelid = 'public.audit_events'::regclass
  loop
    execute format('create policy %I on %s as %s for %s to %s', rule.polname, part, rule.kind, rule.command, rule.roles)
      || coalesce(rule.qual, '') || coalesce(rule.with_check, '');
  end loop;
  execute format('create trigger worm_statement before update or delete or truncate on %s'
    ' for each statement execute function public.refuse_change()', part);
  -- Events of this month may lie in the default partition already, written while it had no partition of its
  -- own. They move: behind a lock that nobody reads or writes past, with guards and policies of the default
  -- partition lifted for this transaction only.
  lock table public.audit_events_default in access exclusive mode;
  alter table public.audit_events_default no force row level security;
  select exists (select from public.audit_events_default e
                  where e.occurred_at >= first_day::timestamp at time zone 'UTC'
                    and e.occurred_at < (first_day + interval '1 month') at time zone 'UTC') into stray;
  if stray then
    execute format('alter table %s no force row level security', part);
    alter table public.audit_events_default disable trigger worm_row;
    alter table public.audit_events_default disable trigger worm_statement;
    execute format('insert into %s select e.* from public.audit_events_default e'
      ' where e.occurred_at >= %L and e.occurred_at < %L', part,
      first_day::text || ' 00:00:00+00', (first_day + interval '1 month')::date::text || ' 00:00:00+00');
    delete from public.audit_events_default e
     where e.occurred_at >= first_day::timestamp at time zone 'UTC'
       and e.occurred_at < (first_day + interval '1 month') at time zone 'UTC';
    alter table public.audit_events_default enable always trigger worm_row;
    alter table public.audit_events_default enable always trigger worm_statement;
    execute format('alter table %s force row level security', part);
  end if;
  alter table public.audit_events_default force row level security;
  execute format('alter table public.audit_events attach partition %s for values from (%L) to (%L)',
    part, first_day::text || ' 00:00:00+00', (first_day + interval '1 month')::date::text || ' 00:00:00+00');
  execute format('alter table %s enable always trigger worm_statement', part);
  execute format('alter table %s enable always trigger worm_row', part);
  return part;
end
$body$;

create function public.retire_audit_month(month date, expected bigint, archive bytea) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
as $body$
declare
  first_day constant date := date_trunc('month', month)::date;
  part regclass;
  found bigint;
  per record;
  fresh public.audit_seals;
begin
  if first_day + interval '1 month' > now() - public.audit_retention_floor() then
    raise exception 'events of % are younger than the % that they must be kept', to_char(first_day, 'YYYY-MM'),
      public.audit_retention_floor() using errcode = 'insufficient_privilege';
  end if;
  select c.oid::regclass into part
    from pg_catalog.pg_class c join pg_catalog.pg_inherits i on i.inhrelid = c.oid
   where i.inhparent = 'public.audit_events'::regclass and c.relname = 'audit_events_' || to_char(first_day, 'YYYY_MM');
  if part is null then
    raise exception 'there is no partition for %', to_char(first_day, 'YYYY-MM') using errcode = 'undefined_table';
  end if;
  lock table public.audit_seals in share update exclusive mode;
  execute format('alter table public.audit_events detach partition %s', part);
  -- Its owner reads it whole, now that it is nobody's partition.
  execute format('alter table %s no force row level security', part);
  execute format('select count(*) from %s', part) into found;
  if found <> expected then
    raise exception 'the archive holds % events of %, the partition %', expected, to_char(first_day, 'YYYY-MM'), found
      using errcode = 'object_not_in_prerequisite_state';
  end if;
  for per in execute format('select e.tenant_id, count(*) as events from %s e group by 1 order by 1', part) loop
    perform set_config('app.tenant_id', per.tenant_id::text, true);
    if per.events <> (select coalesce(sum(s.events), 0) from public.audit_seals s
                       where s.tenant_id = per.tenant_id and s.month = first_day and s.kind <> 'retired') then
      raise exception 'not all events of % are sealed', to_char(first_day, 'YYYY-MM')
        using errcode = 'object_not_in_prerequisite_state', hint = 'run: kinedb audit seal';
    end if;
    select s.number + 1, s.hash into strict fresh.number, fresh.prev_hash
      from public.audit_seals s where s.tenant_id = per.tenant_id order by s.number desc limit 1;
    fresh.tenant_id := per.tenant_id;
    fresh.kind := 'retired';
    fresh.cluster := (select c.system_identifier from pg_control_system() c);
    fresh.month := first_day;
    fresh.since_txid := 0;
    fresh.until_txid := 0;
    fresh.seen_txid := 0;
    fresh.after_at := first_day;
    fresh.after_id := '00000000-0000-0000-0000-000000000000';
    fresh.upto_at := first_day + interval '1 month';
    fresh.upto_id := '00000000-0000-0000-0000-000000000000';
    fresh.closes := true;
    fresh.from_at := '-infinity';
    fresh.next_from := '-infinity';
    fresh.opened_at := clock_timestamp();
    fresh.events := per.events;
    fresh.digest := archive;
    fresh.sealed_at := clock_timestamp();
    fresh.hash := public.audit_seal_hash(fresh);
    insert into public.audit_seals values (fresh.*);
  end loop;
  perform set_config('app.tenant_id', '', true);
  execute format('drop table %s', part);
  return found;
end
$body$;
alter function public.retire_audit_month(date, bigint, bytea) owner to kine_audit;
revoke all on function public.retire_audit_month(date, bigint, bytea) from public;
comment on function public.retire_audit_month(date, bigint, bytea) is
  'Removes the partition of a month that is older than the floor, sealed whole and archived in so many events; leaves a seal that says so in each clinic''s chain.';

-- Class immutable: written once, then neither changed nor removed by anybody. The table belongs to
-- kine_audit; the guards fire always, also for a replication role. Isolated like tenant_scoped.
alter table public.audit_seals enable row level security;
alter table public.audit_seals force row level security;

drop policy if exists tenant_isolation on public.audit_seals;
create policy tenant_isolation on public.audit_seals
  as permissive for all to public
  using (tenant_id = (select current_setting('app.tenant_id')::uuid))
  with check (tenant_id = (select current_setting('app.tenant_id')::uuid));

revoke all on table public.audit_seals from public, kine_app, kine_auditor, kine_backup;
grant select on table public.audit_seals to kine_backup;

create or replace trigger worm_row before update or delete on public.audit_seals
  for each row execute function public.refuse_change();
create or replace trigger worm_statement before update or delete or truncate on public.audit_seals
  for each statement execute function public.refuse_change();
alter table public.audit_seals enable always trigger worm_row;
alter table public.audit_seals enable always trigger worm_statement;

-- Whoever seals reads the chain of the clinic whose context is set; clinics themselves do not.
grant select on public.audit_seals to kine_sealer;
grant execute on function public.seal_audit_events(integer) to kine_sealer;

-- Retention archives what is older than the floor, of every clinic, and reads nothing younger.
do $retention$
declare
  part regclass;
begin
  for part in
    select t.relid from pg_catalog.pg_partition_tree('public.audit_events'::regclass) t
  loop
    execute format('drop policy if exists audit_retention on %s', part);
    execute format('create policy audit_retention on %s as permissive for select to kine_retention'
      ' using (occurred_at < (select now() - public.audit_retention_floor()))', part);
  end loop;
end
$retention$;

grant execute on function public.audit_retention_floor() to kine_retention;
grant execute on function public.create_audit_partition(date) to kine_sealer;
grant select on public.audit_events to kine_retention;
grant execute on function public.retire_audit_month(date, bigint, bytea) to kine_retention;

set local role kine_owner;
-- pg_dump reads where a sequence stands; kinedb's own history has one.
grant select on all sequences in schema public to kine_backup;
-- The roles that seal and retire go from clinic to clinic, so they see which there are, and nothing else.
drop policy if exists tenant_directory on public.tenants;
-- kinedb: allow policy-true: of two roles without a login that see the ids of the clinics and no other column
create policy tenant_directory on public.tenants as permissive for select to kine_sealer, kine_retention using (true);
grant select (tenant_id) on public.tenants to kine_sealer, kine_retention;
reset role;

do $member$
begin
  if nullif(pg_catalog.current_setting('kine.joined_audit', true), '') is not null then
    execute format('revoke kine_audit from %I', current_user);
    perform pg_catalog.set_config('kine.joined_audit', '', true);
  end if;
end
$member$;
