//! Workers that are async tasks: their number, and how they are started.

use std::any::type_name;
use std::fmt::Display;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Builder;
use super::start::needs;
use crate::error::{Error, Kind};
use crate::observe::Mode;
use crate::queue::JoinableQueue;
use crate::supervision::Supervisor;
use crate::supervision::tasks::TaskPool;

impl Builder {
    /// Sets the number of async tasks, on one thread of this process with a tokio runtime.
    #[must_use]
    pub fn tasks(mut self, workers: usize) -> Self {
        (self.mode, self.workers) = (Mode::Tasks, workers);
        self
    }

    /// Like [`handler`](Self::handler), for [`tasks`](Self::tasks).
    ///
    /// # Errors
    /// `is_setup`; nothing was started.
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
        if self.mode != Mode::Tasks {
            return Err(needs("tasks", "handler_async"));
        }
        self.check_bounds()?;
        let broker = Arc::clone(queue.broker()?);
        self.check_copies(&broker, Some(type_name::<R>()))?;
        self.check_limits(&broker, type_name::<T>(), false)?;
        let credit = self.credit(&broker);
        let plan = self.threads_of(&broker)?;
        let pool = TaskPool::of_handlers(&plan, &broker, credit, self.bounds.time_limit, handler)?;
        Ok(Supervisor::new(broker, Box::new(pool), Mode::Tasks))
    }

    /// Like [`worker`](Self::worker), for [`tasks`](Self::tasks): use
    /// [`get_async`](JoinableQueue::get_async) in the loop.
    ///
    /// # Errors
    /// `is_setup`; nothing was started.
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
        if self.mode != Mode::Tasks {
            return Err(needs("tasks", "worker_async"));
        }
        self.check_bounds()?;
        if self.bounds.time_limit.is_some() {
            let why = "needs a handler: a loop of its own does not say what it is at";
            return Err(Error(Kind::invalid("time_limit", why)));
        }
        let broker = Arc::clone(queue.broker()?);
        self.check_copies(&broker, None)?;
        self.check_limits(&broker, type_name::<T>(), true)?;
        let plan = self.threads_of(&broker)?;
        let handle = queue.clone();
        let run = move || worker(handle.clone());
        let pool = TaskPool::of_loops(&plan, &broker, run)?;
        Ok(Supervisor::new(broker, Box::new(pool), Mode::Tasks))
    }
}
