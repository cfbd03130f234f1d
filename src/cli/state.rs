//! The folder in which served queues are kept by default, and the names in it.

use std::env;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use crate::control::runs;

/// Returns the place of the journal of a queue of this name, in a folder that is there.
pub(super) fn journal_of(name: &str) -> Result<PathBuf, String> {
    Ok(folder(name)?.join(format!("{name}.journal")))
}

/// Returns the place of what a queue of this name says when nobody else is told.
pub(super) fn log_of(name: &str) -> Result<PathBuf, String> {
    Ok(folder(name)?.join(format!("{name}.log")))
}

/// Returns the folder for a queue of this name (XDG Base Directory Specification, 0.8).
fn folder(name: &str) -> Result<PathBuf, String> {
    runs::check(name).map_err(|why| format!("--name {why}"))?;
    let variable = |name| env::var_os(name).map(PathBuf::from);
    let given = variable("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let home = || variable("HOME").filter(|path| path.is_absolute());
    let base = given.or_else(|| Some(home()?.join(".local/state")));
    let folder = base.map(|base| base.join("dishrack")).ok_or(
        "where is the queue to be kept? Neither XDG_STATE_HOME nor HOME is set: name a file by \
         --journal FILE",
    )?;
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder);
    match made {
        Ok(()) => Ok(folder),
        Err(error) => Err(format!(
            "{}: {error}; name a file elsewhere by --journal FILE",
            folder.display()
        )),
    }
}
