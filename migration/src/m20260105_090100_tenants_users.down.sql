set local role kine_owner;

drop view public.api_users;
drop view public.api_tenants;
drop table public.users;
drop table public.tenants;
drop function public.touch_updated_at();

reset role;
