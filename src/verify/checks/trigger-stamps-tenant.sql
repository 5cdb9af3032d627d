-- title: a trigger writes a tenant that is not the session's
-- severity: error
-- why: A BEFORE trigger runs ahead of the policy's check: own rows are refused, or, where the check is weak, land with another tenant.
-- bad: new.tenant_id := coalesce(current_setting('app.org_id'), '...');
-- good: new.tenant_id := current_setting('app.tenant_id')::uuid;
-- fix: Read the setting that the policies read, and have no fallback.
-- source: PostgreSQL manual, CREATE POLICY; 39.1 Overview of Trigger Behavior
-- needs: triggers, assigning-functions
select r.label as object, null as role, case when (t.tgtype & 4) <> 0 then 'insert' else 'update' end as action,
       format('its trigger `%s` assigns `%s` %s', t.tgname, r.key,
              case when f.settings = '{}' then 'without reading the context' else format('from %s', (select string_agg('`' || x || '`', ', ') from unnest(f.settings) x)) end) as detail, true as unproven
from pg_catalog.pg_trigger t
join relation r on r.oid = t.tgrelid and r.tenanted
join routine f on f.oid = t.tgfoid
where r.oid is distinct from (select (j->'tenants'->'table'->>0)::oid from scope) -- a new tenant's own id
  and (t.tgtype & 2) <> 0 and not t.tgisinternal and t.tgenabled <> 'D' and r.key = any (f.assigns)
  and (exists (select from setting where in_context))
  and not exists (select from setting s where s.in_context and s.name = any (f.settings))
  and not f.reads && (select coalesce(array_agg(oid), '{}') from relation x where x.tenanted)
  and exists (select from can c where c.relation = r.oid and c.rank in (2, 3))
