//! The requests of clients, and their answers: what is asked, of the target, and what went wrong.
//! The paths and fields are a contract with other programs: see `docs/api.md`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put as put_method};
use axum::{Router, middleware};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Api, ApiAnswer, Number, SharedApi, WantedRequest, done, read_query, wait_while};
use super::attach::go_on_in_frames;
use super::connection::Peer;
use super::failure::{RequestFailure, answer, unknown_path, wrong_method};
use super::failures::FAILURES_MAX;
use super::follow::{self, Follower, NextLook};
use super::item;
use super::metrics;
use super::puts;
use super::search::{self, ItemPage, ListQuery};
use super::status::RunStatus;
use super::steering::{end_worker, pause, reload, replace_worker, resume, scale, stop};
use super::timeline::{self, TimelineQuery};
use crate::ItemInfo;
use crate::broker::clients::{Admit, ClientPuts};
use crate::queue::Joined;
use dishrack_core::ledger::ItemId;

/// Makes the routes.
pub(super) fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/items", get(list).post(put))
        .route("/v1/items/{number}", get(show))
        .route("/v1/items/{number}/text", get(text))
        .route("/v1/items/{number}/output", get(output))
        .route("/v1/items/{number}/cancel", post(cancel))
        .route("/v1/items/{number}/retry", post(retry))
        .route("/v1/items/{number}/drop", post(drop_dead))
        .route("/v1/failures", get(failures))
        .route("/v1/timeline", get(timeline))
        .route("/v1/join", get(join))
        .route("/v1/pause", post(pause))
        .route("/v1/resume", post(resume))
        .route("/v1/workers", put_method(scale))
        .route("/v1/workers/{worker}/end", post(end_worker))
        .route("/v1/workers/{worker}/replace", post(replace_worker))
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

/// The part of a status that may be left out.
#[derive(Debug, Deserialize)]
struct StatusQuery {
    workers: Option<bool>,
}

/// Tells how the run stands.
async fn status(
    State(api): SharedApi,
    query: Result<Query<StatusQuery>, QueryRejection>,
) -> ApiAnswer {
    let has_workers = read_query(query)?.workers.unwrap_or(true);
    let facts = api.block(|api| api.target.facts()).await??;
    let facts = facts.ok_or_else(RequestFailure::closed)?;
    let status = match has_workers {
        true => RunStatus::new(&api.name, facts),
        false => RunStatus::without_workers(&api.name, &facts),
    };
    let text = serde_json::to_string(&status).map_err(|why| RequestFailure::internal(&why))?;
    Ok(answer(StatusCode::OK, text))
}

/// Tells the numbers for Prometheus.
async fn metrics(State(api): SharedApi, headers: HeaderMap) -> ApiAnswer {
    let facts = api.block(|api| api.target.facts()).await??;
    metrics::of_run(&headers, facts.ok_or_else(RequestFailure::closed)?)
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

/// Tells all of an item, of which elsewhere only the beginning is told.
async fn text(State(api): SharedApi, Number(id): Number) -> ApiAnswer {
    let found = api.block(move |api| -> Result<_, RequestFailure> {
        let item = api.target.item(id)?;
        let item = item.ok_or_else(|| RequestFailure::unknown_item(id.0))?;
        Ok(api.target.text(&item))
    });
    let text = found.await??.ok_or_else(|| {
        let message =
            format!("item {id} has ended, or cannot be read here, so its text is not kept");
        RequestFailure::new(StatusCode::GONE, "item_gone", message)
    })?;
    let mut response = Response::new(Body::from(text));
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
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

/// Tells of the attempts of a time, as the bars of a chart.
async fn timeline(
    State(api): SharedApi,
    query: Result<Query<TimelineQuery>, QueryRejection>,
) -> ApiAnswer {
    let view = read_query(query)?.check()?;
    let rows = api.block(move |api| timeline::rows(&*api.target, &view));
    done(&rows.await??.ok_or_else(RequestFailure::closed)?)
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
    let duplicates = put.duplicates.iter();
    let duplicates = duplicates.map(|(place, of)| json!({"place": place, "of": of}));
    done(&json!({
        "accepted": put.count(),
        "items": runs.collect::<Value>(),
        "duplicates": duplicates.collect::<Value>(),
    }))
}

/// The bound of a wait.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitQuery {
    timeout_ms: Option<u64>,
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
