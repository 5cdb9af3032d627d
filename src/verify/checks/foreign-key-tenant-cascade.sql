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
       -- What the session's state opens is told as that.
       case when p.rls and not exists (select from way w where w.relation = p.oid and w.acting = c.acting and w.privilege = c.privilege and w.kind <> 'session') then 'warning' end as severity
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
union all
-- What loses its tenant becomes everybody's where a policy shows rows without one; a default makes it another's.
select r.label, c.acting_name, lower(c.privilege),
       format('the foreign key `%s` to `%s` says set %s, and `%s` is among its columns: %s', k.conname, p.label, case t.act when 'n' then 'null' else 'default' end, r.key,
              case t.act when 'n' then 'policies show rows without a tenant to every tenant' else 'the default names a tenant' end),
       format('alter table %s drop constraint %I; -- and add it again with on delete restrict, or set null (the other columns)', r.label, k.conname), null
from pg_catalog.pg_constraint k
join relation r on r.oid = k.conrelid and r.tenanted
join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attname = r.key and a.attnum = any (k.conkey)
join relation p on p.oid = k.confrelid
join can c on c.relation = p.oid and (c.privilege = 'DELETE' or c.privilege = 'UPDATE' and exists (select from unnest(k.confkey) n where has_column_privilege(c.member, p.oid, n, 'UPDATE')))
cross join lateral (select case c.privilege when 'DELETE' then k.confdeltype else k.confupdtype end as act) t
where k.contype = 'f' and k.conparentid = 0
  and (c.privilege = 'UPDATE' or coalesce(to_jsonb(k)->'confdelsetcols', 'null') = 'null' or to_jsonb(k)->'confdelsetcols' @> to_jsonb(a.attnum))
  and (not p.rls or exists (select from allowed x where x.acting = c.acting and x.relation = p.oid and x.privilege = c.privilege))
  and (t.act = 'n' and r.key_nullable and (not r.rls or exists (select from way w where w.relation = r.oid and w.acting = c.acting and w.privilege = 'SELECT' and w.kind in ('shared-rows', 'true')))
       or t.act = 'd' and exists (select from pg_catalog.pg_attrdef d where d.adrelid = r.oid and d.adnum = a.attnum and pg_get_expr(d.adbin, d.adrelid) !~ '[(]'))
