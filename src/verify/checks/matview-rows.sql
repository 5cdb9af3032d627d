-- title: a materialised view holds rows of all tenants
-- severity: error
-- why: It is a copy, made with its owner's rights or by whoever refreshed it; policies cannot be put on it.
-- bad: create materialized view mv as select * from patients; grant select on mv to app;
-- good: a view with security_invoker over it that filters by tenant, and no grant on the copy
-- fix: Revoke the grant; read it through a view that compares the tenant.
-- source: PostgreSQL manual, 41.3 Materialized Views
-- excepts: global-read, definer
-- needs: matviews, view-rights
select v.label as object, c.acting_name as role, 'select' as action,
       format('it is a copy of rows of %s; `%s` may read it%s', string_agg(distinct '`' || r.label || '`', ', '), c.acting_name, min(c.via)) as detail,
       format('revoke select on %s from %I;', v.label, c.acting_name) as fix, v.label as cells
from relation v
join walk w on w.root = v.oid
join relation r on r.oid = w.base and r.tenanted and r.stored
join can c on c.relation = v.oid and c.privilege = 'SELECT'
where v.kind = 'materialized-view' and v.key_kind <> 'global'
group by v.label, c.acting_name
