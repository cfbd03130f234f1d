//! Describing a supervisor: how its workers run, by which rules, and what they do.

use std::any::type_name;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::inline::InlinePool;
use super::processes::ProcessPool;
use super::spawn::{self, Position};
use super::threads::ThreadPool;
use super::watch::Plan;
use super::{Pool, Supervisor, limits};
use crate::broker::{Broker, NameItems};
use crate::error::{Error, Kind};
use crate::handler::attempt::{Wanted, attempt, decode};
use crate::observe::{EventKind, Observer};
use crate::queue::JoinableQueue;
use crate::sys::stderr::{self, Outlet};
use crate::worker::roles;
use dishrack_core::ledger::Credit;
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

/// Describes a [`Supervisor`]; made by [`Supervisor::builder`].
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

    /// Worker processes write to this program's stderr themselves. Otherwise that goes through the
    /// supervisor, which keeps the last 4 KiB for the history of failed items.
    #[must_use]
    pub fn inherit_stderr(mut self) -> Self {
        self.bounds.inherits_stderr = true;
        self
    }

    /// What worker processes write to stderr is shown nowhere. The last 4 KiB are kept for the
    /// history of failed items all the same.
    #[must_use]
    pub fn hide_stderr(mut self) -> Self {
        self.bounds.hides_stderr = true;
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

    /// Starts workers that run `handler` for each item. Its return is the acknowledgement: `Ok` is
    /// done, `Err` is a failed attempt.
    ///
    /// For processes, `handler` must be a plain function that [`serve`](crate::serve) names.
    ///
    /// # Errors
    /// `is_setup`, and nothing was started.
    pub fn handler<T, R, E, F>(
        self,
        queue: &JoinableQueue<T>,
        handler: F,
    ) -> Result<Supervisor<T, R>, Error>
    where
        F: Fn(T) -> Result<R, E> + Send + Sync + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        E: Display + 'static,
    {
        let broker = Arc::clone(queue.broker()?);
        self.check_bounds()?;
        let credit = self.credit(&broker);
        let run = move |body: &[u8]| attempt(&handler, body, Wanted::Here);
        let pool: Box<dyn Pool> = match self.how {
            How::Processes(workers) => {
                let plan = self.plan::<T, F>(workers, Some(credit), Restart::Permanent)?;
                broker.share_memory();
                self.apply_to(&broker);
                Box::new(ProcessPool::start(plan, &broker)?)
            }
            How::Threads(workers) => {
                limits::check_count(workers)?;
                self.apply_to(&broker);
                Box::new(ThreadPool::of_handlers(
                    &self.thread_plan(workers),
                    &broker,
                    credit,
                    type_name::<T>(),
                    run,
                )?)
            }
            How::Inline => {
                self.apply_to(&broker);
                Box::new(InlinePool::of_handler(&broker, type_name::<T>(), run)?)
            }
            #[cfg(feature = "tasks")]
            How::Tasks(_) => return Err(needs("handler_async", "tasks")),
        };
        Ok(Supervisor::new(broker, pool))
    }

    /// Starts workers that run the chapter's loop: `get`, work, `task_done`, until `get` says that
    /// the queue is closed. Each gets a handle of the queue.
    ///
    /// For processes, `worker` must be a plain function that [`serve`](crate::serve) names. Inline,
    /// the loop runs whenever somebody puts or joins, and `get` says closed when nothing is left.
    ///
    /// # Errors
    /// `is_setup`, and nothing was started.
    pub fn worker<T, F>(
        self,
        queue: &JoinableQueue<T>,
        worker: F,
    ) -> Result<Supervisor<T, ()>, Error>
    where
        F: Fn(JoinableQueue<T>) + Send + Sync + 'static,
        T: Serialize + DeserializeOwned + 'static,
    {
        let broker = Arc::clone(queue.broker()?);
        self.check_bounds()?;
        let handle = queue.clone();
        let pool: Box<dyn Pool> = match self.how {
            How::Processes(workers) => {
                let plan = self.plan::<T, F>(workers, None, Restart::Transient)?;
                broker.share_memory();
                self.apply_to(&broker);
                Box::new(ProcessPool::start(plan, &broker)?)
            }
            How::Threads(workers) => {
                limits::check_count(workers)?;
                self.apply_to(&broker);
                let run = move || worker(handle.clone());
                Box::new(ThreadPool::of_loops(
                    &self.thread_plan(workers),
                    &broker,
                    run,
                )?)
            }
            How::Inline => {
                self.apply_to(&broker);
                let weak = Arc::downgrade(&broker);
                drop(handle);
                let run = move || {
                    if let Some(broker) = weak.upgrade() {
                        worker(JoinableQueue::of_broker(broker));
                    }
                };
                Box::new(InlinePool::of_loop(&broker, type_name::<T>(), run)?)
            }
            #[cfg(feature = "tasks")]
            How::Tasks(_) => return Err(needs("worker_async", "tasks")),
        };
        Ok(Supervisor::new(broker, pool))
    }

    /// Like [`handler`](Self::handler), for [`tasks`](Self::tasks).
    ///
    /// # Errors
    /// `is_setup`, and nothing was started.
    #[cfg(feature = "tasks")]
    pub fn handler_async<T, R, E, F, Fut>(
        self,
        queue: &JoinableQueue<T>,
        handler: F,
    ) -> Result<Supervisor<T, R>, Error>
    where
        F: Fn(T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        E: Display + 'static,
    {
        let How::Tasks(workers) = self.how else {
            return Err(needs("tasks", "handler_async"));
        };
        self.check_bounds()?;
        limits::check_count(workers)?;
        let broker = Arc::clone(queue.broker()?);
        let credit = self.credit(&broker);
        self.apply_to(&broker);
        let plan = self.thread_plan(workers);
        let pool = super::tasks::TaskPool::of_handlers(
            &plan,
            &broker,
            credit,
            self.bounds.time_limit,
            handler,
        )?;
        Ok(Supervisor::new(broker, Box::new(pool)))
    }

    /// Like [`worker`](Self::worker), for [`tasks`](Self::tasks): use
    /// [`get_async`](JoinableQueue::get_async) in the loop.
    ///
    /// # Errors
    /// `is_setup`, and nothing was started.
    #[cfg(feature = "tasks")]
    pub fn worker_async<T, F, Fut>(
        self,
        queue: &JoinableQueue<T>,
        worker: F,
    ) -> Result<Supervisor<T, ()>, Error>
    where
        F: Fn(JoinableQueue<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + 'static,
        T: Serialize + DeserializeOwned + 'static,
    {
        let How::Tasks(workers) = self.how else {
            return Err(needs("tasks", "worker_async"));
        };
        self.check_bounds()?;
        if self.bounds.time_limit.is_some() {
            return Err(Error(Kind::Invalid {
                option: "time_limit",
                why: "needs a handler: a loop of its own does not say what it is at".into(),
            }));
        }
        limits::check_count(workers)?;
        let broker = Arc::clone(queue.broker()?);
        self.apply_to(&broker);
        let plan = self.thread_plan(workers);
        let handle = queue.clone();
        let run = move || worker(handle.clone());
        let pool = super::tasks::TaskPool::of_loops(&plan, &broker, run)?;
        Ok(Supervisor::new(broker, Box::new(pool)))
    }

    /// Whether these workers can be held to their bounds.
    fn check_bounds(&self) -> Result<(), Kind> {
        let bounds = &self.bounds;
        let (can_be_ended, can_be_replaced) = match self.how {
            How::Processes(_) => (true, true),
            #[cfg(feature = "tasks")]
            How::Tasks(_) => (true, false),
            How::Threads(_) | How::Inline => (false, false),
        };
        let refused = [
            ("time_limit", bounds.time_limit.is_some() && !can_be_ended),
            (
                "max_tasks_per_worker",
                bounds.tasks_max.is_some() && !can_be_replaced,
            ),
            (
                "max_memory_per_worker",
                bounds.memory_max.is_some() && !can_be_replaced,
            ),
        ];
        let is_zero = bounds.time_limit == Some(Duration::ZERO);
        let why = match refused.iter().find(|(_, is_refused)| *is_refused) {
            Some((option, _)) => {
                let (mode, _) = self.how.describe();
                let why = format!("{mode} cannot be ended from outside; use processes");
                return Err(Kind::Invalid { option, why });
            }
            None if is_zero => "no time is too little for any item",
            None if bounds.tasks_max == Some(0) => "a worker takes at least 1 item",
            None => return Ok(()),
        };
        let option = if is_zero {
            "time_limit"
        } else {
            "max_tasks_per_worker"
        };
        Err(Kind::Invalid {
            option,
            why: why.into(),
        })
    }

    fn credit(&self, broker: &Broker) -> Credit {
        if self.is_direct || broker.read(|core| core.dispatcher.ledger.is_rendezvous()) {
            Credit::single()
        } else {
            Credit::adaptive()
        }
    }

    /// Checks all that can be checked before anything is started.
    fn plan<T: 'static, F>(
        &self,
        workers: usize,
        credit: Option<Credit>,
        restart: Restart,
    ) -> Result<Plan, Kind> {
        limits::check_count(workers)?;
        let role = roles::name_of::<F>()?;
        limits::check_system()?;
        limits::check_socket_buffer()?;
        limits::check_file_size()?;
        limits::provide_files(workers)?;
        let announces_starts = self.observer.as_ref().is_some_and(|o| o.wants_items());
        Ok(Plan {
            name: self.name.clone(),
            workers,
            spec: ChildSpec {
                restart: self.restart.unwrap_or(restart),
                ..self.spec
            },
            method: self.method,
            position: Position {
                role,
                item_type: type_name::<T>(),
                announces_starts,
                context: spawn::share_context(self.context.as_deref())?,
            },
            credit,
            bounds: self.bounds,
            stderr_to: self.stderr_to,
        })
    }

    fn thread_plan(&self, workers: usize) -> ThreadPlan {
        ThreadPlan {
            names: (1..=workers)
                .map(|n| format!("{}-{n}", self.name))
                .collect(),
            spec: ChildSpec {
                restart: self.restart.unwrap_or(Restart::Transient),
                ..self.spec
            },
        }
    }

    /// All checks are done: the queue gets to know the supervisor.
    fn apply_to(&self, broker: &Broker) {
        if !self.polls {
            broker.forbid_polling();
        }
        if let Some(observer) = &self.observer {
            broker.set_observer(Arc::clone(observer));
        }
        if let Some(name_items) = &self.name_items {
            broker.with(|core| core.set_name_items(Arc::clone(name_items)));
        }
        let (mode, workers) = self.how.describe();
        let started = EventKind::Started {
            pid: std::process::id(),
            mode,
            workers,
        };
        broker.read(|core| core.emitter.emit(started));
    }
}

/// What a pool of this process was built with.
#[derive(Debug, Clone)]
pub(super) struct ThreadPlan {
    pub(super) names: Vec<String>,
    pub(super) spec: ChildSpec,
}

#[cfg(feature = "tasks")]
fn needs(option: &'static str, other: &str) -> Error {
    Error(Kind::Invalid {
        option,
        why: format!("is what {other} needs: async tasks run async functions"),
    })
}
