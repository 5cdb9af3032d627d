-- What a new database pays for most is files, so the name has a bound, for which no table of oversized values is
-- needed, and an id that the server gives, and that nobody looks for, has no index.
create table if not exists public.seaql_migrations (
  version varchar(255) not null primary key,
  applied_at bigint not null);

-- Checks of values would be read from the catalogue for each row anew, at twice the price of the row itself.
create table if not exists public.kinedb_history (
  id bigint generated always as identity,
  run_id uuid not null,
  name text not null,
  direction text not null,
  checksum text not null,
  started_at timestamptz not null,
  duration_ms bigint,
  outcome text not null,
  database_user text not null default session_user,
  host text,
  kinedb_version text not null,
  git_commit text,
  reason text,
  step integer,
  details jsonb);

comment on table public.kinedb_history is
  'What kinedb did to this database, by whom, when; rows are only ever added.';
comment on column public.kinedb_history.details is
  'What a migration does to isolation; of one begun outside a transaction, what was known before.';
comment on column public.kinedb_history.step is
  'Of a migration outside a transaction: so many of its statements are done.';

create or replace function public.kinedb_history_guard() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'kinedb_history is append-only' using errcode = '42501';
end $$;

revoke execute on function public.kinedb_history_guard() from public;

create or replace trigger kinedb_history_guard
  before update or delete or truncate on public.kinedb_history
  for each statement execute function public.kinedb_history_guard();
