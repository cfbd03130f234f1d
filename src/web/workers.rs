//! The workers: what each does and for how long, its memory, and how often and why it died.

use maud::{Markup, html};
use serde_json::Value;

use super::access::Visitor;
use super::frame::{FORM, WebPage, button, button_for, table};
use super::site::Site;
use super::words::{badge, bytes, count, grouped, micros, moment, printable, text, values};
use crate::control::client::NoAnswer;

const COLUMNS: [&str; 9] = [
    "Worker",
    "Process",
    "State",
    "Item",
    "For",
    "Memory",
    "Restarts",
    "Last death",
    "Orders",
];

/// The orders that a visitor may give about one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WorkerOrders {
    None,
    /// A thread or a task cannot be ended alone.
    Replace,
    All,
}

pub(super) async fn page(site: &Site, visitor: &Visitor) -> Result<WebPage, NoAnswer> {
    let status = site.run.get("/v1/status").await?;
    let workers = values(&status["workers"]);
    let wanted = count(&status["workers_wanted"]);
    let orders = match (visitor.may_change(), text(&status["mode"])) {
        (false, _) => WorkerOrders::None,
        (true, "processes") => WorkerOrders::All,
        (true, _) => WorkerOrders::Replace,
    };
    let columns = match orders {
        WorkerOrders::None => &COLUMNS[..COLUMNS.len() - 1],
        WorkerOrders::Replace | WorkerOrders::All => &COLUMNS,
    };
    let rows = html! { @for worker in workers { (row(worker, orders)) } };
    let all = html! {
        p { (grouped(workers.len() as u64)) " workers, " (grouped(wanted)) " wanted" }
        (table("Workers", columns, rows))
    };
    let mut page = WebPage::new("Workers");
    if visitor.may_change() {
        page = page.head(html! {
            p.buttons {
                label for="workers" { "Number of workers" }
                input id="workers" name="count" form=(FORM) type="number" min="0" max="100000" value=(wanted);
                (button("Change", "/act/scale"))
                (button("Replace all …", "/act/reload"))
            }
        });
    }
    Ok(page.part("workers-list", all))
}

fn row(worker: &Value, orders: WorkerOrders) -> Markup {
    let (death, name) = (&worker["last_death"], text(&worker["worker"]));
    let is_ready = worker["state"] == "idle" || worker["state"] == "busy";
    html! {
        tr {
            th scope="row" { (printable(name)) }
            td.number { @if let Some(pid) = worker["pid"].as_u64() { (pid) } }
            td { (badge(text(&worker["state"]))) }
            td {
                @if let Some(number) = worker["number"].as_u64() {
                    a href=(format!("/items/{number}")) { (number) } " "
                }
                (printable(text(&worker["item"])))
            }
            td.number { @if let Some(time) = micros(&worker["for_us"]) { (time) } }
            td.number { @if let Some(size) = worker["rss_bytes"].as_u64() { (bytes(size)) } }
            td.number { (grouped(count(&worker["restarts"]))) }
            td {
                @if let Some(cause) = death["cause"].as_str() {
                    (printable(cause))
                    @if let Some(at) = moment(&death["at_us"]) { ", " (at) }
                }
            }
            @if orders != WorkerOrders::None {
                td.number {
                    @if is_ready {
                        (button_for("Replace …", "/act/replace-worker", name, &printable(name)))
                        @if orders == WorkerOrders::All {
                            " " (button_for("End …", "/act/end-worker", name, &printable(name)))
                        }
                    }
                }
            }
        }
    }
}
