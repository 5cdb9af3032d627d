//! The tables as the entities declare them, in the form in which they can be
//! built and compared.
//!
//! Entities say columns, types, nullability and primary keys of a table whole;
//! defaults, unique keys, indexes and references only where they name them. What
//! they do not name is not compared.

use sea_orm::sea_query::{PostgresQueryBuilder, Table as SeaTable, TableRef};
use sea_orm::{
    DbBackend, EntityTrait, IdenStatic as _, Iterable as _, PrimaryKeyToColumn as _,
    RelationTrait as _, Schema,
};

use crate::db::ident::{Ident, Qualified};

/// A table as it is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: Qualified,
    /// Name and definition of each column, as `create table` takes it.
    pub columns: Vec<(String, String)>,
    /// Columns of the primary key.
    pub primary_key: Vec<String>,
    /// Columns of each unique key.
    pub unique: Vec<Vec<String>>,
    /// Columns of each index.
    pub indexes: Vec<Vec<String>>,
    /// References to other tables.
    pub references: Vec<Reference>,
}

/// A reference: columns here, a table, columns there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Columns here.
    pub columns: Vec<String>,
    /// The table.
    pub to: Qualified,
    /// Columns there.
    pub their: Vec<String>,
}

/// Every entity of the product.
pub fn all() -> Vec<Table> {
    use crate::entity::*;
    vec![
        of::<tenants::Entity>(),
        of::<users::Entity>(),
        of::<patients::Entity>(),
        of::<appointments::Entity>(),
        of::<encounters::Entity>(),
        of::<notes::Entity>(),
        of::<note_versions::Entity>(),
        of::<audit_events::Entity>(),
    ]
}

/// One entity.
pub fn of<E: EntityTrait>() -> Table {
    let entity = E::default();
    let schema = Schema::new(DbBackend::Postgres);
    let mut unique: std::collections::BTreeMap<String, Vec<String>> = Default::default();
    let mut table = Table {
        name: Qualified::new(
            entity.schema_name().unwrap_or("public"),
            entity.table_name(),
        ),
        columns: Vec::new(),
        primary_key: E::PrimaryKey::iter()
            .map(|key| key.into_column().as_str().to_owned())
            .collect(),
        unique: Vec::new(),
        indexes: Vec::new(),
        references: Vec::new(),
    };
    for column in E::Column::iter() {
        let name = column.as_str().to_owned();
        let mut definition = schema.get_column_def::<E>(column);
        let create = SeaTable::create()
            .table("t")
            .col(&mut definition)
            .to_string(PostgresQueryBuilder);
        let inside = create
            .split_once('(')
            .and_then(|(_, rest)| rest.rsplit_once(')'))
            .map_or("", |(inside, _)| inside.trim());
        // Keys of one column stand in the column; here they stand with the others.
        let text = inside.replace(" PRIMARY KEY", "").replace(" UNIQUE", "");
        if inside.contains(" UNIQUE") {
            table.unique.push(vec![name.clone()]);
        }
        table.columns.push((name, text));
    }
    for index in schema.create_index_from_entity(entity) {
        let sql = index.to_string(PostgresQueryBuilder);
        let columns: Vec<String> = sql
            .rsplit_once('(')
            .map_or("", |(_, rest)| rest.trim_end_matches(')'))
            .split(", ")
            .map(|column| column.trim().trim_matches('"').to_owned())
            .collect();
        if sql.starts_with("CREATE UNIQUE") {
            unique.insert(sql, columns);
        } else {
            table.indexes.push(columns);
        }
    }
    table.unique.extend(unique.into_values());
    for relation in E::Relation::iter() {
        let relation = relation.def();
        if relation.is_owner || relation.skip_fk {
            continue;
        }
        let names = |identity: &sea_orm::Identity| -> Vec<String> {
            identity.iter().map(ToString::to_string).collect()
        };
        if let TableRef::Table(name, _) = &relation.to_tbl {
            let their_schema = name
                .0
                .as_ref()
                .map_or("public".to_owned(), |schema| schema.1.to_string());
            table.references.push(Reference {
                columns: names(&relation.from_col),
                to: Qualified::new(their_schema, name.1.to_string()),
                their: names(&relation.to_col),
            });
        }
    }
    table
}

/// Where declared tables are built, to see them as PostgreSQL writes them.
pub const SHADOW: &str = "kinedb_declared";

/// SQL that builds the declared tables beside the others.
pub fn shadow(tables: &[Table]) -> String {
    let mut sql = format!("create schema {SHADOW};\n");
    for table in tables {
        let name = format!("{SHADOW}.{}", table.name.name);
        sql.push_str(&format!("{};\n", create(&name, table)));
        for (at, columns) in table.unique.iter().enumerate() {
            let key = Ident::new(format!("unique_{at}"));
            sql.push_str(&format!(
                "alter table {name} add constraint {key} unique ({});\n",
                list(columns)
            ));
        }
    }
    sql
}

pub(super) fn create(name: &str, table: &Table) -> String {
    let mut lines: Vec<String> = table
        .columns
        .iter()
        .map(|(_, text)| format!("  {text}"))
        .collect();
    if !table.primary_key.is_empty() {
        let key = Ident::new(format!("{}_pkey", table.name.name.as_str()));
        lines.push(format!(
            "  constraint {key} primary key ({})",
            list(&table.primary_key)
        ));
    }
    format!("create table {name} (\n{}\n)", lines.join(",\n"))
}

pub(super) fn list(columns: &[String]) -> String {
    columns
        .iter()
        .map(|name| Ident::new(name).to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

pub(super) fn plain(name: &str) -> String {
    crate::db::ident::plain(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entity_file_is_listed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/entity");
        let listed: Vec<String> = all()
            .iter()
            .map(|table| table.name.name.as_str().to_owned())
            .collect();
        for file in std::fs::read_dir(folder).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            let stem = name.trim_end_matches(".rs");
            assert!(
                matches!(stem, "mod" | "ids") || listed.iter().any(|one| one == stem),
                "{stem}"
            );
        }
    }

    #[test]
    fn an_entity_becomes_columns_keys_and_references() {
        let table = of::<crate::entity::patients::Entity>();
        assert_eq!(table.primary_key, ["tenant_id", "id"]);
        assert!(
            table
                .columns
                .iter()
                .any(|(name, text)| name == "birth_date" && text == "\"birth_date\" date NOT NULL"),
            "{:?}",
            table.columns
        );
        assert!(
            table
                .references
                .iter()
                .any(|one| one.columns == ["tenant_id", "portal_user_id"]
                    && one.to.name.as_str() == "users"),
            "{:?}",
            table.references
        );
    }
}
