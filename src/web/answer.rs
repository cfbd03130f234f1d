//! The forms of answers: markup, and events that go on.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use maud::Markup;
use serde_json::Value;
use tokio::sync::watch;

use super::site::Site;

pub(super) type SharedSite = State<Arc<Site>>;

/// The unsent events of a client. One that reads nothing is waited for.
const EVENTS_MAX: usize = 2;

/// Answers with markup.
pub(super) fn shown(status: StatusCode, markup: Markup) -> Response {
    let kind = [(CONTENT_TYPE, "text/html; charset=utf-8")];
    (status, kind, markup.into_string()).into_response()
}

/// Answers with events that a task sends, until it or the page ends.
pub(super) fn events<F: Future<Output = ()> + Send + 'static>(
    mut ends: watch::Receiver<bool>,
    send: impl FnOnce(Sender<Bytes>) -> F,
) -> Response {
    let (sender, body) = Channel::new(EVENTS_MAX);
    let sent = send(sender);
    tokio::spawn(async move {
        tokio::select! {
            () = sent => {}
            _ = ends.wait_for(|ended| *ended) => {}
        }
    });
    let mut response = Response::new(Body::new(body));
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Returns an event as it is sent.
pub(super) fn event(name: &str, data: &Value) -> Bytes {
    json_event(name, &data.to_string())
}

/// Returns an event whose data is JSON in one line already.
pub(super) fn json_event(name: &str, data: &str) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}
