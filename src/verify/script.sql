-- Runs a list of probes inside the caller's transaction and hands every
-- outcome back through a setting, so that a whole batch costs one message and
-- works in a READ ONLY transaction too.
--
-- kinedb.program  jsonb array of {keep, loose, steps: [[kind, sql, ..]]}
--   kind x: execute, record the row count     kind q: record the first column
--   kind m: remember the first column ($1 of later steps)
--   kind t, s: like x, q, but a failure is recorded ('!' SQLSTATE) and the probe goes on
--   kind h: like s, and a digest of what the failure said is recorded with it
--   kind i: like s, and what the failure names is recorded with it, as jsonb
--   kind b: a list of statements that give one value each, run as one; where that
--   fails each of them runs alone, like s
-- kinedb.answer   jsonb array of {values, failure}; shorter than the program
--   where time ran out: the caller sends the rest again.
--
-- Every probe is a subtransaction. What it did, its role and its settings are
-- undone unless `keep` says otherwise and nothing failed. One whose steps do not
-- depend on each other (`loose`) pauses where time runs out (KDB02).
do $kinedb$
declare
  budget constant interval := pg_catalog.current_setting('kinedb.budget')::interval;
  started constant timestamptz := pg_catalog.clock_timestamp();
  answers jsonb[] := '{}';
  probe jsonb;
  step jsonb;
  kind text;
  query text;
  loose boolean;
  asked boolean := false;
  kept text[];
  failure jsonb;
  memo text;
  taken text;
  several text[];
  counted bigint;
  timed_out boolean := false;
  f_state text; f_constraint text; f_column text; f_table text; f_schema text; f_message text;
  f_detail text; f_hint text;
begin
  for probe in select pg_catalog.jsonb_array_elements(pg_catalog.current_setting('kinedb.program')::pg_catalog.jsonb) loop
    kept := '{}';
    failure := null;
    memo := null;
    loose := probe -> 'loose';
    begin
      for step, kind, query in select s, s ->> 0, s ->> 1 from pg_catalog.jsonb_array_elements(probe -> 'steps') s loop
        if kind = 'x' then
          execute query using memo;
          get diagnostics counted = row_count;
          kept := kept || counted::text;
        elsif kind in ('s', 't', 'h', 'i') then
          if loose and asked and pg_catalog.clock_timestamp() - started > budget then
            raise exception using errcode = 'KDB02';
          end if;
          asked := true;
          begin
            if kind <> 't' then
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
            kept := kept || ('!' || sqlstate || case when kind = 'h' then ' ' || pg_catalog.md5(pg_catalog.concat_ws('|', sqlerrm, f_detail, f_hint))
              when kind = 'i' then ' ' || pg_catalog.jsonb_build_object('constraint', f_constraint, 'column', f_column, 'table', f_table,
                'message', case when pg_catalog.left(sqlstate, 2) in ('42', '25', '0A', '28', '54', '55', '57') then sqlerrm end)::text
              when pg_catalog.left(sqlstate, 2) in ('42', '54', '55', '57') then ' ' || sqlerrm else '' end);
          end;
        elsif kind = 'b' then
          if loose and asked and pg_catalog.clock_timestamp() - started > budget then
            raise exception using errcode = 'KDB02';
          end if;
          asked := true;
          begin
            execute (select 'select array[' || pg_catalog.string_agg('(' || q || ')::text', ', ' order by n) || ']'
              from pg_catalog.jsonb_array_elements_text(step -> 1) with ordinality as list(q, n)) into several;
            kept := kept || several;
          exception when others then
            for query in select pg_catalog.jsonb_array_elements_text(step -> 1) loop
              begin
                execute query into taken;
                kept := kept || taken;
              exception when others then
                kept := kept || ('!' || sqlstate || case when pg_catalog.left(sqlstate, 2) in ('42', '54', '55', '57') then ' ' || sqlerrm else '' end);
              end;
            end loop;
          end;
        elsif kind = 'q' then
          execute query into taken using memo;
          kept := kept || taken;
        else
          execute query into memo using memo;
          kept := kept || null::text;
        end if;
      end loop;
      if not (probe -> 'keep')::boolean then
        raise exception using errcode = 'KDB01';
      end if;
    exception
      when query_canceled or assert_failure or others then
        if sqlstate <> 'KDB01' then
          get stacked diagnostics f_state = returned_sqlstate, f_constraint = constraint_name,
            f_column = column_name, f_table = table_name, f_schema = schema_name, f_message = message_text;
          -- Messages of other classes may quote contents of rows.
          failure := pg_catalog.jsonb_build_object('state', f_state, 'place', pg_catalog.cardinality(kept), 'constraint', f_constraint,
            'column', f_column, 'table', f_table, 'schema', f_schema,
            'message', case when pg_catalog.left(f_state, 2) in ('42', '25', '0A', '28', '54', '55', '57') then f_message end);
          timed_out := f_state = '57014';
        end if;
    end;
    answers := answers || pg_catalog.jsonb_build_object('values', pg_catalog.to_jsonb(kept), 'failure', failure);
    exit when timed_out or pg_catalog.clock_timestamp() - started > budget;
  end loop;
  perform pg_catalog.set_config('kinedb.answer', pg_catalog.to_jsonb(answers)::text, true);
end
$kinedb$
