//! Fixture files: what they may say, and how their keys become ids.
//!
//! Only the form is checked here (unknown fields, missing keys, keys used twice).
//! What the values may be is the schema's to say.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use serde_json::{Value, json};
use toml::Spanned;
use toml::value::Datetime;
use uuid::Uuid;

use crate::fault::{Code, Fault};

/// Under this name space the ids of fixture clinics are derived.
const FIXTURES: Uuid = Uuid::from_u128(0x6b69_6e65_6462_4000_8000_6669_7874_7572);

/// One fixture file.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it stands, for messages.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// One row, ready for the database, and where it was written.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) key: String,
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) id: Uuid,
    pub(super) values: Value,
}

/// One clinic: its tenant and the rows of each table.
#[derive(Debug)]
pub(super) struct Clinic {
    pub(super) slug: String,
    pub(super) name: String,
    pub(super) tenant: Uuid,
    pub(super) tenants: Vec<Row>,
    pub(super) users: Vec<Row>,
    pub(super) patients: Vec<Row>,
    pub(super) appointments: Vec<Row>,
    pub(super) encounters: Vec<Row>,
    pub(super) notes: Vec<Row>,
    /// Corrections of signed notes; the key is the note's.
    pub(super) amendments: Vec<Row>,
    /// Rows of tables that have a file of their own, in an order that references allow.
    pub(super) further: Vec<(String, Vec<Row>)>,
    /// The keys of each table.
    pub(super) keys: BTreeMap<String, HashSet<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tenant: Spanned<Tenant>,
    #[serde(default)]
    users: Vec<User>,
    #[serde(default)]
    patients: Vec<Patient>,
    #[serde(default)]
    appointments: Vec<Appointment>,
    #[serde(default)]
    encounters: Vec<Encounter>,
    #[serde(default)]
    notes: Vec<Note>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tenant {
    slug: String,
    name: String,
    #[serde(default = "active")]
    status: String,
    time_zone: String,
    locale: String,
}

type Key = Spanned<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    key: Key,
    full_name: String,
    email: String,
    role: String,
    #[serde(default = "active")]
    status: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patient {
    key: Key,
    mrn: String,
    given_name: String,
    family_name: String,
    preferred_name: Option<String>,
    birth_date: Datetime,
    sex: String,
    language: String,
    phone: Option<String>,
    email: Option<String>,
    address: Option<String>,
    health_insurance_number: Option<String>,
    primary_practitioner: Option<Key>,
    portal_user: Option<Key>,
    archived_at: Option<Datetime>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Appointment {
    key: Key,
    patient: Key,
    practitioner: Key,
    starts_at: Datetime,
    ends_at: Datetime,
    kind: String,
    status: String,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Encounter {
    key: Key,
    patient: Key,
    practitioner: Key,
    appointment: Option<Key>,
    kind: String,
    started_at: Datetime,
    ended_at: Option<Datetime>,
    status: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    key: Key,
    encounter: Key,
    author: Key,
    #[serde(default)]
    subjective: String,
    #[serde(default)]
    objective: String,
    #[serde(default)]
    assessment: String,
    #[serde(default)]
    plan: String,
    #[serde(default)]
    extra_sections: Vec<Section>,
    status: String,
    amendment: Option<Amendment>,
}

#[derive(Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
struct Section {
    title: String,
    text: String,
}

/// What an amended note says after its correction; sections left out stay.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Amendment {
    reason: String,
    subjective: Option<String>,
    objective: Option<String>,
    assessment: Option<String>,
    plan: Option<String>,
}

fn active() -> String {
    "active".to_owned()
}

/// Reads a clinic and turns its keys into ids.
pub(super) fn parse(source: &Source) -> Result<Clinic, Fault> {
    let file: File = toml::from_str(&source.text).map_err(|error| syntax(source, &error))?;

    let tenant_line = line(source, file.tenant.span().start);
    let tenant = file.tenant.into_inner();
    let tenant_id = Uuid::new_v5(&FIXTURES, tenant.slug.as_bytes());
    let users = Keys::new(
        source,
        tenant_id,
        "users",
        file.users.iter().map(|r| &r.key),
    )?;
    let patients = Keys::new(
        source,
        tenant_id,
        "patients",
        file.patients.iter().map(|r| &r.key),
    )?;
    let appointments = Keys::new(
        source,
        tenant_id,
        "appointments",
        file.appointments.iter().map(|r| &r.key),
    )?;
    let encounters = Keys::new(
        source,
        tenant_id,
        "encounters",
        file.encounters.iter().map(|r| &r.key),
    )?;
    let notes = Keys::new(
        source,
        tenant_id,
        "notes",
        file.notes.iter().map(|r| &r.key),
    )?;

    let mut clinic = Clinic {
        tenant: tenant_id,
        tenants: vec![Row {
            key: tenant.slug.clone(),
            path: source.path.clone(),
            line: tenant_line,
            id: tenant_id,
            values: json!({
                "slug": tenant.slug, "name": tenant.name, "status": tenant.status,
                "time_zone": tenant.time_zone, "locale": tenant.locale,
            }),
        }],
        slug: tenant.slug,
        name: tenant.name,
        users: Vec::new(),
        patients: Vec::new(),
        appointments: Vec::new(),
        encounters: Vec::new(),
        notes: Vec::new(),
        amendments: Vec::new(),
        further: Vec::new(),
        keys: [&users, &patients, &appointments, &encounters, &notes]
            .into_iter()
            .map(|keys| (keys.table.to_owned(), keys.ids.keys().cloned().collect()))
            .collect(),
    };

    for r in &file.users {
        clinic.users.push(users.row(
            &r.key,
            json!({
                "email": r.email, "full_name": r.full_name, "role": r.role, "status": r.status,
            }),
        )?);
    }
    for r in &file.patients {
        clinic.patients.push(patients.row(
            &r.key,
            json!({
                "mrn": r.mrn, "given_name": r.given_name, "family_name": r.family_name,
                "preferred_name": r.preferred_name, "birth_date": time(&r.birth_date),
                "sex": r.sex, "language": r.language, "phone": r.phone, "email": r.email,
                "address": r.address, "health_insurance_number": r.health_insurance_number,
                "primary_practitioner_id": users.find(r.primary_practitioner.as_ref())?,
                "portal_user_id": users.find(r.portal_user.as_ref())?,
                "archived_at": r.archived_at.as_ref().map(time),
            }),
        )?);
    }
    for r in &file.appointments {
        clinic.appointments.push(appointments.row(
            &r.key,
            json!({
                "patient_id": patients.find(Some(&r.patient))?,
                "practitioner_id": users.find(Some(&r.practitioner))?,
                "starts_at": time(&r.starts_at), "ends_at": time(&r.ends_at),
                "kind": r.kind, "status": r.status, "reason": r.reason,
            }),
        )?);
    }
    for r in &file.encounters {
        clinic.encounters.push(encounters.row(
            &r.key,
            json!({
                "patient_id": patients.find(Some(&r.patient))?,
                "practitioner_id": users.find(Some(&r.practitioner))?,
                "appointment_id": appointments.find(r.appointment.as_ref())?,
                "kind": r.kind, "started_at": time(&r.started_at),
                "ended_at": r.ended_at.as_ref().map(time), "status": r.status,
            }),
        )?);
    }
    for r in &file.notes {
        if r.amendment.is_some() != (r.status == "amended") {
            return Err(Fault::new(
                Code::BadFixture,
                format!(
                    "`{}` line {}: note `{}` is `amended` if and only if it has an `amendment`",
                    source.path,
                    line(source, r.key.span().start),
                    r.key.get_ref()
                ),
            ));
        }
        // A note is signed before it is amended, here as in a clinic.
        let first_status = match r.amendment {
            Some(_) => "signed",
            None => &r.status,
        };
        clinic.notes.push(notes.row(
            &r.key,
            json!({
                "encounter_id": encounters.find(Some(&r.encounter))?,
                "author_id": users.find(Some(&r.author))?,
                "subjective": r.subjective, "objective": r.objective,
                "assessment": r.assessment, "plan": r.plan,
                "extra_sections": r.extra_sections, "status": first_status,
            }),
        )?);
        if let Some(amendment) = &r.amendment {
            clinic.amendments.push(notes.row(
                &r.key,
                json!({
                    "reason": amendment.reason, "subjective": amendment.subjective,
                    "objective": amendment.objective, "assessment": amendment.assessment,
                    "plan": amendment.plan,
                }),
            )?);
        }
    }
    Ok(clinic)
}

/// The keys of one table in one file.
struct Keys<'a> {
    source: &'a Source,
    table: &'static str,
    ids: HashMap<String, Uuid>,
}

impl<'a> Keys<'a> {
    fn new<'k>(
        source: &'a Source,
        tenant: Uuid,
        table: &'static str,
        keys: impl Iterator<Item = &'k Key>,
    ) -> Result<Self, Fault> {
        let mut ids = HashMap::new();
        for key in keys {
            let name = key.get_ref();
            let id = row_id(tenant, table, name);
            if ids.insert(name.clone(), id).is_some() {
                return Err(Fault::new(
                    Code::BadFixture,
                    format!(
                        "`{}` line {}: key `{name}` is used twice in `{table}`",
                        source.path,
                        line(source, key.span().start)
                    ),
                ));
            }
        }
        Ok(Self { source, table, ids })
    }

    fn find(&self, key: Option<&Key>) -> Result<Option<Uuid>, Fault> {
        let Some(key) = key else { return Ok(None) };
        match self.ids.get(key.get_ref()) {
            Some(id) => Ok(Some(*id)),
            None => Err(Fault::new(
                Code::BadFixture,
                format!(
                    "`{}` line {}: there is no `{}` in `{}`",
                    self.source.path,
                    line(self.source, key.span().start),
                    key.get_ref(),
                    self.table
                ),
            )),
        }
    }

    fn row(&self, key: &Key, mut values: Value) -> Result<Row, Fault> {
        let id = self.find(Some(key))?.unwrap_or_default();
        values["id"] = json!(id);
        Ok(Row {
            key: key.get_ref().clone(),
            path: self.source.path.clone(),
            line: line(self.source, key.span().start),
            id,
            values,
        })
    }
}

/// What the TOML parser says, with the line.
pub(super) fn syntax(source: &Source, error: &toml::de::Error) -> Fault {
    let place = match error.span() {
        Some(span) => format!("`{}` line {}", source.path, line(source, span.start)),
        None => format!("`{}`", source.path),
    };
    let message = error.message().lines().next().unwrap_or_default();
    Fault::new(Code::BadFixture, format!("{place}: {message}"))
}

/// The id of a row: the same wherever the slug, the table and the key are.
pub(super) fn row_id(tenant: Uuid, table: &str, key: &str) -> Uuid {
    Uuid::new_v5(&tenant, format!("{table}/{key}").as_bytes())
}

fn time(value: &Datetime) -> String {
    value.to_string()
}

/// The line, from 1, that the byte at `offset` stands on.
pub(super) fn line(source: &Source, offset: usize) -> usize {
    let before = source.text.as_bytes().get(..offset).unwrap_or_default();
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "[tenant]\nslug = \"a\"\nname = \"A\"\ntime_zone = \"UTC\"\nlocale = \"en-CA\"\n";
    const USER: &str = "[[users]]\nkey = \"u\"\nfull_name = \"U\"\nemail = \"u@example.org\"\nrole = \"practitioner\"\n";

    fn parsed(rest: &str) -> Result<Clinic, String> {
        parse(&Source {
            path: "a.toml".to_owned(),
            text: format!("{HEAD}{rest}"),
        })
        .map_err(|fault| fault.to_string())
    }

    fn refusal(rest: &str) -> String {
        parsed(rest).map(drop).unwrap_err()
    }

    #[test]
    fn ids_depend_on_slug_table_and_key_only() {
        let one = parsed(USER).unwrap();
        let two = parsed(&format!("\n# moved\n{USER}")).unwrap();
        assert_eq!(one.users[0].id, two.users[0].id);
        assert_eq!(one.users[0].line + 2, two.users[0].line);
        assert_ne!(one.users[0].id, one.tenant);
    }

    #[test]
    fn refusals_name_the_line() {
        assert_eq!(
            refusal(&format!("{USER}{USER}")),
            "`a.toml` line 12: key `u` is used twice in `users`"
        );
        assert_eq!(
            refusal(
                "[[patients]]\nkey = \"p\"\nmrn = \"1\"\ngiven_name = \"G\"\nfamily_name = \"F\"\nbirth_date = 2000-01-01\nsex = \"other\"\nlanguage = \"en\"\nprimary_practitioner = \"u-nobody\"\n"
            ),
            "`a.toml` line 14: there is no `u-nobody` in `users`"
        );
        assert!(
            refusal("[[users]]\nkey = \"u\"\nname = \"U\"\n")
                .starts_with("`a.toml` line 8: unknown field `name`")
        );
    }

    #[test]
    fn every_shipped_file_parses_and_has_its_slug_as_name() {
        let sources = super::super::dev_sources();
        assert_eq!(sources.len(), 3);
        for source in sources {
            let clinic = parse(&source).unwrap();
            assert_eq!(source.path, format!("fixtures/dev/{}.toml", clinic.slug));
        }
    }
}
