-- title: a function that policies call catches errors and may let rows through
-- severity: error
-- why: A malformed or missing context must end in an error or in no rows; a handler that returns something else opens the table.
-- bad: exception when others then return true;
-- good: no handler, or one that returns null, false or an empty list
-- fix: Remove the handler.
-- source: PostgreSQL manual, 43.6.8 Trapping Errors
-- needs: guards, swallowing-functions
select distinct f.label as object, null as role, null as action,
       format('policy `%s` on `%s` calls it; it catches errors', g.name, r.label) as detail
from guard g join routine f on f.oid = g.function join relation r on r.oid = g.relation
where f.swallows
  and f.prosrc !~* 'exception\s+when.*then\s+return\s*(\(?\s*(null|false)(::\w+)?\s*\)?)?\s*;'
  -- In an empty list there is nothing; but everything is outside of it.
  and not (f.prosrc ~* 'exception\s+when.*then\s+return\s*(array\s*\[\s*\]|''\{\}'')(::\w+(\[\])?)?\s*;'
           and not exists (select from predicate q where q.policy = g.policy and q.body->>'text' ~* '<> all|\mnot\M'))
