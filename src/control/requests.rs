//! The requests of clients, and their answers: what is asked, of the target, and what went wrong.
//! The paths and fields are a contract with other programs: see `docs/api.md`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, FromRequestParts, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put as put_method};
use axum::{Router, middleware};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use super::attach::{AttachedClients, go_on_in_frames};
use super::body::BodyMemory;
use super::connection::Peer;
use super::events::EventListeners;
use super::failure::{RequestFailure, answer, unknown_path, wrong_method};
use super::failures::{FAILURES_MAX, LatestFailures};
use super::follow::{self, Follower, NextLook};
use super::gate::Gate;
use super::item;
use super::keys::PutKeys;
use super::metrics::exposition;
use super::output::{AttemptEnding, FoundEnd};
use super::puts;
use super::search::{self, ItemPage, ListQuery};
use super::server::clients_max;
use super::status::RunStatus;
use super::target::ControlTarget;
use crate::ItemInfo;
use crate::broker::clients::{Admit, ClientPuts};
use crate::error::Error;
use crate::observe::Observer;
use crate::queue::Joined;
use dishrack_core::ledger::ItemId;

/// The number of requests that may wait in threads at a time: puts for room, and the like.
const WAITING_MAX: usize = 48;

/// All that requests need.
#[derive(Debug)]
pub(super) struct Api {
    name: String,
    pub(super) target: Arc<dyn ControlTarget>,
    pub(super) listeners: EventListeners,
    pub(super) gate: Gate,
    pub(super) attached: Arc<AttachedClients>,
    /// It listens for as long as this is there.
    failures: Arc<LatestFailures>,
    keys: Mutex<PutKeys>,
    memory: BodyMemory,
    waiting: Arc<Semaphore>,
    /// True from when nobody is answered any more.
    is_ending: AtomicBool,
    /// The same, for those who sleep.
    ending: watch::Sender<bool>,
}

type SharedApi = State<Arc<Api>>;

type ApiAnswer = Result<Response, RequestFailure>;

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
            attached: Arc::new(AttachedClients::new(clients_max())),
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
    fn ending(&self, item: &ItemInfo) -> Option<AttemptEnding> {
        match self.target.outputs()?.ended(item.number) {
            FoundEnd::Kept(ending) if ending.is_end_of(item) => Some(ending),
            FoundEnd::Kept(_) | FoundEnd::Gone | FoundEnd::Unseen => None,
        }
    }

    /// Runs something that may block in a thread of its own.
    async fn block<R: Send + 'static>(
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
    async fn change<R: Send + 'static>(
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

/// Makes the routes.
pub(super) fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/items", get(list).post(put))
        .route("/v1/items/{number}", get(show))
        .route("/v1/items/{number}/output", get(output))
        .route("/v1/items/{number}/cancel", post(cancel))
        .route("/v1/items/{number}/retry", post(retry))
        .route("/v1/items/{number}/drop", post(drop_dead))
        .route("/v1/failures", get(failures))
        .route("/v1/join", get(join))
        .route("/v1/pause", post(pause))
        .route("/v1/resume", post(resume))
        .route("/v1/workers", put_method(scale))
        .route("/v1/reload", post(reload))
        .route("/v1/stop", post(stop))
        .route("/v1/events", get(events))
        .route("/v1/attach", get(attach))
        .route("/metrics", get(metrics))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::map_response(explain))
        .with_state(api)
}

/// Says in our form what axum says in plain words of a path or query that it cannot read.
async fn explain(response: Response) -> Response {
    let status = response.status();
    let is_ours = response
        .headers()
        .get(CONTENT_TYPE)
        .is_none_or(|kind| kind != "text/plain; charset=utf-8");
    if !status.is_client_error() || is_ours {
        return response;
    }
    let message = http_body_util::BodyExt::collect(response.into_body()).await;
    let message = message.map(|whole| whole.to_bytes()).unwrap_or_default();
    let message = String::from_utf8_lossy(&message).into_owned();
    RequestFailure::new(status, "bad_request", message).into_response()
}

/// The number of an item in a path.
pub(super) struct Number(ItemId);

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

fn done(value: &Value) -> ApiAnswer {
    Ok(answer(StatusCode::OK, value.to_string()))
}

/// Tells how the run stands.
async fn status(State(api): SharedApi) -> ApiAnswer {
    let facts = api.block(|api| api.target.facts()).await??;
    let facts = facts.ok_or_else(RequestFailure::closed)?;
    let status = RunStatus::new(&api.name, facts);
    let text = serde_json::to_string(&status).map_err(|why| RequestFailure::internal(&why))?;
    Ok(answer(StatusCode::OK, text))
}

/// Tells the numbers for Prometheus.
async fn metrics(State(api): SharedApi, headers: HeaderMap) -> ApiAnswer {
    let facts = api.block(|api| api.target.facts()).await??;
    exposition(&headers, facts.ok_or_else(RequestFailure::closed)?)
}

/// The greatest number of items in one answer.
const LIST_MAX: usize = 1000;

/// Lists items, in the order of their numbers, a page at a time.
async fn list(State(api): SharedApi, query: Result<Query<ListQuery>, QueryRejection>) -> ApiAnswer {
    let query = read_query(query)?;
    let limit = query.limit.unwrap_or(100);
    if !(1..=LIST_MAX).contains(&limit) {
        let message = format!("limit: {limit} is not between 1 and {LIST_MAX}");
        return Err(RequestFailure::bad("bad_query", message));
    }
    let page = ItemPage {
        state: query.state,
        text: query.text,
        after: ItemId(query.after.unwrap_or(0)),
        limit,
    };
    let found = api.block(move |api| search::list(&*api.target, &page, |one| api.ending(one)));
    let found = found.await??;
    let line = |one: &ItemInfo| item::line(one, api.ending(one).as_ref());
    let lines: Value = found.items.iter().map(line).collect();
    done(&json!({"items": lines, "after": found.after.map(|last| last.0)}))
}

/// Shows an item, at once or when it has ended.
async fn show(
    State(api): SharedApi,
    Number(id): Number,
    Extension(peer): Extension<Peer>,
    query: Result<Query<ShowQuery>, QueryRejection>,
) -> ApiAnswer {
    let query = read_query(query)?;
    let time = query.timeout_ms.map(Duration::from_millis);
    let wanted = WantedRequest::new(&api, peer);
    let check = wanted.check();
    let found = api.block(move |api| match query.wait.unwrap_or(false) {
        false => Ok(api.target.item(id)?),
        true => wait_while(time, &check, |time| api.target.wait_item(id, time)),
    });
    match found.await?? {
        Some(found) => {
            let ending = api.ending(&found);
            done(&item::page(
                &found,
                ending.as_ref(),
                api.target.takes_commands(),
            ))
        }
        None => Err(RequestFailure::unknown_item(id.0)),
    }
}

/// The number of failures that are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FailuresQuery {
    limit: Option<usize>,
}

/// Tells of the latest failures, the last one first.
async fn failures(
    State(api): SharedApi,
    query: Result<Query<FailuresQuery>, QueryRejection>,
) -> ApiAnswer {
    let limit = read_query(query)?.limit.unwrap_or(FAILURES_MAX);
    if !(1..=FAILURES_MAX).contains(&limit) {
        let message = format!("limit: {limit} is not between 1 and {FAILURES_MAX}");
        return Err(RequestFailure::bad("bad_query", message));
    }
    done(&json!({"failures": api.failures.latest(limit)}))
}

/// The wait for the end of an item, if one is wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowQuery {
    wait: Option<bool>,
    timeout_ms: Option<u64>,
}

/// The output that is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputQuery {
    follow: Option<bool>,
}

/// Tells the output of an item, in lines of JSON: what there is, or all until its end.
async fn output(
    State(api): SharedApi,
    Number(id): Number,
    query: Result<Query<OutputQuery>, QueryRejection>,
) -> ApiAnswer {
    let is_following = read_query(query)?.follow.unwrap_or(false);
    let mut follower = Follower::new(&api.target, id, is_following)?;
    let began = tokio::time::Instant::now();
    let (follower, looked) = loop {
        let looked = api.block(move |_| {
            let looked = follower.look();
            (follower, looked)
        });
        let (same, looked) = looked.await?;
        let looked = looked?;
        if is_following || looked.1 != NextLook::Lag {
            break (same, looked);
        }
        same.after_lag(began).await?;
        follower = same;
    };
    let body = follow::begin(follower, looked, api.ending.subscribe())?;
    let mut response = Response::new(Body::new(body));
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// Hands out nothing more; answered when nothing more is begun.
async fn pause(State(api): SharedApi, Extension(peer): Extension<Peer>) -> ApiAnswer {
    let wanted = WantedRequest::new(&api, peer);
    let check = wanted.check();
    let paused = api.block(move |api| wait_while(None, &check, |time| api.target.pause(time)));
    paused.await??;
    done(&json!({"paused": true}))
}

async fn resume(State(api): SharedApi) -> ApiAnswer {
    api.block(|api| api.target.unpause()).await??;
    done(&json!({"resumed": true}))
}

/// The number of workers that there are to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkersBody {
    count: usize,
}

/// Changes the number of workers; answered when so many are ready and the others are gone.
async fn scale(State(api): SharedApi, Extension(peer): Extension<Peer>, body: Body) -> ApiAnswer {
    let body = api.memory.read(body).await?;
    let wanted: WorkersBody = serde_json::from_slice(&body.bytes).map_err(|why| {
        RequestFailure::bad("bad_body", format!("the body is {{\"count\": N}}: {why}"))
    })?;
    let request = WantedRequest::new(&api, peer);
    let check = request.check();
    let count = wanted.count;
    let scaled =
        api.block(move |api| wait_while(None, &check, |time| api.target.scale(count, time)));
    scaled.await??;
    done(&json!({"workers": count}))
}

/// Replaces all workers; answered when that is over.
async fn reload(State(api): SharedApi) -> ApiAnswer {
    api.block(|api| api.target.reload()).await??;
    done(&json!({"reloaded": true}))
}

/// The items that a put is about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PutQuery {
    form: Option<PutForm>,
}

/// A form that a put relies on.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PutForm {
    /// Each item is a command of its own.
    Command,
}

/// Puts items, one for each line of JSON; all are read before the first is put.
async fn put(
    State(api): SharedApi,
    Extension(peer): Extension<Peer>,
    query: Result<Query<PutQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> ApiAnswer {
    let key = puts::key_of(&headers)?;
    let form = read_query(query)?.form;
    if form.is_some() && !api.target.takes_commands() {
        let message = "the items of this run are no commands of their own: they are given to its \
                       COMMAND";
        return Err(RequestFailure::conflict("no_commands", message));
    }
    let body = api.memory.read(body).await?;
    let wanted = WantedRequest::new(&api, peer);
    let check = wanted.check();
    let put = api.change(move |api| {
        puts::put_whole(&*api.target, &api.keys, key.as_deref(), &body.bytes, &check)
    });
    let put = put.await?;
    let runs = put.runs.iter();
    let runs = runs.map(|(first, last)| json!({"first": first, "last": last}));
    done(&json!({"accepted": put.count(), "items": runs.collect::<Value>()}))
}

/// A request that waits as long as its client does, and this is not dropped.
struct WantedRequest {
    api: Arc<Api>,
    peer: Peer,
    is_dropped: Arc<AtomicBool>,
}

impl WantedRequest {
    fn new(api: &Arc<Api>, peer: Peer) -> Self {
        WantedRequest {
            api: Arc::clone(api),
            peer,
            is_dropped: Arc::default(),
        }
    }

    /// Returns what the request asks before it goes on.
    fn check(&self) -> impl Fn() -> bool + Send + 'static {
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

/// The bound of a wait.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitQuery {
    timeout_ms: Option<u64>,
}

/// Reads a query, whose faults are told in our form.
fn read_query<Q>(query: Result<Query<Q>, QueryRejection>) -> Result<Q, RequestFailure> {
    match query {
        Ok(Query(query)) => Ok(query),
        Err(why) => Err(RequestFailure::bad("bad_query", why.body_text())),
    }
}

/// The time between two looks of a waiting request whether its client is there.
const LOOK: Duration = Duration::from_millis(500);

/// Waits for something in a thread, as long as it is wanted: `wait` waits for the time that it is
/// given, and `None` says that it was too short.
fn wait_while<R>(
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

/// Waits until every item has ended.
async fn join(
    State(api): SharedApi,
    Extension(peer): Extension<Peer>,
    query: Result<Query<WaitQuery>, QueryRejection>,
) -> ApiAnswer {
    let time = read_query(query)?.timeout_ms.map(Duration::from_millis);
    let wanted = WantedRequest::new(&api, peer);
    let check = wanted.check();
    let joined = api.block(move |api| {
        let join = |time| api.target.join(time);
        wait_while(time, &check, join)
    });
    let (Joined { done: ended, dead }, retries) = joined.await??;
    done(&json!({"done": ended, "dead": dead, "retries": retries}))
}

async fn cancel(State(api): SharedApi, Number(id): Number) -> ApiAnswer {
    let cancelled = api.change(move |api| Ok(api.target.cancel(id)?));
    match cancelled.await? {
        true => done(&json!({"number": id.0, "cancelled": true})),
        false => Err(RequestFailure::nothing_to_cancel(id.0)),
    }
}

async fn retry(State(api): SharedApi, Number(id): Number) -> ApiAnswer {
    let retried = api.change(move |api| Ok(api.target.retry(id)?)).await?;
    of_letter(id, retried, "retried")
}

async fn drop_dead(State(api): SharedApi, Number(id): Number) -> ApiAnswer {
    let dropped = api.change(move |api| Ok(api.target.drop_dead(id)?)).await?;
    of_letter(id, dropped, "dropped")
}

fn of_letter(id: ItemId, is_done: bool, word: &str) -> ApiAnswer {
    match is_done {
        true => done(&json!({"number": id.0, (word): true})),
        false => Err(RequestFailure::no_dead_letter(id.0)),
    }
}

/// Ends the run; the body says whether at once.
async fn stop(State(api): SharedApi, body: Body) -> ApiAnswer {
    let body = api.memory.read(body).await?;
    let now = match body.bytes.trim_ascii() {
        b"" => false,
        text => match serde_json::from_slice::<Value>(text) {
            Ok(Value::Object(fields)) if fields.keys().all(|name| name == "now") => {
                let now = fields.get("now").map_or(Some(false), Value::as_bool);
                now.ok_or_else(bad_stop)?
            }
            _ => return Err(bad_stop()),
        },
    };
    api.block(move |api| api.target.stop(now)).await?;
    let process_ends = api.target.is_process_ended();
    done(&json!({"stopped": true, "process_ends": process_ends}))
}

fn bad_stop() -> RequestFailure {
    RequestFailure::bad("bad_body", "the body is nothing, or {\"now\": true}")
}

/// Lets a connection go on in frames, by which another program uses the queue.
async fn attach(
    State(api): SharedApi,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let gate = Arc::clone(&api);
    let admit: Admit = Arc::new(move |put| {
        let passing = gate.gate.pass();
        passing.inspect(|_| put()).is_some()
    });
    let listener = api.target.put_listener();
    let puts = ClientPuts { admit, listener };
    go_on_in_frames(&api.attached, api.target.served(), puts, peer, request)
}

/// Tells of every event from now on, until the run ends.
async fn events(State(api): SharedApi) -> ApiAnswer {
    let body = api.listeners.listen(&api.target)?;
    let mut response = Response::new(Body::new(body));
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    let headers = response.headers_mut();
    headers.insert(
        hyper::header::CACHE_CONTROL,
        HeaderValue::from_static("no-store"),
    );
    Ok(response)
}
