//! Keeps a page true while it is open: sends the parts that have changed, as server-sent events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::channel::Sender;
use hyper::StatusCode;
use serde_json::Value;

use super::access::Visitor;
use super::answer::{SharedSite, event, events, json_event};
use super::frame::WebPage;
use super::index::{self, SharedSites};
use super::place::WebPlace;
use super::rendering;
use super::site::{Site, Sites};
use crate::control::client::NoAnswer;

/// The time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Sends what changes of the page whose address is asked for.
pub(super) async fn stream(
    State(site): SharedSite,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let mut fields = form_urlencoded::parse(query.as_bytes());
    let address = fields.find(|(name, _)| name == "page");
    let Some(place) = address.and_then(|(_, address)| WebPlace::of(&address)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let ends = site.door.ends.clone();
    let page = OpenPage::OfQueue(site, place, visitor);
    events(ends, |sender| keep_true(page, sender))
}

/// Sends what changes of the list of several queues.
pub(super) async fn list(State(sites): SharedSites) -> Response {
    let ends = sites.door.ends.clone();
    events(ends, |sender| keep_true(OpenPage::List(sites), sender))
}

/// A page that somebody looks at.
#[derive(Debug)]
enum OpenPage {
    OfQueue(Arc<Site>, WebPlace, Visitor),
    List(Arc<Sites>),
}

impl OpenPage {
    async fn render(&self) -> Result<Arc<WebPage>, NoAnswer> {
        match self {
            OpenPage::OfQueue(site, place, visitor) => rendering::page(site, place, visitor).await,
            OpenPage::List(sites) => Ok(index::listed(sites).await),
        }
    }
}

/// Sends what changes of a page, as long as somebody reads it.
async fn keep_true(page: OpenPage, mut sender: Sender<Bytes>) {
    let mut sent = HashMap::new();
    let mut was_lost = false;
    loop {
        let next = match page.render().await {
            Ok(page) => {
                was_lost = false;
                changed(&page, &mut sent).map(|parts| json_event("parts", &parts))
            }
            // It is said once, and what comes back is sent whole.
            Err(_) if was_lost => Some(Bytes::from_static(b": no answer\n\n")),
            Err(why) => {
                was_lost = true;
                sent.clear();
                Some(event("lost", &Value::from(why.to_string())))
            }
        };
        // What is sent in any case shows that nobody reads any more.
        let next = next.unwrap_or(Bytes::from_static(b": as before\n\n"));
        if sender.send_data(next).await.is_err() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Returns the parts that are not as they were sent, as a JSON object.
fn changed(page: &WebPage, sent: &mut HashMap<&'static str, u64>) -> Option<String> {
    let parts = page.parts.iter();
    let new = parts.filter(|part| sent.insert(part.id, part.print) != Some(part.print));
    let new: Vec<_> = new
        .map(|part| format!("\"{}\":{}", part.id, part.sent))
        .collect();
    (!new.is_empty()).then(|| format!("{{{}}}", new.join(",")))
}

#[cfg(test)]
mod tests {
    use maud::html;

    use super::*;

    #[test]
    fn a_part_is_sent_when_it_has_changed() {
        let page = |words: &str| {
            let page = WebPage::new("").part("same", html! { "as ever" });
            page.part("new", html! { (words) })
        };
        let mut sent = HashMap::new();
        let mut next = |words| changed(&page(words), &mut sent);
        assert_eq!(
            next("1").as_deref(),
            Some(r#"{"same":"as ever","new":"1"}"#)
        );
        assert_eq!(next("1"), None);
        assert_eq!(next("2").as_deref(), Some(r#"{"new":"2"}"#));
    }
}
