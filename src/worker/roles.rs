//! The functions that worker processes may run, by the name of their type.
//!
//! A function item's type has a name of its own, such as `myprogram::dry`, the same in the
//! supervisor and in the re-executed worker. Closures may share a name: an ambiguous one is
//! refused.

use std::any::type_name;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::session::{self, Session};
use crate::error::Kind;
use crate::queue::JoinableQueue;

/// What a worker process does with its session.
type Run = Arc<dyn Fn(&Arc<Session>) + Send + Sync>;

#[derive(Clone)]
pub(super) struct Role {
    pub(super) run: Run,
    is_ambiguous: bool,
}

static ROLES: RwLock<Option<HashMap<&'static str, Role>>> = RwLock::new(None);

/// Takes the functions that worker processes may run; see [`serve`](super::serve).
pub struct Roles {
    named: HashMap<&'static str, Role>,
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.named.keys()).finish()
    }
}

impl Roles {
    /// A handler: run for each item, and its return is the acknowledgement.
    pub fn handler<T, R, E, F>(&mut self, handler: F)
    where
        F: Fn(T) -> Result<R, E> + Send + Sync + 'static,
        T: DeserializeOwned + 'static,
        R: Serialize + 'static,
        E: fmt::Display + 'static,
    {
        self.add::<F>(Arc::new(move |session| {
            session::run_handler(session, &handler);
        }));
    }

    /// The chapter's loop: gets items from the queue and says `task_done` itself, until `get`
    /// says that the queue is closed.
    pub fn worker<T, F>(&mut self, worker: F)
    where
        F: Fn(JoinableQueue<T>) + Send + Sync + 'static,
        T: Serialize + DeserializeOwned + 'static,
    {
        self.add::<F>(Arc::new(move |session| {
            worker(JoinableQueue::of_session(Arc::clone(session)));
        }));
    }

    fn add<F>(&mut self, run: Run) {
        let role = Role {
            run,
            is_ambiguous: false,
        };
        if let Some(known) = self.named.get_mut(type_name::<F>()) {
            known.is_ambiguous = true;
        } else {
            self.named.insert(type_name::<F>(), role);
        }
    }
}

pub(super) fn register(register: impl FnOnce(&mut Roles)) {
    let mut known = ROLES.write().unwrap_or_else(PoisonError::into_inner);
    let named = known.take().unwrap_or_default();
    let mut roles = Roles { named };
    register(&mut roles);
    *known = Some(roles.named);
}

pub(super) fn find(name: &str) -> Option<Role> {
    let known = ROLES.read().unwrap_or_else(PoisonError::into_inner);
    known.as_ref()?.get(name).cloned()
}

/// The name under which workers will find `F`, if they can.
pub(crate) fn name_of<F>() -> Result<&'static str, Kind> {
    let role = type_name::<F>();
    let known = ROLES.read().unwrap_or_else(PoisonError::into_inner);
    let known = known.as_ref().ok_or(Kind::NotServed)?;
    if size_of::<F>() != 0 {
        return Err(Kind::Captures { role });
    }
    match known.get(role) {
        None => Err(Kind::UnknownRole { role }),
        Some(found) if found.is_ambiguous => Err(Kind::Invalid {
            option: "serve",
            why: format!("two functions are called {role}: use functions with names of their own"),
        }),
        Some(_) => Ok(role),
    }
}
