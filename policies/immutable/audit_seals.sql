-- Whoever seals reads the chain of the clinic whose context is set; clinics themselves do not.
grant select on public.audit_seals to kine_sealer;
grant execute on function public.seal_audit_events(integer) to kine_sealer;
