//! `supervisor compare`: runs the chapter's ways to wash and dry, and draws them on one sheet.

use std::io::Write;
use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use parking_lot::Mutex;
use serde_bytes::ByteBuf;

use super::{WORDS, labels, start_workers};
use crate::cli::exit_codes::{RunError, code, end, end_without_stdout};
use crate::cli::output::{self, OutputFile};
use crate::cli::screen::StandardStream;
use crate::cli::stop::{Stop, StopCause};
use crate::cli::{args, pictures, printer};
use crate::kitchen::Dish;
use crate::observe::timeline::{Timeline, svg};
use crate::observe::{Event, EventKind, Mode, Observer};
use crate::{Counts, JoinableQueue, Options, Supervisor};

type Rack = JoinableQueue<Dish>;
type DishPool = Supervisor<Dish, ()>;

const WAYS: [Mode; 4] = [
    Mode::Sequential,
    Mode::Processes,
    Mode::Threads,
    Mode::Tasks,
];

/// The words for `supervisor compare` in the list of subcommands.
pub(in crate::cli) const ABOUT: &str =
    "Wash and dry in each of the four ways, and draw them below each other";

/// The options of `supervisor compare`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  supervisor compare
      the chapter's four dishes in each of the four ways, in compare.svg
  supervisor compare --dishes 8 -w 4 --wash 100ms --dry 1s --output fast.svg
      more of them, dried by four at once")]
pub(in crate::cli) struct Compare {
    /// Make dish-1 ... dish-N
    #[arg(long, value_name = "N", default_value_t = 4)]
    dishes: u64,
    /// Time to wash a dish
    #[arg(long, value_name = "DUR", default_value = "1s", value_parser = args::duration, allow_hyphen_values = true)]
    wash: Duration,
    /// Time to dry a dish
    #[arg(long, value_name = "DUR", default_value = "2s", value_parser = args::duration, allow_hyphen_values = true)]
    dry: Duration,
    /// Dryers, but for the sequential way
    #[arg(short, long, value_name = "N", default_value_t = 2)]
    workers: usize,
    /// Draw the ways below each other into this SVG file
    #[arg(long, value_name = "FILE", default_value = "compare.svg")]
    output: PathBuf,
}

/// An observer that draws.
#[derive(Debug)]
struct Sketch(Mutex<Timeline>);

impl Observer for Sketch {
    fn observe(&self, event: Event) {
        // Folding an event takes no longer than passing it to another thread.
        self.0.lock().see(&event);
    }
}

/// The result of one way.
struct WayResult {
    timeline: Timeline,
    counts: Counts,
    elapsed: Duration,
}

/// The way that is being tried, which a signal stops.
type Current = Arc<Mutex<Option<(Rack, Arc<DishPool>)>>>;

/// Tries the ways and returns the exit code.
pub(in crate::cli) fn run(command: &Compare) -> Result<u8, RunError> {
    if command.workers == 0 {
        return Err(RunError::Usage("--workers 0: at least 1 is needed".into()));
    }
    let output = OutputFile::open(
        "--output",
        Some(command.output.clone()),
        output::CHART,
        &mut Vec::new(),
    );
    // The output was named, so the picture is wanted.
    let Some(mut output) = output.map_err(RunError::Usage)? else {
        return Ok(code::USAGE);
    };
    let stop = Stop::new();
    let current = Current::default();
    let unused = output.handle().map_err(RunError::of_thread)?;
    listen(&stop, &current, unused)?;
    say(format_args!(
        "way         workers    elapsed   done  times as fast\n"
    ));
    let mut timelines = Vec::new();
    let mut sequential = None;
    let mut is_written = true;
    for way in WAYS {
        let WayResult {
            timeline,
            counts,
            elapsed,
        } = try_way(command, way, &stop, &current)?;
        let is_whole = counts.done == command.dishes && counts.done > 0;
        if way == Mode::Sequential && is_whole {
            sequential = Some(elapsed);
        }
        let times = sequential
            .filter(|_| is_whole && !elapsed.is_zero())
            .map_or("-".into(), |sequential| {
                format!("{:.2}", sequential.as_secs_f64() / elapsed.as_secs_f64())
            });
        let (name, workers, done) = (way.name(), command.workers_of(way), counts.done);
        let seconds = elapsed.as_secs_f64();
        say(format_args!(
            "{name:<10}  {workers:>7}  {seconds:>7.3} s  {done:>5}  {times:>13}\n"
        ));
        timelines.push(timeline);
        // Written after each way, so that the pictures so far are kept if the next one fails.
        is_written = pictures::write_picture(&mut output, &command.sheet(&timelines));
        if let Some(signal) = stop.signal() {
            return Ok(code::of_signal(signal));
        }
        if let Some(why) = stop.loss() {
            return Err(RunError::NoWorkersLeft(format!("no workers left ({why})")));
        }
    }
    Ok(if is_written { code::DONE } else { code::USAGE })
}

impl Compare {
    fn workers_of(&self, way: Mode) -> usize {
        match way {
            Mode::Sequential => 1,
            Mode::Processes | Mode::Threads | Mode::Tasks => self.workers,
        }
    }

    fn sheet(&self, timelines: &[Timeline]) -> String {
        let dishes = pictures::count(self.dishes, "dish", "dishes");
        let times = labels::times(self.wash, self.dry);
        svg::sheet(
            &format!("{dishes}, {times}, in {} ways", WAYS.len()),
            timelines,
        )
    }

    fn title(&self, way: Mode) -> String {
        let workers = self.workers_of(way);
        match way {
            Mode::Sequential => "sequential: one person".into(),
            Mode::Processes | Mode::Threads | Mode::Tasks => {
                format!("{}: one washes, {workers} dry", way.name())
            }
        }
    }
}

fn try_way(
    command: &Compare,
    way: Mode,
    stop: &Stop,
    current: &Current,
) -> Result<WayResult, RunError> {
    let labels = labels::titled(way, command.title(way));
    let sketch = Arc::new(Sketch(Mutex::new(Timeline::new(labels))));
    let rack = Rack::with(Options::default());
    let builder = Supervisor::builder().observer(Arc::clone(&sketch) as _);
    let pool = Arc::new(start_workers(way, command.workers, builder, &rack)?);
    let lock = || current.lock();
    *lock() = Some((rack.clone(), Arc::clone(&pool)));
    wash(command, &rack, stop)?;
    if let Err(error) = rack.join()
        && stop.signal().is_none()
    {
        stop.give_up(error.to_string());
    }
    // Taken before the workers end, because their end is no part of the work.
    let counts = rack.counts()?;
    rack.emit_summary(counts, pool.restarts())?;
    pool.stop();
    *lock() = None;
    let mut timeline = sketch.0.lock();
    timeline.end();
    let elapsed = timeline.length();
    // The pool keeps the sketch as its observer while it exists.
    let timeline = std::mem::replace(
        &mut *timeline,
        Timeline::new(labels::titled(way, String::new())),
    );
    Ok(WayResult {
        timeline,
        counts,
        elapsed,
    })
}

/// Washes the dishes one by one and puts them on the rack, until the end or a stop.
fn wash(command: &Compare, rack: &Rack, stop: &Stop) -> Result<(), RunError> {
    let pid = process::id();
    for n in 1..=command.dishes {
        let dish = Dish {
            name: format!("dish-{n}"),
            dry: command.dry,
            padding: ByteBuf::new(),
        };
        if !stop.sleep(Duration::ZERO) {
            break;
        }
        let item = dish.name.clone();
        rack.emit(EventKind::Producing { item, pid })?;
        let is_washed = stop.sleep(command.wash);
        let item = dish.name.clone();
        if !is_washed {
            rack.emit(EventKind::NotProduced { item, pid })?;
            break;
        }
        rack.emit(EventKind::Produced { item, pid })?;
        match rack.put(&dish) {
            Ok(_) => {}
            Err(error) if error.is_closed() => break,
            Err(error) if error.is_no_workers_left() => {
                stop.give_up(error.to_string());
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Stops the current way on a signal. The second one removes `output` if it is still empty.
fn listen(stop: &Stop, current: &Current, output: OutputFile) -> Result<(), RunError> {
    let taken = |current: &Current| {
        let current = current.lock();
        current.clone()
    };
    let (orderly, sudden) = (Arc::clone(current), Arc::clone(current));
    let in_order = move |cause| {
        printer::say_stopping(cause, &WORDS);
        if let Some((rack, pool)) = taken(&orderly) {
            rack.close();
            pool.stop();
        }
    };
    let at_once = move |cause: StopCause| {
        if let Some((_, pool)) = taken(&sudden) {
            pool.kill();
        }
        drop(output);
        end(code::of_signal(cause.signal()));
    };
    stop.listen(&[], in_order, at_once)
        .map_err(RunError::of_thread)
}

/// Prints a part of the table and flushes it, because the next way takes time.
fn say(text: std::fmt::Arguments<'_>) {
    if let Err(error) = StandardStream::Out.write_all(text.to_string().as_bytes()) {
        end_without_stdout(&error);
    }
}
