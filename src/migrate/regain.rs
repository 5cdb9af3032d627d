//! After a lost connection: connect again, and see that the server still has what this
//! run was told is committed.

use std::time::Duration;

use crate::fault::{Code, fail};
use crate::migrate::history::State;
use crate::migrate::run::{Event, Runner};
use crate::migrate::script::Direction;
use crate::migrate::session::{Regained, Session};

impl Runner<'_> {
    /// Connects again, as [`Session::regain`] does.
    pub(super) async fn regain(
        &mut self,
        session: &mut Session,
        direction: Direction,
        cause: &anyhow::Error,
        working: bool,
        budget: Duration,
    ) -> anyhow::Result<Regained> {
        (self.tell)(Event::Lost);
        let wait = self.options.lock_wait;
        let regained = session
            .regain(self.target, cause, working, wait, budget, &self.cancel)
            .await?;
        if let Regained::Again(state) = &regained {
            self.kept(state, direction)?;
        }
        Ok(regained)
    }

    /// A server that commits before it writes, or a standby that took the place of one
    /// and was behind, comes back without the last commits. What follows them must not be
    /// applied to a database that does not have them.
    fn kept(&self, state: &State, direction: Direction) -> anyhow::Result<()> {
        let applied = direction == Direction::Up;
        let Some(lost) = self
            .committed
            .iter()
            .find(|name| state.has(name) != applied)
        else {
            return Ok(());
        };
        fail(
            Code::ConnectionLost,
            format!("the server came back without `{lost}`, which it had committed for this run"),
            "run the command again, it starts from what history tells; then see `show synchronous_commit`, and whether a standby that was behind has taken over",
        )
    }
}
