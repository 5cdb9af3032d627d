-- title: the application owns a table or the domain of a column, or can become its owner
-- severity: error
-- why: An owner can switch row level security off, drop policies and hand the table on. FORCE binds its queries, not its DDL. The owner of a domain can add a check, and that check is asked about the values of all rows.
-- bad: alter table patients owner to app;
-- good: alter table patients owner to schema_owner;  -- a role that no login of the application is a member of
-- fix: Give tables to a role of their own, and revoke membership in it from the application.
-- source: PostgreSQL manual, ALTER TABLE; 5.9 Row Security Policies
-- needs: owners
select r.label as object, m.acting_name as role,
       format('`%s` is its owner and can switch its policies off', m.name) as detail,
       format('alter table %s owner to another_role;', r.label) as fix,
       format('begin; set local role %I; alter table %s disable row level security; rollback;', m.name, r.label) as reproduce,
       array['select', 'insert', 'update', 'delete', 'truncate'] as actions, r.label as cells
from member m
join relation r on r.owner = m.oid and r.stored and r.key_kind <> 'global'
where not m.unbound and m.itself
union all
select distinct format_type(t.oid, null), m.acting_name,
       format('`%s` owns this domain of a column of `%s`: a check that it adds is asked about the values of all rows%s', m.name, r.label, m.via),
       format('alter domain %s owner to another_role;', format_type(t.oid, null)), null, array['select'], r.label
from member m
join pg_catalog.pg_type t on t.typowner = m.oid and t.typtype = 'd'
join pg_catalog.pg_attribute a on a.atttypid = t.oid and a.attnum > 0 and not a.attisdropped
join relation r on r.oid = a.attrelid and r.stored and r.tenanted and r.owner <> m.oid
where not m.unbound
union all
select m.name, m.acting_name,
       format('`%s` can become `%s`, which owns %s tables and can switch their policies off: %s', m.acting_name, m.name, count(*), string_agg('`' || r.label || '`', ', ' order by r.label)),
       format('revoke %I from %I;', m.name, m.acting_name),
       format('begin; set local role %I; set local role %I; alter table %s disable row level security; rollback;', m.acting_name, m.name, min(r.label)),
       array['select', 'insert', 'update', 'delete', 'truncate'], string_agg(r.label, e'\n')
from member m
join relation r on r.owner = m.oid and r.stored and r.key_kind <> 'global'
where not m.unbound and not m.itself
group by m.name, m.acting_name
