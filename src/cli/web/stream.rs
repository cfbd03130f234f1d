//! Answers the requests of the control API for a stream, as far as the page makes them: from the stream itself,
//! and by orders to the supervisors that work on it. Each request opens the stream anew; what looks on keeps it
//! open as long as somebody does. It does not know the page.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Method, StatusCode};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::cli::address::Address;
use crate::cli::asking::{self, Asked};
use crate::cli::exit_codes::RunError;
use crate::cli::logs;
use crate::cli::steering::{
    CarriedOut, SteeringOrder, WantedWorkers, WorkerOrder, order_worker, stop_supervisors,
};
use crate::control::client::{self, NoAnswer};
use crate::control::stream::list::ListPlace;
use crate::control::stream::watch::{StreamLook, StreamWatch};
use crate::control::stream::{StreamClient, metrics};
use crate::observe::micros;
use crate::store::stream::Stream;
use crate::{ItemId, ItemState};

/// The time for which a look is shown to others as well.
const FRESH: Duration = Duration::from_millis(500);

/// The longest time in which a look is answered. Supervisors that stand still are waited for for a part of it.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// A change is answered when it has happened.
const AS_LONG_AS_IT_TAKES: Duration = Duration::from_secs(u32::MAX as u64);

/// The longest time that is spent on one list. The next one goes on with it.
const LIST_TIME: Duration = Duration::from_millis(500);

/// The greatest number of items in one answer, and the usual one.
const LIMIT_MAX: usize = 1000;
const LIMIT: usize = 100;

/// The stream, and who looks on.
#[derive(Debug)]
struct StreamGateway {
    place: Address,
    looks: Mutex<Option<KeptLooks>>,
}

/// The latest look, and the watch by which the next one knows the pace.
#[derive(Debug)]
struct KeptLooks {
    watch: StreamWatch,
    latest: Option<(Instant, Arc<StreamLook>)>,
}

/// An answer.
#[derive(Debug)]
struct GatewayAnswer(Value);

impl IntoResponse for GatewayAnswer {
    fn into_response(self) -> Response {
        let kind = [(CONTENT_TYPE, "application/json")];
        (kind, self.0.to_string()).into_response()
    }
}

/// The reason for which a request is not answered.
#[derive(Debug)]
struct NotAnswered(NoAnswer);

impl IntoResponse for NotAnswered {
    fn into_response(self) -> Response {
        let (code, message) = match self.0 {
            NoAnswer::Refused { code, message } => (code, message),
            other => ("stream".to_owned(), other.to_string()),
        };
        let status = match &*code {
            "unknown_item" => StatusCode::NOT_FOUND,
            _ => StatusCode::CONFLICT,
        };
        (
            status,
            GatewayAnswer(json!({"code": code, "message": message})),
        )
            .into_response()
    }
}

impl From<NoAnswer> for NotAnswered {
    fn from(why: NoAnswer) -> Self {
        NotAnswered(why)
    }
}

impl From<RunError> for NotAnswered {
    fn from(why: RunError) -> Self {
        refused("stream", &why)
    }
}

fn refused(code: &str, why: &dyn std::fmt::Display) -> NotAnswered {
    NotAnswered(NoAnswer::Refused {
        code: code.to_owned(),
        message: why.to_string(),
    })
}

type Gateway = State<Arc<StreamGateway>>;
type StreamAnswer = Result<GatewayAnswer, NotAnswered>;

/// Makes the routes for this stream.
pub(super) fn routes(place: Address) -> Router {
    let gateway = StreamGateway {
        place,
        looks: Mutex::default(),
    };
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/failures", get(failures))
        .route("/v1/timeline", get(timeline))
        .route("/v1/items", get(list))
        .route("/v1/items/{number}", get(show))
        .route("/v1/items/{number}/output", get(output))
        .route("/v1/items/{number}/cancel", post(cancel))
        .route("/v1/items/{number}/retry", post(retry))
        .route("/v1/items/{number}/drop", post(drop_dead))
        .route("/v1/pause", post(pause))
        .route("/v1/resume", post(resume))
        .route("/v1/reload", post(reload))
        .route("/v1/workers", put(scale))
        .route("/v1/stop", post(stop))
        .route(
            "/v1/supervisors/{name}/workers/{worker}/end",
            post(end_worker),
        )
        .route(
            "/v1/supervisors/{name}/workers/{worker}/replace",
            post(replace_worker),
        )
        .route("/metrics", get(numbers))
        .fallback(not_told)
        .with_state(Arc::new(gateway))
}

/// The stream that a request waits for, once it is open.
#[derive(Debug, Default)]
struct Awaited(Mutex<Option<Arc<dyn Stream>>>);

impl Awaited {
    /// Notes whom this client waits for.
    fn note(&self, client: &StreamClient) {
        *self.0.lock() = Some(client.stream());
    }

    /// Waits for it no longer.
    fn give_up(&self) {
        if let Some(stream) = &*self.0.lock() {
            stream.abandon();
        }
    }
}

impl StreamGateway {
    /// Runs something that waits for the stream in a thread of its own, for no longer than this.
    async fn block<R: Send + 'static>(
        self: &Arc<Self>,
        time: Duration,
        act: impl FnOnce(&StreamGateway, &Awaited) -> Result<R, NotAnswered> + Send + 'static,
    ) -> Result<R, NotAnswered> {
        let gateway = Arc::clone(self);
        let awaited = Arc::<Awaited>::default();
        let waiting = Arc::clone(&awaited);
        let running = spawn_blocking(move || act(&gateway, &waiting));
        match timeout(time, running).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                let bug = "the request ended by a bug of this program; please report it";
                Err(refused("internal", &bug))
            }
            Err(_) => {
                awaited.give_up();
                let at = self.place.shown_url();
                Err(refused("stream", &format_args!("{at}: it does not answer")))
            }
        }
    }

    /// Asks the stream.
    async fn ask<R: Send + 'static>(
        self: &Arc<Self>,
        act: impl FnOnce(&StreamClient) -> Result<R, NoAnswer> + Send + 'static,
    ) -> Result<R, NotAnswered> {
        self.block(ANSWER_TIME, move |gateway, awaited| {
            let client = asking::stream(&gateway.place)?;
            awaited.note(&client);
            Ok(act(&client)?)
        })
        .await
    }

    /// Changes something of one item.
    async fn change(
        self: &Arc<Self>,
        act: impl FnOnce(&StreamClient) -> Result<Value, NoAnswer> + Send + 'static,
    ) -> StreamAnswer {
        let answer = self.block(AS_LONG_AS_IT_TAKES, move |gateway, _| {
            Ok(act(&asking::stream(&gateway.place)?)?)
        });
        let answer = answer.await?;
        self.has_changed();
        Ok(GatewayAnswer(answer))
    }

    /// Orders something of the supervisors.
    async fn order(
        self: &Arc<Self>,
        give: impl FnOnce(StreamClient) -> Result<CarriedOut, RunError> + Send + 'static,
    ) -> StreamAnswer {
        let said = self.block(AS_LONG_AS_IT_TAKES, move |gateway, _| {
            let carried_out = give(asking::stream(&gateway.place)?)?;
            let said = carried_out.in_a_line();
            said.map_err(|why| refused("not_done", &why))
        });
        let said = said.await;
        self.has_changed();
        Ok(GatewayAnswer(json!({ "said": format!("{}.", said?) })))
    }

    async fn steer(self: &Arc<Self>, order: SteeringOrder) -> StreamAnswer {
        self.order(move |client| Asked::Stream(Box::new(client)).carry_out(order))
            .await
    }

    async fn order_worker(
        self: &Arc<Self>,
        order: WorkerOrder,
        (name, worker): (String, String),
    ) -> StreamAnswer {
        self.order(move |client| order_worker(&client.about(name), order, &worker))
            .await
    }

    /// Lets nobody be shown what was before a change.
    fn has_changed(&self) {
        // Whoever looks just now may see it already, and is seen for a moment longer.
        if let Some(mut looks) = self.looks.try_lock()
            && let Some(looks) = &mut *looks
        {
            looks.latest = None;
        }
    }

    async fn look(self: &Arc<Self>) -> Result<Arc<StreamLook>, NotAnswered> {
        self.block(ANSWER_TIME, StreamGateway::look_now).await
    }

    /// Looks at the stream, unless somebody else just has.
    fn look_now(&self, awaited: &Awaited) -> Result<Arc<StreamLook>, NotAnswered> {
        let kept = self.looks.try_lock_for(ANSWER_TIME);
        let mut kept = kept.ok_or_else(|| refused("stream", &"it does not answer"))?;
        let looks = match &mut *kept {
            Some(looks) => looks,
            none => none.insert(KeptLooks {
                watch: StreamWatch::new(asking::stream(&self.place)?),
                latest: None,
            }),
        };
        if let Some((at, look)) = &looks.latest
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(look));
        }
        awaited.note(looks.watch.client());
        let look = self.look_by(&mut looks.watch);
        match look {
            Ok(look) => {
                looks.latest = Some((Instant::now(), Arc::clone(&look)));
                Ok(look)
            }
            Err(why) => {
                // It may be given up, so the next look opens it anew.
                *kept = None;
                Err(why.into())
            }
        }
    }

    fn look_by(&self, watch: &mut StreamWatch) -> Result<Arc<StreamLook>, NoAnswer> {
        let mut look = watch.look()?;
        look.status["name"] = self.place.stream.as_str().into();
        look.status["at"] = self.place.shown_url().into();
        let oldest = watch.oldest(&look)?;
        look.status["oldest_waiting_us"] = json!(oldest.map(micros));
        Ok(Arc::new(look))
    }
}

async fn not_told() -> NotAnswered {
    refused("not_possible", &"a stream does not tell that")
}

async fn status(State(gateway): Gateway) -> StreamAnswer {
    Ok(GatewayAnswer(gateway.look().await?.status.clone()))
}

async fn numbers(State(gateway): Gateway, headers: HeaderMap) -> Result<Response, NotAnswered> {
    let look = gateway.look().await?;
    Ok(metrics::of_stream(&headers, look.status.clone()))
}

async fn failures(State(gateway): Gateway) -> StreamAnswer {
    let look = gateway.look().await?;
    Ok(GatewayAnswer(json!({"failures": look.failures})))
}

/// The time and the rows of a chart that are asked for.
#[derive(Debug, Deserialize)]
struct StreamChartQuery {
    since_us: Option<u64>,
    until_us: Option<u64>,
    #[serde(default)]
    after: usize,
    limit: Option<usize>,
    bars: Option<usize>,
}

async fn timeline(State(gateway): Gateway, Query(query): Query<StreamChartQuery>) -> StreamAnswer {
    let limit = query.limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    let asked = json!({
        "since_us": query.since_us,
        "until_us": query.until_us,
        "limit": (query.after + limit).clamp(1, LIMIT_MAX),
        "bars": query.bars,
    });
    let told = gateway.ask(move |client| client.timeline(&asked, query.after, limit));
    Ok(GatewayAnswer(told.await?))
}

/// The items that are asked for.
#[derive(Debug, Deserialize)]
struct StreamListQuery {
    state: Option<ItemState>,
    #[serde(default)]
    text: String,
    #[serde(default)]
    after: String,
    limit: Option<usize>,
}

async fn list(State(gateway): Gateway, Query(query): Query<StreamListQuery>) -> StreamAnswer {
    let found = gateway.ask(move |client| listed(client, &query));
    Ok(GatewayAnswer(found.await?))
}

/// Lists items up to the limit, or as far as there is time.
fn listed(client: &StreamClient, query: &StreamListQuery) -> Result<Value, NoAnswer> {
    let began = Instant::now();
    let limit = query.limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    let mut place = match &*query.after {
        "" => client.list(query.state)?,
        after => after.parse().map_err(|()| NoAnswer::Refused {
            code: "bad_query".to_owned(),
            message: format!("after: {after} is no place of a list"),
        })?,
    };
    let mut items = Vec::new();
    while items.len() < limit && !place.is_over() && began.elapsed() < LIST_TIME {
        for (after, item) in client.next_page(&mut place, query.state, &query.text)? {
            items.push(item);
            if items.len() == limit {
                place = after;
                break;
            }
        }
    }
    let after = Some(place).filter(|place| !place.is_over());
    let after = after.as_ref().map(ListPlace::to_string);
    Ok(json!({"items": items, "after": after}))
}

async fn show(State(gateway): Gateway, Path(number): Path<u64>) -> StreamAnswer {
    let item = gateway.ask(move |client| client.item(ItemId(number)));
    Ok(GatewayAnswer(item.await?))
}

/// The output that is asked for.
#[derive(Debug, Deserialize)]
struct StreamOutputQuery {
    #[serde(default)]
    follow: bool,
}

/// Passes on what the run has that has worked on the item, if it is on this machine.
async fn output(
    State(gateway): Gateway,
    Path(number): Path<u64>,
    Query(StreamOutputQuery { follow }): Query<StreamOutputQuery>,
) -> Result<Response, NotAnswered> {
    let near = gateway.block(ANSWER_TIME, move |gateway, awaited| {
        let client = asking::stream(&gateway.place)?;
        awaited.note(&client);
        let near = logs::connect_near(&client, ItemId(number))?;
        Ok(near.path().to_owned())
    });
    let path = near.await?;
    let target = format!("/v1/items/{number}/output?follow={follow}");
    let request = client::request(&path, Method::GET, &target, Bytes::new())?;
    let (mut sender, _) = client::dial(&path).await?;
    let answer = client::send(&path, &mut sender, request).await?;
    Ok(answer.map(Body::new))
}

async fn cancel(State(gateway): Gateway, Path(number): Path<u64>) -> StreamAnswer {
    gateway
        .change(move |client| client.cancel(ItemId(number)))
        .await
}

async fn retry(State(gateway): Gateway, Path(number): Path<u64>) -> StreamAnswer {
    gateway
        .change(move |client| client.retry(ItemId(number)))
        .await
}

async fn drop_dead(State(gateway): Gateway, Path(number): Path<u64>) -> StreamAnswer {
    gateway
        .change(move |client| client.drop_dead(ItemId(number)))
        .await
}

async fn pause(State(gateway): Gateway) -> StreamAnswer {
    gateway.steer(SteeringOrder::Pause).await
}

async fn resume(State(gateway): Gateway) -> StreamAnswer {
    gateway.steer(SteeringOrder::Resume).await
}

async fn reload(State(gateway): Gateway) -> StreamAnswer {
    gateway.steer(SteeringOrder::Reload).await
}

/// The number of workers that each supervisor is to have.
#[derive(Debug, Deserialize)]
struct ScaleBody {
    count: u64,
}

async fn scale(State(gateway): Gateway, body: Bytes) -> StreamAnswer {
    let ScaleBody { count } =
        serde_json::from_slice(&body).map_err(|why| refused("bad_body", &why))?;
    let order = SteeringOrder::Scale(WantedWorkers::To(count));
    gateway.steer(order).await
}

/// A supervisor, and one of its workers.
type NamedWorker = Path<(String, String)>;

async fn end_worker(State(gateway): Gateway, Path(named): NamedWorker) -> StreamAnswer {
    gateway.order_worker(WorkerOrder::End, named).await
}

async fn replace_worker(State(gateway): Gateway, Path(named): NamedWorker) -> StreamAnswer {
    gateway.order_worker(WorkerOrder::Replace, named).await
}

/// True if what is begun is broken off.
#[derive(Debug, Default, Deserialize)]
struct StopBody {
    now: bool,
}

async fn stop(State(gateway): Gateway, body: Bytes) -> StreamAnswer {
    let StopBody { now } = match body.is_empty() {
        true => StopBody::default(),
        false => serde_json::from_slice(&body).map_err(|why| refused("bad_body", &why))?,
    };
    gateway
        .order(move |client| stop_supervisors(&client, now))
        .await
}
