//! One text printed by two versions of PostgreSQL.
//!
//! The catalogue holds trees, not texts; each major version prints them in its own
//! way (18 leaves `users.` out of a view over `users` alone). So where a live
//! database and the scratch server differ in version, a text of the live one is run
//! on the scratch server and printed there, and that is compared. Whatever cannot be
//! run there stays a difference.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _};

use crate::catalogue::{self, Difference, Fingerprint, Object};
use crate::db::error::of_sqlx;
use crate::policy::generate::generate;

/// What a server prints from a tree.
const PRINTED: &[&str] = &[
    "body",
    "default",
    "definition",
    "generated",
    "tables",
    "using",
    "with check",
];

/// Leaves out what two major versions have differently by themselves, and says so
/// in a sentence each: the versions of extensions that come with the server, and the
/// right MAINTAIN that `grant all` has given since 17.
pub fn leave_versions(
    expected: &mut Fingerprint,
    live: &mut Fingerprint,
    majors: (i32, i32),
) -> Vec<String> {
    let mut notes = Vec::new();
    for (name, wanted) in &mut expected.objects {
        let Some(found) = live.objects.get_mut(name) else {
            continue;
        };
        if name.starts_with("extension ") && wanted.get("version") != found.get("version") {
            notes.push(format!(
                "{name}: version: `{}` here, `{}` with the scratch server",
                found.get("version").unwrap_or_default(),
                wanted.get("version").unwrap_or_default()
            ));
            wanted.attributes.remove("version");
            found.attributes.remove("version");
        }
    }
    let (old, new) = (majors.0.min(majors.1), majors.0.max(majors.1));
    if old < 17 && new >= 17 {
        for object in expected
            .objects
            .values_mut()
            .chain(live.objects.values_mut())
        {
            without_maintain(object);
        }
    }
    notes
}

fn without_maintain(object: &mut Object) {
    for (attribute, value) in &mut object.attributes {
        if attribute.contains("grants to ") || attribute.contains(" granted to ") {
            let kept: Vec<&str> = value
                .split(", ")
                .filter(|right| *right != "maintain" && *right != "maintain with grant option")
                .collect();
            *value = kept.join(", ");
        }
    }
}

/// Which of the differences are none: the live text, run in the scratch database of
/// this connection, is printed as what was expected. The database is left as it was.
///
/// # Errors
/// Whatever the connection says where it is lost.
pub async fn printed_otherwise(
    conn: &mut PgConnection,
    expected: &Fingerprint,
    live: &Fingerprint,
    differences: &[Difference],
) -> anyhow::Result<Vec<Difference>> {
    let texts: Vec<&Difference> = differences
        .iter()
        .filter(|one| {
            one.left.is_some()
                && one.right.is_some()
                && one
                    .attribute
                    .as_deref()
                    .is_some_and(|attribute| PRINTED.contains(&attribute))
        })
        .collect();
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(same) = same(conn, expected, live, &texts).await? {
        return Ok(same);
    }
    // One of them does not run: the others may.
    let mut all = Vec::new();
    for text in texts {
        all.extend(
            same(conn, expected, live, &[text])
                .await?
                .unwrap_or_default(),
        );
    }
    Ok(all)
}

/// None where the texts do not run.
async fn same(
    conn: &mut PgConnection,
    expected: &Fingerprint,
    live: &Fingerprint,
    texts: &[&Difference],
) -> anyhow::Result<Option<Vec<Difference>>> {
    let mut goal = expected.clone();
    for text in texts {
        if let (Some(object), Some(theirs), Some(attribute), Some(right)) = (
            goal.objects.get_mut(&text.object),
            live.get(&text.object),
            &text.attribute,
            &text.right,
        ) {
            object.attributes.insert(attribute.clone(), right.clone());
            object.hidden.clone_from(&theirs.hidden);
        }
    }
    let script = generate(expected, &goal);
    conn.execute("begin").await?;
    let ran = conn
        .execute(sqlx::raw_sql(AssertSqlSafe(script.text(None))))
        .await;
    let seen = match ran {
        Ok(_) => catalogue::read_within(conn).await.map(Some),
        Err(cause) if of_sqlx(&cause).is_some() => Ok(None),
        Err(cause) => return Err(cause.into()),
    };
    conn.execute("rollback").await?;
    let Some(seen) = seen? else { return Ok(None) };
    let value = |side: &Fingerprint, one: &Difference| {
        let attribute = one.attribute.as_deref()?;
        side.get(&one.object)?.get(attribute).map(str::to_owned)
    };
    Ok(Some(
        texts
            .iter()
            .filter(|one| script.writes(&one.object) && value(&seen, one) == value(expected, one))
            .map(|one| (*one).clone())
            .collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(version: &str, rights: &str) -> Fingerprint {
        let mut side = Fingerprint::default();
        let mut set = |object: &str, attribute: &str, value: &str| {
            let object = side.objects.entry(object.to_owned()).or_default();
            object
                .attributes
                .insert(attribute.to_owned(), value.to_owned());
        };
        set("extension x", "version", version);
        set("table public.t", "grants to app", rights);
        side
    }

    #[test]
    fn what_comes_with_a_version_is_no_difference() {
        let (mut expected, mut live) = (side("1.8", "maintain, select"), side("1.6", "select"));
        let notes = leave_versions(&mut expected, &mut live, (18, 15));
        assert_eq!(
            notes,
            ["extension x: version: `1.6` here, `1.8` with the scratch server"]
        );
        assert_eq!(expected.differences(&live), []);
        let (mut expected, mut live) = (side("1.8", "maintain, select"), side("1.8", "select"));
        leave_versions(&mut expected, &mut live, (18, 17));
        assert_eq!(expected.differences(&live).len(), 1);
    }
}
