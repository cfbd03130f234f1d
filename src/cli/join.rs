//! `supervisor join`: waits until everything on a stream in Redis has an end.

use std::io::Write;
use std::time::Duration;

use clap::Args;

use super::address::Address;
use super::args::StreamArgs;
use super::exit_codes::{self, RunError, code, written};
use super::layout::Anything;
use super::notices::Notices;
use super::screen::{StandardStream, say};
use super::stop::Stop;
use super::stream;
use crate::JoinableQueue;
use crate::store::stream::Opening;
use dishrack_core::ledger::{Capacity, Options};

/// The pause between two checks whether the stream has workers. Workers are heard of as often.
const LOOK: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  supervisor join --redis redis://db1
      waits until everything on the stream has an end; exit code 1 where some of it is dead letters
  supervisor put --redis redis://db1 --input jobs.txt && supervisor join --redis redis://db1
      puts, and waits for what others make of it")]
pub(super) struct Join {
    #[command(flatten)]
    stream: StreamArgs,
}

/// Waits. The exit code says whether all is done.
pub(super) fn run(command: &Join) -> Result<u8, RunError> {
    let place = command
        .stream
        .place("join")
        .map_err(RunError::Usage)?
        .opening(Opening::Existing);
    let stop = Stop::new();
    let end = |signal| exit_codes::end(code::of_signal(signal));
    stop.listen(end, end).map_err(RunError::of_thread)?;
    let queue = place.queue(Box::new(Anything), Options::default())?;
    Notices::of(&queue)?;
    join(&queue, &place.stream)?;
    // The final counts.
    let _ = queue.counts();
    let whole = stream::check_younger(&queue).and_then(|()| stream::check_whole(&queue));
    // A stream has no file that could be damaged.
    let _ = queue.close_store();
    whole?;
    tell(&place)
}

fn join(queue: &JoinableQueue<Vec<u8>>, stream: &str) -> Result<(), RunError> {
    let unfinished = queue.counts()?.unfinished();
    let mut says = true;
    loop {
        if says && queue.stream_news().others == 0 && queue.counts_known().unfinished() > 0 {
            says = false;
            say(&format!(
                "supervisor: nobody works on stream {stream} just now; {unfinished} unfinished \
                 items wait for a `supervisor work`"
            ));
        }
        match queue.join_timeout(LOOK) {
            Err(error) if error.is_timeout() => {}
            joined => return joined.map(drop).map_err(RunError::from),
        }
    }
}

/// Prints the stream's counts. The exit code says whether there are dead letters.
fn tell(place: &Address) -> Result<u8, RunError> {
    let stream = place.open(Box::new(Anything), Capacity::Unbounded)?;
    let status = stream.status().map_err(RunError::Usage)?;
    let line = format!(
        "{} done, {} dead; {} retries, {} dead letters\n",
        status.done, status.dead, status.retries, status.letters
    );
    // If stdout is closed, the exit code still says it.
    written(StandardStream::Out.write_all(line.as_bytes()))?;
    Ok(match status.letters {
        0 => code::DONE,
        _ => code::DEAD_LETTERS,
    })
}
