-- What there is: one row of booleans over the prelude. A check names in its header, after `needs:`, what
-- must be there for it to find anything, and is left out of the query where one of these is false. So each
-- must be true wherever such a check could find something; where in doubt it says true.
select a.*, b.*, c.*, d.*, e.*, f.*, g.*, h.*
from (
  select count(*) > 0 as "roles",
         coalesce(bool_or(m.rolsuper or m.rolbypassrls or m.rolcreatedb or m.rolcreaterole or m.rolreplication), false) as "role-attributes",
         coalesce(bool_or(m.name like 'pg\_%'), false) as "predefined-roles",
         coalesce(bool_or(m.scope = 'all'), false) as "roles-of-all",
         coalesce(bool_or(m.oid in (select datdba from pg_catalog.pg_database where datname = current_database())
           or has_database_privilege(m.oid, current_database(), 'CREATE')
           or exists (select from pg_catalog.pg_namespace n where n.nspowner = m.oid
                        or n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and has_schema_privilege(m.oid, n.oid, 'CREATE'))), false) as "creators",
         coalesce(bool_or(m.oid in (select owner from routine)), false) as "function-owners",
         coalesce(bool_or(exists (select from relation r where pg_has_role(m.oid, r.owner, 'USAGE'))
           or exists (select from pg_catalog.pg_type t where t.typowner = m.oid and t.typtype = 'd')), false) as "owners"
  from member m
) a,
(
  select coalesce(bool_or(r.tenanted and r.stored and not r.rls), false) as "unguarded-rights",
         coalesce(bool_or(r.key_kind = 'global' and c.rank between 2 and 5), false) as "global-rights",
         coalesce(bool_or(r.key_kind = 'unknown'), false) as "unknown-rights",
         coalesce(bool_or(c.rank >= 5), false) as "table-rights",
         coalesce(bool_or(not r.stored), false) as "view-rights"
  from can c join relation r on r.oid = c.relation
) b,
(
  select coalesce(bool_or(r.append_only), false) as "append-only",
         coalesce(bool_or(r.kind = 'foreign-table'), false) as "foreign-tables",
         coalesce(bool_or(r.kind = 'materialized-view'), false) as "matviews",
         coalesce(bool_or(r.tenanted and r.stored and r.rls and not r.force), false) as "unforced",
         coalesce(bool_or(r.tenanted and r.stored and r.key_nullable), false) as "nullable-keys",
         coalesce(bool_or(r.tenanted and r.key_type !~ '^(uuid|bigint|integer|smallint)$'), false) as "text-keys",
         coalesce(bool_or(r.tenanted and r.key_type !~ '^(text|character)'), false) as "other-keys",
         coalesce(bool_or(exists (select from pg_catalog.pg_inherits i where i.inhparent = r.oid) and not r.tenanted), false) as "unkeyed-parents",
         coalesce(bool_or(r.tenanted and exists (select from pg_catalog.aclexplode(x.relacl) g where g.grantee = 0)), false) as "public-rights",
         coalesce(bool_or(exists (select from pg_catalog.aclexplode(x.relacl) g where g.is_grantable and g.grantee <> x.relowner)), false)
           or exists (select from pg_catalog.pg_attribute t, pg_catalog.aclexplode(t.attacl) g where t.attacl is not null and g.is_grantable)
           or exists (select from pg_catalog.pg_auth_members g join member m on m.oid = g.member where g.admin_option) as "grant-options"
  from relation r join pg_catalog.pg_class x on x.oid = r.oid
) c,
(
  select coalesce(bool_or(p.reads), false) as "reading-policies",
         coalesce(bool_or(p.joins), false) as "joining-policies",
         coalesce(bool_or(p.text ~* '(_to_array|_to_table|unnest|strpos|starts_with)'), false) as "splitting-policies",
         coalesce(bool_or(p.text like '%(current\_setting(%'), false) as "casting-policies",
         coalesce(bool_or(p.text ~ '[~^%/&@]|>>'
           or p.text ~* '(left|right|sub|lower|upper|initcap|md5|sha256|hashtext|split|trim|translate|replace|abs|mod|div|round|trunc|length|starts|strpos|position|unaccent|encode|convert|overlay|soundex|metaphone)'), false) as "transforming-policies",
         count(*) > 0 as "policies",
         exists (select from guard) as "guards",
         exists (select from way w join relation r on r.oid = w.relation and r.tenanted) as "ways",
         exists (select from way w join relation r on r.oid = w.relation and r.tenanted)
           or exists (select from policy q join relation r on r.oid = q.relation and r.key_kind = 'owns' where q.has_check) as "open-policies"
  -- Most policies of a schema say the same.
  from (select distinct q.body->>'text' as text, q.body->'reads' <> '[]' as reads, q.body->'joins' <> '[]' as joins from predicate q) p
) d,
(
  select exists (select from callable c join routine f on f.oid = c.function and f.definer) as "definers",
         coalesce(bool_or(f.definer), false) as "definer-bodies",
         exists (select from free) as "unbound-owners",
         exists (select from exposed) as "exposing-views",
         exists (select from walk) as "views",
         coalesce(bool_or(f.proleakproof), false) as "leakproof",
         coalesce(bool_or(f.session_sets <> '{}'), false) as "session-sets",
         coalesce(bool_or(f.sets <> '{}' or f.chooses <> '{}'), false) as "sets",
         coalesce(bool_or(f.assigns <> '{}'), false) as "assigning-functions",
         coalesce(bool_or(f.swallows), false) as "swallowing-functions",
         coalesce(bool_or(f.payload is not null), false) as "notifying-functions",
         coalesce(bool_or(f.unqualified <> '{}' or f.prosrc ~* '\mpg_temp\s*\.'), false) as "unqualified-functions",
         coalesce(bool_or(exists (select from unnest(f.proconfig) x where x not like 'search\_path=%')), false) as "function-settings"
  from routine f
) e,
(
  select coalesce(bool_or(not t.tgisinternal), false) as "triggers",
         coalesce(bool_or(t.tgenabled in ('D', 'R')), false) as "disabled-triggers",
         coalesce(bool_or((t.tgtype & 64) <> 0), false) as "view-triggers"
  from pg_catalog.pg_trigger t
) f,
(
  select coalesce(bool_or(k.contype = 'f'), false) as "foreign-keys",
         coalesce(bool_or(k.contype = 'f' and not k.convalidated), false) as "invalid-foreign-keys",
         coalesce(bool_or(k.contype = 'f' and (k.confdeltype in ('c', 'n', 'd') or k.confupdtype in ('c', 'n', 'd'))), false) as "cascades"
  from pg_catalog.pg_constraint k
) g,
(
  -- What the engine finds by other means: its file holds the documentation only.
  select false as "nothing-here",
         exists (select from pg_catalog.pg_default_acl) as "default-privileges",
         exists (select from pg_catalog.pg_publication) as "publications",
         exists (select from pg_catalog.pg_foreign_server) or exists (select from pg_catalog.pg_foreign_data_wrapper) as "foreign-servers",
         exists (select from pg_catalog.pg_parameter_acl) as "parameter-rights",
         exists (select from pg_catalog.pg_db_role_setting) as "default-settings",
         exists (select from pg_catalog.jsonb_to_recordset(s.j->'roles') o(scope text, tenant text) where o.scope = 'trusted' or o.tenant is not null) as "other-roles",
         current_setting('lo_compat_privileges') = 'on' or exists (select from pg_catalog.pg_largeobject_metadata) as "large-objects",
         exists (select from pg_catalog.pg_attribute o where o.attnum > 0 and o.attrelid in (select oid from relation)
                   and o.atttypid in (select t.oid from pg_catalog.pg_type t where t.typname in ('oid', 'lo'))) as "large-object-columns",
         exists (select from pg_catalog.pg_rewrite w where w.ev_type <> '1' and w.ev_class in (select oid from relation)) as "rules",
         exists (select from pg_catalog.pg_class q, member m where q.relkind = 'S' and has_sequence_privilege(m.oid, q.oid, 'SELECT, UPDATE')) as "sequence-rights",
         exists (select from pg_catalog.pg_class v where v.relname in ('pg_stat_statements', 'pg_stat_monitor', 'pg_store_plans', 'pg_buffercache', 'pg_qualstats')) as "statement-views",
         exists (select from setting s where nullif(current_setting(s.name, true), '') is not null) as "settings-in-force",
         coalesce(pg_catalog.jsonb_path_exists(s.j, '$.relations[*].columns[*].sensitive ? (@ == true)'), true) as "sensitive-columns"
  from scope s
) h
