-- Which of the relations named $1 there are, in order; the schemas; the roles.
select array(select pg_catalog.to_regclass(n.name) is not null from unnest($1::text[]) with ordinality as n(name, at) order by n.at),
       array(select s.nspname::text from pg_catalog.pg_namespace s),
       array(select r.rolname::text from pg_catalog.pg_roles r)
