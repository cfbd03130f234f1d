//! The thread that prints events by way of views, so that other threads only pass them on.
//!
//! A slow reader must not stop the workers, and unprinted events must not fill the memory. So a
//! producer, which makes events without any bound, waits when too many are unprinted.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select, unbounded};
use parking_lot::Mutex;

use super::bug;
use super::config::Config;
use super::dead_letter_log::DeadLetterLog;
use super::halt::HaltRule;
use super::screen::{say, say_in_time};
use super::stop::{Stop, StopCause};
use super::ticks::Ticks;
use super::view::View;
use crate::Counts;
use crate::observe::text::{Wording, printable};
use crate::observe::{Event, EventKind, Observer};
use crate::sys::threads::{spawn, watch};
use crate::sys::title;

/// The number of unprinted events at which a producer waits.
const BACKLOG: usize = 10_000;

/// The shortest time between two changes of the title.
const TITLE_PAUSE: Duration = Duration::from_millis(50);

/// The time for what was told before a bug was found.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Says that the run goes on with a journal that holds items.
pub(super) fn say_resuming(journal: &Path, counts: &Counts, words: &Wording) {
    let Counts {
        accepted,
        done,
        dead,
        ..
    } = counts;
    let (path, items) = (journal.display(), words.items);
    say(&format!(
        "supervisor: resuming {path}: {done} of {accepted} {items} done, {dead} dead"
    ));
}

/// Says that the journal was last used with another COMMAND.
pub(super) fn say_other_command(journal: &Path, earlier: &str) {
    let (path, earlier) = (journal.display(), printable(earlier));
    say(&format!(
        "supervisor: {path} is the journal of another COMMAND ({earlier}): what that has done is not \
         done again; to do all with this one, name another journal"
    ));
}

/// Says that the stream holds items that are not begun, or that others work on.
pub(super) fn say_found(stream: &str, unfinished: u64, words: &Wording) {
    let items = words.items;
    say(&format!(
        "supervisor: stream {stream} has {unfinished} unfinished {items} already, which are worked \
         on as well"
    ));
}

/// Those who may ask for a stop.
const ASKED: &str = "by `supervisor stop`, the page or the API";

/// Says that a run is stopped at once because somebody asked for that.
pub(super) fn say_stopping_at_once() {
    say_in_time(format!("supervisor: asked to stop at once, {ASKED}"));
}

/// Says why a run is stopped, and what a second signal or request does.
pub(super) fn say_stopping(cause: StopCause, words: &Wording) {
    let why = match cause {
        StopCause::Request => format!("asked to stop, {ASKED}"),
        StopCause::Signal(signal) => {
            let name = crate::Exit::Signaled(signal).signal_name();
            name.unwrap_or_default().to_owned()
        }
    };
    let done = words.done;
    say_in_time(format!(
        "supervisor: {why}: finishing what is {done}; once more to stop at once"
    ));
}

#[derive(Debug)]
pub(super) struct Printer {
    wants_items: bool,
    wants_puts: bool,
    /// True if the views have written all their output.
    is_written: Arc<AtomicBool>,
    /// `None` after the order to finish.
    events: Mutex<Option<Sender<Event>>>,
    /// Tells that an event was printed.
    room: Receiver<()>,
    counts: Arc<Mutex<Counts>>,
    title: Sender<()>,
    /// Told, too, when the run stands otherwise.
    watcher: OnceLock<Sender<()>>,
    /// Disconnected when all is printed.
    over: Receiver<()>,
    dead_letter_log: Option<Arc<DeadLetterLog>>,
    halt_rule: Option<HaltRule>,
    stop: Stop,
}

impl Printer {
    /// Starts the thread. It shows `earlier` first, and calls `on_failed` once if stdout fails.
    pub(super) fn start(
        config: &Config,
        (mut views, earlier): (Vec<Box<dyn View>>, Vec<Event>),
        halt_rule: Option<HaltRule>,
        dead_letter_log: Option<Arc<DeadLetterLog>>,
        stop: Stop,
        on_failed: impl Fn(&io::Error) + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let (events, inbox) = unbounded();
        let (printed, room) = bounded(1);
        let (printing, over) = bounded::<()>(0);
        let (title, changes) = bounded(1);
        let counts = Arc::new(Mutex::new(Counts::default()));
        start_title(config, Arc::clone(&counts), changes)?;
        let wants_items = views.iter().any(|view| view.wants_items());
        let wants_puts = views.iter().any(|view| view.wants_puts());
        let is_written = Arc::new(AtomicBool::new(false));
        let is_fine = Arc::clone(&is_written);
        let current = Arc::clone(&counts);
        std::thread::Builder::new()
            .name("print".into())
            .spawn(move || {
                watch(|| {
                    let earlier = views
                        .iter_mut()
                        .try_for_each(|view| view.see_earlier(&earlier));
                    match earlier.and_then(|()| print(&inbox, &mut views, &printed, &current)) {
                        Ok(is_written) => is_fine.store(is_written, Ordering::Release),
                        Err(error) => {
                            // The files are completed all the same.
                            views.iter_mut().for_each(|view| drop(view.end()));
                            on_failed(&error);
                        }
                    }
                });
                drop(printing);
            })?;
        let printer = Arc::new(Printer {
            wants_items,
            wants_puts,
            is_written,
            events: Mutex::new(Some(events)),
            room,
            counts,
            title,
            watcher: OnceLock::new(),
            over,
            dead_letter_log,
            halt_rule,
            stop,
        });
        let last = Arc::downgrade(&printer);
        bug::end_run_at(move || {
            if let Some(printer) = last.upgrade() {
                printer.stop.break_off();
                printer.print_rest(LAST_WORDS);
            }
        })?;
        Ok(printer)
    }

    /// Tells the watcher, from now on, whenever the run stands otherwise.
    pub(super) fn tell_changes(&self, watcher: Sender<()>) {
        // There is one in a run.
        let _ = self.watcher.set(watcher);
    }

    fn change(&self) {
        if let Some(watcher) = self.watcher.get() {
            // If it is full, a change is due already.
            let _ = watcher.try_send(());
        }
    }

    /// Returns the counts that the run has last told.
    pub(super) fn counts(&self) -> Counts {
        *self.counts.lock()
    }

    /// Checks the bound of `--halt`, which may be reached now that the number of items is known.
    pub(super) fn check_halt_rule(&self) {
        if let Some(halt_rule) = &self.halt_rule {
            halt_rule.check();
        }
    }

    fn unprinted(&self) -> usize {
        let events = self.events.lock();
        events.as_ref().map_or(0, Sender::len)
    }

    /// Waits until few enough events are unprinted, or the run is stopped.
    pub(super) fn wait_for_room(&self) {
        while self.unprinted() >= BACKLOG {
            select! {
                recv(self.room) -> _ => {}
                recv(self.stop.stopped()) -> _ => return,
            }
        }
    }

    /// Prints the rest and writes the dead letters. Once the run is stopped, the readers have this
    /// time left. Returns `true` if all files are written, and does [not return](bug::wait_if_found) if
    /// a bug was found.
    pub(super) fn finish(&self, time: Duration) -> bool {
        let is_written = self.print_rest(time);
        bug::wait_if_found();
        is_written
    }

    fn print_rest(&self, time: Duration) -> bool {
        self.events.lock().take();
        // From a stop on, a thread is done by now, or its reader does not read.
        self.stop.wait_for(&self.over, time);
        let is_written = self.is_written.load(Ordering::Acquire);
        match &self.dead_letter_log {
            None => is_written,
            Some(dead_letter_log) => {
                self.stop.wait_for(dead_letter_log.end(), time);
                is_written && dead_letter_log.are_written()
            }
        }
    }
}

impl Observer for Printer {
    fn wants_items(&self) -> bool {
        self.wants_items
    }

    fn wants_puts(&self) -> bool {
        self.wants_puts
    }

    fn is_enough(&self) -> bool {
        self.halt_rule.as_ref().is_some_and(HaltRule::is_blown)
    }

    fn observe(&self, event: Event) {
        match &event.kind {
            EventKind::NoWorkersLeft { why } => self.stop.give_up(why.clone()),
            EventKind::JournalFailed { .. } => self.stop.break_off(),
            EventKind::Dead { id, item, history } => {
                if let Some(dead_letter_log) = &self.dead_letter_log {
                    dead_letter_log.tell(*id, item, history);
                }
                if let Some(halt_rule) = &self.halt_rule {
                    halt_rule.count();
                }
            }
            EventKind::Inconsistent { why } => {
                self.stop.break_off();
                bug::found(why.clone());
            }
            // The number of items may be known by now.
            EventKind::ItemDone { .. } => self.check_halt_rule(),
            EventKind::WorkerStarted { .. }
            | EventKind::WorkerGivenUp { .. }
            | EventKind::Scaled { .. }
            | EventKind::Paused
            | EventKind::Resumed => self.change(),
            _ => {}
        }
        let events = self.events.lock();
        if let Some(events) = &*events {
            // If the thread is over by a bug, the run is being ended.
            let _ = events.send(event);
        }
    }

    fn progress(&self, counts: &Counts) {
        *self.counts.lock() = *counts;
        // If it is full, a change is due already.
        let _ = self.title.try_send(());
        self.change();
    }
}

fn print(
    inbox: &Receiver<Event>,
    views: &mut [Box<dyn View>],
    printed: &Sender<()>,
    counts: &Mutex<Counts>,
) -> io::Result<bool> {
    let mut ticks = Ticks::of(views);
    loop {
        let event = match inbox.try_recv() {
            Ok(event) => event,
            Err(_) => {
                ticks.tick_those_due(views, counts)?;
                views.iter_mut().try_for_each(|view| view.flush())?;
                match ticks.next().map(|at| inbox.recv_deadline(at)) {
                    None => match inbox.recv() {
                        Ok(event) => event,
                        Err(_) => break,
                    },
                    Some(Ok(event)) => event,
                    Some(Err(RecvTimeoutError::Timeout)) => continue,
                    Some(Err(RecvTimeoutError::Disconnected)) => break,
                }
            }
        };
        views.iter_mut().try_for_each(|view| view.see(&event))?;
        ticks.count(views, counts)?;
        // If it is full, the producer was told already.
        let _ = printed.try_send(());
    }
    ticks.tick_all(views, counts)?;
    let mut is_written = true;
    for view in views {
        is_written &= view.end()?;
    }
    Ok(is_written)
}

/// Keeps the supervisor's own title current. The thread sleeps while nothing changes.
fn start_title(
    config: &Config,
    counts: Arc<Mutex<Counts>>,
    changes: Receiver<()>,
) -> io::Result<()> {
    let (workers, mode) = (config.workers, config.mode.name());
    let is_shared = config.is_shared();
    let total = config.items_given();
    let show = move || {
        let counts = *counts.lock();
        let (done, dead, waiting) = (counts.done, counts.dead, counts.waiting + counts.delayed);
        if is_shared {
            // The work of others is not known here.
            title::set_activity(&format_args!(
                "{done} done, {dead} dead, {waiting} waiting here; {workers} {mode}"
            ));
            return;
        }
        let total = total.unwrap_or(counts.accepted);
        title::set_activity(&format_args!(
            "{done} of {total} done, {dead} dead, {waiting} waiting; {workers} {mode}"
        ));
    };
    show();
    spawn("title", move || {
        for () in &changes {
            show();
            std::thread::sleep(TITLE_PAUSE);
        }
    })
}
