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
cross join lateral (select p.body->>'text' as text) b
where p.permissive
  and (b.text ~* ('(left|right|substr|substring|lower|upper|initcap|md5|sha256|hashtext|hashtextextended|split_part|btrim|ltrim|rtrim|translate|replace|regexp_replace|abs|mod|div|round|trunc|length|starts_with|strpos|position|unaccent|overlay|soundex|metaphone)"?\(\(*"?' || r.key || '"?\M')
       or b.text ~* ('"?' || r.key || '"?\)*(::text)?\)* (~~|~~\*|~|~\*|\^@) ')
       or b.text ~* ('(~~|~~\*|~|~\*|\^@) \(*[^()]*"?' || r.key || '"?\M')
       or b.text ~* ('"?' || r.key || '"?\)*(::[a-z]+\)*)? *(%|/|&|>>) '))
