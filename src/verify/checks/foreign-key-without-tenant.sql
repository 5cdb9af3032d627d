-- title: a foreign key can point at another tenant's row
-- severity: error
-- why: Foreign keys are checked without policies: a row can be tied to another tenant's, errors tell which keys exist, and cascades cross over.
-- bad: room_id uuid references rooms (id)
-- good: foreign key (tenant_id, room_id) references rooms (tenant_id, id)
-- fix: Put the tenant into the key and the reference.
-- source: PostgreSQL manual, 5.9 Row Security Policies: referential integrity checks always bypass row security
-- excepts: shared-rows
-- needs: foreign-keys, roles
with looked_at as materialized (
  -- A check that looks at the column (its own parent's row, say) may close it; the probes try.
  select distinct k.oid, a.acting
  from predicate q
  join applies a on a.policy = q.policy
  join pg_catalog.pg_constraint k on k.conrelid = q.relation and k.contype = 'f'
  join pg_catalog.pg_attribute t on t.attrelid = k.conrelid and t.attnum = any (k.conkey) and q.body->'tied_columns' ? t.attname
  where q.part = 'check'
)
select r.label as object, c.acting_name as role, min(lower(c.privilege)) as action,
       format('the foreign key `%s` to `%s` leaves out the tenant%s', k.conname, p.label,
              case when k.confdeltype = 'c' then '; deleting there deletes here, in any tenant' when k.confdeltype in ('n', 'd') then '; deleting there changes rows here, in any tenant' else '' end) as detail,
       format('alter table %s drop constraint %I, add foreign key (%s, ...) references %s (%s, ...);', r.label, k.conname, coalesce(r.key, 'tenant'), p.label, coalesce(p.key, 'tenant')) as fix
from pg_catalog.pg_constraint k
join relation r on r.oid = k.conrelid and r.tenanted
-- Users are named by tenants they belong to: their rows are no tenant's.
join relation p on p.oid = k.confrelid and p.tenanted and not (p.key_kind = 'owns' and p.owns !~ ':tenant')
  -- A membership makes its user the tenant's: it cannot lead astray.
  and not (p.key_kind = 'owns' and p.owns ~ ('\m' || (select relname from pg_catalog.pg_class where oid = r.oid) || '\M')
           and exists (select from predicate q join pg_catalog.pg_attribute b on b.attrelid = p.oid and b.attnum = any (k.confkey)
                       where q.relation = p.oid and q.body->'user_columns' ? b.attname))
join can c on c.relation = r.oid and c.privilege in ('INSERT', 'UPDATE') and c.itself
-- What the others may write shows elsewhere: they have no tenant to write for.
join acting n on n.oid = c.acting and n.scope = 'tenant'
cross join scope
where k.contype = 'f' and k.conparentid = 0
  and (j->'tenants'->'table'->>0 is null or p.oid <> (j->'tenants'->'table'->>0)::oid)
  and not exists (select from unnest(k.conkey, k.confkey) u(own, other)
                  join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum = u.own
                  join pg_catalog.pg_attribute b on b.attrelid = p.oid and b.attnum = u.other
                  where a.attname = r.key and b.attname = p.key)
  -- The way to the parent that says whose row it is cannot differ from itself.
  and not (r.key_kind = 'parent' and r.parent_columns = (select jsonb_agg(a.attname order by u.at) from unnest(k.conkey) with ordinality u(n, at) join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum = u.n))
  and exists (select from unnest(k.conkey) n where has_column_privilege(c.member, r.oid, n, c.privilege))
  -- What no policy lets in refers to nobody.
  and (not r.rls
       or exists (select from allowed w where w.acting = c.acting and w.member = c.member and w.relation = r.oid and w.privilege = c.privilege)
       or exists (select from member m where m.acting = c.acting and m.oid = c.member and (m.unbound or not r.force and pg_has_role(m.oid, r.owner, 'USAGE'))))
  and not exists (select from looked_at l where l.oid = k.oid and l.acting = c.acting)
  and not exists (select from pg_catalog.pg_trigger t join routine f on f.oid = t.tgfoid and f.raises and p.oid = any (f.reads)
                  where t.tgrelid = r.oid and not t.tgisinternal and t.tgenabled <> 'D')
  -- A check by a function that reads the parent may close it as well.
  and not exists (select from pg_catalog.pg_constraint h
                  join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_constraint'::regclass and d.objid = h.oid and d.refclassid = 'pg_catalog.pg_proc'::regclass
                  join routine f on f.oid = d.refobjid and p.oid = any (f.reads)
                  where h.contype = 'c' and h.conrelid = r.oid and h.conkey && k.conkey)
group by r.label, r.key, p.label, p.key, c.acting_name, k.conname, k.confdeltype
