//! The workers: what each does and for how long, its memory, and how often and why it died.

use maud::{Markup, html};
use serde_json::Value;

use super::access::Visitor;
use super::frame::{FORM, WebPage, button, button_for, search_form, table};
use super::place::WorkerSearch;
use super::site::Site;
use super::words::{badge, bytes, count, grouped, micros, moment, printable, text, values};
use crate::control::client::NoAnswer;

/// The workers of one page: each row changes with each look, and is drawn anew.
const PAGE: usize = 100;

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

impl WorkerOrders {
    /// Returns those about a worker of a pool of this kind.
    fn of(mode: &Value, may_change: bool) -> Self {
        match mode.as_str() {
            _ if !may_change => WorkerOrders::None,
            Some("processes") => WorkerOrders::All,
            Some(_) => WorkerOrders::Replace,
            // A supervisor that does not say it is not heard.
            None => WorkerOrders::None,
        }
    }
}

/// The form of a row, beside the columns that all have.
#[derive(Debug, Clone, Copy)]
struct RowForm {
    /// True if workers belong to several supervisors.
    is_stream: bool,
    may_change: bool,
}

impl RowForm {
    fn columns(self) -> Vec<&'static str> {
        let supervisor = self.is_stream.then_some("Supervisor");
        let orders = self.may_change.then_some("Orders");
        supervisor
            .into_iter()
            .chain(COLUMNS)
            .chain(orders)
            .collect()
    }
}

pub(super) async fn page(
    site: &Site,
    search: &WorkerSearch,
    visitor: &Visitor,
) -> Result<WebPage, NoAnswer> {
    let status = site.run.get("/v1/status").await?;
    let is_stream = site.run.is_stream();
    let may_change = visitor.may_change();
    let head = html! {
        @if may_change { (scaling(&status, is_stream)) }
        (search_form("workers", &search.text, html! {}))
    };
    let form = RowForm {
        is_stream,
        may_change,
    };
    let list = list(&status, search, form);
    Ok(WebPage::new("Workers")
        .head(head)
        .part("workers-list", list))
}

fn scaling(status: &Value, is_stream: bool) -> Markup {
    let words = match is_stream {
        true => "Number of workers of each supervisor",
        false => "Number of workers",
    };
    let shown = (!is_stream).then(|| count(&status["workers_wanted"]));
    html! {
        p.buttons {
            label for="workers" { (words) }
            input id="workers" name="count" form=(FORM) type="number" min="0" max="100000" value=[shown];
            (button("Change", "act/scale"))
            (button("Replace all …", "act/reload"))
        }
    }
}

/// One page of the workers that are looked for, and the ways to the others.
fn list(status: &Value, search: &WorkerSearch, form: RowForm) -> Markup {
    let all = values(&status["workers"]);
    let sought = search.text.to_lowercase();
    let found = all.iter().filter(|one| has(one, &sought));
    let found: Vec<&Value> = found.collect();
    let from = search.after.min(found.len());
    let until = (from + PAGE).min(found.len());
    let shown = &found[from..until];
    // On a stream each worker has that of its supervisor.
    let mode = |worker: &Value| match form.is_stream {
        true => worker["mode"].clone(),
        false => status["mode"].clone(),
    };
    let rows = html! {
        @for worker in shown {
            (row(worker, form, WorkerOrders::of(&mode(worker), form.may_change)))
        }
    };
    html! {
        p {
            (grouped(all.len() as u64)) " workers, " (grouped(count(&status["workers_wanted"]))) " wanted"
            @if !search.text.is_empty() { ", " (grouped(found.len() as u64)) " with this text" }
        }
        @if shown.is_empty() {
            p { "There is none here." }
        } @else {
            (table(&format!("Workers {} to {until}", from + 1), &form.columns(), rows))
        }
        p.buttons {
            @if from > 0 {
                a.button href=(search.address(from.saturating_sub(PAGE))) rel="prev" { "Earlier workers" }
            }
            @if until < found.len() {
                a.button href=(search.address(until)) rel="next" { "Further workers" }
            }
        }
    }
}

/// Returns `true` if what is shown of a worker in words has this text, in lower case, or it has the item of
/// this number.
fn has(worker: &Value, text: &str) -> bool {
    let fields = ["worker", "state", "item", "supervisor"].map(|name| &worker[name]);
    let mut words = fields
        .into_iter()
        .chain([&worker["last_death"]["cause"]])
        .filter_map(Value::as_str);
    let number = worker["number"].as_u64();
    words.any(|words| words.to_lowercase().contains(text))
        || number.is_some_and(|number| text.parse() == Ok(number))
}

fn row(worker: &Value, form: RowForm, orders: WorkerOrders) -> Markup {
    let RowForm {
        is_stream,
        may_change,
    } = form;
    let (death, name) = (&worker["last_death"], text(&worker["worker"]));
    let (what, about) = match is_stream {
        false => (name.to_owned(), printable(name)),
        true => {
            let about = format!("{name} of {}", text(&worker["supervisor"]));
            (
                format!("{}/{name}", text(&worker["supervisor_name"])),
                printable(&about),
            )
        }
    };
    let is_ready = worker["state"] == "idle" || worker["state"] == "busy";
    html! {
        tr {
            @if is_stream { td { (printable(text(&worker["supervisor"]))) } }
            th scope="row" { (printable(name)) }
            td.number { @if let Some(pid) = worker["pid"].as_u64() { (pid) } }
            td { (badge(text(&worker["state"]))) }
            td.name {
                @if let Some(number) = worker["number"].as_u64() {
                    a href=(format!("items/{number}")) { (number) } " "
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
            @if may_change {
                td.number {
                    @if is_ready && orders != WorkerOrders::None {
                        (button_for("Replace …", "act/replace-worker", &what, &about))
                        @if orders == WorkerOrders::All {
                            " " (button_for("End …", "act/end-worker", &what, &about))
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::place::WebPlace;
    use super::*;

    fn shown(address: &str) -> String {
        let workers = (1..=250).map(|n| json!({"worker": format!("worker-{n}"), "state": "busy"}));
        let status = json!({"workers": workers.collect::<Value>(), "workers_wanted": 250});
        let Some(WebPlace::Workers(search)) = WebPlace::of(address) else {
            panic!("{address} is no page of workers");
        };
        let form = RowForm {
            is_stream: false,
            may_change: true,
        };
        list(&status, &search, form).into_string()
    }

    fn rows(markup: &str) -> Vec<&str> {
        let names = markup.split("<th scope=\"row\">").skip(1);
        names.filter_map(|row| row.split('<').next()).collect()
    }

    #[test]
    fn all_workers_are_reached_page_by_page() {
        let (mut address, mut seen) = ("/workers".to_owned(), Vec::new());
        loop {
            let page = shown(&address);
            seen.extend(rows(&page).into_iter().map(ToOwned::to_owned));
            let Some((before, _)) = page.split_once("\" rel=\"next\"") else {
                break;
            };
            let (_, next) = before.rsplit_once("href=\"").unwrap();
            address = format!("/{}", next.replace("&amp;", "&"));
        }
        let wanted: Vec<_> = (1..=250).map(|n| format!("worker-{n}")).collect();
        assert_eq!(seen, wanted);
        assert!(shown(&address).contains("\"workers?after=100\" rel=\"prev\""));
    }

    #[test]
    fn workers_are_found_by_a_text() {
        let page = shown("/workers?text=ker-24");
        assert_eq!(rows(&page).len(), 11, "{page}");
        assert!(page.contains("11 with this text"), "{page}");
        assert_eq!(rows(&shown("/workers?text=BUSY&after=240")).len(), 10);
        for address in ["/workers?text=odd", "/workers?after=1000"] {
            assert!(shown(address).contains("There is none here."), "{address}");
        }
    }
}
