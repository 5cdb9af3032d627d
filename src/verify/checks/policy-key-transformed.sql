-- title: a policy compares something else than the tenant's whole key
-- severity: error
-- why: Prefixes, case folding, patterns and digests make different tenants equal.
-- bad: using (left(tenant_id::text, 8) = left(current_setting('app.tenant_id'), 8))
-- good: using (tenant_id = current_setting('app.tenant_id')::uuid)
-- fix: Compare the column itself for equality.
-- source: PostgreSQL manual, 9.4 String Functions
-- needs: transforming-policies
select distinct r.label as object, null as role, 'select' as action,
       format('policy `%s` compares %s', p.name,
              case when b.text ~* ('(~~|!~|~\*?|\mlike\M|\msimilar\M)') then 'the tenant by a pattern' else format('a function of `%s`, not the column', r.key) end) as detail
from predicate p join relation r on r.oid = p.relation and r.key is not null
cross join lateral (
  -- What no two keys share: signs that are the same in every one, and the case of letters where that is settled.
  select regexp_replace(regexp_replace(p.body->>'text', 'OPERATOR\([^() ]*\.([^() ]+)\)', '\1', 'g'),
    case when r.key_type in ('uuid', 'bigint', 'integer', 'smallint')
         then format('\m(lower|upper|btrim)\(\(*"?%1$s"?\)*::text\)|\m(replace|translate)\(\(*"?%1$s"?\)*::text, ''-''::text, ''''::text\)', r.key)
         when exists (
           select from pg_catalog.pg_attribute a
           join pg_catalog.pg_constraint k on k.contype = 'c' and k.convalidated and (k.contypid <> 0 and k.contypid = a.atttypid or k.conrelid = a.attrelid and k.conkey = array[a.attnum])
           cross join lateral pg_catalog.pg_get_constraintdef(k.oid) d
           where a.attrelid = r.oid and a.attname = r.key
             and (d ~ '^CHECK \(+"?\w+"?\)?(::text)? = lower\(+"?\w+"?\)*(::text)?\)+$'
                  or d ~ '^CHECK \(+"?\w+"?\)?(::text)? ~ ''\^(\[[^]A-Z^\\[]+\][+*]?(\{[0-9,]+\})?)+\$''::text\)+$'))
         then format('\mlower\(\(*"?%s"?\)*(::text)?\)', r.key)
         else '^$' end, r.key, 'g') as text) b
where p.permissive
  and (b.text ~* ('(left|right|substr|substring|lower|upper|initcap|md5|sha256|hashtext|hashtextextended|split_part|btrim|ltrim|rtrim|translate|replace|regexp_replace|abs|mod|div|round|trunc|length|starts_with|strpos|position|unaccent|overlay|soundex|metaphone)"?\(\(*"?' || r.key || '"?\M')
       or b.text ~* ('"?' || r.key || '"?\)*(::[a-z_.]+)?\)* (~~|~~\*|~|~\*|\^@|@@) ')
       or b.text ~* ('(~~|~~\*|~|~\*|\^@) \(*[^()]*"?' || r.key || '"?\M')
       or b.text ~* ('"?' || r.key || '"?\)*(::[a-z]+\)*)? *(%|/|&|>>) '))
