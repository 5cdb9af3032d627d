-- A thousand tables as most applications write them, of a team that never told kinedb anything: an id of its own
-- as the key, the setting cast as it comes, a hundred views, a hundred functions with the rights of
-- their owner or of who calls them, and one trigger that keeps a journal.
create role bench_usual login;
create table organizations (id uuid primary key default gen_random_uuid(), name text not null);
insert into organizations (name) select 'Organization ' || i from generate_series(1, 50) i;
create table journal (id bigint generated always as identity primary key, organization_id uuid not null references organizations, what text not null, at timestamptz not null default now());
create function keep_journal() returns trigger language plpgsql security definer set search_path = pg_catalog, public as $$
begin
  insert into public.journal (organization_id, what) values (coalesce(new.organization_id, old.organization_id), tg_table_name);
  return coalesce(new, old);
end
$$;
do $$
declare
  own constant text := '(organization_id = current_setting(''app.organization_id'', true)::uuid)';
  t text;
begin
  execute 'alter table organizations enable row level security';
  execute 'alter table organizations force row level security';
  execute 'create policy own on organizations using (id = current_setting(''app.organization_id'', true)::uuid)';
  execute 'grant select on organizations to bench_usual';
  execute 'alter table journal enable row level security';
  execute format('create policy own on journal for select using %s', own);
  execute 'grant select on journal to bench_usual';
  for i in 1..997 loop
    t := format('t%s', to_char(i, 'FM000'));
    execute format('create table %I (id uuid primary key default gen_random_uuid(), organization_id uuid not null references organizations, title text not null, done boolean not null default false, at timestamptz not null default now())', t);
    execute format('create index on %I (organization_id)', t);
    execute format('alter table %I enable row level security', t);
    execute format('alter table %I force row level security', t);
    execute format('create policy own on %I using %s with check %s', t, own, own);
    execute format('grant select, insert, update, delete on %I to bench_usual', t);
    if i <= 100 then
      execute format('create view v%s with (security_invoker = true) as select id, title, at from %I where not done', i, t);
      execute format('grant select on v%s to bench_usual', i);
      execute format('create function count_%s(part text) returns bigint language sql stable %s as $f$ select count(*) from public.%I where title like part and organization_id = current_setting(''app.organization_id'', true)::uuid $f$',
        t, case when i % 2 = 0 then 'security definer set search_path = pg_catalog, public' else '' end, t);
      execute format('create trigger keep_journal after insert or update or delete on %I for each row execute function keep_journal()', t);
    end if;
  end loop;
end
$$;
analyze;
