-- What a role, a database or an earlier statement may have set and these statements do not stand: how their text is
-- read, how the catalogue's expressions and values are printed, and whether long statements over few rows are
-- compiled first. For the transaction; whoever acts as another role sets what a login of that begins with.
select pg_catalog.set_config('standard_conforming_strings', 'on', true), pg_catalog.set_config('transform_null_equals', 'off', true),
       pg_catalog.set_config('array_nulls', 'on', true), pg_catalog.set_config('quote_all_identifiers', 'off', true),
       pg_catalog.set_config('row_security', 'on', true), pg_catalog.set_config('bytea_output', 'hex', true),
       pg_catalog.set_config('datestyle', 'ISO, YMD', true), pg_catalog.set_config('intervalstyle', 'postgres', true),
       pg_catalog.set_config('jit', 'off', true)
