set local role kine_owner;

drop view public.api_notes;
drop view public.api_encounters;
drop table public.notes;
drop table public.encounters;
drop function public.guard_note();

reset role;
