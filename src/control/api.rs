//! The things that all requests have in common: the target, threads for what may block, and the forms of queries
//! and answers. It does not know what is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::response::Response;
use hyper::StatusCode;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};

use super::attach::AttachedClients;
use super::body::BodyMemory;
use super::clients::clients_max;
use super::connection::Peer;
use super::events::EventListeners;
use super::failure::{RequestFailure, answer};
use super::failures::LatestFailures;
use super::gate::Gate;
use super::keys::PutKeys;
use super::output::{AttemptEnding, FoundEnd};
use super::server::CLIENTS_MAX;
use super::target::ControlTarget;
use crate::ItemInfo;
use crate::error::Error;
use crate::observe::Observer;
use dishrack_core::ledger::ItemId;

/// The number of requests that may wait in threads at a time: puts for room, and the like.
const WAITING_MAX: usize = 48;

/// All that requests need.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) name: String,
    pub(super) target: Arc<dyn ControlTarget>,
    pub(super) listeners: EventListeners,
    pub(super) gate: Gate,
    pub(super) attached: Arc<AttachedClients>,
    /// It listens for as long as this is there.
    pub(super) failures: Arc<LatestFailures>,
    pub(super) keys: Mutex<PutKeys>,
    pub(super) memory: BodyMemory,
    waiting: Arc<Semaphore>,
    /// True from when nobody is answered any more.
    is_ending: AtomicBool,
    /// The same, for those who sleep.
    pub(super) ending: watch::Sender<bool>,
}

pub(super) type SharedApi = State<Arc<Api>>;

pub(super) type ApiAnswer = Result<Response, RequestFailure>;

impl Api {
    /// Begins to note what fails.
    pub(super) fn new(name: &str, target: Arc<dyn ControlTarget>) -> Result<Self, Error> {
        let failures = Arc::<LatestFailures>::default();
        target.listen(Arc::clone(&failures) as _)?;
        Ok(Api {
            name: name.to_owned(),
            target,
            failures,
            listeners: EventListeners::default(),
            gate: Gate::default(),
            attached: Arc::new(AttachedClients::new(clients_max(CLIENTS_MAX))),
            keys: Mutex::default(),
            memory: BodyMemory::default(),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            is_ending: AtomicBool::new(false),
            ending: watch::Sender::new(false),
        })
    }

    /// Ends all that waits.
    pub(super) fn end(&self) {
        self.is_ending.store(true, Ordering::Release);
        self.ending.send_replace(true);
        let failures = Arc::clone(&self.failures) as Arc<dyn Observer>;
        self.target.unlisten(&failures);
        self.target.wake_putters();
        self.listeners.end();
        self.attached.end();
    }

    /// Returns what is kept of the end of an item that has ended.
    pub(super) fn ending(&self, item: &ItemInfo) -> Option<AttemptEnding> {
        match self.target.outputs()?.ended(item.number) {
            FoundEnd::Kept(ending) if ending.is_end_of(item) => Some(ending),
            FoundEnd::Kept(_) | FoundEnd::Gone | FoundEnd::Unseen => None,
        }
    }

    /// Runs something that may block in a thread of its own.
    pub(super) async fn block<R: Send + 'static>(
        self: &Arc<Self>,
        run: impl FnOnce(&Api) -> R + Send + 'static,
    ) -> Result<R, RequestFailure> {
        let Ok(waiting) = Arc::clone(&self.waiting).try_acquire_owned() else {
            return Err(RequestFailure::busy("too many requests wait already"));
        };
        let api = Arc::clone(self);
        let running = tokio::task::spawn_blocking(move || {
            let result = run(&api);
            drop(waiting);
            result
        });
        let bug = "the request ended by a bug of this program; please report it";
        running.await.map_err(|_| RequestFailure::internal(&bug))
    }

    /// Does the same for a change, unless the run comes to its end.
    pub(super) async fn change<R: Send + 'static>(
        self: &Arc<Self>,
        run: impl FnOnce(&Api) -> Result<R, RequestFailure> + Send + 'static,
    ) -> Result<R, RequestFailure> {
        let change = self.block(move |api| match api.gate.pass() {
            Some(_passing) => run(api),
            None => Err(RequestFailure::closed()),
        });
        change.await?
    }
}

/// The number of an item in a path.
pub(super) struct Number(pub(super) ItemId);

impl FromRequestParts<Arc<Api>> for Number {
    type Rejection = RequestFailure;

    async fn from_request_parts(
        parts: &mut hyper::http::request::Parts,
        api: &Arc<Api>,
    ) -> Result<Self, RequestFailure> {
        let path = Path::<String>::from_request_parts(parts, api).await;
        let word = path.map(|Path(word)| word).unwrap_or_default();
        match word.parse::<u64>() {
            Ok(number) => Ok(Number(ItemId(number))),
            Err(_) => {
                let message = format!("{word:?} is no number of an item");
                Err(RequestFailure::bad("bad_number", message))
            }
        }
    }
}

pub(super) fn done(value: &Value) -> ApiAnswer {
    Ok(answer(StatusCode::OK, value.to_string()))
}

/// A request that waits as long as its client does, and this is not dropped.
pub(super) struct WantedRequest {
    api: Arc<Api>,
    peer: Peer,
    is_dropped: Arc<AtomicBool>,
}

impl WantedRequest {
    pub(super) fn new(api: &Arc<Api>, peer: Peer) -> Self {
        WantedRequest {
            api: Arc::clone(api),
            peer,
            is_dropped: Arc::default(),
        }
    }

    /// Returns what the request asks before it goes on.
    pub(super) fn check(&self) -> impl Fn() -> bool + Send + 'static {
        let (api, peer) = (Arc::clone(&self.api), self.peer.clone());
        let is_dropped = Arc::clone(&self.is_dropped);
        move || {
            let is_over = |flag: &AtomicBool| flag.load(Ordering::Acquire);
            !is_over(&is_dropped) && !is_over(&api.is_ending) && !peer.is_gone()
        }
    }
}

impl Drop for WantedRequest {
    fn drop(&mut self) {
        self.is_dropped.store(true, Ordering::Release);
        self.api.target.wake_putters();
    }
}

/// Reads a query, whose faults are told in our form.
pub(super) fn read_query<Q>(query: Result<Query<Q>, QueryRejection>) -> Result<Q, RequestFailure> {
    match query {
        Ok(Query(query)) => Ok(query),
        Err(why) => Err(RequestFailure::bad("bad_query", why.body_text())),
    }
}

/// The time between two looks of a waiting request whether its client is there.
const LOOK: Duration = Duration::from_millis(500);

/// Waits for something in a thread, as long as it is wanted: `wait` waits for the time that it is
/// given, and `None` says that it was too short.
pub(super) fn wait_while<R>(
    time: Option<Duration>,
    is_wanted: &dyn Fn() -> bool,
    mut wait: impl FnMut(Duration) -> Result<R, Error>,
) -> Result<R, RequestFailure> {
    let end = time.and_then(|time| Instant::now().checked_add(time));
    loop {
        let left = end.map_or(LOOK, |end| end.saturating_duration_since(Instant::now()));
        match wait(left.min(LOOK)) {
            Err(error) if error.is_timeout() => {
                if end.is_some_and(|end| end <= Instant::now()) {
                    return Err(error.into());
                }
            }
            result => return Ok(result?),
        }
        if !is_wanted() {
            // It may have come to pass just now.
            return wait(Duration::ZERO).map_err(|error| match error.is_timeout() {
                true => RequestFailure::closed(),
                false => error.into(),
            });
        }
    }
}
