//! The first page: counts, rate, time left, what fails and why.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::Value;

use super::access::Visitor;
use super::frame::{WebPage, button, table};
use super::site::Site;
use super::words::{
    badge, cause_of, count, duration, grouped, micros, percent, printable, text, values,
    workers_in_all,
};
use crate::control::client::NoAnswer;
use crate::observe::words::counted;

/// The counts, their words, and the list that has them.
const COUNTS: [(&str, &str, Option<&str>); 8] = [
    ("accepted", "Accepted", Some("items")),
    ("waiting", "Waiting", Some("items?state=waiting")),
    ("leased", "With workers", Some("items?state=running")),
    ("delayed", "Resting", Some("items?state=resting")),
    ("done", "Done", Some("items?state=done")),
    ("dead", "Dead letters", Some("dead")),
    ("retries", "Tried again", None),
    ("restarts", "Workers restarted", None),
];

/// The causes that are listed.
const CAUSES_MAX: usize = 12;

pub(super) async fn page(site: &Site, visitor: &Visitor) -> Result<WebPage, NoAnswer> {
    let status = site.run.get("/v1/status?workers=false").await?;
    let failures = site.run.get("/v1/failures").await?;
    let chart = {
        let mut history = site.history.lock();
        history.note(&status);
        history.chart()
    };
    let mut page = WebPage::new("Overview");
    page = page.part("state", state(&status));
    if visitor.may_change() {
        // A part of its own, because the one before changes with each look.
        page = page.part("orders", orders(&status));
    }
    page = page.part("counts", counts(&status["counts"], site.run.is_stream()));
    page = page.part("pace", pace(&status)).part("rate", chart);
    if site.run.is_stream() {
        page = page.part("supervisors", supervisors(values(&status["supervisors"])));
    }
    Ok(page.part("failures", causes(&failures)))
}

/// The supervisors that work on a stream.
fn supervisors(all: &[Value]) -> Markup {
    let rows = html! {
        @for one in all {
            tr {
                th scope="row" { (printable(text(&one["name"]))) }
                td { (badge(text(&one["state"]))) }
                td { (printable(text(&one["run"]))) }
                td.number { @if let Some(workers) = one["workers"].as_u64() { (grouped(workers)) } }
                td.number { @if let Some(time) = micros(&one["uptime_us"]) { (time) } }
            }
        }
    };
    html! {
        h2 { "Supervisors" }
        @if all.is_empty() {
            p { "Nobody works on the stream." }
        } @else {
            @let label = counted(all.len() as u64, "supervisor", "supervisors");
            (table(&label, &["Name", "State", "Run", "Workers", "For"], rows))
        }
    }
}

fn state(status: &Value) -> Markup {
    html! {
        p.facts {
            (badge(text(&status["state"]))) " "
            strong { (printable(text(&status["name"]))) }
            @if let Some(at) = status["at"].as_str() { ", a stream at " (printable(at)) }
            @if let Some(pid) = status["pid"].as_u64() { ", process " (pid) }
            @if let Some(mode) = status["mode"].as_str() { ", " (mode) }
            // That of a stream counts from the first look.
            @if let Some(age) = micros(&status["uptime_us"]).filter(|_| status["at"].is_null()) {
                ", for " (age)
            }
        }
    }
}

fn orders(status: &Value) -> Markup {
    html! {
        p.buttons {
            @if status["state"] == "paused" {
                (button("Resume", "act/resume"))
            } @else {
                (button("Pause", "act/pause"))
            }
            (button("Stop …", "act/stop"))
            (button("Stop at once …", "act/stop-now"))
        }
    }
}

fn counts(counts: &Value, is_stream: bool) -> Markup {
    // A stream does not keep what is done.
    let is_kept = |name: &str| !is_stream || name != "done";
    html! {
        dl.tiles {
            @for (name, words, list) in COUNTS {
                div {
                    dt {
                        @match list.filter(|_| is_kept(name)) {
                            Some(list) => { a href=(list) { (words) } },
                            None => { (words) },
                        }
                    }
                    dd { (grouped(count(&counts[name]))) }
                }
            }
        }
    }
}

fn pace(status: &Value) -> Markup {
    let counts = &status["counts"];
    let ended = count(&counts["done"]) + count(&counts["dead"]);
    let (busy, all) = (
        count(&status["worker_states"]["busy"]),
        workers_in_all(status),
    );
    let seconds = |name: &str| status[name].as_f64();
    html! {
        dl.tiles {
            div { dt { "Items per second" } dd { (format!("{:.1}", seconds("rate_per_s").unwrap_or(0.0))) } }
            div { dt { "Ended" } dd { (percent(ended, count(&counts["accepted"]))) } }
            div {
                dt { "Time left" }
                dd { (seconds("eta_s").map_or_else(|| "not known".to_owned(), duration)) }
            }
            @if let Some(age) = micros(&status["oldest_waiting_us"]) {
                div { dt { "Oldest waits for" } dd { (age) } }
            }
            div {
                dt { a href="workers" { "Workers at work" } }
                dd {
                    (grouped(busy)) " of " (grouped(all)) " "
                    meter min="0" max=(all.max(1)) value=(busy) aria-label="workers at work" {}
                }
            }
        }
    }
}

/// Groups the latest failures by their causes, the most frequent first.
fn causes(failures: &Value) -> Markup {
    let latest = values(&failures["failures"]);
    let mut causes: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for failure in latest {
        let (failed, dead) = causes.entry(cause_of(failure)).or_default();
        *failed += 1;
        *dead += u64::from(failure["dead"] == true);
    }
    let mut causes: Vec<_> = causes.into_iter().collect();
    causes.sort_by_key(|(_, (failed, _))| std::cmp::Reverse(*failed));
    let rows = html! {
        @for (cause, (failed, dead)) in causes.iter().take(CAUSES_MAX) {
            tr {
                th scope="row" { (printable(cause)) }
                td.number { (failed) }
                td.number { (dead) }
            }
        }
    };
    html! {
        h2 { "Failures by cause" }
        @if causes.is_empty() {
            p { "No attempt has failed." }
        } @else {
            (table(
                &format!("The latest {} failed attempts", latest.len()),
                &["Cause", "Attempts", "Given up on"],
                rows,
            ))
        }
    }
}
