-- Eight tables of one shape, a thousand tenants, a million rows in all: the size
-- at which probing tenant by tenant costs more than one question to all of them.
create role bench_app login;
create table tenants (tenant_id uuid primary key, name text not null);
insert into tenants select md5('tenant ' || i)::uuid, 'Tenant ' || i from generate_series(1, 1000) i;
grant select on tenants to bench_app;
alter table tenants enable row level security;
alter table tenants force row level security;
create policy own on tenants using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
do $$
declare t text; above text;
begin
  foreach t in array array['people', 'visits', 'notes', 'bills', 'claims', 'rooms', 'letters', 'tasks'] loop
    execute format('create unlogged table %I (tenant_id uuid not null, id bigint not null, above_id bigint, kind text not null default ''plain'' check (kind in (''plain'', ''urgent'')), body text not null default '''', at timestamptz not null default now(), primary key (tenant_id, id))', t);
    execute format('insert into %I (tenant_id, id, above_id, body, at) select md5(''tenant '' || n)::uuid, i, i, repeat(''x'', 40), timestamptz ''2026-01-01'' + i * interval ''1 minute'' from generate_series(1, 1000) n, generate_series(1, 125) i', t);
    if above is not null then
      execute format('alter table %I add foreign key (tenant_id, above_id) references %I (tenant_id, id)', t, above);
    end if;
    execute format('alter table %I enable row level security', t);
    execute format('alter table %I force row level security', t);
    execute format('create policy own on %I using (tenant_id = (select nullif(current_setting(''app.tenant_id'', true), '''')::uuid))', t);
    execute format('grant select, insert, update, delete on %I to bench_app', t);
    above := t;
  end loop;
end
$$;
