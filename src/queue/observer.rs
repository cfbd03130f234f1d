//! The observer of a queue, also of one that has no workers here. It does not know what is reported.

use std::sync::Arc;

use super::JoinableQueue;
use crate::error::Error;
use crate::observe::Observer;

impl<T> JoinableQueue<T> {
    /// Sets the observer of this queue's events, for a program that puts and joins but has no
    /// supervisor: on Redis it is told when the server is away. It replaces an earlier one, as
    /// [`Builder::observer`](crate::Builder::observer) does.
    ///
    /// # Errors
    /// In a worker process.
    ///
    /// # Example
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use dishrack::JoinableQueue;
    /// use dishrack::observe::{Event, EventKind, Observer};
    ///
    /// #[derive(Debug, Default)]
    /// struct Begun(Mutex<Vec<String>>);
    ///
    /// impl Observer for Begun {
    ///     fn observe(&self, event: Event) {
    ///         if let EventKind::ItemStarted { item, .. } = event.kind {
    ///             self.0.lock().unwrap().push(item);
    ///         }
    ///     }
    /// }
    ///
    /// let begun = Arc::new(Begun::default());
    /// let queue = JoinableQueue::<String>::unbounded();
    /// queue.set_observer(Arc::clone(&begun) as _)?;
    /// queue.put("cup")?;
    /// queue.get()?.task_done()?;
    /// assert_eq!(*begun.0.lock().unwrap(), ["item-1"]);
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    pub fn set_observer(&self, observer: Arc<dyn Observer>) -> Result<(), Error> {
        self.broker()?.set_observer(observer);
        Ok(())
    }
}
