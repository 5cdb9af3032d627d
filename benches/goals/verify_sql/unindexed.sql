-- Ten million rows whose tenant no index knows: every question about a tenant
-- that scans the table costs seconds.
create role bench_heap login;
create table tenants (tenant_id uuid primary key, name text not null);
insert into tenants select md5('tenant ' || i)::uuid, 'Tenant ' || i from generate_series(1, 100) i;
grant select on tenants to bench_heap;
alter table tenants enable row level security;
alter table tenants force row level security;
create policy own on tenants using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create unlogged table readings (id bigint not null, tenant_id uuid not null, value double precision not null);
insert into readings select i, md5('tenant ' || 1 + i % 100)::uuid, i % 977 from generate_series(1, 10000000) i;
alter table readings add primary key (id, tenant_id);
alter table readings enable row level security;
alter table readings force row level security;
create policy own on readings using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
grant select, insert, update, delete on readings to bench_heap;
create unlogged table labels (tenant_id uuid not null references tenants (tenant_id), reading_id bigint not null, label text not null, primary key (tenant_id, reading_id), foreign key (reading_id, tenant_id) references readings (id, tenant_id));
insert into labels select tenant_id, id, 'odd' from readings where id <= 5000;
alter table labels enable row level security;
alter table labels force row level security;
create policy own on labels using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
grant select, insert, update, delete on labels to bench_heap;
create view readings_of_today with (security_invoker = true) as select id, tenant_id, value from readings where value > 0;
grant select on readings_of_today to bench_heap;
analyze;
