//! How a run is stopped from outside: the first signal ends it in order, the second at once.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use nix::sys::signal::{SigSet, Signal};
use parking_lot::Mutex;
use signal_hook::iterator::Signals;

use crate::sys::signals;
use crate::sys::threads::spawn;

/// What ends a process that does not listen. SIGQUIT does so still: whoever sends that wants no order,
/// but a picture of the memory.
const ENDING: [Signal; 12] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGXCPU,
    Signal::SIGIO,
    Signal::SIGPWR,
    Signal::SIGSTKFLT,
];

/// Whether the run is to stop, and why.
#[derive(Debug, Clone)]
pub(super) struct Stop {
    state: Arc<Mutex<State>>,
    is_summed_up: Arc<Mutex<bool>>,
    /// Disconnected when the run is to stop; nothing is ever sent.
    stopped: Receiver<()>,
    halting: Sender<Manner>,
    halts: Receiver<Manner>,
    /// Disconnected when nothing of the run waits for Redis any more; nothing is ever sent.
    settled: Receiver<()>,
}

/// How a run is halted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// What is worked on is ended.
    AtOnce,
    /// What is worked on may be finished.
    Patiently,
}

#[derive(Debug)]
struct State {
    /// Dropped when the run is to stop.
    running: Option<Sender<()>>,
    /// Dropped when nothing of it waits for Redis any more.
    waiting: Option<Sender<()>>,
    signal: Option<i32>,
    /// When the first one came.
    signaled: Option<Instant>,
    /// Why there are no workers left.
    loss: Option<String>,
    /// Why the run was halted, and the exit code.
    halt: Option<(String, u8)>,
}

impl Stop {
    pub(super) fn new() -> Self {
        let (running, stopped) = crossbeam_channel::bounded(0);
        let (halting, halts) = crossbeam_channel::bounded(1);
        let (waiting, settled) = crossbeam_channel::bounded(0);
        let state = State {
            running: Some(running),
            waiting: Some(waiting),
            signal: None,
            signaled: None,
            loss: None,
            halt: None,
        };
        Stop {
            state: Arc::new(Mutex::new(state)),
            is_summed_up: Arc::default(),
            stopped,
            halting,
            halts,
            settled,
        }
    }

    /// All that Redis was to be told or asked is over.
    pub(super) fn settle(&self) {
        self.state.lock().waiting = None;
    }

    /// Waits for that until this moment. Whether it is over.
    pub(super) fn is_settled_by(&self, deadline: Instant) -> bool {
        self.settled.recv_deadline(deadline) == Err(RecvTimeoutError::Disconnected)
    }

    /// Listens for signals in a thread of its own: `in_order` on the first, `at_once` on a second.
    /// A signal that was ignored when the program began stays ignored, as `nohup` wants it.
    pub(super) fn listen(
        &self,
        in_order: impl FnOnce(i32) + Send + 'static,
        at_once: impl FnOnce(i32) + Send + 'static,
    ) -> io::Result<()> {
        let ignored = signals::inherited();
        let heard = ENDING
            .into_iter()
            .map(|signal| signal as i32)
            .filter(|signal| !ignored.has(*signal));
        let mut signals = Signals::new(heard)?;
        let stop = self.clone();
        let listen = move || {
            // Whoever started us may have blocked them; they are caught in this thread then.
            let ours = SigSet::from_iter(ENDING);
            let _ = ours.thread_unblock();
            let mut signals = signals.forever();
            if let Some(signal) = signals.next() {
                stop.request(signal);
                // It may take as long as the grace, while the next signal is listened for.
                if spawn("stop", move || in_order(signal)).is_err() {
                    return at_once(signal);
                }
            }
            if let Some(signal) = signals.next() {
                stop.request(signal);
                at_once(signal);
            }
        };
        spawn("signals", listen)
    }

    fn request(&self, signal: i32) {
        let mut state = self.state.lock();
        state.signal = Some(signal);
        state.signaled.get_or_insert_with(Instant::now);
        state.running = None;
    }

    /// All workers are gone: there is no use in washing on.
    pub(super) fn give_up(&self, why: String) {
        let mut state = self.state.lock();
        state.loss = Some(why);
        state.running = None;
    }

    /// The journal failed: what is washed cannot be kept.
    pub(super) fn break_off(&self) {
        self.state.lock().running = None;
    }

    /// Enough has failed: nothing more is begun, and the run ends with this exit code.
    pub(super) fn halt(&self, manner: Manner, why: String, code: u8) {
        let mut state = self.state.lock();
        state.halt = Some((why, code));
        state.running = None;
        // Full when it was halted before.
        let _ = self.halting.try_send(manner);
    }

    /// Where it is told how the run is to be halted.
    pub(super) fn halts(&self) -> Receiver<Manner> {
        self.halts.clone()
    }

    /// Why the run was halted, if it was, and the exit code.
    pub(super) fn halted(&self) -> Option<(String, u8)> {
        self.state.lock().halt.clone()
    }

    /// Why there are no workers left, if there are none.
    pub(super) fn loss(&self) -> Option<String> {
        self.state.lock().loss.clone()
    }

    /// The last signal that stopped the run, if one did.
    pub(super) fn signal(&self) -> Option<i32> {
        self.state.lock().signal
    }

    /// What is left of the time that a signal has given to the run.
    pub(super) fn left_of(&self, time: Duration) -> Duration {
        let signaled = self.state.lock().signaled;
        let passed = signaled.map_or(Duration::ZERO, |at| at.elapsed());
        time.saturating_sub(passed)
    }

    /// Sums the run up, once. Whoever comes second waits until that is done, so that he does not end
    /// the run before.
    pub(super) fn sum_up(&self, sum_up: impl FnOnce()) {
        let mut is_summed_up = self.is_summed_up.lock();
        if !std::mem::replace(&mut *is_summed_up, true) {
            sum_up();
        }
    }

    /// Becomes disconnected when the run is to stop.
    pub(super) fn stopped(&self) -> &Receiver<()> {
        &self.stopped
    }

    /// Sleeps, unless the run is stopped. Whether it was not.
    pub(super) fn sleep(&self, time: Duration) -> bool {
        if time.is_zero() {
            // For a million items, without a look at the clock.
            return self.stopped.try_recv() == Err(TryRecvError::Empty);
        }
        self.stopped.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
    }
}
