//! From what is listed and what is applied to what is to be done. Pure.

use std::collections::{HashMap, HashSet};

use crate::fault::{Code, Fault, fail};
use crate::migrate::history::State;
use crate::migrate::script::Direction;
use crate::migrate::target::{Target, find};

/// A revision as the plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Its name.
    pub name: &'a str,
    /// The checksum of its way up as it is now.
    pub checksum: &'a str,
}

/// What to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Which way.
    pub direction: Direction,
    /// Indices into the list of revisions, in the order in which they run.
    pub steps: Vec<usize>,
}

/// What the planner is allowed to overlook.
#[derive(Debug, Clone, Copy, Default)]
pub struct Leave {
    /// A pending revision may be older than the newest applied one.
    pub out_of_order: bool,
}

/// Everything in which history and list do not fit, worst first.
pub fn misfits(listed: &[Listed], state: &State) -> Vec<Fault> {
    let known: HashMap<&str, &str> = listed.iter().map(|one| (one.name, one.checksum)).collect();
    let mut found = Vec::new();
    let unknown: Vec<&str> = state
        .applied
        .iter()
        .map(|one| one.name.as_str())
        .filter(|name| !known.contains_key(name))
        .collect();
    if let [first, rest @ ..] = unknown.as_slice() {
        let more = if rest.is_empty() {
            String::new()
        } else {
            format!(" and {} more", rest.len())
        };
        found.push(
            Fault::new(
                Code::UnknownApplied,
                format!(
                    "the database has revision `{first}`{more}, which this program does not know"
                ),
            )
            .hint("use the version of the program that has it; `kinedb status` shows both lists"),
        );
    }
    for one in &state.applied {
        let (Some(then), Some(now)) = (&one.checksum, known.get(one.name.as_str())) else {
            continue;
        };
        if then != now {
            found.push(
                Fault::new(
                    Code::Edited,
                    format!(
                        "`{}` was edited after it was applied: `{}.up.sql` has checksum {}, history has {}",
                        one.name,
                        one.name,
                        short(now),
                        short(then)
                    ),
                )
                .hint("restore the file and write the change as a new migration, or accept a harmless edit with `kinedb repair --reason TEXT`"),
            );
        }
    }
    if let Some((name, newest)) = out_of_order(listed, state) {
        found.push(
            Fault::new(
                Code::OutOfOrder,
                format!("`{name}` is pending but older than `{newest}`, which is applied"),
            )
            .hint("give it a newer name, or run `kinedb upgrade --allow-out-of-order`"),
        );
    }
    found
}

/// The first twelve digits of a checksum, enough to tell two apart.
pub fn short(checksum: &str) -> &str {
    checksum.get(..12).unwrap_or(checksum)
}

fn out_of_order<'a>(listed: &[Listed<'a>], state: &State) -> Option<(&'a str, &'a str)> {
    let newest = listed.iter().rposition(|one| state.has(one.name))?;
    let gap = listed[..newest].iter().find(|one| !state.has(one.name))?;
    Some((gap.name, listed[newest].name))
}

/// Plans the way to the target, or says why history does not allow one.
pub fn plan(
    listed: &[Listed],
    state: &State,
    direction: Direction,
    target: &Target,
    leave: Leave,
) -> anyhow::Result<Plan> {
    for fault in misfits(listed, state) {
        let overlooked = fault.code() == Code::OutOfOrder
            && (leave.out_of_order || direction == Direction::Down);
        if !overlooked {
            return Err(fault.into());
        }
    }
    let names: Vec<&str> = listed.iter().map(|one| one.name).collect();
    let applied: HashSet<usize> = (0..names.len())
        .filter(|index| state.has(names[*index]))
        .collect();
    let steps = match direction {
        Direction::Up => up(&names, &applied, target)?,
        Direction::Down => down(&names, &applied, target)?,
    };
    let plan = Plan { direction, steps };
    finishes_what_was_begun(listed, state, &plan)?;
    Ok(plan)
}

/// A migration outside a transaction that was begun is finished before anything
/// else is done.
fn finishes_what_was_begun(listed: &[Listed], state: &State, plan: &Plan) -> anyhow::Result<()> {
    for begun in &state.unfinished {
        let continued = begun.direction == plan.direction.name()
            && plan
                .steps
                .iter()
                .any(|index| listed[*index].name == begun.name);
        if !continued {
            let (name, way) = (&begun.name, &begun.direction);
            let command = if way == "down" {
                "kinedb downgrade -1"
            } else {
                "kinedb upgrade"
            };
            return fail(
                Code::Unfinished,
                format!("`{name}` ({way}) was begun outside a transaction and is not finished"),
                format!("finish it first with `{command}`: it looks at the real state and resumes"),
            );
        }
    }
    Ok(())
}

fn up(names: &[&str], applied: &HashSet<usize>, target: &Target) -> anyhow::Result<Vec<usize>> {
    let pending: Vec<usize> = (0..names.len())
        .filter(|index| !applied.contains(index))
        .collect();
    match target {
        Target::Head => Ok(pending),
        Target::Up(steps) if *steps <= pending.len() => Ok(pending[..*steps].to_vec()),
        Target::Up(steps) => fail(
            Code::UnknownRevision,
            format!("`+{steps}` goes past head: {} pending", pending.len()),
            "use `kinedb upgrade head`",
        ),
        Target::Named(part) => {
            let last = find(names, part)?;
            Ok(pending.into_iter().filter(|index| *index <= last).collect())
        }
        Target::Base | Target::Down(_) => fail(
            Code::Usage,
            "an upgrade does not go down",
            "use `kinedb downgrade`",
        ),
    }
}

fn down(names: &[&str], applied: &HashSet<usize>, target: &Target) -> anyhow::Result<Vec<usize>> {
    let backwards: Vec<usize> = (0..names.len())
        .rev()
        .filter(|index| applied.contains(index))
        .collect();
    match target {
        Target::Base => Ok(backwards),
        Target::Down(steps) if *steps <= backwards.len() => Ok(backwards[..*steps].to_vec()),
        Target::Down(steps) => fail(
            Code::UnknownRevision,
            format!("`-{steps}` goes past base: {} applied", backwards.len()),
            "use `kinedb downgrade base`",
        ),
        Target::Named(part) => {
            let last = find(names, part)?;
            if !applied.contains(&last) {
                return fail(
                    Code::UnknownRevision,
                    format!(
                        "`{}` is not applied, so nothing can go down to it",
                        names[last]
                    ),
                    "list what is applied with `kinedb history`",
                );
            }
            Ok(backwards
                .into_iter()
                .filter(|index| *index > last)
                .collect())
        }
        Target::Head | Target::Up(_) => fail(
            Code::Usage,
            "a downgrade does not go up",
            "use `kinedb upgrade`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIST: &[Listed] = &[
        Listed {
            name: "m1_roles",
            checksum: "a",
        },
        Listed {
            name: "m2_tables",
            checksum: "b",
        },
        Listed {
            name: "m3_views",
            checksum: "c",
        },
    ];

    fn state(names: &[&str]) -> State {
        State::of_names(names)
    }

    fn steps(applied: &[&str], direction: Direction, target: &str) -> Result<Vec<usize>, Code> {
        let target = target.parse().unwrap();
        plan(LIST, &state(applied), direction, &target, Leave::default())
            .map(|plan| plan.steps)
            .map_err(|error| Fault::of(&error).unwrap().code())
    }

    #[test]
    fn targets_are_found() {
        assert_eq!(steps(&[], Direction::Up, "head"), Ok(vec![0, 1, 2]));
        assert_eq!(steps(&["m1_roles"], Direction::Up, "+1"), Ok(vec![1]));
        assert_eq!(steps(&["m1_roles"], Direction::Up, "views"), Ok(vec![1, 2]));
        assert_eq!(
            steps(&["m1_roles", "m2_tables"], Direction::Down, "-1"),
            Ok(vec![1])
        );
        assert_eq!(
            steps(&["m1_roles", "m2_tables"], Direction::Down, "roles"),
            Ok(vec![1])
        );
        assert_eq!(
            steps(&["m1_roles", "m2_tables"], Direction::Down, "base"),
            Ok(vec![1, 0])
        );
    }

    #[test]
    fn targets_that_do_not_exist_are_refused() {
        assert_eq!(
            steps(&[], Direction::Up, "nothing"),
            Err(Code::UnknownRevision)
        );
        assert_eq!(steps(&[], Direction::Up, "m"), Err(Code::AmbiguousRevision));
        assert_eq!(steps(&[], Direction::Up, "+4"), Err(Code::UnknownRevision));
        assert_eq!(
            steps(&["m1_roles"], Direction::Down, "-2"),
            Err(Code::UnknownRevision)
        );
        assert_eq!(
            steps(&["m1_roles"], Direction::Down, "tables"),
            Err(Code::UnknownRevision)
        );
        assert_eq!(steps(&[], Direction::Up, "-1"), Err(Code::Usage));
    }

    #[test]
    fn a_history_that_does_not_fit_is_refused() {
        assert_eq!(
            steps(&["m2_tables"], Direction::Up, "head"),
            Err(Code::OutOfOrder)
        );
        assert_eq!(
            steps(&["m9_newer"], Direction::Up, "head"),
            Err(Code::UnknownApplied)
        );
        let mut edited = state(&["m1_roles"]);
        edited.applied[0].checksum = Some("other".to_owned());
        let error = plan(
            LIST,
            &edited,
            Direction::Up,
            &Target::Head,
            Leave::default(),
        )
        .unwrap_err();
        assert_eq!(Fault::of(&error).unwrap().code(), Code::Edited);
    }

    proptest! {
        #[test]
        fn up_then_down_touches_the_same_revisions(count in 0usize..3) {
            let applied: Vec<&str> = LIST[..count].iter().map(|one| one.name).collect();
            let up = plan(LIST, &state(&applied), Direction::Up, &Target::Head, Leave::default()).unwrap();
            let all: Vec<&str> = LIST.iter().map(|one| one.name).collect();
            let back = Target::Down(up.steps.len());
            let down = plan(LIST, &state(&all), Direction::Down, &back, Leave::default()).unwrap();
            prop_assert_eq!(up.steps, down.steps.into_iter().rev().collect::<Vec<_>>());
        }
    }
}
