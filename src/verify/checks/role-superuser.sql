-- title: the application can act as a superuser
-- severity: error
-- why: No policy binds a superuser, and it can change every one of them.
-- bad: alter role app superuser;
-- good: alter role app nosuperuser;
-- fix: Take the attribute away: `alter role ... nosuperuser`.
-- source: PostgreSQL manual, 5.9 Row Security Policies; 22.2 Role Attributes
-- needs: role-attributes
select m.name as object, m.acting_name as role,
       format('`%s` is a superuser%s', m.name, case when m.itself then '' else format(', and `%s` is or can become it', m.acting_name) end) as detail,
       case when m.itself then format('alter role %I nosuperuser;', m.name) else format('revoke %I from %I;', m.name, m.acting_name) end as fix,
       array['select', 'insert', 'update', 'delete'] as actions, '*' as cells
from member m
where m.rolsuper
