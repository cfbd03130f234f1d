//! `supervisor put`: puts items on the queue of a run, or on a stream in Redis. It does not know their
//! purpose.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use hyper::Method;
use serde_bytes::ByteBuf;
use serde_json::json;

use super::add::Add;
use super::address::Address;
use super::args::{AtArgs, Choice, Format, PromiseArgs, TargetArgs};
use super::asking::{connect, number, print, values};
use super::exit_codes::{RunError, code, end};
use super::input::{self, ItemSource, LineSource};
use super::kitchen::PutDishesArgs;
use super::layout::JobText;
use super::notices::Notices;
use super::put_buffer::{PutBuffer, is_accepted};
use super::stop::{Stop, StopCause};
use super::{advice, jobs, otlp, screen, stream};
use crate::control::client::PUT_BYTES_MAX;
use crate::jobs::Job;
use crate::observe::spans::Labels;
use crate::observe::text::counted;
use crate::{Capacity, JoinableQueue, Options};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  supervisor put ::: c.png d.png
      the words after ::: are items of the only run
  supervisor put --at nightly --input more.txt
      so are the lines of a file, of the run of this name
  supervisor put --redis redis://db1 --input jobs.txt
      each line of a file is an item
  find . -name '*.png' -print0 | supervisor put --redis redis://db1 -0
      so is what comes on stdin, here between zero bytes
  supervisor put --redis redis://db1 --stream mails ::: anna@example.org bert@example.org
      so are the words after :::, on a stream of another name")]
pub(super) struct Put {
    #[command(flatten)]
    target: TargetArgs,

    #[command(flatten)]
    promise: PromiseArgs,

    /// Take the items from this file, one a line; - is stdin, which is also the default
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// Items are separated by zero bytes rather than newlines
    #[arg(short = '0', long)]
    null: bool,

    #[command(flatten)]
    made: PutDishesArgs,

    /// Untaken items on the stream at which a put waits; 0 for no bound [default: 0]
    #[arg(long, value_name = "N")]
    capacity: Option<usize>,

    /// Send a span for each put on a stream to this OpenTelemetry collector by OTLP over HTTP, such as
    /// http://127.0.0.1:4318 (in builds with the feature `otlp`)
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,

    /// The form of the output: a line on stderr, or one JSON object
    #[arg(long, value_enum, default_value = "text")]
    format: Format,

    /// The items, after :::
    #[arg(
        value_name = "::: ITEM",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    items: Vec<OsString>,
}

/// The time in which Redis must answer after a signal has stopped the put.
const TIME_TO_TELL: Duration = Duration::from_secs(2);

type JobQueue = JoinableQueue<Job>;

/// Puts the items and returns the exit code.
pub(super) fn run(command: &Put) -> Result<u8, RunError> {
    let source = source(command).map_err(RunError::Usage)?;
    input::is_there(&source).map_err(RunError::Usage)?;
    let separator = if command.null { 0 } else { b'\n' };
    let otlp = command.otlp.as_deref().map(otlp::endpoint).transpose();
    let otlp = otlp.map_err(RunError::Usage)?;
    let place = match command.target.target("put").map_err(RunError::Usage)? {
        Choice::Run(_) if otlp.is_some() => {
            return Err(RunError::usage(
                "put --otlp: it is the run that sends the spans of what is put on its queue; give --otlp to \
                 the run",
            ));
        }
        Choice::Run(at) => return put_to_run(command, &at, (&source, separator)),
        Choice::Stream(place) => place,
    };
    let options = Options::default().capacity(match command.capacity {
        None | Some(0) => Capacity::Unbounded,
        Some(bound) => Capacity::Bounded(bound),
    });
    let feed = LineSource::open(&source, separator).map_err(RunError::of_thread)?;
    let place = command.promise.of(place);
    let queue: JobQueue = place.queue(Box::new(JobText), options)?;
    let stop = Stop::new();
    let spans = otlp::view(otlp.as_deref(), &labels(&place), &queue)?;
    let notices = Notices::with_puts(&queue, spans)?;
    listen(&queue, &stop, &place.stream)?;
    jobs::say_if_terminal(&source);
    let put = put_all(feed, &queue, &stop);
    if stop.signal().is_some() {
        // The put may be waiting for room.
        queue.quit();
    }
    let put = queue.sync().map_err(RunError::from).and(put);
    stop.settle();
    match stop.signal() {
        Some(_) => stream::leave_in_time(&queue),
        // A stream has no file that could be damaged.
        None => drop(queue.close_store()),
    }
    let printed = match command.format {
        Format::Text => {
            say_put(&queue, &place.stream);
            Ok(())
        }
        Format::Json => {
            let news = queue.stream_news();
            let (accepted, more) = (news.accepted, news.maybe_accepted);
            let answer = json!({"accepted": accepted, "maybe_accepted": more});
            print(Format::Json, &answer, |_| String::new())
        }
    };
    notices.end(&stop);
    printed?;
    if let Some(signal) = stop.signal() {
        if let Some(why) = queue.failure() {
            screen::complain(&why);
        }
        return Ok(code::of_signal(signal));
    }
    put?;
    stream::check_younger(&queue)?;
    Ok(code::DONE)
}

/// The bytes of lines from which they are put, and no more are waited for.
const REQUEST_BYTES: usize = PUT_BYTES_MAX / 2;

/// Puts the items on the queue of a run. Those of a request are put together, or none of them.
fn put_to_run(
    command: &Put,
    at: &AtArgs,
    (source, separator): (&ItemSource, u8),
) -> Result<u8, RunError> {
    check_for_run(command).map_err(RunError::Usage)?;
    let mut client = connect(at)?;
    let mut feed = LineSource::open(source, separator).map_err(RunError::of_thread)?;
    let stop = Stop::new();
    jobs::say_if_terminal(source);
    let (mut lines, mut accepted) = (Vec::new(), 0);
    let (mut items, mut duplicates) = (Vec::new(), Vec::new());
    let put = loop {
        let next = match lines.is_empty() || feed.is_ready() {
            true => feed.next(&stop).transpose().map_err(RunError::Usage),
            // Items that were read do not wait for a line that may never come.
            false => Ok(None),
        };
        let is_over = matches!(next, Ok(None)) && lines.is_empty();
        if let Ok(Some(line)) = &next {
            add_line(&mut lines, &line.bytes);
            if lines.len() < REQUEST_BYTES {
                continue;
            }
        }
        if !lines.is_empty() {
            match client.ask(Method::POST, "/v1/items", None, std::mem::take(&mut lines)) {
                Ok(answer) => {
                    let before = accepted + duplicates.len() as u64;
                    accepted += number(&answer["accepted"]);
                    items.extend_from_slice(values(&answer["items"]));
                    for one in values(&answer["duplicates"]) {
                        let place = before + number(&one["place"]);
                        duplicates.push(json!({"place": place, "of": one["of"]}));
                    }
                }
                Err(why) => break Err(why.into()),
            }
        }
        match next {
            Err(why) => break Err(why),
            Ok(_) if is_over => break Ok(()),
            Ok(_) => {}
        }
    };
    match command.format {
        Format::Text => {
            let words = format!("{} put", counted(accepted, "item", "items"));
            match duplicates.len() as u64 {
                0 => screen::complain(&words),
                duplicates => {
                    let duplicates = counted(duplicates, "duplicate", "duplicates");
                    screen::complain(&format_args!("{words}, and {duplicates} not"));
                }
            }
        }
        Format::Json => {
            let answer = json!({"accepted": accepted, "items": items, "duplicates": duplicates});
            print(Format::Json, &answer, |_| String::new())?;
        }
    }
    put.map(|()| code::DONE)
}

/// Checks that no option is about a stream alone.
fn check_for_run(command: &Put) -> Result<(), String> {
    let option = match (command.capacity, command.promise.typed()) {
        (Some(_), _) => "--capacity",
        (None, Some(option)) => option,
        (None, None) => return Ok(()),
    };
    Err(format!(
        "{option}: it is about a stream, and the items are for a run, which has such things from its \
         own options: leave it out, or name the stream by --redis URL"
    ))
}

/// Adds an item as a line of JSON: its text, or, where it is none, its bytes in base64.
fn add_line(lines: &mut Vec<u8>, item: &[u8]) {
    let value = match std::str::from_utf8(item) {
        Ok(text) => json!(text),
        Err(_) => json!({"base64": BASE64_STANDARD.encode(item)}),
    };
    lines.extend_from_slice(value.to_string().as_bytes());
    lines.push(b'\n');
}

fn source(command: &Put) -> Result<ItemSource, String> {
    let given = match command.items.split_first() {
        None => None,
        Some((sign, items)) if sign.as_bytes() == jobs::GIVEN => Some(items),
        Some((word, _)) => {
            let add = Add::augment_args(clap::Command::new("add"));
            return Err(advice::of_put(&word.to_string_lossy(), &add));
        }
    };
    match given {
        Some(items) => {
            let items = items.iter().map(|item| item.as_bytes().to_vec());
            Ok(ItemSource::Given(items.collect()))
        }
        None => Ok(match (&command.input, command.made.source()) {
            (Some(path), _) => ItemSource::named(path),
            (None, Some(made)) => made,
            (None, None) => ItemSource::Stdin,
        }),
    }
}

/// Returns the words for spans, which have the stream's name.
fn labels(place: &Address) -> Labels {
    Labels {
        title: String::new(),
        producer: None,
        working: String::new(),
        items: place.stream.clone(),
    }
}

fn put_all(mut feed: LineSource, queue: &JobQueue, stop: &Stop) -> Result<(), RunError> {
    let mut buffer = PutBuffer::new();
    let read = put_lines(&mut feed, &mut buffer, queue, stop);
    // The lines before one that cannot be read are put too.
    let put = is_accepted(buffer.put(queue));
    read.and(put.map(drop))
}

fn put_lines(
    feed: &mut LineSource,
    buffer: &mut PutBuffer,
    queue: &JobQueue,
    stop: &Stop,
) -> Result<(), RunError> {
    while stop.signal().is_none() {
        // Items that were added do not wait for a line that may never come.
        if !feed.is_ready() && !is_accepted(buffer.put(queue))? {
            break;
        }
        let Some(line) = feed.next(stop).transpose().map_err(RunError::Usage)? else {
            break;
        };
        let text = ByteBuf::from(line.bytes);
        if !is_accepted(buffer.add(queue, &Job { text }, None))? {
            // By a signal.
            break;
        }
    }
    Ok(())
}

/// Ends the put in order on the first signal, and at once on the second. Both report the number
/// put.
fn listen(queue: &JobQueue, stop: &Stop, stream: &str) -> Result<(), RunError> {
    let (orderly, sudden, stream) = (queue.clone(), queue.clone(), stream.to_owned());
    let own = stop.clone();
    let in_order = move |_| {
        let over = Instant::now() + TIME_TO_TELL;
        orderly.close();
        orderly.quit();
        if !own.is_settled_by(over) {
            orderly.give_up("it is not waited for any longer, because of the signal");
        }
    };
    let at_once = move |cause: StopCause| {
        say_put(&sudden, &stream);
        end(code::of_signal(cause.signal()));
    };
    stop.listen(&[], in_order, at_once)
        .map_err(RunError::of_thread)
}

/// Reports how many items are on the stream for certain, and how many perhaps.
fn say_put(queue: &JobQueue, stream: &str) {
    let news = queue.stream_news();
    let (count, more) = (news.accepted, news.maybe_accepted);
    let words = format!("{} put on stream {stream}", counted(count, "item", "items"));
    match more {
        0 => screen::complain(&words),
        more => screen::complain(&format_args!(
            "{words} for certain; {more} more may be there, as {} was told and has not answered",
            queue.kind_of_server()
        )),
    }
}
