-- title: deleting or changing another row changes an append-only table
-- severity: error
-- why: A cascade runs with the rights of the table's owner and asks neither grants nor policies.
-- bad: alter table note_versions add foreign key (note_id) references notes on delete cascade;
-- good: alter table note_versions add foreign key (note_id) references notes on delete restrict;
-- fix: Use `on delete restrict` and `on update restrict`.
-- source: PostgreSQL manual, 5.4.5 Foreign Keys
-- needs: append-only, cascades
select distinct r.label as object, null as role, case when k.confdeltype in ('c', 'n', 'd') then 'delete' else 'update' end as action,
       format('the foreign key `%s` to `%s` says on %s', k.conname, p.label,
              concat_ws(' and on ', case k.confdeltype when 'c' then 'delete cascade' when 'n' then 'delete set null' when 'd' then 'delete set default' end,
                                case k.confupdtype when 'c' then 'update cascade' when 'n' then 'update set null' when 'd' then 'update set default' end)) as detail,
       format('alter table %s drop constraint %I; -- and add it again with on delete restrict', r.label, k.conname) as fix,
       case when not exists (select from can c where c.relation = p.oid and (c.privilege = 'DELETE' and k.confdeltype in ('c', 'n', 'd') or c.privilege = 'UPDATE' and k.confupdtype in ('c', 'n', 'd')))
                 or exists (select from pg_catalog.pg_trigger t join routine f on f.oid = t.tgfoid and f.raises
                            where t.tgrelid = r.oid and (t.tgtype & 2) <> 0 and t.tgenabled in ('A', 'O') and (t.tgtype & case when k.confdeltype = 'c' then 8 else 16 end) <> 0)
            then 'warning' end as severity
from pg_catalog.pg_constraint k
join relation r on r.oid = k.conrelid and r.append_only
join relation p on p.oid = k.confrelid
where k.contype = 'f' and (k.confdeltype in ('c', 'n', 'd') or k.confupdtype in ('c', 'n', 'd'))
