insert into public.notes (tenant_id, id, encounter_id, author_id, subjective, objective, assessment, plan, status)
select $1, pg_catalog.md5(e.id::text || ' note')::uuid, e.id, $2,
       (array['Feels well, no new complaint.', 'Toux depuis trois jours, sans fièvre.', 'Knee hurts on stairs.', 'Fatigue depuis un mois.'])[1 + pick % 4],
       (array['BP 122/78, pulse 68.', 'Auscultation claire.', 'Mild swelling, full range of motion.', 'Examen normal.'])[1 + pick % 4],
       (array['Well controlled.', 'Infection virale probable.', 'Overuse.', 'À préciser.'])[1 + pick % 4],
       (array['Review in six months.', 'Repos, liquides, revoir au besoin.', 'Ice, exercises, review in four weeks.', 'Bilan sanguin.'])[1 + pick % 4],
       case when pick % 8 = 0 then 'draft' else 'signed' end
  from (select e.id, pg_catalog.date_part('epoch', e.started_at)::bigint / 1800 as pick
          from public.encounters e
         where e.tenant_id = $1 and e.practitioner_id = $2) e
on conflict do nothing
