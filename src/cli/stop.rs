//! Stops a run from outside: in order on the first signal, at once on the second.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, select};
use nix::sys::signal::{SigSet, Signal};
use parking_lot::Mutex;
use signal_hook::iterator::Signals;

use crate::sys::signals;
use crate::sys::threads::spawn;

/// The signals that end a process without a handler. SIGQUIT is left out, because its sender wants
/// a core dump rather than an orderly end.
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

/// The time after the first signal in which the same one again is no second one: GNU `timeout`, and others that pass
/// signals on, send each to the process and to its group. Nobody presses Ctrl-C again so soon.
const ECHO: Duration = Duration::from_millis(100);

/// The run's stop: its state and its reasons.
#[derive(Debug, Clone)]
pub(super) struct Stop {
    state: Arc<Mutex<StopState>>,
    is_summed_up: Arc<Mutex<bool>>,
    /// Disconnected when the run is to stop; nothing is ever sent.
    stopped: Receiver<()>,
    halting: Sender<Manner>,
    halts: Receiver<Manner>,
    /// Disconnected when nothing of the run waits for Redis any more; nothing is ever sent.
    settled: Receiver<()>,
    reactions: Arc<Mutex<Reactions>>,
}

/// The cause of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopCause {
    Signal(i32),
    /// A request to its control socket or page, or an order to all supervisors of its stream.
    Request,
}

impl StopCause {
    /// Returns the signal; a request is as good as SIGTERM.
    pub(super) fn signal(self) -> i32 {
        match self {
            StopCause::Signal(signal) => signal,
            StopCause::Request => Signal::SIGTERM as i32,
        }
    }
}

/// The reaction to it.
type Reaction = Box<dyn FnOnce(StopCause) + Send>;

/// The reactions that were not called yet.
#[derive(Default)]
struct Reactions {
    in_order: Option<Reaction>,
    at_once: Option<Reaction>,
}

impl fmt::Debug for Reactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactions").finish_non_exhaustive()
    }
}

/// The manner of a halt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// The current attempts are ended.
    AtOnce,
    /// The current attempts may finish.
    Patiently,
}

#[derive(Debug)]
struct StopState {
    /// Dropped when the run is to stop.
    running: Option<Sender<()>>,
    /// Dropped when nothing of it waits for Redis any more.
    waiting: Option<Sender<()>>,
    signal: Option<i32>,
    /// True if what is begun is not waited for.
    is_at_once: bool,
    /// The time of the first one.
    signaled: Option<Instant>,
    /// The reason why no workers are left.
    loss: Option<String>,
    /// The reason for the halt, and the exit code.
    halt: Option<(String, u8)>,
}

impl Stop {
    pub(super) fn new() -> Self {
        let (running, stopped) = crossbeam_channel::bounded(0);
        let (halting, halts) = crossbeam_channel::bounded(1);
        let (waiting, settled) = crossbeam_channel::bounded(0);
        let state = StopState {
            running: Some(running),
            waiting: Some(waiting),
            signal: None,
            is_at_once: false,
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
            reactions: Arc::default(),
        }
    }

    /// Notes that the run waits for Redis no more.
    pub(super) fn settle(&self) {
        self.state.lock().waiting = None;
    }

    /// Waits for that until this moment. Returns `true` if it has come.
    pub(super) fn is_settled_by(&self, deadline: Instant) -> bool {
        self.settled.recv_deadline(deadline) == Err(RecvTimeoutError::Disconnected)
    }

    /// Listens for signals in a thread of its own: calls `in_order` on the first, `at_once` on a
    /// second. A signal that was ignored when the program began stays ignored, as `nohup` needs it.
    /// Those in `orders` have another meaning, and are left to others.
    pub(super) fn listen(
        &self,
        orders: &[Signal],
        in_order: impl FnOnce(StopCause) + Send + 'static,
        at_once: impl FnOnce(StopCause) + Send + 'static,
    ) -> io::Result<()> {
        let ignored = signals::inherited();
        let heard = ENDING
            .into_iter()
            .filter(|signal| !orders.contains(signal))
            .map(|signal| signal as i32)
            .filter(|signal| !ignored.has(*signal));
        let mut signals = Signals::new(heard)?;
        *self.reactions.lock() = Reactions {
            in_order: Some(Box::new(in_order)),
            at_once: Some(Box::new(at_once)),
        };
        let stop = self.clone();
        let listen = move || {
            // The parent process may have blocked them; then only this thread receives them.
            let ours = SigSet::from_iter(ENDING);
            let _ = ours.thread_unblock();
            for signal in signals.forever() {
                stop.hear(StopCause::Signal(signal));
            }
        };
        spawn("signals", listen)
    }

    /// Reacts to it: in order to the first, at once to a second one.
    pub(super) fn hear(&self, cause: StopCause) {
        if !self.is_echo(cause) {
            self.react(cause);
        }
    }

    fn is_echo(&self, cause: StopCause) -> bool {
        let state = self.state.lock();
        let is_soon = state.signaled.is_some_and(|at| at.elapsed() < ECHO);
        let is_signal = matches!(cause, StopCause::Signal(_));
        is_soon && is_signal && state.signal == Some(cause.signal())
    }

    fn react(&self, cause: StopCause) {
        self.request(cause.signal());
        // A lock that is kept while a reaction begins would keep the next signal waiting.
        let (first, second) = {
            let mut reactions = self.reactions.lock();
            let first = reactions.in_order.take();
            match first.is_some() {
                true => (first, None),
                false => (None, reactions.at_once.take()),
            }
        };
        // It may take as long as the grace, and the next signal must be heard meanwhile.
        if let Some(in_order) = first
            && spawn("stop", move || in_order(cause)).is_err()
        {
            return self.react(cause);
        }
        if let Some(at_once) = second {
            self.hurry();
            at_once(cause);
        }
    }

    /// Notes that what is begun is not waited for, whoever comes to the end first.
    pub(super) fn hurry(&self) {
        self.state.lock().is_at_once = true;
    }

    /// Returns `true` if that was noted.
    pub(super) fn is_at_once(&self) -> bool {
        self.state.lock().is_at_once
    }

    fn request(&self, signal: i32) {
        let mut state = self.state.lock();
        state.signal = Some(signal);
        state.signaled.get_or_insert_with(Instant::now);
        state.running = None;
    }

    /// Stops the run because all workers are gone.
    pub(super) fn give_up(&self, why: String) {
        let mut state = self.state.lock();
        state.loss = Some(why);
        state.running = None;
    }

    /// Stops the run without a reason to tell: the journal failed, so that no more results can be
    /// kept, or a stop could not be heard.
    pub(super) fn break_off(&self) {
        self.state.lock().running = None;
    }

    /// Halts the run after enough failures: nothing more is begun, and it ends with this exit code.
    pub(super) fn halt(&self, manner: Manner, why: String, code: u8) {
        let mut state = self.state.lock();
        state.halt = Some((why, code));
        state.running = None;
        // It is full if the run was halted before.
        let _ = self.halting.try_send(manner);
    }

    /// Returns the receiver of the order to halt.
    pub(super) fn halts(&self) -> Receiver<Manner> {
        self.halts.clone()
    }

    /// Returns the reason for the halt and the exit code, if the run was halted.
    pub(super) fn halted(&self) -> Option<(String, u8)> {
        self.state.lock().halt.clone()
    }

    /// Returns the reason why no workers are left, if none are.
    pub(super) fn loss(&self) -> Option<String> {
        self.state.lock().loss.clone()
    }

    /// Returns `true` if the run is to stop, for whatever reason.
    pub(super) fn is_asked(&self) -> bool {
        self.state.lock().running.is_none()
    }

    /// Returns the last signal that stopped the run, if one did.
    pub(super) fn signal(&self) -> Option<i32> {
        self.state.lock().signal
    }

    /// Returns the rest of the time that a signal has left to the run.
    pub(super) fn left_of(&self, time: Duration) -> Duration {
        let signaled = self.state.lock().signaled;
        let passed = signaled.map_or(Duration::ZERO, |at| at.elapsed());
        time.saturating_sub(passed)
    }

    /// Sums the run up, once. A second caller waits for that, so as not to end the run before.
    pub(super) fn sum_up(&self, sum_up: impl FnOnce()) {
        let mut is_summed_up = self.is_summed_up.lock();
        if !std::mem::replace(&mut *is_summed_up, true) {
            sum_up();
        }
    }

    /// Returns a receiver that is disconnected when the run is to stop.
    pub(super) fn stopped(&self) -> &Receiver<()> {
        &self.stopped
    }

    /// Waits for the end of a thread, by the channel that it disconnects then: from when the run is stopped, for
    /// so long at most.
    pub(super) fn wait_for(&self, over: &Receiver<()>, time: Duration) {
        select! {
            recv(over) -> _ => {}
            recv(self.stopped) -> _ => {
                let _ = over.recv_timeout(time);
            }
        }
    }

    /// Sleeps, unless the run is stopped. Returns `false` if it is.
    pub(super) fn sleep(&self, time: Duration) -> bool {
        if time.is_zero() {
            // This spares a million items a look at the clock.
            return self.stopped.try_recv() == Err(TryRecvError::Empty);
        }
        self.stopped.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hears two signals with so much time between. Returns `true` if the second one stops the run at once.
    fn stops_at_once(signals: [Signal; 2], between: Duration) -> bool {
        let stop = Stop::new();
        let (sender, at_once) = crossbeam_channel::bounded(1);
        *stop.reactions.lock() = Reactions {
            in_order: Some(Box::new(|_| {})),
            at_once: Some(Box::new(move |_| sender.send(()).unwrap())),
        };
        let [first, second] = signals.map(|signal| StopCause::Signal(signal as i32));
        stop.hear(first);
        assert!(stop.is_asked() && !stop.is_at_once());
        // As if it had been so long ago.
        let heard = Instant::now().checked_sub(between);
        stop.state.lock().signaled = heard;
        stop.hear(second);
        at_once.try_recv().is_ok()
    }

    #[test]
    fn a_second_signal_stops_at_once_unless_it_is_the_first_one_again() {
        let same = [Signal::SIGTERM; 2];
        assert!(!stops_at_once(same, Duration::ZERO));
        assert!(stops_at_once(same, ECHO));
        let others = [Signal::SIGTERM, Signal::SIGINT];
        assert!(stops_at_once(others, Duration::ZERO));
    }
}
