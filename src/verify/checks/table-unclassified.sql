-- title: nothing tells whose rows a table holds
-- severity: error
-- why: Without a key nobody can say whether a row may be seen. Where the application writes there, or the columns point at tenants' rows, one tenant's data reaches the others.
-- bad: create table note_attachments (note_id uuid, filename text); grant select on note_attachments to app;
-- good: add the tenant column and a policy, or declare the table global
-- fix: Give it the tenant column and a policy; or tell its owner by `[isolation.table]`; or except it as `global-read`.
-- source: kinedb configuration, `isolation.table` and `exception`
-- excepts: global-read, global-write, shared-rows
-- needs: unknown-rights
select r.label as object, c.acting_name as role,
       format('no tenant column, no foreign key to a tenant''s table, no declaration; `%s` may %s%s%s', c.acting_name,
              string_agg(distinct lower(c.privilege), ', '),
              case when l.link is not null then format('; `%s` looks like a reference to `%s`', l.link, l.target) else '' end,
              case when w.by is not null then format('; `%s` fills it', w.by) else '' end) as detail,
       coalesce((select format('say in kinedb.toml: [isolation.table.%s] and under it tenant = %s', to_json(r.label), to_json(quote_ident(min(x))))
                 from predicate p, jsonb_array_elements_text(p.body->'session_columns') x where p.relation = r.oid and x <> '*' having min(x) is not null),
                format('say in kinedb.toml: [isolation.table.%s] and under it tenant = "..." or owns = "...", or except it as global-read', to_json(r.label))) as fix,
       case when r.rls and exists (select from predicate p where p.relation = r.oid and p.body->'session_columns' <> '[]') then 'error'
            -- What policies let everybody write and read is somebody's, or a list that nobody may write.
            when r.rls and (n.scope <> 'tenant' or not (bool_or(c.privilege in ('UPDATE', 'DELETE')) or bool_or(c.privilege = 'SELECT') and bool_or(c.privilege = 'INSERT'))) then 'note'
            when r.rls and not exists (select from predicate p where p.relation = r.oid and p.permissive and p.body->>'text' <> 'false') then 'note'
            when r.rls then 'error'
            when exists (select from predicate p, jsonb_array_elements_text(p.body->'reads') x where x::oid = r.oid) and bool_and(c.privilege = 'SELECT') then 'note'
            when l.link is not null or w.by is not null or bool_or(c.privilege <> 'SELECT') then 'error'
            else 'note' end as severity,
       true as unproven, array_agg(distinct lower(c.privilege)) as actions, r.label as cells
from can c join relation r on r.oid = c.relation join acting n on n.oid = c.acting
left join lateral (
  select a.attname as link, t.label as target
  from pg_catalog.pg_attribute a
  join relation t on t.tenanted and t.stored and t.oid <> r.oid
  join pg_catalog.pg_class tc on tc.oid = t.oid
  join pg_catalog.pg_attribute b on b.attrelid = t.oid and b.atttypid = a.atttypid and b.attnum > 0 and b.attname in ('id', a.attname, 'uuid')
  where a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
    and lower(replace(a.attname, '_', '')) ~ '(id|uuid)$'
    and regexp_replace(lower(replace(a.attname, '_', '')), '(id|uuid)$', '') in (
          lower(replace(tc.relname, '_', '')), regexp_replace(lower(replace(tc.relname, '_', '')), 's$', ''),
          regexp_replace(lower(replace(tc.relname, '_', '')), 'ies$', 'y'), regexp_replace(lower(replace(tc.relname, '_', '')), 'es$', ''))
  order by a.attnum limit 1) l on true
left join lateral (
  select f.label as by
  from routine f
  join pg_catalog.pg_trigger t on t.tgfoid = f.oid
  join relation s on s.oid = t.tgrelid and s.tenanted and s.oid <> r.oid
  where r.oid = any (f.writes) limit 1) w on true
where r.stored and r.key_kind = 'unknown' and c.rank <= 4
  and (not r.rls or exists (select from allowed a where a.acting = c.acting and a.relation = r.oid and a.privilege = c.privilege))
group by r.oid, r.label, r.rls, c.acting_name, n.scope, l.link, l.target, w.by
