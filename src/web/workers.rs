//! The workers: what each does and for how long, its memory, and how often and why it died.

use maud::{Markup, html};
use serde_json::Value;

use super::access::Visitor;
use super::frame::{FORM, WebPage, button, button_for, table};
use super::site::Site;
use super::words::{badge, bytes, count, grouped, micros, moment, printable, text, values};
use crate::control::client::NoAnswer;

const COLUMNS: [&str; 8] = [
    "Worker",
    "Process",
    "State",
    "Item",
    "For",
    "Memory",
    "Restarts",
    "Last death",
];

/// The orders that a visitor may give about one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WorkerOrders {
    None,
    /// A thread or a task cannot be ended alone.
    Replace,
    All,
}

/// The form of a row, beside the columns that all have.
#[derive(Debug, Clone, Copy)]
struct RowForm {
    /// True if workers belong to several supervisors.
    is_stream: bool,
    orders: WorkerOrders,
}

impl RowForm {
    fn columns(self) -> Vec<&'static str> {
        let supervisor = self.is_stream.then_some("Supervisor");
        let orders = (self.orders != WorkerOrders::None).then_some("Orders");
        supervisor
            .into_iter()
            .chain(COLUMNS)
            .chain(orders)
            .collect()
    }
}

pub(super) async fn page(site: &Site, visitor: &Visitor) -> Result<WebPage, NoAnswer> {
    let status = site.run.get("/v1/status").await?;
    let workers = values(&status["workers"]);
    let wanted = count(&status["workers_wanted"]);
    let is_stream = site.run.is_stream();
    let orders = match (visitor.may_change() && !is_stream, text(&status["mode"])) {
        (false, _) => WorkerOrders::None,
        (true, "processes") => WorkerOrders::All,
        (true, _) => WorkerOrders::Replace,
    };
    let form = RowForm { is_stream, orders };
    let rows = html! { @for worker in workers { (row(worker, form)) } };
    let all = html! {
        p { (grouped(workers.len() as u64)) " workers, " (grouped(wanted)) " wanted" }
        (table("Workers", &form.columns(), rows))
    };
    let mut page = WebPage::new("Workers");
    if visitor.may_change() {
        let words = match is_stream {
            true => "Number of workers of each supervisor",
            false => "Number of workers",
        };
        let shown = (!is_stream).then_some(wanted);
        page = page.head(html! {
            p.buttons {
                label for="workers" { (words) }
                input id="workers" name="count" form=(FORM) type="number" min="0" max="100000" value=[shown];
                (button("Change", "/act/scale"))
                (button("Replace all …", "/act/reload"))
            }
        });
    }
    Ok(page.part("workers-list", all))
}

fn row(worker: &Value, RowForm { is_stream, orders }: RowForm) -> Markup {
    let (death, name) = (&worker["last_death"], text(&worker["worker"]));
    let is_ready = worker["state"] == "idle" || worker["state"] == "busy";
    html! {
        tr {
            @if is_stream { td { (printable(text(&worker["supervisor"]))) } }
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
            td.number { @if let Some(restarts) = worker["restarts"].as_u64() { (grouped(restarts)) } }
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
