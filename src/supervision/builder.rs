//! The description of a supervisor: the kind of its workers, its rules, and the work.

mod copies;
mod limits;
#[cfg(not(feature = "tasks"))]
mod no_tasks;
mod start;
#[cfg(feature = "tasks")]
mod tasks;

use std::any::type_name;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fork::ForkServer;
use super::jobserver::Jobserver;
use super::spawn::{Launch, StartMethod};
use crate::broker::{Comparison, NameItems};
use crate::error::{Error, Kind};
use crate::handler::attempt::decode;
use crate::observe::{Mode, Observer};
use crate::payload::reason;
use crate::queue::destination::{Destination, going};
use crate::sys::priority::IoPriority;
use crate::sys::program::Image;
use crate::sys::stderr::{self, Outlet};
use dishrack_core::ledger::{AdmissionRules, Copies};
use dishrack_core::pool::spec::{Bounds, ChildSpec, PoolName, Restart};

/// Describes a [`Supervisor`](crate::Supervisor); made by
/// [`Supervisor::builder`](crate::Supervisor::builder).
///
/// Defaults: one process for each CPU, spawned, named `worker-1` and so on, restarted always, given
/// up on after 10 restarts within 10 s, 8 s to stop, 30 s to boot.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use dishrack::{JoinableQueue, Supervisor};
///
/// let rack = JoinableQueue::unbounded();
/// let pool = Supervisor::builder()
///     .threads(2)
///     .name("dryer")
///     .intensity(3, Duration::from_secs(60))
///     .shutdown(Duration::from_secs(5))
///     .handler(&rack, |dish: String| Ok::<usize, String>(dish.len()))?;
/// let lengths: Result<Vec<usize>, _> = pool.map(["cup", "plate"].map(String::from)).collect();
/// assert_eq!(lengths.unwrap(), [3, 5]);
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Clone)]
pub struct Builder {
    mode: Mode,
    workers: usize,
    name: PoolName,
    spec: ChildSpec,
    restart: Option<Restart>,
    method: StartMethod,
    fork_server: Option<ForkServer>,
    pub(super) bounds: Bounds,
    pub(super) launch: Launch,
    stderr_to: Outlet,
    is_direct: bool,
    polls: bool,
    observer: Option<Arc<dyn Observer>>,
    name_items: Option<NameItems>,
    context: Option<Arc<[u8]>>,
    files: Vec<Arc<OwnedFd>>,
    copies: Option<Copies>,
    admission: Option<AdmissionRules>,
    jobserver: Option<Jobserver>,
    rules: limits::RunRules,
    comparison: Option<(&'static str, Arc<Comparison>)>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("mode", &self.mode)
            .field("workers", &self.workers)
            .field("name", &self.name)
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

impl Builder {
    pub(super) fn new() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Builder {
            mode: Mode::Processes,
            workers: cpus,
            name: PoolName {
                name: "worker".into(),
                is_of_first: false,
            },
            spec: ChildSpec::default(),
            restart: None,
            method: StartMethod::default(),
            fork_server: None,
            bounds: Bounds::default(),
            launch: Launch::default(),
            stderr_to: stderr::write_all,
            is_direct: false,
            polls: true,
            observer: None,
            name_items: None,
            context: None,
            files: Vec::new(),
            copies: None,
            admission: None,
            jobserver: None,
            rules: limits::RunRules::default(),
            comparison: None,
        }
    }

    /// Sets the number of worker processes. The program must call [`serve`](crate::serve).
    #[must_use]
    pub fn processes(mut self, workers: usize) -> Self {
        (self.mode, self.workers) = (Mode::Processes, workers);
        self
    }

    /// Sets the number of worker threads in this process.
    #[must_use]
    pub fn threads(mut self, workers: usize) -> Self {
        (self.mode, self.workers) = (Mode::Threads, workers);
        self
    }

    /// Sets that there are no workers: the caller of a put or join does the work, item by item.
    #[must_use]
    pub fn inline(mut self) -> Self {
        (self.mode, self.workers) = (Mode::Sequential, 1);
        self
    }

    /// Sets the workers' name, which a number follows; at most 15 bytes show in `ps -o comm`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = PoolName {
            name: name.into(),
            is_of_first: false,
        };
        self
    }

    /// Sets the name of a single worker, which no number follows. Where there are more of them, the
    /// others have one.
    #[must_use]
    pub fn exact_name(mut self, name: impl Into<String>) -> Self {
        self.name = PoolName {
            name: name.into(),
            is_of_first: true,
        };
        self
    }

    /// Has worker processes be this program, rather than this one again: an interpreter that loads
    /// this library, for example. It is executed with these arguments and one more, which makes room
    /// for the worker's title, in the environment that this process has now.
    ///
    /// It must call [`serve`](crate::serve) as well, and both must be built from the same sources: a
    /// worker finds its function by the name of the type. This process calls `serve` all the same, to
    /// name the functions.
    #[must_use]
    pub fn program(
        mut self,
        path: impl Into<OsString>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        self.launch.image = Some(Arc::new(Image::new(path.into(), arguments)));
        self
    }

    /// Sets the way in which worker processes are made.
    #[must_use]
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.method = method;
        self
    }

    /// Has worker processes be forked from this fork server, which other supervisors may have as well.
    /// They are its program then, whatever [`program`](Self::program) says. The workers of a queue
    /// with a journal are forked from one of their own instead, with the same program: it bears the
    /// journal's mark, by which a later run finds workers that were left behind.
    #[must_use]
    pub fn fork_server(mut self, server: &ForkServer) -> Self {
        self.method = StartMethod::Fork;
        self.launch.image = server.image();
        self.fork_server = Some(server.clone());
        self
    }

    /// Sets when an ended worker is started again. Default: always for handlers; for workers with a
    /// loop of their own, if they did not end by themselves.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = Some(restart);
        self
    }

    /// Gives a worker up when it is restarted more often than `intensity` times within `period`,
    /// not counting deaths that an item caused.
    #[must_use]
    pub fn intensity(mut self, intensity: u32, period: Duration) -> Self {
        self.spec.intensity = intensity;
        self.spec.period = period;
        self
    }

    /// Sets the time that a stopped worker has to finish what it has started.
    #[must_use]
    pub fn shutdown(mut self, grace: Duration) -> Self {
        self.spec.shutdown = grace;
        self
    }

    /// Sets the time that a worker process has to become ready.
    #[must_use]
    pub fn boot_deadline(mut self, deadline: Duration) -> Self {
        self.spec.boot_deadline = deadline;
        self
    }

    /// Sets the time limit of an item. A worker process that overruns it gets SIGTERM and, after
    /// [`time_limit_grace`](Self::time_limit_grace), SIGKILL; the attempt has failed, and the
    /// worker is replaced. So is one that begins none of its items for that long. An async task is
    /// dropped where it waits. Threads cannot be ended, so they can have no limit. Default: none;
    /// slow is not dead.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.bounds.time_limit = Some(limit);
        self
    }

    /// Sets the time between SIGTERM and SIGKILL for a worker whose item took too long or was
    /// cancelled. Default: 1 s.
    #[must_use]
    pub fn time_limit_grace(mut self, grace: Duration) -> Self {
        self.bounds.time_limit_grace = grace;
        self
    }

    /// Replaces a worker process after this many items, or up to a tenth fewer, so that workers
    /// which were started together are not replaced together. It counts neither as attempt nor as
    /// restart.
    #[must_use]
    pub fn max_tasks_per_worker(mut self, items: u64) -> Self {
        self.bounds.tasks_max = Some(items);
        self
    }

    /// Replaces a worker process that has more resident memory than this, in bytes, after an item;
    /// or up to a tenth less. It never counts as an attempt or a restart.
    #[must_use]
    pub fn max_memory_per_worker(mut self, bytes: u64) -> Self {
        self.bounds.memory_max = Some(bytes);
        self
    }

    /// Sets the limit of memory, in bytes, of an item: that of its worker process and of all that this
    /// has started, pages that they share with others by their share. A worker whose item is over it is
    /// killed with what it has started; the attempt is lost ([`Cause::MemoryLimit`](crate::Cause::MemoryLimit)),
    /// and the worker is replaced. Nobody says that a process has grown, so it is measured again and
    /// again while it has items, more often the less is left, and may be over the limit for a moment.
    /// What has left the worker's tree, as a daemon does, is not seen. Where a control group (version 2) was
    /// delegated to this process, as systemd does by `Delegate=`, each worker has a group in it instead, and
    /// the kernel kills: exactly, and also what has left the tree. Default: none.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.bounds.memory_limit = Some(bytes);
        self
    }

    /// Begins an item only while the machine has room for it: enough free memory, little enough load
    /// or pressure. While no worker has an item one begins in any case, so nothing waits for ever.
    /// Workers get no item in advance then. The machine is looked at only while an item waits for
    /// that, at most once in 100 ms unless an item ends. Where several supervisors share a queue,
    /// each looks at its own machine. Loops of threads or tasks, which take items themselves, are refused, and
    /// a thread that calls `get` is not held back.
    ///
    /// # Example
    ///
    /// ```
    /// use dishrack::{AdmissionRules, Supervisor};
    ///
    /// let room = AdmissionRules::default().memory_free(2 << 30);
    /// let builder = Supervisor::builder().processes(8).admission(room);
    /// # let _ = builder;
    /// ```
    #[must_use]
    pub fn admission(mut self, rules: AdmissionRules) -> Self {
        self.admission = Some(rules);
        self
    }

    /// Gives worker processes and what they start this niceness, from -20 to 19 (`nice(1)`). Less than
    /// this process has needs a right.
    #[must_use]
    pub fn nice(mut self, niceness: i32) -> Self {
        self.launch.priorities.nice = Some(niceness);
        self
    }

    /// Gives worker processes and what they start this priority for disks (`ionice(1)`).
    #[must_use]
    pub fn io_priority(mut self, priority: IoPriority) -> Self {
        self.launch.priorities.io = Some(priority);
        self
    }

    /// Gives every worker process this value before its first item, also those that are started
    /// later; they read it by [`context`](crate::context). It is for values that all items share,
    /// because a handler cannot capture.
    ///
    /// # Errors
    /// `is_not_serializable`.
    pub fn context<C: Serialize>(mut self, context: &C) -> Result<Self, Error> {
        let bytes = going(Destination::Here, || postcard::to_allocvec(context));
        let bytes = bytes.map_err(|error| Kind::NotSerializable {
            type_name: type_name::<C>(),
            why: reason::take().unwrap_or_else(|| error.to_string()),
        })?;
        self.context = Some(bytes.into());
        Ok(self)
    }

    /// Gives every worker process these open files, also those that are started later: a worker takes
    /// them by [`take_context_file`](crate::take_context_file), in this order. They stay open here as
    /// long as there may be another worker. At most 249.
    #[must_use]
    pub fn context_files(mut self, files: impl IntoIterator<Item = OwnedFd>) -> Self {
        self.files = files.into_iter().map(Arc::new).collect();
        self
    }

    /// Begins items only as make's job server allows: one at any time, and each other one with a token
    /// of its own, which goes back when the item is over, whatever dies. That is so for all workers of its
    /// queue, until the last of those that say so ends; the first of these says which server it is. Worker
    /// processes only; there is a [`keeper`](Self::keeper) for them.
    #[must_use]
    pub fn jobserver(mut self, jobserver: Jobserver) -> Self {
        self.jobserver = Some(jobserver);
        self.launch.has_keeper = true;
        self
    }

    /// Gives workers one item at a time, never one in advance.
    #[must_use]
    pub fn without_prefetch(mut self) -> Self {
        self.is_direct = true;
        self
    }

    /// Makes idle threads sleep at once. Otherwise a worker process or thread that has run out of
    /// items, and a caller that waits for its workers, poll for 20 microseconds while a processor
    /// is free. That saves a wake-up of some 50 microseconds, and costs processor time that others
    /// may need.
    #[must_use]
    pub fn without_polling(mut self) -> Self {
        self.polls = false;
        self
    }

    /// Has worker processes write to this program's stderr themselves. Otherwise that goes through
    /// the supervisor, which keeps the last 4 KiB for the history of failed items.
    #[must_use]
    pub fn inherit_stderr(mut self) -> Self {
        self.launch.inherits_stderr = true;
        self
    }

    /// Shows nothing of what worker processes write to stderr. The last 4 KiB are kept for the
    /// history of failed items all the same.
    #[must_use]
    pub fn hide_stderr(mut self) -> Self {
        self.launch.hides_stderr = true;
        self
    }

    /// Ends the processes that workers start with them, also where a worker and this process are
    /// killed at once. A small process watches over that, for as long as the supervisor lives;
    /// without it such processes may stay.
    #[must_use]
    pub fn keeper(mut self) -> Self {
        self.launch.has_keeper = true;
        self
    }

    /// Says that this process has no other children than those of this supervisor, so that it may
    /// wait for whatever else is left to it ([`reap_orphans`](crate::Supervisor::reap_orphans)). Of
    /// a child that the program starts itself it could take the exit status.
    #[must_use]
    pub fn owns_process(mut self) -> Self {
        self.launch.owns_process = true;
        self
    }

    /// Gives what worker processes write to stderr to this function, rather than to our own stderr:
    /// for a program that draws on the terminal itself. One thread calls it, with the bytes as they
    /// come.
    ///
    /// # Example
    ///
    /// ```
    /// use std::io::{Write, stderr};
    ///
    /// let builder = dishrack::Supervisor::builder()
    ///     .processes(2)
    ///     .stderr_to(|bytes| drop(stderr().lock().write_all(bytes)));
    /// # let _ = builder;
    /// ```
    #[must_use]
    pub fn stderr_to(mut self, outlet: fn(&[u8])) -> Self {
        self.stderr_to = outlet;
        self
    }

    /// Sets the observer of events.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Sets the names of items in events.
    #[must_use]
    pub fn name_items<T: DeserializeOwned>(
        mut self,
        name: impl Fn(&T) -> String + Send + Sync + 'static,
    ) -> Self {
        self.name_items = Some(Arc::new(move |body: &[u8]| match decode::<T>(body) {
            Ok(item) => name(&item),
            Err(_) => format!("an item that is no {}", type_name::<T>()),
        }));
        self
    }

    /// Does the same from the item as serialized by `put`, for items that are not worth decoding.
    #[must_use]
    pub fn name_raw_items(
        mut self,
        name: impl Fn(&[u8]) -> String + Send + Sync + 'static,
    ) -> Self {
        self.name_items = Some(Arc::new(name));
        self
    }
}
