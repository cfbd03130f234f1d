//! `supervisor join`: waits until everything of a run, or on a stream in Redis, has an end.

use std::time::{Duration, Instant};

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::address::Address;
use super::args::{Choice, Format, TargetArgs};
use super::asking::{connect, number, print};
use super::exit_codes::{self, RunError, code};
use super::layout::Anything;
use super::notices::Notices;
use super::screen::say;
use super::stop::{Stop, StopCause};
use super::stream;
use crate::store::stream::Opening;
use crate::{Capacity, JoinableQueue, Options};

/// The pause between two checks whether the stream has workers. Workers are heard of as often.
const LOOK: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  supervisor join
      waits until everything that the only run has was done or given up on
  supervisor join --redis redis://db1
      waits until everything on the stream has an end; exit code 1 where some of it is dead letters
  supervisor put --redis redis://db1 --input jobs.txt && supervisor join --redis redis://db1
      puts, and waits for what others make of it")]
pub(super) struct Join {
    #[command(flatten)]
    target: TargetArgs,

    /// The form of the output: a line, or one JSON object
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Waits. The exit code says whether all is done.
pub(super) fn run(command: &Join) -> Result<u8, RunError> {
    match command.target.target("join").map_err(RunError::Usage)? {
        Choice::Run(at) => {
            let answer = connect(&at)?.ask(Method::GET, "/v1/join", None, "")?;
            tell_of_run(command.format, &answer)
        }
        Choice::Stream(place) => {
            join_stream(place.opening(Opening::Existing), command.format, None)
        }
    }
}

/// Prints the counts of a run that was waited for. The exit code says whether there are dead letters.
pub(super) fn tell_of_run(format: Format, answer: &Value) -> Result<u8, RunError> {
    let dead = number(&answer["dead"]);
    let mut answer = answer.clone();
    answer["dead_letters"] = dead.into();
    tell(format, &answer)
}

/// Waits until everything on a stream has an end, until then at most. The exit code says whether all is
/// done.
pub(super) fn join_stream(
    place: Address,
    format: Format,
    until: Option<Instant>,
) -> Result<u8, RunError> {
    let stop = Stop::new();
    let end = |cause: StopCause| exit_codes::end(code::of_signal(cause.signal()));
    stop.listen(&[], end, end).map_err(RunError::of_thread)?;
    let queue = place.queue(Box::new(Anything), Options::default())?;
    Notices::of(&queue)?;
    join(&queue, &place.stream, until)?;
    // The final counts.
    let _ = queue.counts();
    let whole = stream::check_younger(&queue).and_then(|()| stream::check_whole(&queue));
    // A stream has no file that could be damaged.
    let _ = queue.close_store();
    whole?;
    let stream = place.open(Box::new(Anything), Capacity::Unbounded)?;
    let status = stream.status().map_err(RunError::usage)?;
    let answer = json!({
        "done": status.done,
        "dead": status.dead,
        "retries": status.retries,
        "dead_letters": status.letters,
    });
    tell(format, &answer)
}

fn join(
    queue: &JoinableQueue<Vec<u8>>,
    stream: &str,
    until: Option<Instant>,
) -> Result<(), RunError> {
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
        let left = until.map_or(LOOK, |until| {
            until.saturating_duration_since(Instant::now())
        });
        match queue.join_timeout(left.min(LOOK)) {
            Err(error) if error.is_timeout() && left > LOOK => {}
            Err(error) if error.is_timeout() && until.is_none() => {}
            Err(error) if error.is_timeout() => return Err(RunError::Usage(error.to_string())),
            joined => return joined.map(drop).map_err(RunError::from),
        }
    }
}

/// Prints the counts. The exit code says whether there are dead letters.
fn tell(format: Format, answer: &Value) -> Result<u8, RunError> {
    // If stdout is closed, the exit code still says it.
    print(format, answer, |answer| {
        let count = |name: &str| number(&answer[name]);
        format!(
            "{} done, {} dead; {} retries, {} dead letters\n",
            count("done"),
            count("dead"),
            count("retries"),
            count("dead_letters")
        )
    })?;
    Ok(match number(&answer["dead_letters"]) {
        0 => code::DONE,
        _ => code::DEAD_LETTERS,
    })
}
