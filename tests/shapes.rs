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
    let options = Options {
        in_transaction: true,
        ..Options::default()
    };
    block_on(async {
        let mut conn = server.connect(name).await;
        conn.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
            .await
            .unwrap();
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
