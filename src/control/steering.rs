//! The requests that steer a run: pauses, the number of its workers, their replacement, and the stop. Each is
//! answered when it has happened.

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{ApiAnswer, SharedApi, WantedRequest, done, wait_while};
use super::connection::Peer;
use super::failure::RequestFailure;

/// Hands out nothing more; answered when nothing more is begun.
pub(super) async fn pause(State(api): SharedApi, Extension(peer): Extension<Peer>) -> ApiAnswer {
    let wanted = WantedRequest::new(&api, peer);
    let check = wanted.check();
    let paused = api.block(move |api| wait_while(None, &check, |time| api.target.pause(time)));
    paused.await??;
    done(&json!({"paused": true}))
}

pub(super) async fn resume(State(api): SharedApi) -> ApiAnswer {
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
pub(super) async fn scale(
    State(api): SharedApi,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> ApiAnswer {
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
pub(super) async fn reload(State(api): SharedApi) -> ApiAnswer {
    api.block(|api| api.target.reload()).await??;
    done(&json!({"reloaded": true}))
}

/// Ends the process of one worker; answered when it has ended.
pub(super) async fn end_worker(State(api): SharedApi, Path(worker): Path<String>) -> ApiAnswer {
    let name = worker.clone();
    let ended = api.block(move |api| api.target.end_worker(&name));
    ended.await??;
    done(&json!({"worker": worker, "ended": true}))
}

/// Replaces one worker; answered when it has gone.
pub(super) async fn replace_worker(State(api): SharedApi, Path(worker): Path<String>) -> ApiAnswer {
    let name = worker.clone();
    let replaced = api.block(move |api| api.target.replace_worker(&name));
    replaced.await??;
    done(&json!({"worker": worker, "replaced": true}))
}

/// Ends the run; the body says whether at once.
pub(super) async fn stop(State(api): SharedApi, body: Body) -> ApiAnswer {
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
