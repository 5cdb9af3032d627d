-- title: a session without a tenant sees rows whose tenant is empty
-- severity: error
-- why: A reset setting reads as an empty string; where the key is text and may be empty, that is a tenant like any other.
-- bad: tenant_id text not null default ''
-- good: tenant_id text not null check (tenant_id <> ''), and nullif(current_setting(..), '') in the policy
-- fix: Wrap the setting in `nullif(.., '')` and forbid the empty key.
-- source: PostgreSQL manual, 9.28.1 Configuration Settings Functions
-- excepts: no-context
-- needs: text-keys, roles
select distinct r.label as object, null as role, 'select' as action,
       format('policy `%s` compares the text key `%s` with the bare setting%s', p.name, r.key,
              case when d.empty then ', and the column''s default is an empty string' else '' end) as detail,
       case when d.empty then 'error' else 'warning' end as severity
from predicate p join relation r on r.oid = p.relation
cross join lateral (select exists (select from pg_catalog.pg_attrdef f join pg_catalog.pg_attribute a on a.attrelid = f.adrelid and a.attnum = f.adnum
   where f.adrelid = r.oid and a.attname = r.key and pg_get_expr(f.adbin, f.adrelid) ~ '^''''') as empty) d
where p.permissive and r.tenanted and p.body->'tied_columns' ? r.key and r.key_type ~ '^(text|character)'
  and p.body->>'text' ~ 'current_setting\(''[^'']+''::text, true\)' and p.body->>'text' !~* 'nullif\(current_setting'
  and exists (select from can x where x.relation = r.oid)
  and not exists (select from pg_catalog.pg_constraint k where k.conrelid = r.oid and k.contype = 'c'
                  and pg_get_constraintdef(k.oid) ~ ('"?' || r.key || '"?.*(<> ''''|~|length)'))
