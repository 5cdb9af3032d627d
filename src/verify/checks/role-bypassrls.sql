-- title: row level security does not bind the application
-- severity: error
-- why: BYPASSRLS switches every policy off. The attribute is not inherited, but SET ROLE takes it.
-- bad: grant dba to app;  -- dba has BYPASSRLS
-- good: revoke dba from app;
-- fix: Take the attribute or the membership away.
-- source: PostgreSQL manual, 22.2 Role Attributes, 22.3 Role Membership
-- needs: role-attributes
select m.name as object, m.acting_name as role,
       case when m.itself then format('`%s` has BYPASSRLS', m.name)
            else format('`%s` can become `%s`, which has BYPASSRLS', m.acting_name, m.name) end as detail,
       case when m.itself then format('alter role %I nobypassrls;', m.name) else format('revoke %I from %I;', m.name, m.acting_name) end as fix,
       case when m.itself then null else format('set role %I; set role %I; select row_security_active(oid), relname from pg_class where relrowsecurity;', m.acting_name, m.name) end as reproduce,
       array['select', 'insert', 'update', 'delete'] as actions, '*' as cells
from member m
where m.rolbypassrls and not m.rolsuper
