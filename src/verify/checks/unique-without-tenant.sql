-- title: a unique key tells whether another tenant has a value
-- severity: error
-- why: Unique and exclusion constraints see all rows: an error on insert says that somebody else has it.
-- bad: unique (email)
-- good: unique (tenant_id, email)
-- fix: Put the tenant in front of the key.
-- source: PostgreSQL manual, 5.9 Row Security Policies: unique checks always bypass row security
-- excepts: shared-rows
-- needs: roles
with made_up as materialized (
  -- One column that is the key of many tables is a made-up id, wherever it comes from.
  select b.attname, b.atttypid
  from pg_catalog.pg_index j
  join relation q on q.oid = j.indrelid
  join pg_catalog.pg_attribute b on b.attrelid = q.oid and b.attnum = j.indkey[0]
  where j.indisprimary and j.indnatts = 1
  group by b.attname, b.atttypid having count(*) > 2
)
select r.label as object, c.acting_name as role, min(lower(c.privilege)) as action,
       format('the %s `%s` does not hold the tenant: %s', case when i.indisexclusion then 'exclusion constraint' else 'unique key' end, x.relname, pg_get_indexdef(i.indexrelid)) as detail
from pg_catalog.pg_index i
join pg_catalog.pg_class x on x.oid = i.indexrelid
join relation r on r.oid = i.indrelid and r.tenanted and r.key_kind in ('column', 'parent')
join can c on c.relation = r.oid and c.privilege in ('INSERT', 'UPDATE')
-- What the others may write shows elsewhere: they have no tenant to write for.
join acting n on n.oid = c.acting and n.scope = 'tenant'
where (i.indisunique or i.indisexclusion)
  -- What is only included in the index takes no part in the comparison, and in an exclusion constraint
  -- the operator must tell one tenant from another.
  and not exists (select from unnest(i.indkey[0:i.indnkeyatts - 1]) with ordinality u(n, place)
                  join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum = u.n and u.n <> 0
                  left join pg_catalog.pg_constraint e on i.indisexclusion and e.conrelid = r.oid and e.conindid = i.indexrelid and e.contype = 'x'
                  left join pg_catalog.pg_operator o on o.oid = e.conexclop[u.place]
                  where coalesce(o.oprname, '=') = '=' and (a.attname = r.key or r.parent_columns ? a.attname
                     -- Keys that nobody guesses tell nothing.
                     or a.atttypid = 'uuid'::regtype
                     or a.attidentity <> ''
                     or exists (select from pg_catalog.pg_attrdef d where d.adrelid = r.oid and d.adnum = a.attnum and pg_get_expr(d.adbin, d.adrelid) ~ '(nextval|gen_random|uuid|random)')
                     or i.indisprimary and i.indnatts = 1 and (a.attname, a.atttypid) in (select m.attname, m.atttypid from made_up m)
                     -- Nor can two tenants have what the tenant is made of.
                     or exists (select from pg_catalog.pg_attribute g
                                join pg_catalog.pg_attrdef d on d.adrelid = g.attrelid and d.adnum = g.attnum
                                where g.attrelid = r.oid and g.attname = r.key and g.attgenerated <> ''
                                  and (select array_agg(distinct p.refobjsubid) from pg_catalog.pg_depend p
                                       where p.classid = 'pg_catalog.pg_attrdef'::regclass and p.objid = d.oid and p.refobjid = r.oid
                                         and p.refobjsubid not in (0, g.attnum)) = array[a.attnum::int])
                     -- A reference that holds the tenant is as good as the tenant: where all of it stands in the key, or this
                     -- column alone names one row there.
                     or exists (select from pg_catalog.pg_constraint k join relation p on p.oid = k.confrelid and p.tenanted where k.conrelid = r.oid and k.contype = 'f' and a.attnum = any (k.conkey)
                                and (k.conkey <@ i.indkey[0:i.indnkeyatts - 1]::smallint[]
                                     or exists (select from unnest(k.conkey, k.confkey) as pair(own, theirs)
                                                join pg_catalog.pg_attribute b on b.attrelid = k.confrelid and b.attnum = pair.theirs
                                                where pair.own = a.attnum and (b.atttypid = 'uuid'::regtype or b.attidentity <> ''
                                                   or exists (select from unique_key u where u.relation = k.confrelid and u.columns = array[b.attname::text])
                                                   or exists (select from pg_catalog.pg_attrdef d where d.adrelid = b.attrelid and d.adnum = b.attnum and pg_get_expr(d.adbin, d.adrelid) ~ '(nextval|gen_random|uuid|random)')))))))
  -- Nor does a part of the tenant, or a digest of it, tell one from another.
  and not (i.indexprs is not null and exists (
        select from generate_series(1, i.indnkeyatts) n
        where i.indkey[n - 1] = 0 and pg_get_indexdef(i.indexrelid, n, true) ~ ('\m' || r.key || '\M')
          and pg_get_indexdef(i.indexrelid, n, true) !~* '(%|/|&|>>|\mleft\(|\mright\(|\msubstr|\mlower\(|\mupper\(|\mhash|\mmod\(|\mlength\()'))
  and exists (select from unnest(i.indkey) n where n = 0 or n > 0 and has_column_privilege(c.member, r.oid, n::smallint, c.privilege))
  and exists (select from allowed a where a.acting = c.acting and a.relation = r.oid and a.privilege = c.privilege)
  and not exists (select from scope where (j->'tenants'->'table'->>0)::oid = r.oid)
group by r.label, c.acting_name, x.relname, i.indisexclusion, i.indexrelid
