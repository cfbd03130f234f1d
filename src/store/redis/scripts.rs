//! The scripts that Redis runs, each of them atomic, and their calls.

use redis::{Cmd, Connection, RedisResult, Script, Value, cmd};

use super::keys::Keys;
use super::trouble::is_passing;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Open,
    Refresh,
    Status,
    Lease,
    Put,
    Settle,
    Tick,
    Maintain,
    Adopt,
    Release,
    Revive,
    Drop,
    Leave,
    Page,
    Find,
    Cancel,
    Order,
}

const ALL: [Name; 17] = [
    Name::Open,
    Name::Refresh,
    Name::Status,
    Name::Lease,
    Name::Put,
    Name::Settle,
    Name::Tick,
    Name::Maintain,
    Name::Adopt,
    Name::Release,
    Name::Revive,
    Name::Drop,
    Name::Leave,
    Name::Page,
    Name::Find,
    Name::Cancel,
    Name::Order,
];

/// Lets a script write where memory is short: what it adds is less than what it deletes.
const ALLOWS_OOM: &str = "#!lua flags=allow-oom\n";

/// The same before Redis 7.0, which knows no such line: a script that has written already may go
/// on, and this write is always allowed, and does nothing.
const WRITES_NOTHING: &str = "redis.call('HDEL', KEYS[2], '')\n";

impl Name {
    fn source(self) -> &'static str {
        match self {
            Name::Open => include_str!("scripts/open.lua"),
            Name::Refresh => include_str!("scripts/refresh.lua"),
            Name::Status => include_str!("scripts/status.lua"),
            Name::Lease => include_str!("scripts/lease.lua"),
            Name::Put => include_str!("scripts/put.lua"),
            Name::Settle => include_str!("scripts/settle.lua"),
            Name::Tick => include_str!("scripts/tick.lua"),
            Name::Maintain => include_str!("scripts/maintain.lua"),
            Name::Adopt => include_str!("scripts/adopt.lua"),
            Name::Release => include_str!("scripts/release.lua"),
            Name::Revive => include_str!("scripts/revive.lua"),
            Name::Drop => include_str!("scripts/drop.lua"),
            Name::Leave => include_str!("scripts/leave.lua"),
            Name::Page => include_str!("scripts/page.lua"),
            Name::Find => include_str!("scripts/find.lua"),
            Name::Cancel => include_str!("scripts/cancel.lua"),
            Name::Order => include_str!("scripts/order.lua"),
        }
    }

    fn text(self, is_modern: bool) -> String {
        let prelude = match self {
            Name::Open => "",
            _ => include_str!("scripts/prelude.lua"),
        };
        let flags = match self {
            // They add items, and are refused where there is no room.
            Name::Put | Name::Revive => "",
            Name::Open
            | Name::Refresh
            | Name::Status
            | Name::Lease
            | Name::Settle
            | Name::Tick
            | Name::Maintain
            | Name::Adopt
            | Name::Release
            | Name::Drop
            | Name::Leave
            | Name::Page
            | Name::Find
            | Name::Cancel
            | Name::Order => match is_modern {
                true => ALLOWS_OOM,
                false => WRITES_NOTHING,
            },
        };
        let seek = match self {
            Name::Find | Name::Cancel => include_str!("scripts/seek.lua"),
            _ => "",
        };
        let added = include_str!("scripts/added.lua");
        format!("{flags}{added}{prelude}{seek}{}", self.source())
    }
}

/// The scripts in the form that a server understands.
#[derive(Debug)]
pub(super) struct Scripts([Script; ALL.len()]);

impl Scripts {
    fn new(is_modern: bool) -> Self {
        Scripts(ALL.map(|name| Script::new(&name.text(is_modern))))
    }

    /// Loads them into the server.
    pub(super) fn load(connection: &mut Connection) -> RedisResult<Self> {
        let scripts = Scripts::new(knows_flags(connection)?);
        for script in &scripts.0 {
            script.load(connection)?;
        }
        Ok(scripts)
    }

    /// Makes the call of a script; the caller adds its arguments.
    pub(super) fn call(&self, name: Name, keys: &Keys) -> Cmd {
        let mut call = cmd("EVALSHA");
        let keys = keys.all();
        call.arg(self.0[name as usize].get_hash()).arg(keys.len());
        for key in keys {
            call.arg(key);
        }
        call
    }
}

/// Returns `true` if a server runs scripts that begin with flags. This is tried, because some
/// servers call themselves Redis 7, accept such a script, and do not run it.
fn knows_flags(connection: &mut Connection) -> RedisResult<bool> {
    let flagged = Script::new("#!lua flags=no-writes\nreturn 1");
    let tried = flagged.load(connection).and_then(|hash| {
        let mut call = cmd("EVALSHA");
        call.arg(hash).arg(0).exec(connection)
    });
    match tried {
        Ok(()) => Ok(true),
        // This says nothing about the script.
        Err(error) if error.is_io_error() || is_passing(&error) => Err(error),
        Err(_) => Ok(false),
    }
}

/// Reads the answer to a command that was sent.
pub(super) fn receive(connection: &mut Connection) -> RedisResult<Value> {
    connection.recv_response()?.extract_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_found_by_their_names() {
        for (place, name) in ALL.into_iter().enumerate() {
            assert_eq!(place, name as usize);
        }
        assert!(Name::Settle.text(true).starts_with("#!lua"));
        assert!(Name::Open.text(true).starts_with("#!lua"));
        assert!(!Name::Put.text(true).starts_with("#!"));
    }
}
