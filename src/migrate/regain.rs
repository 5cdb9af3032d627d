//! After a lost connection: connect again, see that the server still has what this run
//! was told is committed, and what another run did meanwhile.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Executor as _, Row as _};

use crate::fault::{Code, fail};
use crate::migrate::history::State;
use crate::migrate::run::{Event, Runner};
use crate::migrate::script::Direction;
use crate::migrate::session::{Hold, Regained, Session};
use crate::migrate::transaction::Planned;

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
            self.found = Some(state.clone());
        }
        Ok(regained)
    }

    /// Whether another run did it while this one had no connection.
    pub(super) fn is_done_by_others(&self, name: &str, direction: Direction) -> bool {
        let applied = direction == Direction::Up;
        let found = self.found.as_ref();
        found.is_some_and(|state| state.has(name) == applied)
            && !self.committed.iter().any(|mine| mine == name)
    }

    /// What of this another run has done: behind a pooler there is no lock between two
    /// transactions, and else none while a connection was lost.
    pub(super) async fn done_by_others(
        &self,
        session: &Session,
        direction: Direction,
        scripts: &[Planned<'_>],
    ) -> anyhow::Result<Vec<String>> {
        let mut names: Vec<String> = scripts.iter().map(|(one, _)| one.name.clone()).collect();
        match session.hold {
            Hold::Session => names.retain(|name| self.is_done_by_others(name, direction)),
            Hold::Transaction => {
                let applied = applied(&mut *session.conn.lock().await).await?;
                names.retain(|name| applied.contains(name) == (direction == Direction::Up));
            }
        }
        Ok(names)
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

/// What is applied, as the transaction sees it.
async fn applied(conn: &mut PgConnection) -> anyhow::Result<Vec<String>> {
    let rows = conn
        .fetch_all(sqlx::raw_sql(
            "select version::text from public.seaql_migrations",
        ))
        .await?;
    Ok(rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?)
}
