-- title: a change of a tenant's own row cascades over its data
-- severity: error
-- why: A cascade asks no policies: whoever can delete or rename a tenant's row moves or removes everything that hangs on it.
-- bad: tenant_id uuid references tenants (id) on delete cascade; grant delete on tenants to app;
-- good: on delete restrict, and no DELETE on tenants
-- fix: Revoke DELETE and UPDATE of the key on the table of tenants.
-- source: PostgreSQL manual, 5.4.5 Foreign Keys
-- needs: cascades, roles
select p.label as object, c.acting_name as role, lower(c.privilege) as action,
       format('`%s` may %s there, and %s cascades to %s', c.acting_name, lower(c.privilege), case c.privilege when 'DELETE' then 'that' else 'a change of the key' end, string_agg(distinct '`' || r.label || '`', ', ')) as detail,
       format('revoke %s on %s from %I;', lower(c.privilege), p.label, c.acting_name) as fix,
       case when p.rls and not exists (select from way w where w.relation = p.oid and w.acting = c.acting and w.privilege = c.privilege) then 'warning' end as severity
from pg_catalog.pg_constraint k
join relation r on r.oid = k.conrelid and r.tenanted
join scope on true
join relation p on p.oid = k.confrelid and p.oid = (j->'tenants'->'table'->>0)::oid
join can c on c.relation = p.oid and c.privilege in ('UPDATE', 'DELETE')
where k.contype = 'f' and k.conparentid = 0
  and (c.privilege = 'DELETE' and k.confdeltype in ('c', 'n', 'd')
       or c.privilege = 'UPDATE' and k.confupdtype in ('c', 'n', 'd') and exists (select from unnest(k.confkey) n where has_column_privilege(c.member, p.oid, n, 'UPDATE')))
  and (not p.rls or exists (select from allowed a where a.acting = c.acting and a.relation = p.oid and a.privilege = c.privilege))
group by p.oid, p.label, p.rls, c.acting, c.acting_name, c.privilege
