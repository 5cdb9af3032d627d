//! `policies/`: classes with one slot, one file per table, rendered to SQL.

use std::collections::BTreeMap;
use std::path::Path;

use include_dir::{Dir, include_dir};

use crate::fault::{Code, Fault, fail};
use crate::migrate::lex;

static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/policies");

/// The only slot that a class file may have.
pub const SLOT: &str = "{table}";

/// The files of `policies/`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    /// `_roles.sql`.
    pub roles: String,
    /// Class by name.
    pub classes: BTreeMap<String, Class>,
}

/// One class: what all its tables get, and what each has of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Class {
    /// `_class.sql` with its slot.
    pub template: String,
    /// `<table>.sql` by table.
    pub tables: BTreeMap<String, String>,
}

impl Policies {
    /// Those compiled in.
    pub fn embedded() -> anyhow::Result<Self> {
        let mut files = Vec::new();
        collect(&EMBEDDED, &mut files);
        Self::from_files(files)
    }

    /// Those of a folder.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let unreadable = |path: &Path, cause: &std::io::Error| {
            Fault::new(
                Code::BadFile,
                format!("cannot read `{}`: {cause}", path.display()),
            )
            .hint("run kinedb in the folder of the project, where `policies/` stands")
        };
        let mut files = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(current) = folders.pop() {
            for entry in
                std::fs::read_dir(&current).map_err(|cause| unreadable(&current, &cause))?
            {
                let path = entry.map_err(|cause| unreadable(&current, &cause))?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "sql") {
                    let text = std::fs::read_to_string(&path)
                        .map_err(|cause| unreadable(&path, &cause))?;
                    let name = path
                        .strip_prefix(folder)
                        .unwrap_or(&path)
                        .to_string_lossy()
                        .replace('\\', "/");
                    files.push((name, text));
                }
            }
        }
        Self::from_files(files)
    }

    fn from_files(files: Vec<(String, String)>) -> anyhow::Result<Self> {
        let mut roles = None;
        let mut classes: BTreeMap<String, Class> = BTreeMap::new();
        for (name, text) in files {
            match name.split_once('/') {
                None if name == "_roles.sql" => roles = Some(text),
                Some((class, "_class.sql")) => {
                    check_slots(&name, &text)?;
                    classes.entry(class.to_owned()).or_default().template = text;
                }
                Some((class, file)) if !file.contains('/') => {
                    let table = file.trim_end_matches(".sql").to_owned();
                    classes
                        .entry(class.to_owned())
                        .or_default()
                        .tables
                        .insert(table, text);
                }
                _ => {
                    return fail(
                        Code::BadFile,
                        format!("`policies/{name}` has no place there"),
                        "files are `_roles.sql`, `<class>/_class.sql` and `<class>/<table>.sql`",
                    );
                }
            }
        }
        let Some(roles) = roles else {
            return fail(
                Code::BadFile,
                "`policies/_roles.sql` is missing",
                "restore it with `git checkout policies`",
            );
        };
        let policies = Self { roles, classes };
        policies.check()?;
        Ok(policies)
    }

    fn check(&self) -> anyhow::Result<()> {
        let mut owner: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, class) in &self.classes {
            if class.template.is_empty() {
                return fail(
                    Code::BadFile,
                    format!("`policies/{name}/_class.sql` is missing"),
                    "a class says in that file what all its tables get",
                );
            }
            for table in class.tables.keys() {
                if crate::db::ident::plain(table) != *table {
                    return fail(
                        Code::BadFile,
                        format!("`policies/{name}/{table}.sql` is not named after a table"),
                        "the slot takes the name as it is: lower-case letters, digits and underscores",
                    );
                }
                if let Some(other) = owner.insert(table, name) {
                    return fail(
                        Code::BadFile,
                        format!("table `{table}` is in two classes, `{other}` and `{name}`"),
                        format!(
                            "remove `policies/{other}/{table}.sql` or `policies/{name}/{table}.sql`"
                        ),
                    );
                }
            }
        }
        Ok(())
    }

    /// The class of a table.
    pub fn class_of(&self, table: &str) -> Option<&str> {
        self.classes
            .iter()
            .find(|(_, class)| class.tables.contains_key(table))
            .map(|(name, _)| name.as_str())
    }

    /// The SQL that gives one table its class, view and grants.
    pub fn render(&self, class: &str, table: &str) -> anyhow::Result<String> {
        let Some(found) = self.classes.get(class) else {
            let known: Vec<&str> = self.classes.keys().map(String::as_str).collect();
            return fail(
                Code::Usage,
                format!("there is no class `{class}` in `policies/`"),
                format!("the classes are {}", known.join(", ")),
            );
        };
        let own = found.tables.get(table).map_or("", String::as_str);
        Ok(format!("{}\n{own}", found.template.replace(SLOT, table)))
    }

    /// Every table's SQL, classes and tables by name.
    pub fn render_all(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut all = Vec::new();
        for (class, found) in &self.classes {
            for table in found.tables.keys() {
                all.push((format!("{class}/{table}"), self.render(class, table)?));
            }
        }
        Ok(all)
    }
}

fn collect(folder: &Dir<'_>, files: &mut Vec<(String, String)>) {
    for file in folder.files() {
        let name = file.path().to_string_lossy().replace('\\', "/");
        if name.ends_with(".sql")
            && let Some(text) = file.contents_utf8()
        {
            files.push((name, text.to_owned()));
        }
    }
    for inner in folder.dirs() {
        collect(inner, files);
    }
}

/// `{table}` at least once, and nothing else in braces outside of quoted texts.
fn check_slots(name: &str, text: &str) -> anyhow::Result<()> {
    if !text.contains(SLOT) {
        return fail(
            Code::BadFile,
            format!("`policies/{name}` has no `{{table}}`"),
            "the slot stands where the table's name goes",
        );
    }
    let rest = text.replace(SLOT, "");
    if let Some(start) = rest.find('{') {
        let line = rest[..start].matches('\n').count() + 1;
        let other: String = rest[start..]
            .chars()
            .take_while(|c| *c != '}')
            .take(40)
            .collect();
        return fail(
            Code::BadFile,
            format!("`policies/{name}:{line}` has a second slot `{other}}}`"),
            "a class file has one slot, `{table}`",
        );
    }
    if lex::unterminated(text).is_some() {
        return fail(
            Code::BadFile,
            format!("`policies/{name}` has a quote or comment that is not closed"),
            "close it",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> anyhow::Result<Policies> {
        Policies::from_files(
            list.iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn what_is_compiled_in_is_valid_and_renders() {
        let policies = Policies::embedded().unwrap();
        let rendered = policies.render("tenant_scoped", "patients").unwrap();
        assert!(rendered.contains("alter table public.patients force row level security"));
        assert!(rendered.contains("create view public.api_patients"));
        assert_eq!(policies.class_of("note_versions"), Some("immutable"));
    }

    #[test]
    fn a_second_slot_and_a_second_class_are_refused() {
        let class = ("c/_class.sql", "alter table {table} x");
        let refusal = |list: &[(&str, &str)]| files(list).unwrap_err().to_string();
        assert!(
            refusal(&[("_roles.sql", ""), ("c/_class.sql", "{table}\n{role}")])
                .contains("c/_class.sql:2")
        );
        assert!(
            refusal(&[("_roles.sql", ""), ("c/_class.sql", "nothing")]).contains("no `{table}`")
        );
        let twice = [
            ("_roles.sql", ""),
            class,
            ("c/t.sql", ""),
            ("d/_class.sql", "{table}"),
            ("d/t.sql", ""),
        ];
        assert!(refusal(&twice).contains("two classes"));
        assert!(refusal(&[class]).contains("_roles.sql"));
        assert!(refusal(&[("_roles.sql", ""), ("c/t.sql", "")]).contains("c/_class.sql"));
    }
}
