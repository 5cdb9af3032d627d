//! What the server's and the driver's errors mean to a user.

use sqlx::postgres::{PgDatabaseError, PgErrorPosition};

use crate::fault::{Code, Fault};

/// The server's error in an error chain, from sqlx directly or through sea-orm.
pub fn server_error(error: &anyhow::Error) -> Option<&PgDatabaseError> {
    error
        .chain()
        .find_map(|cause| match cause.downcast_ref::<sqlx::Error>() {
            Some(sqlx_error) => of_sqlx(sqlx_error),
            None => cause.downcast_ref::<PgDatabaseError>(),
        })
}

/// The server's error in an sqlx error.
pub fn of_sqlx(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error
        .as_database_error()
        .and_then(|cause| cause.try_downcast_ref::<PgDatabaseError>())
}

/// The SQLSTATE of an sqlx error, or nothing where the server sent none.
pub fn sqlstate(error: &sqlx::Error) -> Option<&str> {
    of_sqlx(error).map(PgDatabaseError::code)
}

/// The position of an error in the text that was sent, in characters from 1.
pub fn position(error: &PgDatabaseError) -> Option<usize> {
    match error.position()? {
        PgErrorPosition::Original(position) => Some(position),
        PgErrorPosition::Internal { .. } => None,
    }
}

/// Message, detail and hint as the server sent them, in one line. The "at line"
/// that sqlx adds is a line of PostgreSQL's own source and is left out.
pub fn sentence(error: &PgDatabaseError) -> String {
    let mut text = format!("{} (SQLSTATE {})", error.message(), error.code());
    if let Some(hint) = error.hint() {
        text = format!("{text}; the server suggests: {hint}");
    }
    text
}

/// What nobody explained on its way up, explained by the server's own words: it is
/// a limit, a right or the connection, and no bug of kinedb.
pub fn explained(error: anyhow::Error) -> anyhow::Error {
    if Fault::of(&error).is_some() {
        return error;
    }
    let lost = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<sqlx::Error>())
        .any(is_lost);
    let Some(server) = server_error(&error) else {
        if !lost {
            return error;
        }
        let fault = Fault::new(Code::ConnectionLost, "the connection was lost");
        return error.context(fault);
    };
    let (code, hint) = match server.code() {
        _ if lost => (Code::ConnectionLost, Code::ConnectionLost.solution()),
        "57014" | "55P03" | "40P01" => (
            Code::BudgetSpent,
            "run it again; `show statement_timeout` and `show lock_timeout` tell the limits of this login",
        ),
        "42501" => (Code::Privilege, Code::Privilege.solution()),
        "25006" => (Code::ReadOnly, Code::ReadOnly.solution()),
        state if state.starts_with("53") => (
            Code::Unreachable,
            "the server has run out of what the message names: free it there, then run it again",
        ),
        state
            if ["58", "XX", "F0"]
                .iter()
                .any(|class| state.starts_with(class)) =>
        {
            (Code::ServerFailed, Code::ServerFailed.solution())
        }
        // A bug; without the line of the server's own source that the driver would add.
        _ => (Code::Internal, Code::Internal.solution()),
    };
    let fault = Fault::new(code, sentence(server)).hint(hint);
    error.context(fault)
}

/// The connection itself broke, as opposed to a statement that failed.
pub fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        other => matches!(
            sqlstate(other),
            Some("57P01" | "57P02" | "57P03" | "57P05" | "08006" | "08003" | "25P03")
        ),
    }
}

/// The same for an error chain, through sea-orm too.
pub fn connection_lost(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<sqlx::Error>().is_some_and(is_lost)
            || cause.downcast_ref::<std::io::Error>().is_some()
            || cause
                .downcast_ref::<sea_orm::DbErr>()
                .is_some_and(sea_orm_lost)
    })
}

fn sea_orm_lost(error: &sea_orm::DbErr) -> bool {
    match error {
        sea_orm::DbErr::Exec(sea_orm::RuntimeErr::SqlxError(cause))
        | sea_orm::DbErr::Query(sea_orm::RuntimeErr::SqlxError(cause)) => is_lost(cause),
        _ => false,
    }
}
