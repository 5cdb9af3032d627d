-- Four hundred tables with thirteen hundred policies: three hundred tables with
-- one policy for each command, a hundred with one for all. In groups of ten each
-- table refers to the one before it.
create role bench_wide login;
create table tenants (tenant_id uuid primary key, name text not null);
insert into tenants select md5('tenant ' || i)::uuid, 'Tenant ' || i from generate_series(1, 50) i;
grant select on tenants to bench_wide;
alter table tenants enable row level security;
alter table tenants force row level security;
create policy own on tenants using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
do $$
declare
  own constant text := '(tenant_id = (select nullif(current_setting(''app.tenant_id'', true), '''')::uuid))';
  t text; above text; command text;
begin
  for i in 1..399 loop
    t := format('t%s', to_char(i, 'FM000'));
    execute format('create table %I (tenant_id uuid not null references tenants (tenant_id), id uuid not null default gen_random_uuid(), above_id uuid, kind text not null default ''plain'' check (kind in (''plain'', ''urgent'')), title text not null, amount numeric(10,2), at timestamptz not null default now(), primary key (tenant_id, id))', t);
    if i % 10 <> 1 then
      execute format('alter table %I add foreign key (tenant_id, above_id) references %I (tenant_id, id)', t, above);
    end if;
    execute format('alter table %I enable row level security', t);
    execute format('alter table %I force row level security', t);
    if i <= 300 then
      execute format('create policy reads on %I for select using %s', t, own);
      execute format('create policy adds on %I for insert with check %s', t, own);
      execute format('create policy changes on %I for update using %s', t, own);
      execute format('create policy removes on %I for delete using %s', t, own);
    else
      execute format('create policy own on %I using %s', t, own);
    end if;
    execute format('grant select, insert, update, delete on %I to bench_wide', t);
    above := t;
  end loop;
end
$$;
analyze;
