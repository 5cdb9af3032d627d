-- title: a publication sends rows of all tenants
-- severity: error
-- why: Policies do not apply to replication: who may subscribe receives every row.
-- bad: create publication all_tables for all tables;
-- good: create publication one for table patients where (tenant_id = '...');
-- fix: Give it a row filter, or drop it, and keep REPLICATION to the server's own replicas.
-- source: PostgreSQL manual, 31.7 Logical Replication Security
-- needs: publications
select p.pubname as object, s.rolname as role, null as action,
       format('it sends %s%s', case when p.puballtables then 'all tables' else string_agg(distinct '`' || r.label || '`', ', ') end,
              case when s.rolname is null then '; no login but superusers may subscribe' else format('; the login `%s` may subscribe', s.rolname) end) as detail,
       format('drop publication %I;', p.pubname) as fix,
       case when s.rolname is null then 'warning' end as severity
from pg_catalog.pg_publication p
join relation r on r.tenanted and r.stored
left join pg_catalog.pg_publication_rel e on e.prpubid = p.oid and e.prrelid = r.oid
left join pg_catalog.pg_publication_namespace n on n.pnpubid = p.oid and n.pnnspid = r.schema
left join lateral (select min(x.rolname) as rolname from pg_catalog.pg_roles x where x.rolreplication and x.rolcanlogin and not x.rolsuper) s on true
where p.puballtables or n.oid is not null or (e.oid is not null and (e.prqual is null
   -- A filter that holds the key to no value lets every tenant through.
   or pg_get_expr(e.prqual, e.prrelid) !~ ('\m' || r.key || '"?\)*(::[a-z ]+\)*)* = ')))
group by p.pubname, p.puballtables, s.rolname
