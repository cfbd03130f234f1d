//! One run: a producer in this process, its workers, and the end. It does not know the items.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::args::Format;
use super::config::{Config, Purpose};
use super::dead_letter_log::DeadLetterLog;
use super::earlier;
use super::exit_codes::{RunError, code, end, end_without_stdout};
use super::expected::Expected;
use super::gathering::Feed;
use super::input::{self, ItemSource, LineSource};
use super::no_more_items::NoMoreItems;
use super::printer::{self, Printer};
use super::progress::{self, StdoutUse};
use super::put_buffer::PutBuffer;
use super::service::{Service, ServiceRun};
use super::signal_orders::SignalOrders;
use super::stop::{Manner, Stop, StopCause};
use super::stream::{check_whole, check_younger, give_up_in_time, leave_in_time};
use super::unwritten::Unwritten;
use super::view::{EventLines, Out, View};
use super::work::{Origin, Producer, Work};
use super::workload::Workload;
use super::{orphans, otlp, pictures, scratch, screen, served, serving, signal_orders};
use crate::fail;
use crate::observe::text::{Style, Wording};
use crate::observe::{Mode, Observer};
use crate::sys::threads::spawn;
use crate::{Controlled, Counts, JoinableQueue, Supervisor};

/// Does all the work and returns the exit code.
pub(super) fn run<W: Work>(config: Config, mut work: W) -> Result<u8, RunError> {
    let config = &Arc::new(config);
    let service = Service::of_process();
    let orders = SignalOrders::hear(&service).map_err(RunError::of_thread)?;
    let feed = LineSource::open(&config.source, config.separator).map_err(RunError::of_thread)?;
    let queue = serving::open_queue(config, &work)?;
    let stop = Stop::new();
    let workload = workload(config, &queue)?;
    if let Some(place) = config.shared.as_ref().filter(|_| workload.found() > 0) {
        printer::say_found(&place.stream, workload.found(), work.words());
    }
    let mut origin = origin(config, &queue, &stop, &workload, &work)?;
    let views = views(config, &mut work, &queue, &origin, &workload)?;
    // What stays is not shown again, but kept.
    let earlier = match config.purpose {
        Purpose::Serve => Vec::new(),
        _ => std::mem::take(&mut origin.unshown),
    };
    let printer = Printer::start(
        config,
        (views, earlier),
        work.halt_rule(&origin),
        origin.letters.clone(),
        stop.clone(),
        without_stdout(config, &queue),
    )
    .map_err(RunError::of_thread)?;
    printer.progress(&workload.before);
    orders.hear_all().map_err(RunError::of_thread)?;
    let pool = start_workers(config, &work, &queue, &printer);
    if pool.is_err() {
        // The views must complete what they have begun.
        printer.finish(LAST_WORDS);
    }
    let running = Running {
        stop: stop.clone(),
        queue: queue.clone(),
        pool: Arc::new(pool?),
        printer: Arc::clone(&printer),
        workload: workload.clone(),
        is_shared: config.is_shared(),
        service,
    };
    running.listen(config, work.words())?;
    running.halt_when_told()?;
    let controlled = serving::controlled(&work, &queue, &running.pool, &stop, &workload);
    serving::start(&controlled, config)?;
    running.follow_orders(orders, config, controlled)?;
    running.tell_service(config, work.words())?;
    orphans::reap(&running.pool).map_err(RunError::of_thread)?;
    let mut producer = Producer {
        config,
        feed: Feed::of(feed, config.gathering.as_ref()),
        queue: &queue,
        printer: &printer,
        stop: &stop,
        expected: &workload.expected,
        lines: 0,
        buffer: PutBuffer::new(),
    };
    let produced = match config.purpose {
        Purpose::All => work.produce(&mut producer),
        Purpose::Work | Purpose::WorkUntilDone | Purpose::Serve => Ok(()),
    };
    let lines = producer.lines;
    let produced = produced.and_then(|()| end_input(&queue, &stop, &workload.expected, lines));
    let produced = produced.map_err(|why| NoMoreItems::tell(why, &queue));
    printer.check_halt_rule();
    running.finish(config, produced)
}

struct Running<T, R> {
    stop: Stop,
    queue: JoinableQueue<T>,
    pool: Arc<Supervisor<T, R>>,
    printer: Arc<Printer>,
    workload: Workload,
    is_shared: bool,
    service: Service,
}

impl<T, R> Clone for Running<T, R> {
    fn clone(&self) -> Self {
        Running {
            stop: self.stop.clone(),
            queue: self.queue.clone(),
            pool: Arc::clone(&self.pool),
            printer: Arc::clone(&self.printer),
            workload: self.workload.clone(),
            is_shared: self.is_shared,
            service: self.service.clone(),
        }
    }
}

impl<T: 'static, R: 'static> Running<T, R> {
    /// Waits for the end and returns the exit code.
    fn finish(&self, config: &Config, produced: Result<(), NoMoreItems>) -> Result<u8, RunError> {
        let joined = self.join_all(config);
        self.service.over();
        // The last ends are shown once they are durable, and with a journal they are after this.
        self.pool.stop();
        if self.is_shared {
            // Asks for the whole stream's counts. Without an answer, the known ones have to do.
            let _ = self.queue.counts();
            let _ = self.queue.sync_all();
        }
        self.stop.settle();
        // A failed journal does not contain the last ends, so they are not reported.
        let is_kept = self.queue.failure().is_none();
        let mut summed_up = Ok(());
        self.stop.sum_up(|| {
            if is_kept {
                summed_up = self.report_summary();
            }
        });
        summed_up?;
        let signal = self.stop.signal();
        let time = self.time_to_read(config);
        let is_written = self.printer.finish(time);
        let has_dead_letters = match config.is_shared() {
            false => has_dead_letters(&self.queue),
            true => self.workload.sum(&self.queue).map(|counts| counts.dead > 0),
        };
        // Whoever asks from here on would be answered without what the journal knows.
        served::end();
        let closed = match signal.is_some() && self.is_shared {
            true => {
                leave_in_time(&self.queue);
                Ok(())
            }
            false => self.queue.close_store(),
        };
        if let Err(error) = &closed {
            screen::complain(error);
        }
        if let Some(signal) = signal {
            match (&joined, self.queue.failure()) {
                (_, Some(why)) if self.is_shared => screen::complain(&why),
                (Err(error), _) if !is_kept => screen::complain(error),
                _ => self.workload.tell_left_undone(&self.queue),
            }
            let is_in_order = is_kept && !self.stop.is_at_once();
            let is_its_end = config.purpose == Purpose::Serve && is_in_order;
            return Ok(match is_its_end && joined.is_ok() && closed.is_ok() {
                true => code::DONE,
                false => code::of_signal(signal),
            });
        }
        let is_whole = is_written && closed.is_ok();
        if let Some((why, code)) = self.stop.halted() {
            screen::complain(&why);
            return Ok(if is_whole { code } else { code::USAGE });
        }
        joined?;
        if let Err(why) = produced {
            return why.code();
        }
        check_younger(&self.queue)?;
        check_whole(&self.queue)?;
        Ok(match has_dead_letters? {
            _ if !is_whole => code::USAGE,
            false => code::DONE,
            true => code::DEAD_LETTERS,
        })
    }

    /// Returns the time for which readers are waited for: a stopped run does not do so for ever.
    fn time_to_read(&self, config: &Config) -> Duration {
        self.stop.signal().map_or(Duration::MAX, |_| {
            self.stop.left_of(config.pool.shutdown).max(TIME_TO_READ)
        })
    }

    /// Does so, and lets nothing more come in: neither before it returns nor after it is anything
    /// accepted that nobody works on.
    fn join_all(&self, config: &Config) -> Result<(), RunError> {
        fail::thread_begins();
        let joined = self.join(config.purpose);
        served::refuse_changes();
        let may_have_more = joined.is_ok() && config.serves_puts() && self.stop.signal().is_none();
        match may_have_more {
            true => self.join(config.purpose),
            false => joined,
        }
    }

    /// Waits for the end of the work, or of the run.
    fn join(&self, purpose: Purpose) -> Result<(), RunError> {
        if !purpose.stays() {
            return self.queue.join().map(drop).map_err(RunError::from);
        }
        // Nothing is ever sent; the wait ends with the disconnection.
        let _ = self.stop.stopped().recv();
        self.pool.stop();
        self.queue.sync()?;
        match self.stop.loss() {
            Some(why) => Err(no_workers_left(&why)),
            None => Ok(()),
        }
    }

    fn report_summary(&self) -> Result<(), RunError> {
        let counts = self.workload.sum(&self.queue)?;
        Ok(self.queue.emit_summary(counts, self.pool.restarts())?)
    }

    /// Ends the process at once, after a second signal.
    fn end(&self, config: &Config, signal: i32) {
        // Ends from now on may reach the journal and not be shown.
        scratch::keep();
        self.stop.sum_up(|| {
            // The process ends even if the summary cannot be written.
            let _ = self.report_summary();
        });
        let draws = config.timeline.is_some() || config.trace.is_some();
        self.printer
            .finish(if draws { TIME_TO_READ } else { LAST_WORDS });
        self.workload.tell_left_undone(&self.queue);
        if config.is_shared() {
            leave_in_time(&self.queue);
        }
        if config.purpose == Purpose::Serve {
            // The next run is not to take for lost what this stop has ended.
            let _ = self.queue.close_store();
        }
        end(code::of_signal(signal));
    }

    fn listen(&self, config: &Arc<Config>, words: &'static Wording) -> Result<(), RunError> {
        let (orderly, sudden) = (self.clone(), self.clone());
        let (config_late, config) = (Arc::clone(config), Arc::clone(config));
        let in_order = move |cause: StopCause| {
            if orderly.is_shared {
                let stop = (&orderly.stop, cause);
                give_up_in_time(&orderly.queue, stop, config_late.pool.shutdown);
            }
            orderly.queue.close();
            orderly.queue.quit();
            // Who asks for a stop at once is answered before this.
            if cause != StopCause::Request || !orderly.stop.is_at_once() {
                printer::say_stopping(cause, words);
            }
            orderly.pool.stop();
            if config_late.mode == Mode::Sequential {
                // There is no worker to kill: the producer has the item in hand.
                std::thread::sleep(config_late.pool.shutdown);
                orderly.end(&config_late, cause.signal());
            }
        };
        let at_once = move |cause: StopCause| {
            sudden.pool.kill();
            sudden.end(&config, cause.signal());
        };
        self.stop
            .listen(
                &signal_orders::without_end(&self.service),
                in_order,
                at_once,
            )
            .map_err(RunError::of_thread)
    }

    /// Obeys the signals that do not end the run.
    fn follow_orders(
        &self,
        orders: SignalOrders,
        config: &Config,
        controlled: Arc<Controlled<T, R>>,
    ) -> Result<(), RunError>
    where
        T: Serialize + DeserializeOwned,
    {
        let name = serving::name(&config.control);
        let standing = Arc::new(move || controlled.status(&name));
        let obeying = orders.obey(&self.pool, standing, &self.service);
        obeying.map_err(RunError::of_thread)
    }

    /// Tells the service manager how the run stands, if there is one.
    fn tell_service(&self, config: &Config, words: &'static Wording) -> Result<(), RunError> {
        let Some(changed) = self.service.changed() else {
            return Ok(());
        };
        self.printer.tell_changes(changed);
        let subject = WatchedRun {
            pool: Arc::downgrade(&self.pool),
            queue: self.queue.clone(),
            printer: Arc::clone(&self.printer),
            stop: self.stop.clone(),
            is_shared: self.is_shared,
            words,
        };
        let telling = self
            .service
            .tell_of(subject, &self.stop, config.pool.shutdown);
        telling.map_err(RunError::of_thread)
    }

    /// Ends the run early on the order of a view or rule.
    fn halt_when_told(&self) -> Result<(), RunError> {
        let (halts, running) = (self.stop.halts(), self.clone());
        let halt = move || {
            let _ = running.stop.stopped().recv();
            if running.stop.loss().is_some() && running.is_shared {
                // The producer may be waiting for room on the stream.
                running.queue.close();
                running.queue.quit();
            }
            if let Ok(manner) = halts.recv() {
                running.queue.close();
                running.queue.quit();
                match manner {
                    Manner::AtOnce => running.pool.kill(),
                    Manner::Patiently => running.pool.drain(),
                }
            }
        };
        spawn("halt", halt).map_err(RunError::of_thread)
    }
}

/// The run, as its service manager sees it.
struct WatchedRun<T, R> {
    /// The manager must not keep the pool alive.
    pool: Weak<Supervisor<T, R>>,
    queue: JoinableQueue<T>,
    printer: Arc<Printer>,
    stop: Stop,
    is_shared: bool,
    words: &'static Wording,
}

impl<T: 'static, R: 'static> ServiceRun for WatchedRun<T, R> {
    fn is_ready(&self) -> bool {
        let is_ready = |pool: Arc<Supervisor<T, R>>| {
            pool.mode() == Mode::Sequential || !pool.workers().is_empty()
        };
        self.pool.upgrade().is_some_and(is_ready)
    }

    fn standing(&self) -> String {
        let state = match (self.stop.is_asked(), self.queue.is_paused()) {
            (true, _) => "stopping: ",
            (false, Ok(true)) => "paused: ",
            (false, _) => "",
        };
        let Counts {
            accepted,
            done,
            dead,
            waiting,
            delayed,
            ..
        } = self.printer.counts();
        let items = self.words.items;
        let of_all = match self.is_shared {
            // The work of others is not known here.
            true => format!("{items} done"),
            false => format!("of {accepted} {items} done"),
        };
        let workers = self.pool.upgrade().map_or(0, |pool| pool.status().wanted);
        let waiting = waiting + delayed;
        format!("{state}{done} {of_all}, {dead} dead, {waiting} waiting; {workers} workers")
    }

    fn is_alive(&self, time: Duration) -> bool {
        let pool = self.pool.upgrade();
        pool.is_none_or(|pool| pool.is_responsive(time))
    }
}

/// Collects the facts about the run's beginning.
fn origin<W: Work>(
    config: &Config,
    queue: &JoinableQueue<W::Item>,
    stop: &Stop,
    workload: &Workload,
    work: &W,
) -> Result<Origin, RunError> {
    let unshown = match work.keeps_attempts() {
        true => earlier::events(queue, |item| work.name_of(item))?,
        false => Vec::new(),
    };
    let unfinished = match work.keeps_attempts() {
        true => queue.waiting_ids()?,
        false => BTreeSet::new(),
    };
    let unshown = match config.purpose {
        Purpose::Serve => earlier::without_dropped(queue, unshown, &unfinished)?,
        Purpose::All | Purpose::Work | Purpose::WorkUntilDone => unshown,
    };
    let unwritten = Unwritten::default();
    let letters = config.dead_letters.as_ref().map(|(path, file)| {
        let file = file.try_clone()?;
        let started = DeadLetterLog::start(file, path.clone(), &unshown, unwritten.clone());
        started.map(Arc::new)
    });
    let letters = letters.transpose().map_err(RunError::of_thread)?;
    let shown = queue.clone();
    Ok(Origin {
        accepted: queue.counts_here()?.accepted,
        unfinished,
        unshown,
        journal: queue.journal_identity(),
        was_left: queue.was_left(),
        letters,
        shown: Arc::new(move |attempts| shown.shown(attempts)),
        unwritten,
        stop: stop.clone(),
        expected: workload.expected.clone(),
    })
}

/// Sets the number of items if all lines were read, which a stop prevents.
fn end_input<T>(
    queue: &JoinableQueue<T>,
    stop: &Stop,
    expected: &Expected,
    lines: u64,
) -> Result<(), RunError> {
    match stop.sleep(Duration::ZERO) {
        true => expected.set(lines),
        // The producer may be waiting for room on the stream.
        false => queue.quit(),
    }
    queue.sync()?;
    match stop.loss() {
        Some(why) => Err(no_workers_left(&why)),
        None => Ok(()),
    }
}

fn no_workers_left(why: &str) -> RunError {
    RunError::NoWorkersLeft(format!("no workers left ({why})"))
}

/// Makes the workload of the run, and the advice for a run that does not reach it.
fn workload<T>(config: &Config, queue: &JoinableQueue<T>) -> Result<Workload, RunError> {
    let again = match config.source {
        ItemSource::Stdin => "the same command with the same input",
        _ => "the same command",
    };
    let advice = match &config.journal {
        _ if let Some(place) = &config.shared => format!(
            "stopped before the end; what was put and is not done stays on stream {}, where \
             `supervisor work` goes on with it",
            place.stream
        ),
        Some((path, _)) => format!(
            "stopped before the end; {again} goes on from there (journal {})",
            path.display()
        ),
        None => format!(
            "stopped before the end, and nothing was kept; with --journal FILE {again} would go on \
             from there"
        ),
    };
    // A run that only works on others' items ends by a stop, so there is no advice.
    let is_told = config.format == Format::Text && config.purpose == Purpose::All;
    let workload = Workload::of(queue, config, is_told.then_some(advice))?;
    let is_knowable = config.total.is_none() && config.gathering.is_none() && !config.is_shared();
    if is_knowable && input::is_there(&config.source) == Ok(true) {
        count_aside(config, workload.expected.clone()).map_err(RunError::of_thread)?;
    }
    Ok(workload)
}

/// Counts unread lines in a thread of its own, while the first of them are done.
fn count_aside(config: &Config, expected: Expected) -> io::Result<()> {
    let (source, separator) = (config.source.clone(), config.separator);
    let count = move || {
        if let Some(count) = input::count(&source, separator) {
            expected.set(count);
        }
    };
    spawn("count", count)
}

/// Makes the views of the run.
fn views<W: Work>(
    config: &Config,
    work: &mut W,
    queue: &JoinableQueue<W::Item>,
    origin: &Origin,
    workload: &Workload,
) -> Result<Vec<Box<dyn View>>, RunError> {
    let words = work.words();
    let style = Style {
        words,
        names_workers: matches!(config.mode, Mode::Threads | Mode::Tasks),
    };
    let out = Out::new();
    let lines = EventLines::new(out.clone(), style, config);
    let mut views: Vec<Box<dyn View>> = vec![Box::new(lines)];
    views.extend(work.views(config, origin, &out)?);
    views.extend(pictures::views(config, &work.labels(config)).map_err(RunError::of_thread)?);
    let mut labels = work.labels(config);
    if let Some(place) = &config.shared {
        labels.items.clone_from(&place.stream);
    }
    views.extend(otlp::view(config.otlp.as_deref(), &labels, queue)?);
    let printed = match (config.is_quiet, config.format) {
        _ if words.steps.is_none() => StdoutUse::Output,
        (true, Format::Text) => StdoutUse::Nothing,
        (true, Format::Json) => StdoutUse::Output,
        (false, _) => StdoutUse::Lines,
    };
    let of_run = workload.run(queue, !config.is_quiet || work.is_slow())?;
    views.extend(progress::view(config.progress, printed, of_run));
    Ok(views)
}

/// Returns `true` if there are any. Those that were dropped from a journal do not count.
fn has_dead_letters<T>(queue: &JoinableQueue<T>) -> Result<bool, RunError> {
    Ok(queue.counts()?.dead > 0 && !queue.raw_dead_letters()?.is_empty())
}

/// The shortest time that a stopped run waits for its last lines to be read.
const TIME_TO_READ: Duration = Duration::from_secs(1);

/// The time that a second signal leaves for the summary to be read.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Returns the reaction to a failed stdout: gives items back to the stream, and ends the process.
fn without_stdout<T: 'static>(
    config: &Config,
    queue: &JoinableQueue<T>,
) -> impl Fn(&io::Error) + Send + 'static {
    let shared = config.is_shared().then(|| queue.clone());
    move |error| {
        if let Some(queue) = &shared {
            leave_in_time(queue);
        }
        end_without_stdout(error);
    }
}

fn start_workers<W: Work>(
    config: &Config,
    work: &W,
    queue: &JoinableQueue<W::Item>,
    printer: &Arc<Printer>,
) -> Result<Supervisor<W::Item, W::Outcome>, RunError> {
    if !work.lost().is_empty() {
        queue.set_observer(Arc::clone(printer) as _)?;
        // Nobody can have begun them again yet.
        for id in work.lost() {
            queue.lose_attempt(*id)?;
        }
    }
    let builder = Supervisor::builder()
        .processes(config.workers)
        .owns_process()
        .stderr_to(screen::pass_on)
        .observer(Arc::clone(printer) as _);
    Ok(work.start_workers(config.pool.apply(builder), queue)?)
}
