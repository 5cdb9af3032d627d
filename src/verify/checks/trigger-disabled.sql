-- title: a trigger is switched off
-- severity: warning
-- why: What it guards or records is not guarded or recorded: foreign keys, audit, versions, stamps.
-- bad: alter table patients disable trigger audit;
-- good: alter table patients enable always trigger audit;
-- fix: Enable it.
-- source: PostgreSQL manual, ALTER TABLE ... ENABLE TRIGGER
-- needs: disabled-triggers
select distinct r.label as object, null as role, null as action,
       format('the %s `%s` %s%s', case when t.tgisinternal then 'foreign key''s trigger' else 'trigger' end, coalesce(k.conname, t.tgname),
              case t.tgenabled when 'D' then 'is off' else 'fires in replication only' end,
              (select format(': it fills %s, which is append-only', string_agg('`' || w.label || '`', ', ')) from relation w where w.append_only and w.oid = any (f.writes))) as detail,
       format('alter table %s enable trigger %I;', r.label, t.tgname) as fix,
       case when t.tgisinternal or r.append_only or exists (select from relation w where w.append_only and w.oid = any (f.writes)) then 'error' end as severity, true as unproven
from pg_catalog.pg_trigger t
join relation r on r.oid = t.tgrelid and (r.tenanted or r.append_only)
left join pg_catalog.pg_constraint k on k.oid = t.tgconstraint
left join routine f on f.oid = t.tgfoid
where t.tgenabled = 'D' or t.tgenabled = 'R' and not t.tgisinternal
