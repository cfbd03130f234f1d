//! Describing a supervisor: how its workers run, by which rules, and what they do.

mod start;

use std::any::type_name;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::spawn::Launch;
use crate::broker::NameItems;
use crate::error::{Error, Kind};
use crate::handler::attempt::decode;
use crate::observe::Observer;
use crate::sys::stderr::{self, Outlet};
use dishrack_core::pool::spec::{Bounds, ChildSpec, Restart, StartMethod};

/// How the workers run.
#[derive(Debug, Clone, Copy)]
enum How {
    Processes(usize),
    Threads(usize),
    #[cfg(feature = "tasks")]
    Tasks(usize),
    Inline,
}

impl How {
    fn describe(self) -> (&'static str, usize) {
        match self {
            How::Processes(workers) => ("processes", workers),
            How::Threads(workers) => ("threads", workers),
            #[cfg(feature = "tasks")]
            How::Tasks(workers) => ("tasks", workers),
            How::Inline => ("sequential", 1),
        }
    }
}

/// Describes a [`Supervisor`](crate::Supervisor); made by [`Supervisor::builder`](crate::Supervisor::builder).
///
/// Defaults: one process for each CPU, spawned, named `worker-1` and so on, restarted always, given
/// up on after 10 restarts within 10 s, 8 s to stop, 30 s to boot.
#[derive(Clone)]
pub struct Builder {
    how: How,
    name: String,
    spec: ChildSpec,
    restart: Option<Restart>,
    method: StartMethod,
    pub(super) bounds: Bounds,
    pub(super) launch: Launch,
    stderr_to: Outlet,
    is_direct: bool,
    polls: bool,
    observer: Option<Arc<dyn Observer>>,
    name_items: Option<NameItems>,
    context: Option<Arc<[u8]>>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("how", &self.how)
            .field("name", &self.name)
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

impl Builder {
    pub(super) fn new() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Builder {
            how: How::Processes(cpus),
            name: "worker".into(),
            spec: ChildSpec::default(),
            restart: None,
            method: StartMethod::default(),
            bounds: Bounds::default(),
            launch: Launch::default(),
            stderr_to: stderr::write_all,
            is_direct: false,
            polls: true,
            observer: None,
            name_items: None,
            context: None,
        }
    }

    /// Workers are this many processes. The program must call [`serve`](crate::serve).
    #[must_use]
    pub fn processes(mut self, workers: usize) -> Self {
        self.how = How::Processes(workers);
        self
    }

    /// Workers are this many threads of this process.
    #[must_use]
    pub fn threads(mut self, workers: usize) -> Self {
        self.how = How::Threads(workers);
        self
    }

    /// Workers are this many async tasks, on one thread of this process with a tokio runtime.
    #[cfg(feature = "tasks")]
    #[must_use]
    pub fn tasks(mut self, workers: usize) -> Self {
        self.how = How::Tasks(workers);
        self
    }

    /// No workers: whoever puts or joins does the work, one item after another.
    #[must_use]
    pub fn inline(mut self) -> Self {
        self.how = How::Inline;
        self
    }

    /// Workers are called this and a number; at most 15 bytes of it show in `ps -o comm`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How worker processes are made.
    #[must_use]
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.method = method;
        self
    }

    /// When an ended worker is started again. Default: always for handlers; for workers with a
    /// loop of their own, when they did not end by themselves.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = Some(restart);
        self
    }

    /// A worker is given up on when it is restarted more often than `intensity` times within
    /// `period`, not counting deaths that an item caused.
    #[must_use]
    pub fn intensity(mut self, intensity: u32, period: Duration) -> Self {
        self.spec.intensity = intensity;
        self.spec.period = period;
        self
    }

    /// How long a worker may take to finish what it has started when it is stopped.
    #[must_use]
    pub fn shutdown(mut self, grace: Duration) -> Self {
        self.spec.shutdown = grace;
        self
    }

    /// How long a worker process may take until it is ready.
    #[must_use]
    pub fn boot_deadline(mut self, deadline: Duration) -> Self {
        self.spec.boot_deadline = deadline;
        self
    }

    /// How long one item may take. A worker process that is at it for longer gets SIGTERM and,
    /// after [`time_limit_grace`](Self::time_limit_grace), SIGKILL; the attempt has failed, and the
    /// worker is replaced. So is one that begins nothing of what it was given for that long. An
    /// async task is dropped where it waits. Threads cannot be ended, so they cannot have a limit.
    /// Default: none, however slow: slow is not dead.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.bounds.time_limit = Some(limit);
        self
    }

    /// The time between SIGTERM and SIGKILL for a worker whose item took too long or was cancelled.
    /// Default: 1 s.
    #[must_use]
    pub fn time_limit_grace(mut self, grace: Duration) -> Self {
        self.bounds.time_limit_grace = grace;
        self
    }

    /// A worker process is replaced after this many items, or up to a tenth fewer, so that workers
    /// which were started together are not replaced together. It never counts as an attempt or a
    /// restart.
    #[must_use]
    pub fn max_tasks_per_worker(mut self, items: u64) -> Self {
        self.bounds.tasks_max = Some(items);
        self
    }

    /// A worker process is replaced when it has more resident memory than this, in bytes, after an
    /// item; or up to a tenth less. It never counts as an attempt or a restart.
    #[must_use]
    pub fn max_memory_per_worker(mut self, bytes: u64) -> Self {
        self.bounds.memory_max = Some(bytes);
        self
    }

    /// Gives every worker process this value before its first item, also those that are started
    /// later; they read it by [`context`](crate::context). For what all items have in common and
    /// handlers, which cannot capture, must know.
    ///
    /// # Errors
    /// `is_not_serializable`.
    pub fn context<C: Serialize>(mut self, context: &C) -> Result<Self, Error> {
        let bytes = postcard::to_allocvec(context);
        let bytes = bytes.map_err(|error| Kind::NotSerializable {
            type_name: type_name::<C>(),
            why: error.to_string(),
        })?;
        self.context = Some(bytes.into());
        Ok(self)
    }

    /// Workers get one item at a time, never one in advance.
    #[must_use]
    pub fn without_prefetch(mut self) -> Self {
        self.is_direct = true;
        self
    }

    /// Nobody looks for news before he sleeps. Otherwise a worker process that has run out of items,
    /// and a caller that waits for its workers, look for more for 20 microseconds, as long as a
    /// processor is left for that: it saves a wake-up of some 50 microseconds, and costs processor
    /// time that something else on the machine might need.
    #[must_use]
    pub fn without_polling(mut self) -> Self {
        self.polls = false;
        self
    }

    /// Has worker processes write to this program's stderr themselves. Otherwise that goes through the
    /// supervisor, which keeps the last 4 KiB for the history of failed items.
    #[must_use]
    pub fn inherit_stderr(mut self) -> Self {
        self.launch.inherits_stderr = true;
        self
    }

    /// Shows nothing of what worker processes write to stderr. The last 4 KiB are kept for the history
    /// of failed items all the same.
    #[must_use]
    pub fn hide_stderr(mut self) -> Self {
        self.launch.hides_stderr = true;
        self
    }

    /// Ends the processes that workers start with them, also where a worker and this process are killed
    /// at once. A small process watches over that, for as long as the supervisor lives; without it
    /// such processes may stay.
    #[must_use]
    pub fn keeper(mut self) -> Self {
        self.launch.has_keeper = true;
        self
    }

    /// Says that this process has no other children than those of this supervisor, so that it may wait
    /// for whatever else is left to it.
    #[cfg(feature = "cli")]
    pub(crate) fn owns_process(mut self) -> Self {
        self.launch.owns_process = true;
        self
    }

    /// Where the stderr of worker processes goes, rather than to our own.
    #[cfg(feature = "cli")]
    #[must_use]
    pub(crate) fn stderr_to(mut self, outlet: Outlet) -> Self {
        self.stderr_to = outlet;
        self
    }

    /// Who is told of events.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// What items are called in events.
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

    /// The same, of the serialized item, for items that are not worth decoding.
    #[cfg(feature = "cli")]
    pub(crate) fn name_bodies(mut self, name: fn(&[u8]) -> String) -> Self {
        self.name_items = Some(Arc::new(name));
        self
    }
}
