-- Undoes: {message}
set local role kine_owner;

drop view public.api_{table};
drop table public.{table};
