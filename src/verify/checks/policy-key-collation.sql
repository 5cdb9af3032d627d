-- title: the tenant's key is compared without regard to case or accents
-- severity: error
-- why: A nondeterministic collation, or citext, makes two tenants equal whose keys differ.
-- bad: tenant citext not null
-- good: tenant text not null
-- fix: Use a type and collation that tell every two keys apart.
-- source: PostgreSQL manual, 24.2.2.4 Nondeterministic Collations
-- needs: text-keys, roles
select r.label as object, null as role, 'select' as action,
       format('`%s` is of type `%s`%s', a.attname, format_type(a.atttypid, a.atttypmod), case when c.collisdeterministic is false then format(' with the nondeterministic collation `%s`', c.collname) else '' end) as detail
from relation r
join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attname = r.key
join pg_catalog.pg_type t on t.oid = a.atttypid
left join pg_catalog.pg_collation c on c.oid = a.attcollation
where r.stored and r.tenanted and (c.collisdeterministic is false or t.typname = 'citext')
  and exists (select from can x where x.relation = r.oid)
  -- Where the tenants' own key is compared like that, no two of them are equal.
  and not exists (select from scope
                  join relation o on o.oid = (j->'tenants'->'table'->>0)::oid
                  join pg_catalog.pg_attribute b on b.attrelid = o.oid and b.attname = j->'tenants'->'table'->>1
                  join unique_key u on u.relation = o.oid and u.columns = array[b.attname::text]
                  where b.atttypid = a.atttypid and b.attcollation = a.attcollation)
