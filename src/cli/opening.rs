//! Opens the queue of a run. It does not know what becomes of it.

use std::path::Path;

use super::config::Config;
use super::exit_codes::RunError;
use super::printer;
use super::work::Work;
use crate::JoinableQueue;
use crate::jobs::OWN;

/// Opens the queue: a new one, a journal's or a stream's.
pub(super) fn open<W: Work>(config: &Config, work: &W) -> Result<JoinableQueue<W::Item>, RunError> {
    if let Some(place) = &config.shared {
        return Ok(place.queue(work.layout(), config.options)?);
    }
    let Some((path, durability)) = &config.journal else {
        return Ok(JoinableQueue::with(config.options));
    };
    let queue = JoinableQueue::journaled(path, *durability, config.options)?;
    let counts = queue.counts()?;
    if counts.accepted > 0 {
        printer::say_resuming(path, &counts, work.words());
    }
    if let Some(command) = work.command() {
        let earlier = queue.exchange_command(command.as_bytes())?;
        let is_other = |earlier: &Vec<u8>| counts.accepted > 0 && earlier != command.as_bytes();
        if let Some(earlier) = earlier.filter(is_other) {
            check_kind_of_items(path, (&earlier, &command)).inspect_err(|_| {
                // The next run is to find what this one has found.
                let _ = queue.exchange_command(&earlier);
                let _ = queue.close_store();
            })?;
            printer::say_other_command(path, &String::from_utf8_lossy(&earlier));
        }
    }
    Ok(queue)
}

/// Checks that items which are commands of their own are not taken for those of a COMMAND, nor the
/// other way round.
fn check_kind_of_items(journal: &Path, (earlier, now): (&[u8], &str)) -> Result<(), RunError> {
    let (was_own, is_own) = (earlier == OWN.as_bytes(), now == OWN);
    let journal = journal.display();
    match (was_own, is_own) {
        (true, false) => Err(RunError::Usage(format!(
            "{journal}: its items are commands of their own, for `supervisor serve` without a \
             COMMAND: name another journal"
        ))),
        (false, true) => Err(RunError::Usage(format!(
            "{journal}: its items are those of a COMMAND ({}), and no commands of their own: name \
             another journal",
            String::from_utf8_lossy(earlier)
        ))),
        _ => Ok(()),
    }
}
