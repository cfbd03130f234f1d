//! `--results`: what each item gave, in a folder of its own.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::ended::Ended;
use crate::cli::letter::Clock;
use crate::cli::printer;
use crate::jobs::spool::{Spool, Stream};
use crate::jobs::template::Values;
use crate::jobs::{self, Setup};
use crate::ledger::Exit;

/// Makes the folder, if it is not there.
///
/// # Errors
/// Nothing can be written there; in words.
pub(super) fn prepare(folder: &Path) -> Result<PathBuf, String> {
    let try_it = || {
        fs::create_dir_all(folder)?;
        tempfile::tempfile_in(folder)
    };
    match try_it() {
        Ok(_) => Ok(folder.to_owned()),
        Err(error) => Err(format!(
            "--results {}: cannot be written: {error}",
            folder.display()
        )),
    }
}

/// Writes the folders.
pub(super) struct Results {
    folder: PathBuf,
    setup: Setup,
    is_fine: bool,
}

impl Results {
    pub(super) fn new(folder: &Path, setup: Setup) -> Self {
        Results {
            folder: folder.to_owned(),
            setup,
            is_fine: true,
        }
    }

    /// Keeps what the last attempt at an item gave. The first failure is told; the run goes on.
    pub(super) fn keep(&mut self, ended: &Ended, spool: &Spool) {
        let kept = self.write(ended, spool);
        if let Err(error) = kept
            && std::mem::replace(&mut self.is_fine, false)
        {
            let folder = self.folder.display();
            printer::complain(&format_args!(
                "--results {folder}: cannot be written: {error}"
            ));
        }
    }

    pub(super) fn are_written(&self) -> bool {
        self.is_fine
    }

    fn write(&self, ended: &Ended, spool: &Spool) -> io::Result<()> {
        let folder = self.folder.join(ended.id.0.to_string());
        fs::create_dir_all(&folder)?;
        for stream in Stream::BOTH {
            let to = folder.join(stream.name());
            let from = spool.path(ended.id, ended.attempt, stream);
            // An earlier run's.
            let _ = fs::remove_file(&to);
            // The file stays in the spool as well, until it is shown.
            match fs::hard_link(&from, &to) {
                Ok(()) => {}
                // It wrote nothing.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    File::create(&to)?;
                }
                // On another file system, or one without links.
                Err(_) => fs::copy(&from, &to).map(drop)?,
            }
        }
        let mut text = self.object(ended).to_string();
        text.push('\n');
        // Under another name until it is whole.
        let (new, path) = (folder.join("result.json.new"), folder.join("result.json"));
        fs::write(&new, text)?;
        fs::rename(&new, &path)
    }

    fn object(&self, ended: &Ended) -> Value {
        let command = self.setup.shown(Values {
            item: ended.item.as_bytes(),
            number: ended.id.0,
            slot: jobs::slot_of(&ended.worker).unwrap_or(0),
        });
        let (code, signal) = match ended.exit {
            Some(Exit::Exited(code)) => (Some(code), None),
            Some(exit @ Exit::Signaled(_)) => (None, exit.signal_name()),
            Some(Exit::Unknown) | None => (None, None),
        };
        let seconds = |time: Duration| time.as_secs_f64();
        json!({
            "number": ended.id.0,
            "item": &*ended.item,
            "command": command,
            "attempts": ended.attempt,
            "exit_code": code,
            "signal": signal,
            "cause": ended.cause,
            "worker": &*ended.worker,
            "started": Clock(ended.started).to_string(),
            "ended": Clock(ended.started + ended.took).to_string(),
            "seconds": seconds(ended.took),
        })
    }
}
