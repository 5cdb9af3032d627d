-- title: the database gives every session a tenant by default
select s.name as object, format('alter database %I set %I = %L', current_database(), s.name, t.id) as sql,
       array_append(array(select name from acting), current_database()::text) as names
from (select name from setting where in_context order by name limit 1) s,
     (select x as id from scope, jsonb_array_elements_text(j->'tenants'->'sample') x limit 1) t
