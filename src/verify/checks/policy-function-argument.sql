-- title: a function that policies ask about a tenant does not look at which one
-- severity: error
-- why: A helper that is told whose row it is asked about, and answers by other rows without comparing it, says yes for every tenant once it says yes.
-- bad: create function may_help(org uuid) .. as $$ select exists (select from support_grants where staff = auth.uid()) $$;
-- good: create function may_help(org uuid) .. as $$ select exists (select from support_grants g where g.staff = auth.uid() and g.org = may_help.org) $$;
-- fix: Compare the argument, or leave it out where the tenant is compared beside the call.
-- source: PostgreSQL manual, CREATE POLICY
-- needs: guards
with asked as materialized (
  -- Each function with the types of what it guards, where nothing but the call ties the row.
  select distinct g.function, r.key_type
  from guard g
  join relation r on r.oid = g.relation and r.tenanted and r.key_type is not null
  where exists (select from predicate q where q.policy = g.policy and q.permissive and q.body->>'text' !~* '\mand\M')
),
arguments as materialized (
  select p.oid as function, a.key_type, u.number, p.proargnames[u.number] as name
  from asked a
  join pg_catalog.pg_proc p on p.oid = a.function
  cross join lateral unnest(p.proargtypes::oid[]) with ordinality u(type, number)
  where format_type(u.type, null) = a.key_type
)
select f.label as object, null as role, null as action,
       format('it is told %s, reads %s and never compares the two', string_agg(distinct '`' || coalesce(a.name, '$' || a.number) || '`', ', '),
              (select string_agg('`' || l.label || '`', ', ' order by l.label) from relation l where l.oid = any (f.reads))) as detail,
       true as unproven
from arguments a
join routine f on f.oid = a.function and f.session and f.reads <> '{}' and not f.opaque
-- A name in a literal is no comparison.
cross join lateral (select regexp_replace(coalesce(nullif(f.prosrc, ''), pg_get_function_sqlbody(f.oid)), $$'[^']*'$$, '''''', 'g') as text) b
where exists (select from relation l where l.oid = any (f.reads) and l.stored)
group by f.oid, f.label, f.reads, b.text
having not bool_or(b.text ~ ('\$' || a.number || '\M') or a.name <> '' and b.text ~ ('\m' || a.name || '\M'))
