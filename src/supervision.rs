//! Supervision: workers that are started, watched, started again and stopped.
//!
//! [`Supervisor`] is what a program holds: the workers of one queue. How they run is chosen when it
//! is built: as processes, as threads, as async tasks, or inline in whoever puts and joins. The
//! words and rules are those of Erlang/OTP's `supervisor`. The rules themselves are pure modules:
//! `dishrack_core::pool::child` for one worker's life, `restart` there for how often it may be
//! restarted.

mod builder;
mod changes;
mod fork;
mod inline;
mod jobserver;
mod keeper;
mod limits;
mod local;
mod local_pool;
mod map;
mod notes;
pub(crate) mod oom;
mod pool;
mod processes;
mod reap;
mod spawn;
mod status;
mod submit;
#[cfg(feature = "tasks")]
mod tasks;
mod threads;
mod uplink;
mod watch;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

pub use builder::Builder;
pub use fork::ForkServer;
pub use jobserver::Jobserver;
pub use map::Map;
pub use spawn::StartMethod;
pub use status::{
    DeathCause, EndedWorker, PoolStatus, RunState, WorkerDeath, WorkerInfo, WorkerState,
};
pub use submit::{ItemEnded, Submitter};

use self::pool::Pool;
use crate::broker::{Broker, Deadline};
use crate::error::{Error, Kind};
use crate::observe::Mode;

/// The workers of one queue: items of type `T`, results of type `R`.
///
/// They are stopped when it is dropped.
///
/// # Example
///
/// ```
/// use dishrack::{JoinableQueue, Supervisor};
///
/// let queue = JoinableQueue::unbounded();
/// let pool = Supervisor::builder()
///     .threads(2)
///     .name("squarer")
///     .handler(&queue, |n: u32| Ok::<u32, String>(n * n))?;
/// let squares: Result<Vec<u32>, _> = pool.map(1..=4).collect();
/// assert_eq!(squares.unwrap(), [1, 4, 9, 16]);
/// # Ok::<(), dishrack::Error>(())
/// ```
#[must_use = "its workers end when it is dropped"]
pub struct Supervisor<T, R> {
    broker: Arc<Broker>,
    pool: Box<dyn Pool>,
    mode: Mode,
    types: PhantomData<fn(T) -> R>,
}

impl<T, R> fmt::Debug for Supervisor<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

impl Supervisor<(), ()> {
    /// Begins to describe a supervisor.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Checks that the system has what worker processes need, and allows the calls that start,
    /// watch and end them. A supervisor does so when it is made; call this to be told before the
    /// items are there.
    ///
    /// # Errors
    /// `is_setup`: the message names what is missing, and says what to do.
    ///
    /// # Example
    ///
    /// ```
    /// dishrack::Supervisor::check_system()?;
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    pub fn check_system() -> Result<(), Error> {
        limits::check_system().map_err(Error)
    }

    /// Returns `true` if the kernel gives this process children that it has not started, when their
    /// own parents have ended: it is PID 1 of a container, or a subreaper.
    #[must_use]
    pub fn adopts_orphans() -> bool {
        reap::are_adopted()
    }
}

impl<T, R> Supervisor<T, R> {
    fn new(broker: Arc<Broker>, pool: Box<dyn Pool>, mode: Mode) -> Self {
        Supervisor {
            broker,
            pool,
            mode,
            types: PhantomData,
        }
    }

    /// Returns the kind of its workers.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Stops the workers in order: each finishes what it has started, within its grace, and is
    /// killed after that. Items that nobody started stay in the queue. Returns when all are gone,
    /// and what they did is in the journal, if the queue has one.
    pub fn stop(&self) {
        self.pool.stop();
        // A journal that has failed is told to whoever puts and joins.
        let _ = self.broker.sync_all();
    }

    /// Stops the workers in order like [`stop`](Self::stop), but worker processes have as much time
    /// as they need for what they have started, unless somebody calls `stop` meanwhile.
    pub fn drain(&self) {
        self.pool.drain();
        // A journal that has failed is told to whoever puts and joins.
        let _ = self.broker.sync_all();
    }

    /// Kills the workers at once; threads and tasks, which cannot be killed, are left behind. What
    /// they held goes back to the queue.
    pub fn kill(&self) {
        self.pool.kill();
    }

    /// Has worker processes stand still, with what they have started in their process groups, until
    /// [`resume`](Self::resume): for a program that is about to be stopped itself, as by Ctrl-Z,
    /// which does not reach them. Threads and tasks stand still with the program.
    pub fn suspend(&self) {
        self.pool.suspend();
    }

    /// Has them go on. The time in between counts for no limit of theirs.
    pub fn resume(&self) {
        self.pool.resume();
    }

    /// Returns `true` if the queue, and the thread that supervises the workers, answer within this
    /// time: for a program whose service manager wants to know that it lives (`WATCHDOG=1` of
    /// sd_notify(3)). A worker that does not get on is no reason for `false`; that is what time limits
    /// are for. It takes up to twice as long.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    /// use dishrack::{JoinableQueue, Supervisor};
    ///
    /// let queue = JoinableQueue::unbounded();
    /// let pool = Supervisor::builder().threads(1).handler(&queue, |_: u32| Ok::<_, String>(()))?;
    /// assert!(pool.is_responsive(Duration::from_secs(60)));
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    #[must_use]
    pub fn is_responsive(&self, time: Duration) -> bool {
        self.broker.is_free_within(time) && self.pool.is_responsive(time)
    }

    /// Waits for processes that were left to this one and have ended, so that they do not stay as
    /// zombies. A supervisor does so whenever a worker ends; in a program that is PID 1 of a
    /// container, or a subreaper ([`adopts_orphans`](Supervisor::adopts_orphans)), call it at each
    /// SIGCHLD. They are those in its workers' process groups, or all children with
    /// [`owns_process`](Builder::owns_process).
    pub fn reap_orphans(&self) {
        self.pool.reap_orphans();
    }

    /// Closes the [files](Builder::context_files) that are kept here for workers. Those that are started
    /// from now on get none; so this is for workers that are not started again, when
    /// [all have been](Self::wait_started_timeout). Then whoever reads from the other end of a pipe
    /// sees its end.
    pub fn close_context_files(&self) {
        self.pool.close_context_files();
    }

    /// Makes it so many workers, and returns when it is so: new ones are ready, and those that are
    /// too many have ended. Those that have nothing to do end first; the others finish what they
    /// hold, however long that takes. No item is lost or charged by it.
    ///
    /// With 0 nothing is worked on until it is made more again; `join` waits meanwhile.
    ///
    /// # Errors
    /// `is_not_changed` if new workers are given up, another number is asked for meanwhile, or the
    /// supervisor is being stopped; `is_setup` if there can be no such number, and for an inline
    /// supervisor.
    ///
    /// # Example
    ///
    /// ```
    /// use dishrack::{JoinableQueue, Supervisor};
    ///
    /// let queue = JoinableQueue::unbounded();
    /// let pool = Supervisor::builder().threads(1).handler(&queue, |_: u32| Ok::<_, String>(()))?;
    /// pool.scale(3)?;
    /// assert_eq!(pool.workers().len(), 3);
    /// pool.scale(2)?;
    /// assert_eq!(pool.status().workers.len(), 2);
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    pub fn scale(&self, workers: usize) -> Result<(), Error> {
        self.scale_by(workers, Deadline::Forever)
    }

    /// Does the same, and waits for it at most this long.
    ///
    /// # Errors
    /// As [`scale`](Self::scale), and `is_timeout`; it goes on all the same.
    pub fn scale_timeout(&self, workers: usize, time: Duration) -> Result<(), Error> {
        self.scale_by(workers, Deadline::lasting(time))
    }

    fn scale_by(&self, workers: usize, deadline: Deadline) -> Result<(), Error> {
        let policy = self.broker.read(|core| core.dispatcher.ledger.policy());
        let needed = policy.map_or(0, |policy| policy.needed());
        if needed > 1 && workers < needed as usize {
            let why = format!(
                "{needed} copies of an item must agree, so {workers} workers are too few: pause \
                 the queue to have nothing worked on"
            );
            return Err(Error(Kind::invalid("scale", why)));
        }
        self.pool.scale(workers, deadline).map_err(Error)
    }

    /// Replaces all workers by new ones, while the work goes on: a new one is ready before an old
    /// one goes, which finishes what it holds. Returns when the old ones have gone. There is one
    /// worker more meanwhile, besides those that finish; so a new worker's number may be higher than
    /// the number of workers.
    ///
    /// # Errors
    /// `is_not_changed` if a new worker is given up: the old ones that are left stay, and the work
    /// goes on. Otherwise as [`scale`](Self::scale).
    ///
    /// # Example
    ///
    /// ```
    /// use dishrack::{JoinableQueue, Supervisor};
    ///
    /// let queue = JoinableQueue::unbounded();
    /// let pool = Supervisor::builder().threads(2).handler(&queue, |_: u32| Ok::<_, String>(()))?;
    /// pool.reload()?;
    /// assert_eq!(pool.workers().len(), 2);
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    pub fn reload(&self) -> Result<(), Error> {
        self.pool.reload(Deadline::Forever).map_err(Error)
    }

    /// Does the same, and waits for it at most this long.
    ///
    /// # Errors
    /// As [`reload`](Self::reload), and `is_timeout`; it goes on all the same.
    pub fn reload_timeout(&self, time: Duration) -> Result<(), Error> {
        self.pool.reload(Deadline::lasting(time)).map_err(Error)
    }

    /// Ends the process of one worker, by its name, and returns when it has ended: it is asked to (SIGTERM) and,
    /// after the grace of a [time limit](Builder::time_limit), killed. What it was at is charged with an attempt, as if somebody
    /// else had sent the signal; what it only had in advance is not. It is started again, and that does not count
    /// against it.
    ///
    /// # Errors
    /// `is_not_changed` if there is no such worker, or it has no process that is ready; `is_setup` for threads
    /// and tasks, which cannot be ended, and for an inline supervisor.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn of(pool: &dishrack::Supervisor<u32, ()>) -> Result<(), dishrack::Error> {
    /// pool.end_worker("worker-3")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn end_worker(&self, name: &str) -> Result<(), Error> {
        self.pool.end_worker(name).map_err(Error)
    }

    /// Replaces one worker, by its name, as [`reload`](Self::reload) does with all: a new one, which may have
    /// another name, is ready before it goes, and it finishes what it holds. Returns when it has gone.
    ///
    /// # Errors
    /// `is_not_changed` if there is no such worker, it is to end anyway, or the new one is given up. Otherwise as
    /// [`scale`](Self::scale).
    ///
    /// # Example
    ///
    /// ```
    /// use dishrack::{JoinableQueue, Supervisor};
    ///
    /// let queue = JoinableQueue::unbounded();
    /// let pool = Supervisor::builder().threads(2).handler(&queue, |_: u32| Ok::<_, String>(()))?;
    /// pool.replace_worker("worker-1")?;
    /// assert_eq!(pool.workers().len(), 2);
    /// assert!(pool.replace_worker("worker-9").is_err_and(|error| error.is_not_changed()));
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    pub fn replace_worker(&self, name: &str) -> Result<(), Error> {
        self.pool.replace_worker(name).map_err(Error)
    }

    /// The workers that are ready.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerInfo> {
        self.pool.workers()
    }

    /// Returns what can be seen of the pool and all its workers, also of those that are not ready.
    /// It costs as much as there are workers, however many items wait.
    ///
    /// # Example
    ///
    /// ```
    /// use dishrack::{JoinableQueue, RunState, Supervisor};
    ///
    /// let queue = JoinableQueue::unbounded();
    /// let pool = Supervisor::builder()
    ///     .threads(2)
    ///     .name("dryer")
    ///     .handler(&queue, |_: u32| Ok::<_, String>(()))?;
    /// let status = pool.status();
    /// assert_eq!((status.state, status.wanted), (RunState::Running, 2));
    /// assert_eq!(status.workers[0].name, "dryer-1");
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    #[must_use]
    pub fn status(&self) -> PoolStatus {
        self.pool.status()
    }

    /// Waits until it has no workers any more, and none will come: they have ended by themselves and
    /// are not started again, were given up or were stopped. It asks none of them to end. Returns
    /// `false` if the time is over first. What they held is on the queue again then.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    /// use dishrack::{JoinableQueue, Restart, Supervisor};
    ///
    /// let queue = JoinableQueue::<u32>::unbounded();
    /// let pool = Supervisor::builder()
    ///     .threads(1)
    ///     .restart(Restart::Temporary)
    ///     .worker(&queue, |queue| while queue.get().is_ok_and(|item| item.task_done().is_ok()) {})?;
    /// assert!(!pool.wait_timeout(Duration::ZERO));
    /// queue.close();
    /// assert!(pool.wait_timeout(Duration::from_secs(60)));
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    #[must_use]
    pub fn wait_timeout(&self, time: Duration) -> bool {
        self.pool.wait_until_over(Deadline::lasting(time))
    }

    /// Waits until each worker has a process, or is over: then [`status`](Self::status) tells all
    /// their pids. Returns `false` if the time is over first. Threads and tasks have none to wait for.
    #[must_use]
    pub fn wait_started_timeout(&self, time: Duration) -> bool {
        self.pool.wait_until_started(Deadline::lasting(time))
    }

    /// Returns the number of workers that were started again.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.broker.read(|core| core.restarts.accidents())
    }
}

impl<T, R> Drop for Supervisor<T, R> {
    fn drop(&mut self) {
        self.pool.stop();
    }
}
