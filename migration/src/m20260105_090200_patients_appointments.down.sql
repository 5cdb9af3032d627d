set local role kine_owner;

drop view public.api_appointments;
drop view public.api_patients;
drop table public.appointments;
drop table public.patients;

reset role;
