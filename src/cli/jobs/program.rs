//! Where a command's program is, found out once before anything runs.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Finds a program as `execvp` does: by its path, or in the folders of `PATH`.
///
/// # Errors
/// It is not there, or cannot be executed; with the code that a shell has for it.
pub(super) fn find(
    name: &OsStr,
    environment: &[(OsString, OsString)],
    workdir: Option<&Path>,
) -> Result<OsString, String> {
    let not_found = || format!("{}: command not found (127 in a shell)", name.display());
    if name.is_empty() {
        return Err(not_found());
    }
    let candidates: Vec<PathBuf> = if name.as_bytes().contains(&b'/') {
        // A path is looked up where the command will run.
        vec![workdir.unwrap_or(Path::new("")).join(name)]
    } else {
        let given = environment.iter().rev().find(|(name, _)| name == "PATH");
        let path = given.map(|(_, value)| value.clone());
        let path = path.or_else(|| std::env::var_os("PATH"));
        // What execvp searches where there is none.
        let path = path.unwrap_or_else(|| "/bin:/usr/bin".into());
        let folders = std::env::split_paths(&path);
        folders
            .map(|folder| workdir.unwrap_or(Path::new("")).join(folder).join(name))
            .collect()
    };
    let there: Vec<&PathBuf> = candidates.iter().filter(|path| path.exists()).collect();
    let is_executable =
        |path: &&&PathBuf| path.is_file() && access(**path, Access::EXEC_OK).is_ok();
    match (there.iter().find(is_executable), there.first()) {
        (Some(path), _) => Ok(path.as_os_str().to_owned()),
        (None, Some(path)) => Err(format!(
            "{}: not executable (126 in a shell)",
            path.display()
        )),
        (None, None) => Err(not_found()),
    }
}
