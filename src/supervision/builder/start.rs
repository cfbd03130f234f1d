//! Starts the workers of a description, after all possible checks. `builder` has the options.

use std::any::type_name;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::broker::Broker;
use crate::error::{Error, Kind};
use crate::handler::attempt::attempt;
use crate::observe::{EventKind, Mode};
use crate::protocol::endpoints::CONTEXT_FILES_MAX;
use crate::queue::JoinableQueue;
use crate::supervision::inline::InlinePool;
use crate::supervision::local_pool::LocalPlan;
use crate::supervision::pool::Pool;
use crate::supervision::processes::ProcessPool;
use crate::supervision::spawn::{self, Position};
use crate::supervision::threads::ThreadPool;
use crate::supervision::watch::ProcessPlan;
use crate::supervision::{Supervisor, limits};
use crate::worker::roles;
use dishrack_core::ledger::Credit;
use dishrack_core::pool::spec::{ChildSpec, Restart};

use super::Builder;

impl Builder {
    /// Starts workers that run `handler` for each item. Its return is the acknowledgement: `Ok` is
    /// done, `Err` is a failed attempt.
    ///
    /// For processes, `handler` must be a plain function that [`serve`](crate::serve) names.
    ///
    /// # Errors
    /// `is_setup`; nothing was started.
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
        let (broker, mode) = (Arc::clone(queue.broker()?), self.mode);
        self.check_bounds()?;
        self.check_copies(&broker, Some(type_name::<R>()))?;
        self.check_limits(&broker, type_name::<T>(), false)?;
        let credit = self.credit(&broker);
        let run = move |body: &[u8], wanted| attempt(&handler, body, wanted);
        let pool: Box<dyn Pool> = match self.mode {
            Mode::Processes => self.processes_of::<T, F>(&broker, credit, Restart::Permanent)?,
            Mode::Threads => {
                let plan = self.threads_of(&broker)?;
                let item_type = type_name::<T>();
                Box::new(ThreadPool::of_handlers(
                    &plan, &broker, credit, item_type, run,
                )?)
            }
            Mode::Sequential => {
                self.apply_to(&broker);
                Box::new(InlinePool::of_handler(&broker, type_name::<T>(), run)?)
            }
            Mode::Tasks => return Err(needs("handler_async", "tasks")),
        };
        Ok(Supervisor::new(broker, pool, mode))
    }

    /// Starts workers that run the chapter's loop: `get`, work, `task_done`, until `get` says that
    /// the queue is closed. Each gets a handle of the queue.
    ///
    /// For processes, `worker` must be a plain function that [`serve`](crate::serve) names. Inline,
    /// the loop runs inside each put or join, and `get` says closed when nothing is left.
    ///
    /// # Errors
    /// `is_setup`; nothing was started.
    pub fn worker<T, F>(
        self,
        queue: &JoinableQueue<T>,
        worker: F,
    ) -> Result<Supervisor<T, ()>, Error>
    where
        F: Fn(JoinableQueue<T>) + Send + Sync + 'static,
        T: Serialize + DeserializeOwned + 'static,
    {
        let (broker, mode) = (Arc::clone(queue.broker()?), self.mode);
        self.check_bounds()?;
        self.check_copies(&broker, None)?;
        self.check_limits(&broker, type_name::<T>(), true)?;
        let handle = queue.clone();
        let pool: Box<dyn Pool> = match self.mode {
            Mode::Processes => {
                let credit = self.credit(&broker).for_loop();
                self.processes_of::<T, F>(&broker, credit, Restart::Transient)?
            }
            Mode::Threads => {
                let plan = self.threads_of(&broker)?;
                let run = move || worker(handle.clone());
                Box::new(ThreadPool::of_loops(&plan, &broker, run)?)
            }
            Mode::Sequential => {
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
            Mode::Tasks => return Err(needs("worker_async", "tasks")),
        };
        Ok(Supervisor::new(broker, pool, mode))
    }

    /// Checks that these workers can be held to their bounds.
    pub(super) fn check_bounds(&self) -> Result<(), Kind> {
        let bounds = &self.bounds;
        let (can_be_ended, can_be_replaced) = match self.mode {
            Mode::Processes => (true, true),
            Mode::Tasks => (true, false),
            Mode::Threads | Mode::Sequential => (false, false),
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
            (
                "memory_limit",
                bounds.memory_limit.is_some() && !can_be_replaced,
            ),
            ("nice", self.launch.priorities.is_any() && !can_be_replaced),
            ("jobserver", self.jobserver.is_some() && !can_be_replaced),
            (
                "admission",
                self.admission.is_some() && self.mode == Mode::Sequential,
            ),
        ];
        let mode = self.mode;
        if let Some((option, _)) = refused.iter().find(|(_, is_refused)| *is_refused) {
            let why = format!("{mode} cannot be ended from outside; use processes");
            return Err(Kind::invalid(option, why));
        }
        let too_little = [
            (
                ("time_limit", bounds.time_limit == Some(Duration::ZERO)),
                "no time is too little for any item",
            ),
            (
                ("max_tasks_per_worker", bounds.tasks_max == Some(0)),
                "a worker takes at least 1 item",
            ),
            (
                ("memory_limit", bounds.memory_limit == Some(0)),
                "no memory is too little for any item",
            ),
        ];
        match too_little.into_iter().find(|((_, is_zero), _)| *is_zero) {
            Some(((option, _), why)) => Err(Kind::invalid(option, why)),
            None => Ok(()),
        }
    }

    pub(super) fn credit(&self, broker: &Broker) -> Credit {
        let is_held_back = self.admission.is_some() || self.jobserver.is_some();
        let is_single = self.is_direct || is_held_back || self.counts_starts();
        if is_single || broker.read(|core| core.dispatcher.ledger.is_rendezvous()) {
            Credit::single()
        } else {
            Credit::adaptive()
        }
    }

    /// Checks all that can be checked before anything is started.
    fn plan<T: 'static, F>(
        &self,
        broker: &Arc<Broker>,
        credit: Credit,
        restart: Restart,
    ) -> Result<ProcessPlan, Kind> {
        limits::check_count(self.workers)?;
        let role = roles::name_of::<F>()?;
        limits::check_system()?;
        limits::check_socket_buffer()?;
        limits::check_file_size()?;
        if self.bounds.memory_limit.is_some() {
            limits::check_memory_is_told()?;
        }
        self.check_priorities()?;
        limits::provide_files(self.workers)?;
        if self.files.len() > CONTEXT_FILES_MAX {
            let why = format!("{} are more than {CONTEXT_FILES_MAX}", self.files.len());
            return Err(Kind::invalid("context_files", why));
        }
        let announces_starts = self.observer.as_ref().is_some_and(|o| o.wants_items());
        Ok(ProcessPlan {
            name: self.name.clone(),
            workers: self.workers,
            spec: ChildSpec {
                restart: self.restart.unwrap_or(restart),
                ..self.spec
            },
            method: self.method,
            fork_server: self.fork_server.clone(),
            position: Position {
                role,
                item_type: type_name::<T>(),
                queue: broker.address(type_name::<T>()),
                keeps_items: broker.keeps_items(),
                announces_starts,
                context: spawn::share_context(self.context.as_deref())?,
                files: self.files.clone(),
            },
            credit,
            bounds: self.bounds,
            launch: self.launch.clone(),
            stderr_to: self.stderr_to,
            tokens: None,
        })
    }

    /// Starts so many worker processes that run `F`.
    fn processes_of<T: 'static, F>(
        &self,
        broker: &Arc<Broker>,
        credit: Credit,
        restart: Restart,
    ) -> Result<Box<dyn Pool>, Kind> {
        let mut plan = self.plan::<T, F>(broker, credit, restart)?;
        broker.share_memory();
        self.admit(broker)?;
        if let Some(jobserver) = &self.jobserver {
            plan.tokens = Some(jobserver.serve(broker)?);
        }
        self.apply_to(broker);
        Ok(Box::new(ProcessPool::start(plan, broker)?))
    }

    /// Makes the plan for workers of this process, and tells the queue of them.
    pub(super) fn threads_of(&self, broker: &Broker) -> Result<LocalPlan, Kind> {
        limits::check_count(self.workers)?;
        self.admit(broker)?;
        self.apply_to(broker);
        Ok(LocalPlan {
            name: self.name.clone(),
            workers: self.workers,
            spec: ChildSpec {
                restart: self.restart.unwrap_or(Restart::Transient),
                ..self.spec
            },
        })
    }

    /// Has the queue begin items where there is room, if that was asked for.
    fn admit(&self, broker: &Broker) -> Result<(), Kind> {
        let Some(rules) = self.admission else {
            return Ok(());
        };
        if rules.pressure.is_some() {
            limits::check_pressure_is_told()?;
        }
        broker.admit_by(rules)
    }

    /// Checks that workers can be given their priorities.
    fn check_priorities(&self) -> Result<(), Kind> {
        let priorities = self.launch.priorities;
        if !priorities.is_any() {
            return Ok(());
        }
        if self.fork_server.is_some() {
            let why = "the fork server was given, and what it forks has the priorities that it has";
            return Err(Kind::invalid("nice", why));
        }
        let refused = |error| {
            let why = format!(
                "{error}: a higher priority than this process has needs a right (CAP_SYS_NICE)"
            );
            Kind::invalid("nice", why)
        };
        priorities.try_out().map_err(refused)
    }

    /// Tells the queue about the supervisor, after all checks.
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
        self.choose_copies(broker);
        self.choose_limits(broker);
        let started = EventKind::Started {
            pid: std::process::id(),
            mode: self.mode,
            workers: self.workers,
        };
        broker.read(|core| core.emitter.emit(started));
    }
}

pub(super) fn needs(option: &'static str, other: &str) -> Error {
    let why = format!("is what {other} needs: async tasks run async functions");
    Error(Kind::invalid(option, why))
}
