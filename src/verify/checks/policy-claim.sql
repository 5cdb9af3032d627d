-- title: a policy opens all tenants by a part of the context
-- severity: error
-- why: Whoever is given, or fills in, a context with that part in it reaches every tenant; no context that is told has it. Where it names a role of its own, the session has that role and other policies.
-- bad: using (tenant_id = ... or current_setting('request.jwt.claims')::jsonb ->> 'support' = 'true')
-- good: create policy admins on patients to admin_role using (true);
-- fix: Give a role of its own to whoever may see all tenants; where the claim is meant, write an exception that says who gets it.
-- source: PostgreSQL manual, CREATE POLICY
-- excepts: bypass-setting
-- needs: ways
select r.label as object, w.acting_name as role, lower(w.privilege) as action,
       format('policy `%s`: `%s` is decided by the context alone', w.name, w.text) as detail,
       case when not bool_or(x.untold or x.anybody) or bool_or(x.names_role) then 'note' end as severity
from way w join relation r on r.oid = w.relation
cross join lateral (
  -- A part that the told contexts hold is tried by the probes.
  select exists (select from jsonb_array_elements_text(w.texts) t
                 where t <> '' and not w.settings ? lower(t)
                   and not exists (select from (select jsonb_path_query(j, '$.context[*]') as c from scope union all select jsonb_path_query(j, '$.roles[*].context[*]') from scope) y
                                   where strpos(y.c #>> '{}', quote_literal(t)) > 0)) as untold,
         exists (select from jsonb_array_elements_text(w.texts) t join pg_catalog.pg_roles o on o.rolname = t
                 where not exists (select from member m where m.acting = w.acting and m.oid = o.oid)) as names_role,
         -- True of whoever is signed in; where no user of a tenant is known, no probe is.
         w.text ~* '\m(uid|user_id|userid)\(\).* is not null$' and w.text !~* '\m(and|or)\M' as anybody) x
where r.tenanted and w.kind = 'session'
  and exists (select from jsonb_array_elements_text(w.settings) s join setting t on t.name = s and t.in_context)
  and (x.untold or not (w.text ~* 'is null$' or w.text ~ '= ''''' or w.text ~* '^not ' or w.text ~* 'coalesce\('))
group by r.label, w.acting_name, w.privilege, w.name, w.text
