-- title: a role of the application can become the owner of an append-only table
-- severity: error
-- why: An owner disables its triggers and rewrites its rows.
-- bad: grant audit_owner to app;
-- good: an owner that no login is a member of
-- fix: Revoke the membership.
-- source: PostgreSQL manual, ALTER TABLE
-- needs: append-only, owners
select r.label as object, m.acting_name as role, 'update' as action, format('`%s` is the owner%s', m.name, m.via) as detail
from relation r join member m on pg_has_role(m.oid, r.owner, 'USAGE') and not m.unbound
where r.append_only and not r.tenanted
