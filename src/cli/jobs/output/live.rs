//! Output that is shown while its command runs: whole lines of it. It does not know how it is shown.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::jobs::spool::CommandRun;

/// An attempt whose output is shown while it runs.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) run: CommandRun,
    pub(super) item: Arc<str>,
    /// The shown bytes of each stream.
    pub(super) shown: [u64; 2],
    /// The bytes of each that were searched for the end of a line.
    pub(super) searched: [u64; 2],
}

/// The bytes of a stream that are searched at once.
const LOOK_BYTES: usize = 256 * 1024;

/// The number of such pieces in one search.
const LOOKS_MAX: usize = 64;

/// Returns the number of bytes of whole lines from here on. `searched` is the place up to which no
/// line has ended. A line longer than a searched piece is shown when it has ended.
pub(super) fn whole_lines(file: &File, from: u64, searched: &mut u64) -> io::Result<u64> {
    let end = file.metadata()?.len();
    *searched = from.max(*searched);
    let mut text = Vec::new();
    for _ in 0..LOOKS_MAX {
        let new = end.saturating_sub(*searched);
        let wanted = usize::try_from(new).unwrap_or(LOOK_BYTES).min(LOOK_BYTES);
        text.resize(wanted, 0);
        let count = file.read_at(&mut text, *searched)?;
        if count == 0 {
            return Ok(0);
        }
        let newline = text[..count].iter().rposition(|byte| *byte == b'\n');
        if let Some(newline) = newline {
            *searched += newline as u64 + 1;
            return Ok(*searched - from);
        }
        *searched += count as u64;
    }
    Ok(0)
}
