-- Runs a list of probes inside the caller's transaction and hands every
-- outcome back through a setting, so that a whole batch costs one message and
-- works in a READ ONLY transaction too.
--
-- kinedb.program  jsonb array of {keep, steps: [{kind, sql}]}
--   kind x: execute, record the row count     kind q: record the first column
--   kind m: remember the first column ($1 of later steps)
--   kind t, s: like x, q, but a failure is recorded ('!' SQLSTATE) and the probe goes on
-- kinedb.answer   jsonb array of {values, failure}; shorter than the program
--   where time ran out: the caller sends the rest again.
--
-- Every probe is a subtransaction. What it did, its role and its settings are
-- undone unless `keep` says otherwise and nothing failed.
do $kinedb$
declare
  program jsonb[] := array(select pg_catalog.jsonb_array_elements(pg_catalog.current_setting('kinedb.program')::pg_catalog.jsonb));
  budget interval := pg_catalog.current_setting('kinedb.budget')::interval;
  started timestamptz := pg_catalog.clock_timestamp();
  answers jsonb[] := '{}';
  probe jsonb;
  step jsonb;
  kept jsonb;
  failure jsonb;
  memo text;
  taken text;
  counted bigint;
  place int;
  timed_out boolean := false;
  f_state text; f_constraint text; f_column text; f_table text; f_schema text; f_message text;
begin
  foreach probe in array program loop
    kept := '[]';
    failure := null;
    memo := null;
    place := 0;
    begin
      for step in select pg_catalog.jsonb_array_elements(probe -> 'steps') loop
        if step ->> 'kind' = 'x' then
          execute step ->> 'sql' using memo;
          get diagnostics counted = row_count;
          kept := kept || pg_catalog.to_jsonb(counted::text);
        elsif step ->> 'kind' = 'q' then
          execute step ->> 'sql' into taken using memo;
          kept := kept || coalesce(pg_catalog.to_jsonb(taken), 'null'::jsonb);
        elsif step ->> 'kind' = 'm' then
          execute step ->> 'sql' into memo using memo;
          kept := kept || 'null'::jsonb;
        else
          begin
            if step ->> 'kind' = 's' then
              execute step ->> 'sql' into taken using memo;
              kept := kept || coalesce(pg_catalog.to_jsonb(taken), 'null'::jsonb);
            else
              execute step ->> 'sql' using memo;
              get diagnostics counted = row_count;
              kept := kept || pg_catalog.to_jsonb(counted::text);
            end if;
          exception when others then
            kept := kept || pg_catalog.to_jsonb('!' || sqlstate || case when sqlstate = '42501' then ' ' || sqlerrm else '' end);
          end;
        end if;
        place := place + 1;
      end loop;
      if not (probe ->> 'keep')::boolean then
        raise exception using errcode = 'KDB01';
      end if;
    exception
      when query_canceled or assert_failure or others then
        if sqlstate <> 'KDB01' then
          get stacked diagnostics f_state = returned_sqlstate, f_constraint = constraint_name,
            f_column = column_name, f_table = table_name, f_schema = schema_name, f_message = message_text;
          -- Messages of other classes may quote contents of rows.
          failure := pg_catalog.jsonb_build_object('state', f_state, 'place', place, 'constraint', f_constraint,
            'column', f_column, 'table', f_table, 'schema', f_schema,
            'message', case when pg_catalog.left(f_state, 2) in ('42', '25', '0A', '28', '54', '55') then f_message end);
          timed_out := f_state = '57014';
        end if;
    end;
    answers := answers || pg_catalog.jsonb_build_object('values', kept, 'failure', failure);
    exit when timed_out or pg_catalog.clock_timestamp() - started > budget;
  end loop;
  perform pg_catalog.set_config('kinedb.answer', pg_catalog.to_jsonb(answers)::text, true);
end
$kinedb$
