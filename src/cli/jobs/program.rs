//! Finds a command's program, once, before anything runs.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::cli::advice;

/// Returns the interpreter that a script names in its first line, if it is not there.
fn missing_interpreter(script: &Path) -> Option<PathBuf> {
    let mut line = Vec::new();
    let file = File::open(script).ok()?;
    // The kernel reads no more of it (execve(2)).
    BufReader::new(file.take(256))
        .read_until(b'\n', &mut line)
        .ok()?;
    let names = line.strip_prefix(b"#!")?.trim_ascii();
    let name = names.split(u8::is_ascii_whitespace).next()?;
    let interpreter = Path::new(OsStr::from_bytes(name));
    (interpreter.is_absolute() && !interpreter.exists()).then(|| interpreter.to_owned())
}

/// Finds a program as `execvp` does: by its path, or in the folders of `PATH`.
///
/// # Errors
/// It is not there, or cannot be executed; with the exit code of a shell in that case.
pub(super) fn find(
    name: &OsStr,
    environment: &[(OsString, OsString)],
    workdir: Option<&Path>,
) -> Result<OsString, String> {
    let not_found = || {
        let advice = advice::of_program(&name.to_string_lossy());
        format!(
            "{}: command not found (127 in a shell){advice}",
            name.display()
        )
    };
    if name.is_empty() {
        return Err("an empty name is no command".into());
    }
    let candidates: Vec<PathBuf> = if name.as_bytes().contains(&b'/') {
        // A path is looked up where the command will run.
        vec![workdir.unwrap_or(Path::new("")).join(name)]
    } else {
        let given = environment.iter().rev().find(|(name, _)| name == "PATH");
        let path = given.map(|(_, value)| value.clone());
        let path = path.or_else(|| std::env::var_os("PATH"));
        // The path that execvp searches when none is set.
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
        (Some(path), _) => match missing_interpreter(path) {
            None => Ok(path.as_os_str().to_owned()),
            Some(interpreter) => Err(format!(
                "{}: its interpreter {} is not there (126 in a shell)",
                path.display(),
                interpreter.display()
            )),
        },
        (None, Some(path)) => Err(format!(
            "{}: not executable (126 in a shell)",
            path.display()
        )),
        (None, None) => Err(not_found()),
    }
}
