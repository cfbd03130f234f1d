//! The functions that worker processes may run, by the name of their type.
//!
//! The type of a function item has a name of its own, such as `myprogram::dry`, the same in the
//! supervisor and in the re-executed worker. Closures may share one, and are refused then.

use std::any::type_name;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::handling;
use super::session::Session;
use crate::error::Kind;

/// The function that a worker process runs with its session.
pub(crate) type RoleFn = Arc<dyn Fn(&Arc<Session>) + Send + Sync>;

/// A function that a worker process calls before it is ready.
type Beginning = Arc<dyn Fn() + Send + Sync>;

#[derive(Clone)]
pub(super) struct Role {
    pub(super) run: RoleFn,
    pub(super) begin: Option<Beginning>,
    is_ambiguous: bool,
}

static ROLES: RwLock<Option<HashMap<&'static str, Role>>> = RwLock::new(None);

/// A function that runs before the first worker.
type Preload = Arc<dyn Fn() + Send + Sync>;

static PRELOADS: RwLock<Vec<Preload>> = RwLock::new(Vec::new());

/// A function that surrounds each fork; it is given what forks, which says whether this is the child.
type AroundFork = Arc<dyn Fn(&mut dyn FnMut() -> bool) + Send + Sync>;

static AROUND_FORK: RwLock<Option<AroundFork>> = RwLock::new(None);

/// Collects the functions that worker processes may run; see [`serve`](super::serve).
///
/// # Example
///
/// ```
/// use std::sync::OnceLock;
/// use dishrack::{JoinableQueue, Supervisor};
///
/// static TOWEL: OnceLock<String> = OnceLock::new();
/// fn dry(dish: String) -> Result<String, String> {
///     Ok(format!("{dish}, dried with {}", TOWEL.get().ok_or("nothing")?))
/// }
/// dishrack::serve(|roles| {
///     roles.preload(|| drop(TOWEL.set("linen".into())));
///     roles.handler(dry);
/// });
/// let rack = JoinableQueue::unbounded();
/// let pool = Supervisor::builder().processes(1).handler(&rack, dry)?;
/// assert_eq!(pool.map(["cup".to_owned()]).next().unwrap().unwrap(), "cup, dried with linen");
/// # Ok::<(), dishrack::Error>(())
/// ```
pub struct Roles {
    named: HashMap<&'static str, Role>,
    preloads: Vec<Preload>,
    around_fork: Option<AroundFork>,
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.named.keys()).finish()
    }
}

impl Roles {
    /// Adds a handler: it is run for each item, and its return is the acknowledgement.
    pub fn handler<T, R, E, F>(&mut self, handler: F)
    where
        F: Fn(T) -> Result<R, E> + Send + Sync + 'static,
        T: DeserializeOwned + 'static,
        R: Serialize + 'static,
        E: fmt::Display + 'static,
    {
        let run = move |session: &Arc<Session>| handling::run_handler(session, &handler);
        self.add::<F>(Arc::new(run));
    }

    /// Adds a handler, and functions that a worker process calls in the same thread: `begin` before it
    /// is ready, and so before its first item, within the
    /// [`boot_deadline`](crate::Builder::boot_deadline); and `end` after its last item, if it ends in
    /// order. Both can read the [`context`](crate::context). Threads and tasks call neither.
    ///
    /// # Example
    ///
    /// ```no_run
    /// fn dry(dish: String) -> Result<usize, String> {
    ///     Ok(dish.len())
    /// }
    ///
    /// dishrack::serve(|roles| {
    ///     roles.handler_between(|| println!("a towel is fetched"), dry, || println!("and hung up"));
    /// });
    /// ```
    pub fn handler_between<T, R, E, F>(
        &mut self,
        begin: impl Fn() + Send + Sync + 'static,
        handler: F,
        end: impl Fn() + Send + Sync + 'static,
    ) where
        F: Fn(T) -> Result<R, E> + Send + Sync + 'static,
        T: DeserializeOwned + 'static,
        R: Serialize + 'static,
        E: fmt::Display + 'static,
    {
        let run: RoleFn = Arc::new(move |session| {
            handling::run_handler(session, &handler);
            end();
        });
        self.add_role::<F>(Some(Arc::new(begin)), run);
    }

    /// Adds a function that prepares for work: it may read a model or fill a table. A fork server
    /// runs it once, and its workers share the resulting memory until one of them writes to it. A
    /// spawned worker runs it before its first item. The supervisor does not run it.
    ///
    /// It may keep its results in a `static`. A fork server has one thread, and a thread that is
    /// started here exists in no worker.
    pub fn preload(&mut self, preload: impl Fn() + Send + Sync + 'static) {
        self.preloads.push(Arc::new(preload));
    }

    /// Surrounds each fork of a fork server, for a runtime that has to be told of it: an interpreter,
    /// for example. `around` calls what it is given, once, and learns from it whether this is the
    /// child. The thread that forks is the only one, and in the child it is the first one.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn before_fork() {}
    /// # fn after_fork_in_child() {}
    /// # fn after_fork_in_parent() {}
    /// dishrack::serve(|roles| {
    ///     roles.around_fork(|fork| {
    ///         before_fork();
    ///         match fork() {
    ///             true => after_fork_in_child(),
    ///             false => after_fork_in_parent(),
    ///         }
    ///     });
    /// });
    /// ```
    pub fn around_fork(
        &mut self,
        around: impl Fn(&mut dyn FnMut() -> bool) + Send + Sync + 'static,
    ) {
        self.around_fork = Some(Arc::new(around));
    }

    /// Adds the function that a worker process runs with its session, by the name of this function.
    pub(crate) fn add<F>(&mut self, run: RoleFn) {
        self.add_role::<F>(None, run);
    }

    fn add_role<F>(&mut self, begin: Option<Beginning>, run: RoleFn) {
        let role = Role {
            run,
            begin,
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
    let mut known = ROLES.write();
    let named = known.take().unwrap_or_default();
    let mut roles = Roles {
        named,
        preloads: Vec::new(),
        around_fork: None,
    };
    register(&mut roles);
    *known = Some(roles.named);
    if let Some(around) = roles.around_fork {
        *AROUND_FORK.write() = Some(around);
    }
    let mut preloads = PRELOADS.write();
    preloads.extend(roles.preloads);
}

pub(super) fn preload() {
    let preloads = PRELOADS.read();
    let preloads = preloads.clone();
    preloads.iter().for_each(|preload| preload());
}

/// Forks, as the program wants that to be surrounded.
pub(super) fn fork_with<R>(fork: impl Fn() -> R, is_child: impl Fn(&R) -> bool) -> Option<R> {
    let mut forked = None;
    let around = AROUND_FORK.read().clone();
    let mut fork_once = || is_child(forked.get_or_insert_with(&fork));
    match around {
        Some(around) => around(&mut fork_once),
        None => {
            fork_once();
        }
    }
    forked
}

pub(super) fn find(name: &str) -> Option<Role> {
    let known = ROLES.read();
    known.as_ref()?.get(name).cloned()
}

/// Returns the name under which workers find `F`, if they can.
pub(crate) fn name_of<F>() -> Result<&'static str, Kind> {
    let role = type_name::<F>();
    let known = ROLES.read();
    let known = known.as_ref().ok_or(Kind::NotServed)?;
    if size_of::<F>() != 0 {
        return Err(Kind::Captures { role });
    }
    match known.get(role) {
        None => Err(Kind::UnknownRole { role }),
        Some(found) if found.is_ambiguous => Err(Kind::invalid(
            "serve",
            format!("two functions are called {role}: use functions with names of their own"),
        )),
        Some(_) => Ok(role),
    }
}
