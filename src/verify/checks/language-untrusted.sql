-- title: the application may write functions in an untrusted language
-- severity: error
-- why: Such functions do on the server what they like.
-- bad: grant usage on language plpython3u to app;
-- good: only superusers may
-- fix: Revoke USAGE on the language.
-- source: PostgreSQL manual, CREATE LANGUAGE
select l.lanname as object, m.acting_name as role, null as action, format('`%s` has USAGE on the untrusted language `%s`%s', m.acting_name, l.lanname, min(m.via)) as detail,
       format('revoke usage on language %I from public, %I;', l.lanname, m.acting_name) as fix
from pg_catalog.pg_language l join member m on not m.unbound
cross join lateral aclexplode(l.lanacl) a
where not l.lanpltrusted and a.grantee in (0, m.oid)
group by l.lanname, m.acting_name
