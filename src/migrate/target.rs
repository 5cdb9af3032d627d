//! Where to go: `head`, `base`, `+N`, `-N`, a name or an unambiguous part of one.

use crate::fault::{Code, fail};

/// A target as the user wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The newest revision.
    Head,
    /// Before the first revision.
    Base,
    /// So many steps up.
    Up(usize),
    /// So many steps down.
    Down(usize),
    /// A name or a part of one.
    Named(String),
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let steps = |digits: &str| {
            digits
                .parse()
                .map_err(|_| format!("`{text}` is not a number of steps"))
        };
        match text {
            // Steps down begin with a dash, so a misspelt flag comes here.
            _ if text.starts_with("--") => Err(format!("`{text}` is no flag of this command")),
            "" => Err("a revision is `head`, `base`, `+N`, `-N`, or a part of a name".to_owned()),
            "head" => Ok(Self::Head),
            "base" => Ok(Self::Base),
            _ => match (text.strip_prefix('+'), text.strip_prefix('-')) {
                (Some(digits), _) => steps(digits).map(Self::Up),
                (_, Some(digits)) => steps(digits).map(Self::Down),
                _ => Ok(Self::Named(text.to_owned())),
            },
        }
    }
}

/// The index of the one revision that a name, or a part of one, means.
pub fn find(names: &[&str], part: &str) -> anyhow::Result<usize> {
    if let Some(index) = names.iter().position(|name| *name == part) {
        return Ok(index);
    }
    let found: Vec<usize> = (0..names.len())
        .filter(|index| names[*index].contains(part))
        .collect();
    match found.as_slice() {
        [only] => Ok(*only),
        [] => fail(
            Code::UnknownRevision,
            format!("no revision is named `{part}`"),
            "list them with `kinedb history`",
        ),
        several => {
            let list: Vec<String> = several
                .iter()
                .take(5)
                .map(|index| format!("`{}`", names[*index]))
                .collect();
            fail(
                Code::AmbiguousRevision,
                format!(
                    "`{part}` fits {} revisions: {}",
                    several.len(),
                    list.join(", ")
                ),
                "write more of the name",
            )
        }
    }
}
