//! Partitions that are made as time goes by: two databases of different age
//! have different ones, and differ in nothing that matters if each is made like
//! the others.

use std::collections::{BTreeMap, BTreeSet};

use super::Fingerprint;

/// Takes out of both sides the partitions that only one of them has, where they
/// are made like a partition of the same table on the other side.
pub fn same_partitions(left: &mut Fingerprint, right: &mut Fingerprint) {
    let (of_left, of_right) = (shapes(left), shapes(right));
    drop_alike(left, &of_left, &of_right);
    drop_alike(right, &of_right, &of_left);
}

/// What a partition is made like: its table, and all its lines without its name.
type Shape = (String, BTreeSet<(String, String, String)>);

fn shapes(of: &Fingerprint) -> BTreeMap<String, Shape> {
    of.objects
        .iter()
        .filter_map(|(name, object)| {
            let parent = object.get("partition of")?.split(' ').next()?;
            let qualified = name.strip_prefix("table ")?;
            let bare = qualified.rsplit('.').next().unwrap_or(qualified);
            let bare = bare.trim_matches('"');
            let mut lines = BTreeSet::new();
            for (part, object) in std::iter::once((name.as_str(), object)).chain(of.parts(name)) {
                for (attribute, value) in &object.attributes {
                    if part == name && attribute == "partition of" {
                        continue;
                    }
                    let general = |text: &str| text.replace(bare, "<partition>");
                    lines.insert((general(part), attribute.clone(), general(value)));
                }
            }
            Some((name.clone(), (parent.to_owned(), lines)))
        })
        .collect()
}

fn drop_alike(
    side: &mut Fingerprint,
    own: &BTreeMap<String, Shape>,
    others: &BTreeMap<String, Shape>,
) {
    for (name, shape) in own {
        if others.contains_key(name) || !others.values().any(|other| other == shape) {
            continue;
        }
        side.objects
            .retain(|other, object| other != name && object.parent.as_deref() != Some(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(side: &mut Fingerprint, name: &str, security: &str) {
        let table = side
            .objects
            .entry(format!("table public.{name}"))
            .or_default();
        table
            .attributes
            .insert("partition of".to_owned(), format!("public.e for {name}"));
        table
            .attributes
            .insert("row security".to_owned(), security.to_owned());
        let column = side
            .objects
            .entry(format!("column public.{name}.a"))
            .or_default();
        column.parent = Some(format!("table public.{name}"));
        column
            .attributes
            .insert("type".to_owned(), "text".to_owned());
    }

    #[test]
    fn another_month_is_no_difference_and_an_open_one_is() {
        let (mut left, mut right) = (Fingerprint::default(), Fingerprint::default());
        partition(&mut left, "e_2026_01", "enabled");
        partition(&mut right, "e_2026_02", "enabled");
        partition(&mut right, "e_2026_03", "disabled");
        same_partitions(&mut left, &mut right);
        let lines: Vec<String> = left
            .differences(&right)
            .iter()
            .map(|one| one.object.clone())
            .collect();
        assert_eq!(lines, ["table public.e_2026_03"]);
    }
}
