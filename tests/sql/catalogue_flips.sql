-- What is expected to differ | the change. One line each; run inside a transaction that is rolled back.
-- the ten changes on which alembic and alembic_utils were tried
table s.plain: row security | alter table s.plain enable row level security
table s.t: row security | alter table s.t disable row level security
table s.t: force row security | alter table s.t no force row level security
view s.v: options | alter view s.v set (security_invoker = false)
view s.v: options | alter view s.v reset (security_barrier)
table s.t: grants to c_b | grant insert on s.t to c_b
table s.t: owner | alter table s.t owner to c_member
policy extra on s.t | create policy extra on s.t using (true)
policy pol on s.t: using | alter policy pol on s.t using (true)
policy pol on s.t | drop policy pol on s.t
-- policies
policy pol on s.t: with check | alter policy pol on s.t with check (true)
policy pol on s.t: roles | alter policy pol on s.t to public
policy pol on s.t: roles | alter policy pol on s.t to c_a, c_b
policy pol on s.t: command | drop policy pol on s.t; create policy pol on s.t for update to c_a using (id > 0) with check (id > 0)
policy pol on s.t: kind | drop policy pol on s.t; create policy pol on s.t as restrictive for all to c_a using (id > 0) with check (id > 0)
policy pol on s.t: comment | comment on policy pol on s.t is 'x'
-- grants
table s.t: grants to c_b | revoke select on s.t from c_b
table s.t: grants to c_b | grant select on s.t to c_b with grant option
table s.t: grants to public | grant select on s.t to public
table s.t: grants to its owner | revoke delete on s.t from c_a
column s.t.name: grants to c_b | revoke update (name) on s.t from c_b
column s.t.id: grants to c_b | grant update (id) on s.t to c_b
view s.v: grants to c_b | grant update on s.v to c_b
sequence s.seq: grants to c_b | grant usage on sequence s.seq to c_b
schema s: grants to c_b | grant usage on schema s to c_b
function s.f(a integer): grants to public | revoke execute on function s.f(int) from public
function s.f(a integer): grants to c_b | revoke execute on function s.f(int) from c_b
type s.mood: grants to public | revoke usage on type s.mood from public
database: grants to c_b | do $$begin execute format('grant create on database %I to c_b', current_database()); end$$
foreign server srv: grants to c_b | grant usage on foreign server srv to c_b
default privileges of c_a in schema s: tables granted to c_b | alter default privileges for role c_a in schema s grant insert on tables to c_b
default privileges of c_b | alter default privileges for role c_b revoke execute on functions from public
default privileges of c_b | alter default privileges for role c_b grant select on tables to public
-- tables
table s.plain: owner | alter table s.plain owner to c_a
table s.plain: options | alter table s.plain set (fillfactor = 50)
table s.plain: toast options | alter table s.plain set (toast.autovacuum_enabled = false)
table s.parted_2: persistence | alter table s.parted_2 set unlogged
table s.plain: replica identity | alter table s.plain replica identity full
table s.plain: comment | comment on table s.plain is 'x'
table s.t: comment | comment on table s.t is 'other'
table s.fresh | create table s.fresh (a int, b int)
table s.parted_2: partition of | alter table s.parted attach partition s.parted_2 for values from ('2026-02-01') to ('2026-03-01')
table s.parted_1: partition of | alter table s.parted detach partition s.parted_1
table s.plain: inherits | create temp table x (a int); alter table s.plain inherit s.unlogged_t; update pg_attribute set attislocal = true where attrelid = 's.plain'::regclass; drop table x
table s.plain: column order | alter table s.plain add column c int; alter table s.plain drop column a; alter table s.plain drop column c; alter table s.plain add column a int
-- columns
column s.plain.c | alter table s.plain add column c int
column s.plain.b | alter table s.plain drop column b
column s.t.amount: type | alter table s.t alter column amount type numeric(12, 2)
column s.plain.b: type | alter table s.plain alter column b type varchar(10)
column s.plain.b: not null | alter table s.plain alter column b set not null
column s.t.name: default | alter table s.t alter column name set default 'm'
column s.t.name: default | alter table s.t alter column name drop default
column s.t.twice: generated | alter table s.t alter column twice drop expression
column s.t.ident: identity | alter table s.t alter column ident set generated always
column s.t.ident: identity | alter table s.t alter column ident set increment 5
column s.plain.b: collation | alter table s.plain alter column b type text collate "C"
column s.plain.b: storage | alter table s.plain alter column b set storage external
column s.plain.b: compression | alter table s.plain alter column b set compression pglz
column s.plain.b: statistics target | alter table s.plain alter column b set statistics 500
column s.plain.b: options | alter table s.plain alter column b set (n_distinct = 5)
column s.plain.b: comment | comment on column s.plain.b is 'x'
column s.t.name: comment | comment on column s.t.name is null
column s.v.name | alter view s.v alter column name set default 'x'
column s.pair.z | alter type s.pair add attribute z int
-- constraints and indexes
constraint t_amount_check on table s.t: definition | alter table s.t drop constraint t_amount_check; alter table s.t add constraint t_amount_check check (amount > 1)
constraint t_amount_check on table s.t | alter table s.t drop constraint t_amount_check
constraint t_parent_fkey on table s.t: definition | alter table s.t alter constraint t_parent_fkey deferrable
constraint t_parent_fkey on table s.t: definition | alter table s.t drop constraint t_parent_fkey; alter table s.t add constraint t_parent_fkey foreign key (tenant_id, id) references s.parent (tenant_id, id) on delete cascade
constraint t_parent_fkey on table s.t: definition | alter table s.t drop constraint t_parent_fkey; alter table s.t add constraint t_parent_fkey foreign key (tenant_id, id) references s.parent (tenant_id, id) not valid
constraint t_parent_fkey on table s.t: triggers | update pg_trigger set tgenabled = 'D' where tgrelid = 's.t'::regclass and tgisinternal
constraint t_name_key on table s.t: definition | alter table s.t drop constraint t_name_key; alter table s.t add constraint t_name_key unique nulls not distinct (tenant_id, name)
constraint t_name_key on table s.t: definition | alter table s.t drop constraint t_name_key; alter table s.t add constraint t_name_key unique (name)
constraint t_name_key on table s.t: index | alter index s.t_name_key set (fillfactor = 50)
constraint t_excl on table s.t | alter table s.t drop constraint t_excl
constraint t_name_key on table s.t: comment | comment on constraint t_name_key on s.t is 'x'
constraint small_check on domain s.small: definition | alter domain s.small drop constraint small_check; alter domain s.small add constraint small_check check (value < 20)
index s.t_note: definition | drop index s.t_note; create index t_note on s.t (tenant_id, note desc)
index s.t_note: definition | drop index s.t_note; create unique index t_note on s.t (tenant_id, note)
index s.t_note: definition | drop index s.t_note; create index t_note on s.t (tenant_id, note) where id > 0
index s.t_note: definition | alter index s.t_note set (fillfactor = 50)
index s.t_note: valid | update pg_index set indisvalid = false where indexrelid = 's.t_note'::regclass
index s.t_note: clustered | alter table s.t cluster on t_note
index s.t_note: comment | comment on index s.t_note is 'x'
index s.t_note | drop index s.t_note
index s.extra | create index extra on s.plain (a)
statistics s.t_stat: definition | drop statistics s.t_stat; create statistics s.t_stat (dependencies) on tenant_id, id from s.t
statistics s.t_stat: target | alter statistics s.t_stat set statistics 10
statistics s.t_stat: owner | alter statistics s.t_stat owner to c_b
-- triggers and rules
trigger trg on s.t: enabled | alter table s.t disable trigger trg
trigger trg on s.t: enabled | alter table s.t enable always trigger trg
trigger trg on s.t: enabled | alter table s.t enable replica trigger trg
trigger trg on s.t: definition | create or replace trigger trg after update on s.t for each row execute function s.trigger_fn()
trigger trg on s.t | drop trigger trg on s.t
trigger trg on s.t: comment | comment on trigger trg on s.t is 'x'
rule guard on s.t: enabled | alter table s.t disable rule guard
rule guard on s.t: definition | create or replace rule guard as on delete to s.t where old.id > 0 do instead nothing
rule guard on s.t | drop rule guard on s.t
-- views
view s.v: definition | create or replace view s.v with (security_invoker = true, security_barrier = true) as select tenant_id, id, name from s.t where id > 1
view s.v: options | alter view s.v set (check_option = cascaded)
view s.v: owner | alter view s.v owner to c_member
view s.v: comment | comment on view s.v is 'x'
view s.v | drop view s.v
materialized view s.mv: populated | refresh materialized view s.mv with no data
materialized view s.mv: owner | alter materialized view s.mv owner to c_a
materialized view s.mv: options | alter materialized view s.mv set (fillfactor = 50)
-- sequences
sequence s.seq: increment | alter sequence s.seq increment 5
sequence s.seq: data type | alter sequence s.seq as bigint maxvalue 9223372036854775807; update pg_sequence set seqtypid = 'int4'::regtype where seqrelid = 's.seq'::regclass
sequence s.seq: minimum | alter sequence s.seq minvalue -5
sequence s.seq: maximum | alter sequence s.seq maxvalue 100
sequence s.seq: start | alter sequence s.seq start 7
sequence s.seq: cache | alter sequence s.seq cache 10
sequence s.seq: cycle | alter sequence s.seq cycle
sequence s.seq: owner | alter sequence s.seq owner to c_a
sequence s.owned_a_seq: persistence | alter sequence s.owned_a_seq set unlogged
-- functions
function s.f(a integer): security | alter function s.f(int) security definer
function s.f(a integer): volatility | alter function s.f(int) volatile
function s.f(a integer): leakproof | alter function s.f(int) leakproof
function s.f(a integer): strict | alter function s.f(int) strict
function s.f(a integer): parallel | alter function s.f(int) parallel safe
function s.f(a integer): cost | alter function s.f(int) cost 20
function s.many(): rows | alter function s.many() rows 20
function s.f(a integer): settings | alter function s.f(int) reset all
function s.f(a integer): settings | alter function s.f(int) set search_path = public
function s.f(a integer): owner | alter function s.f(int) owner to c_a
function s.f(a integer): arguments | create or replace function s.f(a int default 2) returns int language sql stable security invoker cost 10 set search_path = pg_catalog as 'select a'
function s.f(a integer): body | create or replace function s.f(a int default 1) returns int language sql stable security invoker cost 10 set search_path = pg_catalog as 'select a + 1'
function s.f(a integer): comment | comment on function s.f(int) is null
function s.f(a integer): language | set local check_function_bodies = off; create or replace function s.f(a int default 1) returns int language plpgsql stable security invoker cost 10 set search_path = pg_catalog as 'select a'
procedure s.p(): body | create or replace procedure s.p() language sql as 'select 2'
aggregate s.total(integer): transition | create or replace aggregate s.total(int) (sfunc = s.accum, stype = int, initcond = '1')
operator s.=== (box, integer): properties | alter operator s.=== (box, int) set (restrict = eqsel)
operator s.=== (box, integer): owner | alter operator s.=== (box, int) owner to c_a
-- types
type s.mood: labels | alter type s.mood add value 'calm' before 'glad'
type s.mood: labels | alter type s.mood rename value 'sad' to 'low'
type s.mood: owner | alter type s.mood owner to c_a
type s.mood: comment | comment on type s.mood is 'x'
domain s.small: default | alter domain s.small set default 2
domain s.small: not null | alter domain s.small set not null
domain s.small: owner | alter domain s.small owner to c_a
constraint small_check on domain s.small | alter domain s.small drop constraint small_check
collation s.ci: owner | alter collation s.ci owner to c_a
-- roles
role c_a: superuser | alter role c_a superuser
role c_a: bypasses row security | alter role c_a bypassrls
role c_a: creates roles | alter role c_a createrole
role c_a: creates databases | alter role c_a createdb
role c_a: replicates | alter role c_a replication
role c_a: logs in | alter role c_a login
role c_a: inherits | alter role c_a noinherit
role c_a: connections | alter role c_a connection limit 3
role c_a: valid until | alter role c_a valid until '2030-01-01'
role c_a: setting work_mem | alter role c_a set work_mem = '8MB'
role c_a: comment | comment on role c_a is 'x'
role c_a: parameter log_statement | grant set on parameter log_statement to c_a
role c_a: member of c_b | grant c_b to c_a
-- the database and what belongs to no schema
database: setting app.tenant_id | do $$begin execute format('alter database %I set app.tenant_id = %L', current_database(), 'x'); end$$
database: setting app.tenant_id of c_a | do $$begin execute format('alter role c_a in database %I set app.tenant_id = %L', current_database(), 'x'); end$$
database: owner | do $$begin execute format('alter database %I owner to c_a', current_database()); end$$
database: connections | do $$begin execute format('alter database %I connection limit 5', current_database()); end$$
database: comment | do $$begin execute format('comment on database %I is %L', current_database(), 'x'); end$$
schema s: owner | alter schema s owner to c_b
schema s: comment | comment on schema s is 'x'
schema fresh | create schema fresh
extension btree_gist: owner | update pg_extension set extowner = 'c_a'::regrole where extname = 'btree_gist'
extension citext | create extension citext schema pg_catalog
event trigger evt: enabled | alter event trigger evt disable
event trigger evt: enabled | alter event trigger evt enable always
event trigger evt: tags | drop event trigger evt; create event trigger evt on ddl_command_end when tag in ('CREATE TABLE') execute function s.evt_fn()
event trigger evt: event | drop event trigger evt; create event trigger evt on sql_drop execute function s.evt_fn()
publication pub: tables | alter publication pub set table s.plain (a)
publication pub: tables | alter publication pub add table s.parent
publication pub: publishes | alter publication pub set (publish = 'insert')
publication pub: schemas | alter publication pub add tables in schema side
publication pub: owner | alter role c_a superuser; alter publication pub owner to c_a; alter role c_a nosuperuser
foreign server srv: options | alter server srv options (set host 'b')
foreign server srv: user mapping for c_a | create user mapping for c_a server srv options (password 'hush')
foreign data wrapper fdw: owner | update pg_foreign_data_wrapper set fdwowner = 'c_a'::regrole where fdwname = 'fdw'
