-- title: a trigger sends what rows hold to whoever listens
-- severity: error
-- why: LISTEN needs no right: every session of the database receives the payload of every tenant.
-- bad: perform pg_notify('orders', row_to_json(new)::text);
-- good: perform pg_notify('orders', '');
-- fix: Send no values of the row; let the listener read the table under its policies.
-- source: PostgreSQL manual, NOTIFY
-- needs: triggers, notifying-functions
select distinct r.label as object, null as role, null as action,
       format('the trigger `%s` calls `%s`, and the payload holds %s', t.tgname, f.label,
              case when x.rows then 'the row' else 'its keys' end) as detail,
       case when x.rows then 'error' else 'warning' end as severity
from pg_catalog.pg_trigger t
join relation r on r.oid = t.tgrelid and r.tenanted
join routine f on f.oid = t.tgfoid
cross join lateral (
  select bool_or(n.text ~* '\m(new|old)\M(?!\s*\.)' or exists (
           select from regexp_matches(n.text, '\m(?:new|old)\s*\.\s*"?(\w+)"?', 'gi') c(name)
           where not exists (
             select from pg_catalog.pg_attribute a
             where a.attrelid = r.oid and a.attname = c.name[1]
               and (a.attname = r.key
                    or exists (select from pg_catalog.pg_constraint k where k.conrelid = r.oid and k.contype in ('p', 'f') and a.attnum = any (k.conkey)))))) as rows,
         bool_or(n.text ~* '\m(new|old)\M') as any
  from (select f.payload) n(text)
) x
where not t.tgisinternal and t.tgenabled <> 'D' and x.any
