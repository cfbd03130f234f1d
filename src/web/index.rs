//! The list of all queues of a program, each with its counts and the way to its pages.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::Response;
use hyper::StatusCode;
use maud::{Markup, html};
use serde_json::Value;

use super::access::Visitor;
use super::answer::shown;
use super::frame::{Frame, WebPage, table};
use super::site::{Site, Sites};
use super::words::{badge, count, grouped, printable, text, workers_in_all};
use crate::control::client::NoAnswer;
use crate::observe::words::counted;

pub(super) type SharedSites = State<Arc<Sites>>;

const COLUMNS: [&str; 8] = [
    "Queue",
    "State",
    "Waiting",
    "With workers",
    "Done",
    "Dead letters",
    "Items per second",
    "Workers",
];

/// Answers with the list.
pub(super) async fn page(
    State(sites): SharedSites,
    Extension(visitor): Extension<Visitor>,
) -> Response {
    let said = visitor.take_said();
    let frame = Frame {
        visitor: Some(&visitor),
        path: "/",
        has_login: sites.door.access.has_token(),
        said: said.as_deref(),
        ..Frame::default()
    };
    shown(StatusCode::OK, frame.of(&*listed(&sites).await))
}

/// Returns the list, or what somebody else was shown just now.
pub(super) async fn listed(sites: &Sites) -> Arc<WebPage> {
    let mut listed = sites.listed.lock().await;
    match listed.page() {
        Some(page) => page,
        None => listed.keep(list(sites).await),
    }
}

async fn list(sites: &Sites) -> WebPage {
    let mut rows = Vec::new();
    for site in &sites.queues {
        rows.push(row(site, site.run.get("/v1/status?workers=false").await));
    }
    let label = counted(rows.len() as u64, "queue", "queues");
    let rows = html! { @for row in &rows { (row) } };
    WebPage::new("Queues").part("queues", table(&label, &COLUMNS, rows))
}

fn row(site: &Site, status: Result<Value, NoAnswer>) -> Markup {
    html! {
        tr {
            th scope="row" { a href=(site.base) { (printable(&site.run.name())) } }
            @match status {
                Ok(status) => {
                    @let counts = &status["counts"];
                    td { (badge(text(&status["state"]))) }
                    @for name in ["waiting", "leased", "done", "dead"] {
                        td.number { (grouped(count(&counts[name]))) }
                    }
                    td.number { (format!("{:.1}", status["rate_per_s"].as_f64().unwrap_or(0.0))) }
                    td.number { (grouped(workers_in_all(&status))) }
                },
                // A queue that is gone does not take the others with it.
                Err(why) => { td colspan=(COLUMNS.len() - 1) { (printable(&why.to_string())) } },
            }
        }
    }
}
