//! One run: the washer here, the dryers wherever they are, and the end of it all.

use std::io;
use std::iter;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::select;
use serde_bytes::ByteBuf;

use super::args::{Format, Method, Mode};
use super::config::{Config, Source};
use super::goal::{Expected, Goal};
use super::input::{Feed, Name};
use super::printer::{self, Printer};
use super::progress::{self, Printed};
use super::stop::Stop;
use super::view::{Lines, View};
use super::{Failure, code, input, screen};
use crate::kitchen::{self, Dish};
use crate::observe::text::Style;
use crate::observe::{Observer, What};
use crate::queue::JoinableQueue;
use crate::supervision::Supervisor;
use crate::supervision::spec::StartMethod;

type Rack = JoinableQueue<Dish>;
type Crew = Supervisor<Dish, ()>;

/// Washes and dries all dishes. The exit code.
pub(super) fn run(config: &Config) -> Result<u8, Failure> {
    let feed = input::feed(&config.source).map_err(internal)?;
    let rack = open(config)?;
    let stop = Stop::new();
    let goal = goal(config, &rack)?;
    let views = views(config, &goal, &rack)?;
    let printer =
        Printer::start(config, views, stop.clone(), end_without_stdout).map_err(internal)?;
    printer.progress(&goal.before);
    let crew = Arc::new(hire(config, &rack, &printer)?);
    listen(config, &stop, &rack, &crew, &printer, &goal)?;
    let washed = wash(config, feed, &rack, &printer, &stop, &goal.expected);
    let joined = rack.join();
    crew.stop();
    // What was done when the journal failed is not in it, so it is not told.
    let is_kept = !rack.is_journal_broken();
    if stop.sums_up() && is_kept {
        report_summary(&rack, &crew)?;
    }
    // A stopped run does not wait for ever for somebody to read.
    let signal = stop.signal();
    let is_written =
        printer.finish(signal.map_or(Duration::MAX, |_| config.shutdown.max(TIME_TO_READ)));
    let has_dead_letters = has_dead_letters(&rack);
    rack.close_journal();
    if let Some(signal) = signal {
        if let Err(error) = &joined
            && !is_kept
        {
            printer::complain(error);
        } else {
            goal.tell_left_undone(&rack);
        }
        return Ok(128 + u8::try_from(signal).unwrap_or(0));
    }
    joined?;
    washed?;
    match has_dead_letters? {
        _ if !is_written => Ok(code::USAGE),
        false => Ok(code::DONE),
        true => Ok(code::DEAD_LETTERS),
    }
}

/// What is to be done in all, and how to go on when it is not.
fn goal(config: &Config, rack: &Rack) -> Result<Goal, Failure> {
    let again = match config.source {
        Source::Stdin => "the same command with the same input",
        Source::MadeUp(_) | Source::File(_) => "the same command",
    };
    let advice = match &config.journal {
        Some((path, _)) => format!(
            "stopped before the end; {again} goes on from there (journal {})",
            path.display()
        ),
        None => format!(
            "stopped before the end, and nothing was kept; with --journal FILE {again} would go on \
             from there"
        ),
    };
    let advice = (config.format == Format::Text).then_some(advice);
    Goal::of(rack, config.total, advice)
}

/// Of dishes that are shorter the events would cost more than the dishes themselves, in quiet mode.
const SHORTEST_TO_WATCH: Duration = Duration::from_millis(1);

/// What shows the run.
fn views(config: &Config, goal: &Goal, rack: &Rack) -> Result<Vec<Box<dyn View>>, Failure> {
    let style = Style {
        names_workers: matches!(config.mode, Mode::Threads | Mode::Tasks),
    };
    let lines = Lines::new(config.format, style, config.is_quiet);
    let wants_items = !config.is_quiet || config.wash.max(config.dry) >= SHORTEST_TO_WATCH;
    let of_run = goal.run(rack, wants_items)?;
    let printed = match (config.is_quiet, config.format) {
        (true, Format::Text) => Printed::Nothing,
        (true, Format::Json) => Printed::Output,
        (false, _) => Printed::Lines,
    };
    let progress = progress::view(config.progress, printed, of_run);
    let lines: Box<dyn View> = Box::new(lines);
    Ok(iter::once(lines).chain(progress).collect())
}

/// Whether there are any; those that were dropped from a journal are seen to.
fn has_dead_letters(rack: &Rack) -> Result<bool, Failure> {
    Ok(rack.counts()?.dead > 0 && !rack.raw_dead_letters()?.is_empty())
}

/// The rack: a new one, or as its journal has it.
fn open(config: &Config) -> Result<Rack, Failure> {
    let Some((path, durability)) = &config.journal else {
        return Ok(Rack::with(config.options));
    };
    let rack = Rack::journaled(path, *durability, config.options)?;
    let counts = rack.counts()?;
    if counts.accepted > 0 {
        printer::say_resuming(path, &counts);
    }
    Ok(rack)
}

/// How long a stopped run waits at least for its last lines to be read.
const TIME_TO_READ: Duration = Duration::from_secs(1);

/// How long a second signal waits for the summary to be read.
const LAST_WORDS: Duration = Duration::from_millis(100);

fn internal(error: io::Error) -> Failure {
    Failure::Internal(format!("cannot start a thread: {error}"))
}

/// Whoever read our output has gone, which is no error; any other failure to write is one.
fn end_without_stdout(error: &io::Error) {
    if error.kind() == io::ErrorKind::BrokenPipe {
        end_at_once(code::CLOSED_STDOUT);
    }
    printer::complain(&format_args!("cannot write to stdout: {error}"));
    end_at_once(code::USAGE);
}

/// Workers die with us: the kernel tells them.
#[allow(clippy::exit, reason = "the command line ends the process")]
fn end_at_once(code: u8) {
    screen::close_in_time();
    process::exit(code.into());
}

fn hire(config: &Config, rack: &Rack, printer: &Arc<Printer>) -> Result<Crew, Failure> {
    let workers = config.workers;
    let mut builder = Supervisor::builder()
        .name("dryer")
        .shutdown(config.shutdown)
        .intensity(config.max_restarts, config.max_seconds)
        .start_method(match config.method {
            Method::Spawn => StartMethod::Spawn,
            Method::Fork => StartMethod::Fork,
        })
        .name_items(|dish: &Dish| dish.name.clone())
        .stderr_to(screen::pass_on)
        .observer(Arc::clone(printer) as _);
    if let Some(limit) = config.timeout {
        builder = builder.time_limit(limit);
    }
    if !config.polls {
        builder = builder.without_polling();
    }
    Ok(match config.mode {
        Mode::Processes => builder.processes(workers).handler(rack, kitchen::dry)?,
        Mode::Threads => builder.threads(workers).handler(rack, kitchen::dry)?,
        Mode::Tasks => builder
            .tasks(workers)
            .handler_async(rack, kitchen::dry_async)?,
        Mode::Sequential => builder.inline().handler(rack, kitchen::dry)?,
    })
}

fn emit(rack: &Rack, what: What) -> Result<(), Failure> {
    let broker = rack.broker().map_err(crate::Error)?;
    broker.read(|core| core.emitter.emit(what));
    Ok(())
}

fn listen(
    config: &Config,
    stop: &Stop,
    rack: &Rack,
    crew: &Arc<Crew>,
    printer: &Arc<Printer>,
    goal: &Goal,
) -> Result<(), Failure> {
    let end = {
        let (stop, rack, goal) = (stop.clone(), rack.clone(), goal.clone());
        let (crew, printer) = (Arc::clone(crew), Arc::clone(printer));
        move |signal| {
            if stop.sums_up() {
                // The end comes all the same where the summary cannot.
                let _ = report_summary(&rack, &crew);
            }
            printer.finish(LAST_WORDS);
            goal.tell_left_undone(&rack);
            end_at_once(128 + u8::try_from(signal).unwrap_or(0));
        }
    };
    let (rack, orderly, sudden) = (rack.clone(), Arc::clone(crew), Arc::clone(crew));
    let (end_late, grace) = (end.clone(), config.shutdown);
    let is_inline = config.mode == Mode::Sequential;
    let in_order = move |signal| {
        rack.close();
        printer::say_stopping(signal);
        orderly.stop();
        if is_inline {
            // There is no worker to kill: the washer has the dish in hand.
            std::thread::sleep(grace);
            end_late(signal);
        }
    };
    let at_once = move |signal| {
        sudden.kill();
        end(signal);
    };
    stop.listen(in_order, at_once).map_err(internal)
}

/// The next name; none when the run is stopped, even while nobody says one.
fn next_name(feed: &mut Feed, stop: &Stop) -> Option<Name> {
    if !stop.sleep(Duration::ZERO) {
        return None;
    }
    match feed {
        Feed::Here(names) => names.next(),
        Feed::Awaited(names) => select! {
            recv(names) -> name => name.ok(),
            recv(stop.stopped()) -> _ => None,
        },
    }
}

/// Washes one dish after the other and puts it on the rack.
fn wash(
    config: &Config,
    mut feed: Feed,
    rack: &Rack,
    printer: &Printer,
    stop: &Stop,
    expected: &Expected,
) -> Result<(), Failure> {
    let mut names = 0;
    while let Some(name) = next_name(&mut feed, stop) {
        let name = name.map_err(Failure::Usage)?;
        names += 1;
        if rack.was_put_before(name.as_bytes()) {
            expected.pass_over();
            continue;
        }
        if printer.wants_items() {
            printer.wait_for_room();
            let item = name.clone();
            emit(
                rack,
                What::Producing {
                    item,
                    pid: process::id(),
                },
            )?;
        }
        if !stop.sleep(config.wash) {
            break;
        }
        if printer.wants_items() {
            let (item, pid) = (name.clone(), process::id());
            emit(rack, What::Produced { item, pid })?;
        }
        let missing = config.payload.saturating_sub(name.len());
        let dish = Dish {
            name,
            dry: config.dry,
            padding: ByteBuf::from(vec![0; missing]),
        };
        match rack.put_with_key(&dish, Some(dish.name.as_bytes())) {
            Ok(_) => {}
            Err(error) if error.is_closed() => break,
            Err(error) => return Err(error.into()),
        }
    }
    if stop.sleep(Duration::ZERO) {
        // The end of a pipe tells how many there were.
        expected.set(names);
    }
    rack.sync()?;
    match stop.loss() {
        Some(why) => Err(Failure::NoWorkersLeft(format!("no workers left ({why})"))),
        None => Ok(()),
    }
}

fn report_summary(rack: &Rack, crew: &Crew) -> Result<(), Failure> {
    let broker = rack.broker().map_err(crate::Error)?;
    let restarts = crew.restarts();
    broker.read(|core| {
        let what = What::Summary {
            counts: core.desk.ledger.counts(),
            restarts,
            elapsed: core.emitter.now(),
        };
        core.emitter.emit(what);
    });
    Ok(())
}
