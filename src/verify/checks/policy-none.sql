-- title: no policy lets the application do what it was granted
-- severity: error
-- why: With row level security on, what no permissive policy allows is denied without an error: own rows are invisible, updates and deletes change nothing.
-- bad: create policy p on notes to another_role using (...);
-- good: create policy p on notes to app using (...);
-- fix: Write a permissive policy for the command and the role, or revoke the grant.
-- source: PostgreSQL manual, CREATE POLICY; 5.9 Row Security Policies
-- excepts: hidden-rows, insert-only
-- needs: roles
select r.label as object, c.acting_name as role,
       format('`%s` may %s by its grants, but no permissive policy of that command applies to it', c.acting_name, string_agg(lower(c.privilege), ', ' order by c.rank)) as detail,
       format('create policy ... on %s to %I using (...); -- or: revoke %s on %s from %I;', r.label, c.acting_name, string_agg(lower(c.privilege), ', ' order by c.rank), r.label, c.acting_name) as fix,
       -- What is granted alike on every table, or on one that policies only let read, is closed on purpose.
       case when min(n.scope) <> 'tenant' or b.acting is not null or bool_and(c.privilege <> 'SELECT') and not exists (
                   select from allowed a where a.acting = c.acting and a.member = c.member and a.relation = r.oid and a.privilege <> 'SELECT')
              or has_table_privilege(c.member, r.oid, 'TRUNCATE') and has_table_privilege(c.member, r.oid, 'REFERENCES') then 'note' end as severity,
       true as unproven, array_agg(lower(c.privilege)) as actions, r.label as cells
from can c join relation r on r.oid = c.relation join acting n on n.oid = c.acting
left join (
  select g.acting, g.schema
  from (select x.acting, y.schema, y.oid, array_agg(distinct x.privilege) filter (where x.rank <= 4) as privileges
        from can x join relation y on y.oid = x.relation and y.stored where x.itself group by 1, 2, 3) g
  group by 1, 2
  having count(*) > 2 and count(distinct g.privileges) = 1 and array_length(min(g.privileges), 1) = 4
     and count(*) = (select count(*) from relation z where z.schema = g.schema and z.stored and z.key_kind <> 'global')) b
  on b.acting = c.acting and b.schema = r.schema
where r.rls and r.stored and c.itself and c.rank <= 4 and not r.append_only
  and not exists (select from pg_catalog.pg_inherits i where i.inhrelid = r.oid)
  and not exists (select from allowed a where a.acting = c.acting and a.member = c.member and a.relation = c.relation and a.privilege = c.privilege)
group by r.label, r.oid, c.acting, c.acting_name, c.member, b.acting
