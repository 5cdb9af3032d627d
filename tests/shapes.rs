//! Schemas of other shapes than ours: clean ones are isolated, in every cell,
//! and a fault planted in one is found by the object's name.
//!
//! Their roles belong to the cluster, so each test has a server of its own.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{TestServer, block_on};
use kinedb::verify::finding::{Severity, Verdict};
use kinedb::verify::{self, Config, Options, Report};
use sqlx::{AssertSqlSafe, Executor as _};

/// The report on a shape, after each of these changes, in one database.
fn reports(name: &str, sql: &str, toml: &str, changes: &[&str]) -> Vec<Report> {
    let server = TestServer::own();
    let _db = server.database(name);
    let config = Config::parse(toml).unwrap();
    block_on(async {
        let mut conn = server.connect(name).await;
        conn.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
            .await
            .unwrap();
        // As the gate does for the migrations of a run: planning takes longer than asking.
        let options = Options {
            in_transaction: true,
            hold_needs: true,
            keep_plans: true,
            compiled: verify::compile(&mut conn).await.unwrap(),
            ..Options::default()
        };
        let mut list = Vec::new();
        for change in changes {
            let begin = AssertSqlSafe(format!("begin; {change}"));
            conn.execute(sqlx::raw_sql(begin)).await.unwrap();
            list.push(
                verify::verify(&mut conn, &config, &options)
                    .await
                    .unwrap_or_else(|error| panic!("{error:#}")),
            );
            conn.execute("rollback").await.unwrap();
        }
        list
    })
}

#[track_caller]
fn isolated(report: &Report) {
    let errors: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    assert_eq!(report.verdict, Verdict::Isolated);
}

#[track_caller]
fn leaks(report: &Report, id: &str, object: &str) {
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.id == id && finding.object.contains(object)),
        "no {id} on {object} among {:#?}",
        report.findings
    );
    assert_eq!(report.verdict, Verdict::Leak);
}

#[test]
fn quoted_names_integer_tenants_and_hard_columns() {
    let reports = reports(
        "camel_case",
        include_str!("../fixtures/shapes/camel_case.sql"),
        include_str!("../fixtures/shapes/camel_case.toml"),
        &[
            "",
            "alter policy \"own rows\" on \"Shop\".\"Product\" with check (true)",
            "alter policy \"own rows\" on \"Shop\".\"ShelfSlot\" using (true)",
            "create policy paid on \"Shop\".\"Order\" using (\"state\" = 'paid')",
            "alter view \"Shop\".\"openOrders\" reset (security_invoker); alter view \"Shop\".\"openOrders\" owner to current_user",
        ],
    );
    isolated(&reports[0]);
    leaks(&reports[1], "foreign-row-inserted", "Product");
    leaks(&reports[2], "foreign-rows-visible", "ShelfSlot");
    leaks(&reports[3], "predicate-admits-by-content", "Order");
    leaks(&reports[4], "view-shows-foreign-rows", "openOrders");
}

#[test]
fn jwt_claims_and_a_membership_table() {
    let reports = reports(
        "jwt_members",
        include_str!("../fixtures/shapes/jwt_members.sql"),
        include_str!("../fixtures/shapes/jwt_members.toml"),
        &[
            "",
            "alter policy mine on projects using (true)",
            "alter policy change on labels using (org_id is null or org_id in (select auth.my_orgs()))",
            "alter policy mine on profiles using (true)",
        ],
    );
    isolated(&reports[0]);
    leaks(&reports[1], "foreign-rows-visible", "projects");
    leaks(&reports[2], "shared-rows-written", "labels");
    leaks(&reports[3], "foreign-rows-visible", "profiles");
}

#[test]
fn a_role_per_tenant() {
    let reports = reports(
        "role_per_tenant",
        include_str!("../fixtures/shapes/role_per_tenant.sql"),
        include_str!("../fixtures/shapes/role_per_tenant.toml"),
        &[
            "",
            "alter policy own on reading using (starts_with(customer, (select c.code from customer c where c.db_user = current_user)))",
            "drop trigger stamp on device; alter policy own on device with check (true)",
        ],
    );
    isolated(&reports[0]);
    leaks(&reports[1], "foreign-rows-visible", "reading");
    leaks(&reports[2], "foreign-row-inserted", "device");
}

/// The table of tenants names the role of each: nothing needs to be told.
#[test]
fn a_role_per_tenant_of_which_nothing_is_told() {
    let found = reports(
        "role_per_tenant_bare",
        include_str!("../fixtures/shapes/role_per_tenant.sql"),
        "[isolation]",
        &["", "create policy all_of_it on reading using (true)"],
    );
    isolated(&found[0]);
    leaks(&found[1], "foreign-rows-visible", "reading");
}

#[test]
fn profiles_made_at_sign_up() {
    every_case(
        "garden_signup",
        include_str!("../fixtures/shapes/garden_signup.sql"),
        include_str!("../fixtures/shapes/garden_signup.toml"),
        include_str!("../fixtures/shapes/garden_signup.cases.sql"),
        true,
    );
}

#[test]
fn a_restrictive_policy_for_the_tenant() {
    let sql = include_str!("../fixtures/shapes/dance_clubs.sql");
    every_case(
        "dance_clubs",
        sql,
        include_str!("../fixtures/shapes/dance_clubs.toml"),
        include_str!("../fixtures/shapes/dance_clubs.cases.sql"),
        false,
    );
    // Lists of people that a user acts for are not the tenant.
    let found = reports("dance_clubs_bare", sql, "[isolation]", &[""]);
    let told = "the tenant is held by columns named `club_id`:";
    let assumed = &found[0].assumptions;
    assert!(
        assumed.iter().any(|text| text.starts_with(told)),
        "{assumed:#?}"
    );
}

#[test]
fn members_users_and_paths_of_files() {
    let sql = include_str!("../fixtures/shapes/members_storage.sql");
    let toml = include_str!("../fixtures/shapes/members_storage.toml");
    let found = reports(
        "members_storage",
        sql,
        toml,
        &[
            "",
            "alter policy own_profile_read on profiles using (true)",
            "alter policy files on storage.objects using (bucket_id = 'org-files')",
            "alter policy own_profile_update on profiles using (id = (select auth.uid())) with check (true)",
        ],
    );
    isolated(&found[0]);
    leaks(&found[1], "foreign-rows-visible", "profiles");
    leaks(&found[2], "foreign-rows-visible", "storage.objects");
    leaks(&found[3], "policy-open", "profiles");
    // With nothing told, the path of a file tells its owner.
    isolated(&reports("members_storage_bare", sql, "[isolation]", &[""])[0]);
}

#[test]
fn helpers_triggers_and_workers() {
    let sql = include_str!("../fixtures/shapes/helpers_audit.sql");
    let toml = include_str!("../fixtures/shapes/helpers_audit.toml");
    let found = reports(
        "helpers_audit",
        sql,
        toml,
        &[
            "",
            "create function app.may_see(p app.posts) returns boolean language sql stable security definer set search_path = app, pg_temp
               as $$ select p.account_id = app.current_account() or p.title like 'Public:%' $$;
             grant execute on function app.may_see(app.posts) to rails_app;
             alter policy account_isolation on app.posts using (app.may_see(posts))",
            "create or replace function app.record_version() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp
               as $$ begin perform set_config('app.current_account_id', '1', true);
                     insert into app.versions (account_id, item_type, item_id, event) values (1, tg_table_name, new.id, tg_op); return null; end $$",
            "create function app.prune() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp
               as $$ begin delete from app.comments; return null; end $$;
             create trigger prune after delete on app.posts for each statement execute function app.prune()",
            "grant rails_worker to rails_app",
        ],
    );
    isolated(&found[0]);
    leaks(&found[1], "predicate-admits-by-content", "posts");
    leaks(&found[2], "effects-cross-tenants", "versions");
    leaks(&found[3], "effects-cross-tenants", "comments");
    leaks(&found[4], "role-becomes-other", "rails_worker");
    isolated(&reports("helpers_audit_bare", sql, "[isolation]", &[""])[0]);
}

#[test]
fn domains_partitions_and_hostile_names() {
    let sql = include_str!("../fixtures/shapes/domains_partitions.sql");
    let toml = include_str!("../fixtures/shapes/domains_partitions.toml");
    let found = reports(
        "domains_partitions",
        sql,
        toml,
        &[
            "",
            "alter policy \"tenant \"\"rule\"\".Order\" on \"My.App\".\"Order\" with check (true)",
            "alter policy \"tenant \"\"rule\"\".Order\" on \"My.App\".\"Order\" using (current_setting('myapp.tenant_id') like \"tenantId\")",
            "alter table \"My.App\".bigs_a disable row level security; grant select on \"My.App\".bigs_a to dj_ro",
        ],
    );
    isolated(&found[0]);
    leaks(&found[1], "foreign-row-inserted", "Order");
    leaks(&found[2], "foreign-rows-visible", "Order");
    leaks(&found[3], "foreign-rows-visible", "bigs_a");
    isolated(&reports("domains_partitions_bare", sql, "[isolation]", &[""])[0]);
}

#[test]
fn a_role_of_one_tenant_that_becomes_anothers() {
    let found = reports(
        "role_becomes",
        include_str!("../fixtures/shapes/role_per_tenant.sql"),
        include_str!("../fixtures/shapes/role_per_tenant.toml"),
        &["do $$ declare r name[]; begin select array_agg(db_user order by db_user) into r from customer where db_user is not null;
             execute format('grant %I to %I', r[1], r[2]); end $$"],
    );
    assert!(
        found[0]
            .findings
            .iter()
            .any(|finding| finding.id == "role-becomes-other"),
        "{:#?}",
        found[0].findings
    );
}

/// One change to a shape, from `NAME.cases.sql`: `-- case: title | kind | object`.
struct Case {
    title: String,
    kind: String,
    object: String,
    sql: String,
}

fn cases(text: &str) -> Vec<Case> {
    text.split("-- case: ")
        .skip(1)
        .map(|part| {
            let (head, sql) = part.split_once('\n').unwrap();
            let mut words = head.split('|').map(|word| word.trim().to_owned());
            Case {
                title: words.next().unwrap(),
                kind: words.next().unwrap(),
                object: words.next().unwrap_or_default(),
                sql: sql.to_owned(),
            }
        })
        .collect()
}

/// Every case of a shape: a `leak` gives an error that names the object, a `right`
/// design nothing above a note, a `careful` one a warning. `bare`: nothing is told.
fn every_case(name: &str, sql: &str, toml: &str, text: &str, bare: bool) {
    let list = cases(text);
    assert!(list.len() > 5, "the cases of {name} were not read");
    let changes: Vec<&str> = std::iter::once("")
        .chain(list.iter().map(|case| case.sql.as_str()))
        .collect();
    let found = reports(name, sql, toml, &changes);
    let above = |report: &Report, least: Severity| -> Vec<String> {
        report
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error || finding.severity == least)
            .map(|finding| format!("{} {}: {}", finding.id, finding.object, finding.detail))
            .collect()
    };
    let mut wrong = Vec::new();
    let clean = above(&found[0], Severity::Warning);
    if !clean.is_empty() {
        wrong.push(format!("the clean schema: {clean:#?}"));
    }
    for (case, report) in list.iter().zip(&found[1..]) {
        let errors = above(report, Severity::Error);
        let all = above(report, Severity::Warning);
        let right = match case.kind.as_str() {
            "leak" => {
                report.verdict != Verdict::Isolated
                    && errors
                        .iter()
                        .any(|text| text.to_lowercase().contains(&case.object.to_lowercase()))
            }
            "careful" => errors.is_empty() && !all.is_empty(),
            "right" => all.is_empty(),
            other => panic!("{}: no such kind of case: {other}", case.title),
        };
        if !right {
            wrong.push(format!("{} ({}): {all:#?}", case.title, case.kind));
        }
    }
    if bare {
        let found = reports(&format!("{name}_bare"), sql, "[isolation]", &[""]);
        let errors = above(&found[0], Severity::Error);
        if !errors.is_empty() {
            wrong.push(format!("with nothing told: {errors:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn queues_events_and_their_projections() {
    every_case(
        "waste_rounds",
        include_str!("../fixtures/shapes/waste_rounds.sql"),
        include_str!("../fixtures/shapes/waste_rounds.toml"),
        include_str!("../fixtures/shapes/waste_rounds.cases.sql"),
        false,
    );
}

/// Whoever stands above sees what is below: tenants are told apart that nobody stands below.
#[test]
fn shops_below_franchises_below_regions() {
    every_case(
        "franchise_tree",
        include_str!("../fixtures/shapes/franchise_tree.sql"),
        include_str!("../fixtures/shapes/franchise_tree.toml"),
        include_str!("../fixtures/shapes/franchise_tree.cases.sql"),
        false,
    );
}

#[test]
fn pictures_lent_for_a_time_at_a_level() {
    every_case(
        "picture_lending",
        include_str!("../fixtures/shapes/picture_lending.sql"),
        include_str!("../fixtures/shapes/picture_lending.toml"),
        include_str!("../fixtures/shapes/picture_lending.cases.sql"),
        true,
    );
}

#[test]
fn clubs_of_which_nothing_is_told() {
    every_case(
        "club_desk",
        include_str!("../fixtures/shapes/club_desk.sql"),
        "[isolation]",
        include_str!("../fixtures/shapes/club_desk.cases.sql"),
        false,
    );
}

#[test]
fn gates_that_narrow_what_staff_may_do() {
    every_case(
        "fleet_gate",
        include_str!("../fixtures/shapes/fleet_gate.sql"),
        "[isolation]",
        include_str!("../fixtures/shapes/fleet_gate.cases.sql"),
        false,
    );
}

#[test]
fn people_who_hold_accounts() {
    every_case(
        "school_diary",
        include_str!("../fixtures/shapes/school_diary.sql"),
        "[isolation]",
        include_str!("../fixtures/shapes/school_diary.cases.sql"),
        false,
    );
}

#[test]
fn memberships_that_only_their_user_sees() {
    every_case(
        "ledger_members",
        include_str!("../fixtures/shapes/ledger_members.sql"),
        "[isolation]",
        include_str!("../fixtures/shapes/ledger_members.cases.sql"),
        false,
    );
}

/// A rank that opens every tenant is nobody's whom a tenant's context is tried as, and no leak.
#[test]
fn ranks_of_the_whole_platform() {
    every_case(
        "swim_ranks",
        include_str!("../fixtures/shapes/swim_ranks.sql"),
        "[isolation]",
        include_str!("../fixtures/shapes/swim_ranks.cases.sql"),
        false,
    );
}

#[test]
fn settings_read_by_functions_that_are_told_their_names() {
    every_case(
        "gauge_settings",
        include_str!("../fixtures/shapes/gauge_settings.sql"),
        "[isolation]",
        include_str!("../fixtures/shapes/gauge_settings.cases.sql"),
        false,
    );
}

#[test]
fn a_tenant_that_a_generated_column_takes_from_a_document() {
    let sql = include_str!("../fixtures/shapes/parcel_papers.sql");
    every_case(
        "parcel_papers",
        sql,
        "[isolation]",
        include_str!("../fixtures/shapes/parcel_papers.cases.sql"),
        false,
    );
    // A right to change what cannot be changed is told as that.
    let change = "revoke update on parcel.scan, parcel.van from pp_app; \
                  grant update (price) on parcel.scan to pp_app; grant update (depot_id) on parcel.van to pp_app";
    let found = reports("parcel_papers_update", sql, "[isolation]", &[change]);
    for (object, reason) in [
        ("parcel.scan", "generated or an identity"),
        ("parcel.van", "tells whose the row is"),
    ] {
        let told = found[0].findings.iter().any(|finding| {
            finding.object == object
                && finding.id == "not-exercised"
                && finding.detail.contains(reason)
        });
        assert!(told, "{object}: {:#?}", found[0].findings);
    }
}

#[test]
fn people_whom_the_session_names_by_a_subject() {
    every_case(
        "rink_subjects",
        include_str!("../fixtures/shapes/rink_subjects.sql"),
        "[isolation]",
        include_str!("../fixtures/shapes/rink_subjects.cases.sql"),
        false,
    );
}

#[test]
fn a_list_of_who_runs_the_platform() {
    every_case(
        "ferry_rota",
        include_str!("../fixtures/shapes/ferry_rota.sql"),
        "[isolation]",
        include_str!("../fixtures/shapes/ferry_rota.cases.sql"),
        false,
    );
}

#[test]
fn tenants_below_tenants_by_a_reference() {
    every_case(
        "guild_tree",
        include_str!("../fixtures/shapes/guild_tree.sql"),
        "[isolation]",
        include_str!("../fixtures/shapes/guild_tree.cases.sql"),
        false,
    );
}

#[test]
fn people_who_are_a_tenants_by_membership() {
    every_case(
        "choir_people",
        include_str!("../fixtures/shapes/choir_people.sql"),
        include_str!("../fixtures/shapes/choir_people.toml"),
        include_str!("../fixtures/shapes/choir_people.cases.sql"),
        false,
    );
}

#[test]
fn claims_that_hold_several_tenants() {
    every_case(
        "ticket_claims",
        include_str!("../fixtures/shapes/ticket_claims.sql"),
        "[isolation]",
        include_str!("../fixtures/shapes/ticket_claims.cases.sql"),
        false,
    );
}

#[test]
fn rows_that_are_lent_and_rules_that_answer() {
    every_case(
        "lent_rows",
        include_str!("../fixtures/shapes/lent_rows.sql"),
        "[isolation]",
        include_str!("../fixtures/shapes/lent_rows.cases.sql"),
        false,
    );
}

#[test]
fn rows_that_bear_the_name_of_a_login() {
    let found = reports(
        "role_rows",
        include_str!("../fixtures/shapes/role_rows.sql"),
        "[isolation]",
        &["", "create policy all_see on memo for select using (true)"],
    );
    isolated(&found[0]);
    leaks(&found[1], "foreign-rows-visible", "memo");
}

#[test]
fn accounts_memberships_and_invitations() {
    every_case(
        "team_accounts",
        include_str!("../fixtures/shapes/team_accounts.sql"),
        include_str!("../fixtures/shapes/team_accounts.toml"),
        include_str!("../fixtures/shapes/team_accounts.cases.sql"),
        true,
    );
}

#[test]
fn views_over_tables_and_a_claim() {
    every_case(
        "claim_api",
        include_str!("../fixtures/shapes/claim_api.sql"),
        include_str!("../fixtures/shapes/claim_api.toml"),
        include_str!("../fixtures/shapes/claim_api.cases.sql"),
        true,
    );
}

#[test]
fn logins_that_belong_to_firms() {
    every_case(
        "session_logins",
        include_str!("../fixtures/shapes/session_logins.sql"),
        include_str!("../fixtures/shapes/session_logins.toml"),
        include_str!("../fixtures/shapes/session_logins.cases.sql"),
        false,
    );
}

/// One login acted as for every tenant would see rows of others in all but one.
#[test]
fn logins_of_which_nothing_tells_whose_they_are() {
    let sql = include_str!("../fixtures/shapes/session_logins.sql");
    let found = reports("session_logins_bare", sql, "[isolation]", &[""]);
    let leaks: Vec<_> = found[0]
        .findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Leak)
        .collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
    assert_eq!(found[0].verdict, Verdict::Unproven);
    let told = found[0]
        .findings
        .iter()
        .find(|finding| finding.id == "no-context")
        .unwrap();
    assert!(told.detail.contains("for which tenant `sl_"), "{told:#?}");
    // What it says to write proves the rest.
    let lines = told.fix.strip_prefix("say in kinedb.toml:\n").unwrap();
    assert!(lines.contains("\"FirmLogin\""), "{lines}");
    isolated(&reports("session_logins_told", sql, lines, &[""])[0]);
}

#[test]
fn a_list_of_tenants_and_shared_rows() {
    every_case(
        "staff_lists",
        include_str!("../fixtures/shapes/staff_lists.sql"),
        include_str!("../fixtures/shapes/staff_lists.toml"),
        include_str!("../fixtures/shapes/staff_lists.cases.sql"),
        true,
    );
}

#[test]
fn children_and_partitions() {
    every_case(
        "heirs_and_parts",
        include_str!("../fixtures/shapes/heirs_and_parts.sql"),
        include_str!("../fixtures/shapes/heirs_and_parts.toml"),
        include_str!("../fixtures/shapes/heirs_and_parts.cases.sql"),
        true,
    );
}

#[test]
fn sessions_without_a_branch_and_triggers_that_look_around() {
    every_case(
        "tool_library",
        include_str!("../fixtures/shapes/tool_library.sql"),
        include_str!("../fixtures/shapes/tool_library.toml"),
        include_str!("../fixtures/shapes/tool_library.cases.sql"),
        true,
    );
}

#[test]
fn views_of_one_state_and_a_default_tenant() {
    every_case(
        "bill_desk",
        include_str!("../fixtures/shapes/bill_desk.sql"),
        include_str!("../fixtures/shapes/bill_desk.toml"),
        include_str!("../fixtures/shapes/bill_desk.cases.sql"),
        true,
    );
}

/// A helper that tells of any user whether he may enter any room: of the many ids that there
/// are, it takes two of the other tenant's that belong together.
#[test]
fn a_function_that_tells_of_two_foreign_rows() {
    let ids: String = (0..24).fold(String::new(), |ids, at| {
        ids + &format!(", mark_{at} uuid not null default gen_random_uuid()")
    });
    let rooms = format!(
        "create table room (id uuid primary key default gen_random_uuid(), account_id bigint not null references accounts{ids}); \
         create table guest (id uuid primary key default gen_random_uuid(), account_id bigint not null references accounts); \
         alter table room enable row level security; create policy own on room using (account_id = (select current_account())); \
         alter table guest enable row level security; create policy own on guest using (account_id = (select current_account())); \
         grant select, insert on room, guest to bd_app; \
         create function may_enter(into_room uuid, who uuid) returns boolean language sql stable security definer set search_path = pg_catalog, pg_temp \
         as $$ select exists (select from public.room r join public.guest g on g.account_id = r.account_id where r.id = into_room and g.id = who) $$"
    );
    let reports = reports(
        "bill_desk_rooms",
        include_str!("../fixtures/shapes/bill_desk.sql"),
        include_str!("../fixtures/shapes/bill_desk.toml"),
        &[&rooms],
    );
    leaks(&reports[0], "function-reaches-foreign-rows", "may_enter");
}

#[test]
fn workspaces_within_organisations() {
    every_case(
        "nested_workspaces",
        include_str!("../fixtures/shapes/nested_workspaces.sql"),
        include_str!("../fixtures/shapes/nested_workspaces.toml"),
        include_str!("../fixtures/shapes/nested_workspaces.cases.sql"),
        true,
    );
}

#[test]
fn rows_of_several_owners() {
    every_case(
        "shared_documents",
        include_str!("../fixtures/shapes/shared_documents.sql"),
        include_str!("../fixtures/shapes/shared_documents.toml"),
        include_str!("../fixtures/shapes/shared_documents.cases.sql"),
        true,
    );
}

#[test]
fn organisations_files_and_keys_of_programs() {
    every_case(
        "org_api",
        include_str!("../fixtures/shapes/org_api.sql"),
        include_str!("../fixtures/shapes/org_api.toml"),
        include_str!("../fixtures/shapes/org_api.cases.sql"),
        true,
    );
}

#[test]
fn schemas_trees_shares_and_partitions() {
    every_case(
        "crm_orgs",
        include_str!("../fixtures/shapes/crm_orgs.sql"),
        include_str!("../fixtures/shapes/crm_orgs.toml"),
        include_str!("../fixtures/shapes/crm_orgs.cases.sql"),
        false,
    );
}

#[test]
fn session_variables_and_documents() {
    every_case(
        "graph_api",
        include_str!("../fixtures/shapes/graph_api.sql"),
        include_str!("../fixtures/shapes/graph_api.toml"),
        include_str!("../fixtures/shapes/graph_api.cases.sql"),
        true,
    );
}

#[test]
fn users_rows_within_tenants() {
    every_case(
        "private_rows",
        include_str!("../fixtures/shapes/private_rows.sql"),
        include_str!("../fixtures/shapes/private_rows.toml"),
        include_str!("../fixtures/shapes/private_rows.cases.sql"),
        true,
    );
}

#[test]
fn rows_found_by_what_is_not_unique_and_what_a_session_may_set() {
    every_case(
        "hotel_desk",
        include_str!("../fixtures/shapes/hotel_desk.sql"),
        "[isolation]",
        include_str!("../fixtures/shapes/hotel_desk.cases.sql"),
        false,
    );
}

#[test]
fn stores_in_parts_with_a_journal_and_a_domain_for_a_key() {
    every_case(
        "store_parts",
        include_str!("../fixtures/shapes/store_parts.sql"),
        include_str!("../fixtures/shapes/store_parts.toml"),
        include_str!("../fixtures/shapes/store_parts.cases.sql"),
        true,
    );
}

#[test]
fn boards_by_functions_that_ask_who_belongs_where() {
    every_case(
        "board_members",
        include_str!("../fixtures/shapes/board_members.sql"),
        include_str!("../fixtures/shapes/board_members.toml"),
        include_str!("../fixtures/shapes/board_members.cases.sql"),
        true,
    );
}

#[test]
fn practices_by_claims_of_which_nobody_told() {
    every_case(
        "vet_practices",
        include_str!("../fixtures/shapes/vet_practices.sql"),
        include_str!("../fixtures/shapes/vet_practices.toml"),
        include_str!("../fixtures/shapes/vet_practices.cases.sql"),
        true,
    );
}

#[test]
fn homes_with_places_within() {
    every_case(
        "care_homes",
        include_str!("../fixtures/shapes/care_homes.sql"),
        include_str!("../fixtures/shapes/care_homes.toml"),
        include_str!("../fixtures/shapes/care_homes.cases.sql"),
        false,
    );
}

/// The file that the configuration reference shows for a stack.
fn documented(stack: &str) -> &'static str {
    let document = include_str!("../docs/configuration.md");
    let (_, rest) = document.split_once(&format!("### {stack}\n")).unwrap();
    let (_, file) = rest.split_once("```toml\n").unwrap();
    file.split_once("```").unwrap().0
}

#[test]
fn the_documented_file_for_supabase() {
    every_case(
        "stack_supabase",
        include_str!("../fixtures/shapes/stack_supabase.sql"),
        documented("Supabase"),
        include_str!("../fixtures/shapes/stack_supabase.cases.sql"),
        true,
    );
}

#[test]
fn the_documented_file_for_postgrest() {
    every_case(
        "stack_postgrest",
        include_str!("../fixtures/shapes/stack_postgrest.sql"),
        documented("PostgREST"),
        include_str!("../fixtures/shapes/stack_postgrest.cases.sql"),
        true,
    );
}

#[test]
fn the_documented_file_for_postgraphile() {
    let sql = include_str!("../fixtures/shapes/stack_postgraphile.sql");
    every_case(
        "stack_postgraphile",
        sql,
        documented("PostGraphile"),
        include_str!("../fixtures/shapes/stack_postgraphile.cases.sql"),
        false,
    );
    // What a login may do that inherits nothing, the roles that it takes decide.
    let bare = reports("stack_postgraphile_bare", sql, "[isolation]", &[""]);
    let acted = |role: &str| bare[0].matrix.iter().any(|line| line.role == role);
    assert!(acted("graph_visitor") && !acted("graph_authenticator"));
    assert_ne!(bare[0].verdict, Verdict::Isolated);
}

#[test]
fn the_documented_file_for_django() {
    every_case(
        "stack_django",
        include_str!("../fixtures/shapes/stack_django.sql"),
        documented("Django"),
        include_str!("../fixtures/shapes/stack_django.cases.sql"),
        false,
    );
}

#[test]
fn claims_and_documents_in_every_form() {
    every_case(
        "claim_forms",
        include_str!("../fixtures/shapes/claim_forms.sql"),
        "[isolation]",
        include_str!("../fixtures/shapes/claim_forms.cases.sql"),
        false,
    );
}

#[test]
fn the_documented_file_for_rails() {
    every_case(
        "stack_rails",
        include_str!("../fixtures/shapes/stack_rails.sql"),
        documented("Rails"),
        include_str!("../fixtures/shapes/stack_rails.cases.sql"),
        true,
    );
}

#[test]
fn the_documented_file_for_prisma() {
    let sql = include_str!("../fixtures/shapes/stack_prisma.sql");
    every_case(
        "stack_prisma",
        sql,
        documented("Prisma"),
        include_str!("../fixtures/shapes/stack_prisma.cases.sql"),
        false,
    );
    // The file says that all may read who the users are: nothing else does.
    let bare = reports("stack_prisma_bare", sql, "[isolation]", &[""]);
    leaks(&bare[0], "foreign-rows-visible", "User");
    let mut errors = bare[0].findings.iter();
    assert!(errors.all(|one| one.severity != Severity::Error || one.object.contains("User")));
    // With no other login, the application connects as the owner, whom FORCE alone binds.
    let owner = "alter role prisma_migrator login; reassign owned by prisma_app to prisma_migrator; \
                 revoke all on all tables in schema shop from prisma_app; revoke all on schema shop from prisma_app; \
                 alter table shop.\"Chunk\" no force row level security";
    let found = reports("stack_prisma_owner", sql, "[isolation]", &[owner]);
    leaks(&found[0], "foreign-rows-visible", "Chunk");
    leaks(&found[0], "role-owns-table", "KnowledgeSource");
}

/// Several accounts of one user, in rows that were there before.
#[test]
fn a_user_of_several_accounts() {
    let rows = "insert into auth.users (email) values ('a@x.example'), ('b@x.example');
         insert into app.accounts (handle) values ('one'), ('two');
         insert into app.members select a.id, u.id, 'owner' from app.accounts a, auth.users u
         where not a.personal and (a.handle = 'one' or u.email like 'b@%')";
    let leak = format!(
        "{rows}; alter policy read on app.notes using (exists (select from app.members m where m.user_id = auth.uid()))"
    );
    let found = reports(
        "several_accounts",
        include_str!("../fixtures/shapes/stack_supabase.sql"),
        documented("Supabase"),
        &[rows, &leak],
    );
    isolated(&found[0]);
    leaks(&found[1], "foreign-rows-visible", "app.notes");
}

/// What is mistaken in a file is refused in a sentence that names it.
#[test]
fn mistakes_in_a_file() {
    let file = documented("Supabase");
    let server = TestServer::own();
    let _db = server.database("mistakes");
    let rows = "insert into auth.users (email) values ('a@x.example'), ('b@x.example')";
    block_on(async {
        let mut conn = server.connect("mistakes").await;
        let sql = include_str!("../fixtures/shapes/stack_supabase.sql");
        for sql in [sql, rows] {
            let sql = AssertSqlSafe(sql.to_owned());
            conn.execute(sqlx::raw_sql(sql)).await.unwrap();
        }
        for (right, wrong, said, hint) in [
            (
                "tenant_columns = [\"account_id\"]",
                "tenant_columns = [\"acount_id\"]",
                "no table of the schemas looked at has the tenant column `acount_id`",
                "did you mean `account_id`?",
            ),
            (
                "select id::text from app.accounts",
                "select handle from app.accounts",
                "is of type uuid",
                "select what the tenant columns hold",
            ),
            (
                "from app.members where account_id",
                "from app.members where acount_id",
                "the query `user` of role `authenticated` fails: column \"acount_id\" does not exist",
                "one select with one column",
            ),
        ] {
            assert!(file.contains(right), "{right}");
            let config = Config::parse(&file.replace(right, wrong)).unwrap();
            let error = verify::verify(&mut conn, &config, &Options::default())
                .await
                .map(|report| report.verdict)
                .expect_err(wrong);
            let fault = kinedb::fault::Fault::of(&error).unwrap();
            let text = format!("{error:#} {fault:?}");
            assert!(text.contains(said), "{wrong}: {text}");
            assert!(text.contains(hint), "{wrong}: {text}");
        }
        // Nobody is found: that is what the report says, beside what came of it.
        let nobody = file.replace("order by rank desc", "and rank is null order by rank desc");
        let config = Config::parse(&nobody).unwrap();
        let report = verify::verify(&mut conn, &config, &Options::default())
            .await
            .unwrap();
        assert_eq!(report.verdict, Verdict::Unproven);
        assert!(
            report
                .findings
                .iter()
                .any(|finding| finding.detail.contains("finds nobody")
                    && finding.detail.contains("a text is no value of its type")),
            "{:#?}",
            report.findings
        );
    });
}

/// A place that one more policy asks for is not whose rows they are.
#[test]
fn regions_are_no_tenants() {
    let sql = "create role portal nologin; create role ui login; grant portal to ui; grant usage on schema public to portal;
        create table projects (project_id text primary key);
        create table servers (id text primary key, project_id text not null references projects, region_id text not null);
        create table volumes (id text primary key, project_id text not null references projects, region_id text not null);
        alter table servers enable row level security; alter table volumes enable row level security;
        create policy own on servers for select to portal using (project_id = any(string_to_array(current_setting('app.project_ids', true), ','))
          and region_id = any(string_to_array(current_setting('app.region_ids', true), ',')));
        create policy own on volumes for select to portal using (project_id = any(string_to_array(current_setting('app.project_ids', true), ','))
          and region_id = any(string_to_array(current_setting('app.region_ids', true), ',')));
        grant select on servers, volumes to portal;";
    let plant = "alter policy own on servers using (region_id = any(string_to_array(current_setting('app.region_ids', true), ',')))";
    let found = reports("regions", sql, "[isolation]", &["", plant]);
    isolated(&found[0]);
    let names = |report: &Report| -> Vec<String> {
        let errors = report.findings.iter();
        errors
            .filter(|finding| finding.severity == Severity::Error)
            .map(|finding| finding.object.clone())
            .collect()
    };
    assert!(
        found[1].verdict != Verdict::Isolated && names(&found[1]).contains(&"servers".to_owned())
    );
    assert!(
        found.iter().all(|report| {
            let assumed = report.assumptions.join("; ");
            assumed.contains("columns named `project_id`")
        }),
        "{:?}",
        found[0].assumptions
    );
}

/// Settings that tell no tenant: one that was never set, a switch, a level.
#[test]
fn settings_beside_the_tenant() {
    let sql = "create role dash_app login; grant usage on schema public to dash_app;
        create table orgs (id uuid primary key);
        create table rows_of (org_id uuid not null references orgs, id int generated always as identity, note text, primary key (org_id, id));
        alter table orgs enable row level security; alter table rows_of enable row level security;
        create function level() returns int language sql stable as $$ select nullif(current_setting('dash.org_level', true), '')::int $$;
        create policy own on orgs for select using (id = nullif(current_setting('dash.org', true), '')::uuid and coalesce(level(), 0) < 5);
        create policy own on rows_of using (org_id = nullif(current_setting('dash.org', true), '')::uuid);
        grant select on orgs to dash_app; grant select, insert, update, delete on rows_of to dash_app;";
    let unset = "alter policy own on rows_of using (org_id = coalesce(current_setting('dash.org', true)::uuid, org_id))";
    let switch =
        "create policy admins on rows_of using (current_setting('dash.is_admin', true)::boolean)";
    let found = reports("settings_beside", sql, "[isolation]", &["", unset, switch]);
    isolated(&found[0]);
    leaks(&found[1], "policy-no-context-open", "rows_of");
    leaks(&found[2], "policy-session", "rows_of");
    let unproven = |finding: &&kinedb::verify::finding::Finding| finding.id == "not-exercised";
    assert_eq!(found[2].findings.iter().filter(unproven).count(), 0);
}

/// Where nothing is there to verify, that is said, and once.
#[test]
fn nothing_to_verify() {
    let told = |name: &str, sql: &str| -> (Vec<String>, String) {
        let found = reports(name, sql, "[isolation]", &[""]);
        assert_eq!(found[0].verdict, Verdict::Unproven);
        let errors = found[0]
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error);
        let last = errors.clone().next_back().unwrap();
        (
            errors.map(|finding| finding.id.clone()).collect(),
            format!("{}; {}", last.detail, last.fix),
        )
    };
    let (ids, text) = told("nothing_at_all", "select 1");
    assert_eq!(ids, ["no-table"]);
    assert!(text.contains("no tables") && text.contains("run the migrations"));
    let (ids, text) = told(
        "nothing_bound",
        "create table notes (id int primary key, firm_id int not null); create table files (id int primary key, firm_id int)",
    );
    assert_eq!(ids, ["no-table"]);
    assert!(text.contains("enabled on none") && text.ends_with("tenant_columns = [\"firm_id\"]"));
}

/// A role for each of more tenants than one context is taken for.
#[test]
fn chemists_with_a_role_for_each() {
    every_case(
        "chemist_roles",
        include_str!("../fixtures/shapes/chemist_roles.sql"),
        include_str!("../fixtures/shapes/chemist_roles.toml"),
        include_str!("../fixtures/shapes/chemist_roles.cases.sql"),
        false,
    );
}

#[test]
fn a_help_desk_with_claims_and_calls() {
    every_case(
        "help_desk",
        include_str!("../fixtures/shapes/help_desk.sql"),
        include_str!("../fixtures/shapes/help_desk.toml"),
        include_str!("../fixtures/shapes/help_desk.cases.sql"),
        false,
    );
}

#[test]
fn hospitals_with_statistics_of_all() {
    every_case(
        "hospital_records",
        include_str!("../fixtures/shapes/hospital_records.sql"),
        include_str!("../fixtures/shapes/hospital_records.toml"),
        include_str!("../fixtures/shapes/hospital_records.cases.sql"),
        false,
    );
}

/// A domain with a check is the type of the key.
#[test]
fn estate_agents_with_keys_of_a_domain() {
    every_case(
        "estate_agents",
        include_str!("../fixtures/shapes/estate_agents.sql"),
        include_str!("../fixtures/shapes/estate_agents.toml"),
        include_str!("../fixtures/shapes/estate_agents.cases.sql"),
        false,
    );
}

/// Who asks is told by a helper whose name does not say so.
#[test]
fn people_of_the_platform_who_see_themselves_in_their_list() {
    every_case(
        "platform_desk",
        include_str!("../fixtures/shapes/platform_desk.sql"),
        "[isolation]",
        include_str!("../fixtures/shapes/platform_desk.cases.sql"),
        false,
    );
}

/// No name says that a setting holds the user: what it is compared with does.
#[test]
fn a_user_by_any_name() {
    let told = |text: &str| {
        text.replace("app.user_id", "ctx.seat")
            .replace("me()", "seat()")
    };
    let sql = told(include_str!("../fixtures/shapes/platform_desk.sql"));
    let list = cases(include_str!("../fixtures/shapes/platform_desk.cases.sql"));
    let open = list.iter().find(|case| case.title == "contacts-of-all");
    let change = told(&open.unwrap().sql);
    let found = reports("platform_seat", &sql, "[isolation]", &["", &change]);
    isolated(&found[0]);
    leaks(&found[1], "foreign-rows-visible", "contact");
    let wiki = |text: &str| {
        text.replace("wn.user", "wn.login")
            .replace("usr()", "login()")
    };
    let wiki = wiki(&include_str!("../fixtures/shapes/wiki_names.sql").replace("username", "nick"));
    isolated(&reports("wiki_login", &wiki, "[isolation]", &[""])[0]);
}

#[test]
fn a_wiki_whose_keys_are_names() {
    every_case(
        "wiki_names",
        include_str!("../fixtures/shapes/wiki_names.sql"),
        "[isolation]",
        include_str!("../fixtures/shapes/wiki_names.cases.sql"),
        false,
    );
}

#[test]
fn boats_with_crews_and_swaps_entered_by_a_function() {
    every_case(
        "boat_hire",
        include_str!("../fixtures/shapes/boat_hire.sql"),
        include_str!("../fixtures/shapes/boat_hire.toml"),
        include_str!("../fixtures/shapes/boat_hire.cases.sql"),
        false,
    );
}

#[test]
fn choirs_that_know_people_by_their_address() {
    every_case(
        "choir_staff",
        include_str!("../fixtures/shapes/choir_staff.sql"),
        "[isolation]",
        include_str!("../fixtures/shapes/choir_staff.cases.sql"),
        false,
    );
}
