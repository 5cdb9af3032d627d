//! The product's way to the database: bound to one clinic and one user, or nothing.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::TestDb;
use kinedb::entity::{
    appointments, audit_events, encounters, note_versions, notes, patients, tenants, users,
};
use kinedb::tenant::{PatientId, TenantDb, TenantError, TenantId, UserId};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectOptions, ConnectionTrait, Database, DatabaseConnection,
    DbBackend, EntityTrait, ModelTrait, QueryFilter, Set, Statement, TransactionTrait,
};
use uuid::Uuid;

struct Clinic {
    tenant: TenantId,
    user: UserId,
    patient: PatientId,
}

/// A seeded database, a pool of one connection of the product, and two clinics.
struct World {
    pool: DatabaseConnection,
    product: TenantDb,
    a: Clinic,
    b: Clinic,
    db: TestDb,
}

async fn world(test: &str) -> World {
    let db = TestDb::migrated(test);
    let mut conn = db.connect().await;
    kinedb::seed::load_dev(&mut conn, &mut |_| {})
        .await
        .unwrap();
    let login = format!("api_{}", db.name());
    db.sql(&format!(
        "create role {login} login; grant kine_app to {login}"
    ));
    let clinic = |slug: &str| {
        let id = |sql: String| -> Uuid { db.value(&sql).parse().unwrap() };
        let tenant = id(format!(
            "select tenant_id from tenants where slug = '{slug}'"
        ));
        Clinic {
            tenant: TenantId(tenant),
            user: UserId(id(format!(
                "select id from users where tenant_id = '{tenant}' and role = 'practitioner' \
                 and status = 'active' order by id limit 1"
            ))),
            patient: PatientId(id(format!(
                "select id from patients where tenant_id = '{tenant}' and mrn = 'DEV-0001'"
            ))),
        }
    };
    let (a, b) = (
        clinic("lakeside-family-health"),
        clinic("clinique-des-erables"),
    );
    let mut options = ConnectOptions::new(db.url_as(&login));
    options.max_connections(1);
    let pool = Database::connect(options).await.unwrap();
    World {
        product: TenantDb::new(pool.clone()),
        pool,
        a,
        b,
        db,
    }
}

/// Tenant, user and role as the pool's connection has them now.
async fn left_over(pool: &DatabaseConnection) -> (String, String, bool) {
    let row = pool
        .query_one_raw(Statement::from_string(
            DbBackend::Postgres,
            "select coalesce(current_setting('app.tenant_id', true), ''), \
                    coalesce(current_setting('app.user_id', true), ''), \
                    current_user = session_user",
        ))
        .await
        .unwrap()
        .unwrap();
    (
        row.try_get_by_index(0).unwrap(),
        row.try_get_by_index(1).unwrap(),
        row.try_get_by_index(2).unwrap(),
    )
}

#[tokio::test]
async fn every_entity_reads_its_table_in_its_clinic_only() {
    let world = world("every_entity_reads").await;
    let tx = world
        .product
        .begin(world.a.tenant, world.a.user)
        .await
        .unwrap();
    macro_rules! own {
        ($($table:ident),+) => {$({
            let rows = $table::Entity::find().all(&tx).await.unwrap();
            assert!(!rows.is_empty(), stringify!($table));
            assert!(rows.iter().all(|row| row.tenant_id == world.a.tenant), stringify!($table));
        })+};
    }
    own!(
        tenants,
        users,
        patients,
        appointments,
        encounters,
        notes,
        note_versions
    );

    let foreign = patients::Entity::find_by_id((world.b.tenant, world.b.patient));
    assert_eq!(foreign.one(&tx).await.unwrap(), None);
    let joined = appointments::Entity::find()
        .find_also_related(patients::Entity)
        .all(&tx)
        .await
        .unwrap();
    assert!(joined.iter().all(|(_, patient)| patient.is_some()));
    let note = notes::Entity::find()
        .filter(notes::Column::Status.eq(notes::NoteStatus::Amended))
        .one(&tx)
        .await
        .unwrap()
        .unwrap();
    let versions = note.find_related(note_versions::Entity).all(&tx).await;
    assert_eq!(versions.unwrap().len(), 2);
}

#[tokio::test]
async fn rows_are_written_in_the_own_clinic_only() {
    let world = world("rows_are_written").await;
    let tx = world
        .product
        .begin(world.a.tenant, world.a.user)
        .await
        .unwrap();
    let new = |tenant| patients::ActiveModel {
        tenant_id: tenant,
        mrn: Set("T-1".to_owned()),
        given_name: Set("Test".to_owned()),
        family_name: Set("Row".to_owned()),
        birth_date: Set("2000-02-29".parse().unwrap()),
        ..Default::default()
    };
    let made = new(sea_orm::NotSet).insert(&tx).await.unwrap();
    assert_eq!(
        (made.tenant_id, made.sex),
        (world.a.tenant, patients::Sex::Unknown)
    );
    tx.commit().await.unwrap();

    let tx = world
        .product
        .begin(world.a.tenant, world.a.user)
        .await
        .unwrap();
    let refused = new(Set(world.b.tenant)).insert(&tx).await.unwrap_err();
    assert!(
        refused.to_string().contains("row-level security"),
        "{refused}"
    );
}

#[tokio::test]
async fn no_context_outlives_its_transaction() {
    let world = world("no_context_outlives").await;
    let clean = (String::new(), String::new(), true);
    let (tenant, user) = (world.a.tenant, world.a.user);

    world
        .product
        .begin(tenant, user)
        .await
        .unwrap()
        .commit()
        .await
        .unwrap();
    assert_eq!(left_over(&world.pool).await, clean);
    world
        .product
        .begin(tenant, user)
        .await
        .unwrap()
        .rollback()
        .await
        .unwrap();
    assert_eq!(left_over(&world.pool).await, clean);
    drop(world.product.begin(tenant, user).await.unwrap());
    assert_eq!(left_over(&world.pool).await, clean);
    let failed = world.product.begin(tenant, user).await.unwrap();
    failed.execute_unprepared("select 1 / 0").await.unwrap_err();
    drop(failed);
    assert_eq!(left_over(&world.pool).await, clean);
}

#[tokio::test]
async fn what_names_no_active_user_of_the_clinic_does_not_begin() {
    let world = world("what_names_no_active_user").await;
    let nil = Uuid::nil();
    let disabled: Uuid = world
        .db
        .value("select id from users where status = 'disabled' and role = 'practitioner'")
        .parse()
        .unwrap();
    let cases = [
        (
            TenantId(nil),
            world.a.user,
            "no tenant was named for the transaction",
        ),
        (
            world.a.tenant,
            UserId(nil),
            "no user was named for the transaction",
        ),
        (
            world.a.tenant,
            world.b.user,
            "no user of that id may act in this clinic",
        ),
        (
            TenantId(Uuid::from_u128(7)),
            world.a.user,
            "no user of that id may act in this clinic",
        ),
        (
            world.a.tenant,
            UserId(disabled),
            "no user of that id may act in this clinic",
        ),
    ];
    for (tenant, user, expected) in cases {
        let refused = world.product.begin(tenant, user).await.unwrap_err();
        assert_eq!(refused.to_string(), expected);
        assert_eq!(
            left_over(&world.pool).await,
            (String::new(), String::new(), true)
        );
    }
}

#[tokio::test]
async fn a_connection_that_is_bound_already_is_refused() {
    let world = world("bound_already").await;
    let set = [
        format!("set app.tenant_id = '{}'", world.b.tenant),
        format!("set app.user_id = '{}'", world.b.user),
    ];
    for statement in &set {
        world.pool.execute_unprepared(statement).await.unwrap();
        let refused = world.product.begin(world.a.tenant, world.a.user).await;
        assert!(
            matches!(refused, Err(TenantError::AlreadyBound)),
            "{statement}"
        );
        world.pool.execute_unprepared("reset all").await.unwrap();
    }
    world
        .product
        .begin(world.a.tenant, world.a.user)
        .await
        .unwrap();
}

#[tokio::test]
async fn reads_and_writes_leave_a_trace_without_values() {
    let world = world("reads_and_writes_leave").await;
    let tx = world
        .product
        .begin(world.a.tenant, world.a.user)
        .await
        .unwrap();
    tx.record_reads::<patients::Entity>([world.a.patient])
        .await
        .unwrap();
    tx.record_reads::<patients::Entity>(Vec::<PatientId>::new())
        .await
        .unwrap();
    let chart = patients::Entity::find_by_id((world.a.tenant, world.a.patient));
    let mut change: patients::ActiveModel = chart.one(&tx).await.unwrap().unwrap().into();
    change.phone = Set(Some("416-555-0142".to_owned()));
    change.update(&tx).await.unwrap();
    tx.commit().await.unwrap();

    let trail = world.db.query_rows(&format!(
        "select action, table_name, changed_columns::text from audit_events \
         where actor_id = '{}' and row_id = '{}' order by occurred_at",
        world.a.user, world.a.patient
    ));
    let text = |value: &str| Some(value.to_owned());
    assert_eq!(
        trail,
        [
            [text("read"), text("patients"), None],
            [text("update"), text("patients"), text("{phone}")],
        ]
    );

    // Not even the trail of the own clinic is the application's to read or to write.
    let tx = world
        .product
        .begin(world.a.tenant, world.a.user)
        .await
        .unwrap();
    let refused = audit_events::Entity::find().all(&tx).await.unwrap_err();
    assert!(
        refused.to_string().contains("permission denied"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_bare_transaction_of_the_pool_sees_nothing() {
    let world = world("a_bare_transaction").await;
    let bare = world.pool.begin().await.unwrap();
    let refused = patients::Entity::find().all(&bare).await.unwrap_err();
    assert!(refused.to_string().contains("app.tenant_id"), "{refused}");
}
