//! Names and literals that may enter SQL text. Nothing else does.

use std::fmt;

/// An SQL identifier. Displays quoted, always, so that no name can become syntax.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct Ident(String);

impl Ident {
    /// Takes the name as the catalogue stores it (unquoted, case kept).
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name as the catalogue stores it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // NUL cannot occur in a PostgreSQL name; the server would refuse the message.
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// A schema-qualified name. Displays as `"schema"."name"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct Qualified {
    /// The schema.
    pub schema: Ident,
    /// The object in it.
    pub name: Ident,
}

impl Qualified {
    /// Both parts as the catalogue stores them.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            schema: Ident::new(schema),
            name: Ident::new(name),
        }
    }

    /// For people: quotes only where SQL needs them, the schema `public` left out.
    pub fn human(&self) -> String {
        let name = plain(self.name.as_str());
        if self.schema.as_str() == "public" {
            name
        } else {
            format!("{}.{name}", plain(self.schema.as_str()))
        }
    }
}

impl fmt::Display for Qualified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// Quotes a name only where SQL needs it; for messages, not for statements.
pub fn plain(name: &str) -> String {
    let bare = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '$');
    if bare {
        name.to_owned()
    } else {
        Ident::new(name).to_string()
    }
}

/// A text literal. Displays quoted; backslashes use the `E''` form, so that it
/// means the same whatever `standard_conforming_strings` says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Literal(String);

impl Literal {
    /// Takes the value as it is.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = self.0.replace('\'', "''");
        if quoted.contains('\\') {
            write!(f, " E'{}'", quoted.replace('\\', "\\\\"))
        } else {
            write!(f, "'{quoted}'")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_names() {
        assert_eq!(
            Ident::new("a\"; drop table x; --").to_string(),
            "\"a\"\"; drop table x; --\""
        );
        assert_eq!(
            Qualified::new("My App", "Order").to_string(),
            "\"My App\".\"Order\""
        );
        assert_eq!(Qualified::new("public", "notes").human(), "notes");
        assert_eq!(
            Qualified::new("My App", "Order").human(),
            "\"My App\".\"Order\""
        );
    }

    #[test]
    fn literals_cannot_be_left() {
        assert_eq!(Literal::new("o'clock").to_string(), "'o''clock'");
        assert_eq!(Literal::new("\\' or 1=1").to_string(), " E'\\\\'' or 1=1'");
    }
}
