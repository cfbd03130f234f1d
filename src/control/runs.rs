//! The runs that there are: those whose sockets are in the user's folder. What dead ones have left
//! there is removed on the way. It does not ask them anything.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::Dir;

use super::folder::{ENDING, SocketFolder, name_of};
use super::socket::{EARLY, Lock, check_name, make_way};
use super::unusable::Unusable;

/// A run that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundRun {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// Its process, if its lock says so.
    pub(crate) pid: Option<u32>,
}

/// Checks that a run can have this name.
pub(crate) fn check(name: &str) -> Result<(), Unusable> {
    check_name(name)
}

/// Returns all runs in the user's folder, by their names.
pub(crate) fn all() -> Result<Vec<FoundRun>, Unusable> {
    let Some(folder) = SocketFolder::of_user_if_there()? else {
        return Ok(Vec::new());
    };
    let at = |errno| Unusable::at(folder.path.clone(), errno);
    let mut runs = Vec::new();
    for entry in Dir::read_from(&folder.open).map_err(at)? {
        let entry = entry.map_err(at)?;
        let file = OsStr::new(entry.file_name().to_str().unwrap_or_default());
        let Some(name) = name_of(file).filter(|name| check_name(name).is_ok()) else {
            remove_early(&folder, file);
            continue;
        };
        if let Some(pid) = living(&folder, name) {
            runs.push(FoundRun {
                name: name.to_owned(),
                path: folder.path.join(file),
                pid,
            });
        }
    }
    runs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(runs)
}

/// Returns the process of the run of this name, which may not be known; `None` if there is no run,
/// and what it has left is removed.
fn living(folder: &SocketFolder, name: &str) -> Option<Option<u32>> {
    let file = format!("{name}{ENDING}");
    match Lock::take(folder, &file) {
        Err(Unusable::InUse { pid, .. }) => Some(pid),
        // It cannot be known; whoever asks it is told more.
        Err(_) => Some(None),
        // With the lock held, nobody else has made one of this name meanwhile. It goes with the lock.
        Ok(_lock) => make_way(folder, &file).err().map(|_| None),
    }
}

/// Removes what a run has left that was killed before its socket had its name.
fn remove_early(folder: &SocketFolder, file: &OsStr) {
    let early = file.to_str().and_then(|file| file.strip_prefix('.'));
    let file = early.and_then(|early| early.strip_suffix(EARLY));
    let name = file.and_then(|file| name_of(OsStr::new(file)));
    if let Some(name) = name.filter(|name| check_name(name).is_ok()) {
        living(folder, name);
    }
}

/// Finds the run that is meant: by its name, its socket's path, or its process.
///
/// # Errors
/// None is, or several may be; the message lists them.
pub(crate) fn find(at: Option<&OsStr>) -> Result<PathBuf, String> {
    if let Some(path) = at.filter(|at| at.as_encoded_bytes().contains(&b'/')) {
        return Ok(Path::new(path).to_owned());
    }
    let runs = all().map_err(|why| why.to_string())?;
    let list = || {
        let one = |run: &FoundRun| match run.pid {
            Some(pid) => format!("{} (process {pid})", run.name),
            None => run.name.clone(),
        };
        runs.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let Some(at) = at else {
        return match &runs[..] {
            [one] => Ok(one.path.clone()),
            [] => Err(
                "no run is there that could be asked; one that is elsewhere is named by --at \
                 PATH, and a stream by --redis URL"
                    .into(),
            ),
            _ => Err(format!("which run? Name one of these by --at: {}", list())),
        };
    };
    let word = at.to_string_lossy();
    let is_meant = |run: &&FoundRun| {
        let pid = run.pid.map(|pid| pid.to_string());
        run.name == word || pid.is_some_and(|pid| pid == word)
    };
    // A name comes before a process of the same number.
    let named = runs.iter().find(|run| run.name == word);
    match named.or_else(|| runs.iter().find(is_meant)) {
        Some(run) => Ok(run.path.clone()),
        None if runs.is_empty() => Err(format!("--at {word}: there is no such run, nor any other")),
        None => Err(format!(
            "--at {word}: there is no such run; there are: {}",
            list()
        )),
    }
}
