-- Runs a list of probes inside the caller's transaction and hands every
-- outcome back through a setting, so that a whole batch costs one message and
-- works in a READ ONLY transaction too.
--
-- kinedb.program  jsonb array of {keep, loose, steps: [[kind, sql, ..]]}
--   kind x: execute, record the row count     kind q: record the first column
--   kind m: remember the first column ($1 of later steps)
--   kind t, s: like x, q, but a failure is recorded ('!' SQLSTATE and what it names,
--   as jsonb) and the probe goes on
--   kind b: a list of statements that give one value each, run as one; where that
--   fails each of them runs alone, like s
--   kind p: like b, under a name: what is run again is planned once for each role
-- kinedb.answer   jsonb array of {values, failure}; shorter than the program
--   where time ran out: the caller sends the rest again.
--
-- Every probe is a subtransaction. What it did, its role and its settings are
-- undone unless `keep` says otherwise and nothing failed. One whose steps do not
-- depend on each other (`loose`) pauses where time runs out (KDB02).
--
-- Where it cannot be made a function, it is compiled, and each expression in it
-- planned, with every message: so there are few of them, and what is set together
-- is set by one.
declare
  ends timestamptz;
  answers jsonb[];
  steps jsonb;
  step jsonb;
  kind text;
  query text;
  keep boolean;
  loose boolean;
  asked boolean;
  kept text[];
  failure jsonb;
  memo text;
  taken text;
  several text[];
  name text;
  named text[];
  counted bigint;
  timed_out boolean;
  f_state text; f_constraint text; f_column text; f_table text; f_schema text; f_message text;
  f_detail text; f_hint text;
begin
  select pg_catalog.clock_timestamp() + pg_catalog.current_setting('kinedb.budget')::interval, '{}', '{}', false, false
    into ends, answers, named, asked, timed_out;
  for steps, keep, loose, kept, failure, memo in
    select p -> 'steps', p -> 'keep', p -> 'loose', '{}'::text[], null::pg_catalog.jsonb, null::text
      from pg_catalog.jsonb_array_elements(pg_catalog.current_setting('kinedb.program')::pg_catalog.jsonb) p
  loop
    begin
      for step, kind, query in select s, s ->> 0, s ->> 1 from pg_catalog.jsonb_array_elements(steps) s loop
        if kind = 'x' then
          execute query using memo;
          get diagnostics counted = row_count;
          kept := kept || counted::text;
        elsif kind = 'q' then
          execute query into taken using memo;
          kept := kept || taken;
        elsif kind = 'm' then
          execute query into memo using memo;
          kept := kept || null::text;
        elsif loose and asked and pg_catalog.clock_timestamp() > ends then
          raise sqlstate 'KDB02';
        elsif kind in ('b', 'p') then
          begin
            asked := true;
            name := step ->> 2;
            if name is null or name <> all (named) then
              query := (select 'select array[' || pg_catalog.string_agg('(' || q || ')::text', ', ' order by n) || ']'
                from pg_catalog.jsonb_array_elements_text(step -> 1) with ordinality as list(q, n));
            end if;
            if name <> all (named) then
              execute 'prepare ' || name || ' as ' || query;
              named := named || name;
            end if;
            if name is not null then
              query := 'execute ' || name;
            end if;
            execute query into several;
            kept := kept || several;
          exception when others then
            for query in select pg_catalog.jsonb_array_elements_text(step -> 1) loop
              begin
                execute query into taken;
                kept := kept || taken;
              exception when others then
                kept := kept || ('!' || sqlstate || ' ' || pg_catalog.jsonb_build_object('message', sqlerrm));
              end;
            end loop;
          end;
        else
          begin
            asked := true;
            if kind = 's' then
              execute query into taken using memo;
              kept := kept || taken;
            else
              execute query using memo;
              get diagnostics counted = row_count;
              kept := kept || counted::text;
            end if;
          exception when others then
            get stacked diagnostics f_detail = pg_exception_detail, f_hint = pg_exception_hint,
              f_constraint = constraint_name, f_column = column_name, f_table = table_name;
            kept := kept || ('!' || sqlstate || ' ' || pg_catalog.jsonb_build_object('constraint', f_constraint,
              'column', f_column, 'table', f_table, 'message', sqlerrm, 'detail', f_detail, 'hint', f_hint));
          end;
        end if;
      end loop;
      if not keep then
        raise sqlstate 'KDB01';
      end if;
    exception
      when sqlstate 'KDB01' then
        null;
      when query_canceled or assert_failure or others then
        get stacked diagnostics f_state = returned_sqlstate, f_constraint = constraint_name,
          f_column = column_name, f_table = table_name, f_schema = schema_name, f_message = message_text;
        failure := pg_catalog.jsonb_build_object('state', f_state, 'place', pg_catalog.cardinality(kept), 'constraint', f_constraint,
          'column', f_column, 'table', f_table, 'schema', f_schema, 'message', f_message);
        timed_out := f_state = '57014';
    end;
    answers := answers || pg_catalog.jsonb_build_object('values', pg_catalog.to_jsonb(kept), 'failure', failure);
    exit when timed_out or pg_catalog.clock_timestamp() > ends;
  end loop;
  foreach name in array named loop
    execute 'deallocate ' || name;
  end loop;
  perform pg_catalog.set_config('kinedb.answer', pg_catalog.to_jsonb(answers)::text, true);
end
