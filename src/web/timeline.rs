//! The time chart: a row for each worker, with its attempts as bars that lead to their items. Its time is in the
//! address, so that it is moved and made longer and shorter by links; without an end there it goes on with the run.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

use super::frame::{WebPage, table};
use super::place::{ChartView, LENGTHS_S};
use super::site::Site;
use super::words::{badge, count, duration, grouped, moment, printable, text, values};
use crate::control::client::NoAnswer;
use crate::observe::words::counted;

/// The workers of one page, and the bars in all of their rows.
const ROWS: u64 = 50;
const BARS: usize = 1500;

/// The bars that are told in words.
const WORDS_MAX: usize = 50;

/// The size of a row, in units of its own.
const WIDTH: f64 = 1000.0;
const HEIGHT: u32 = 20;

/// The least width of a bar, so that it is seen and can be met.
const WIDTH_MIN: f64 = 5.0;

/// The width from which a bar has an edge, which would hide a narrow one.
const WIDE: f64 = 15.0;

const COLUMNS: [&str; 6] = ["Items", "Worker", "Outcome", "Began", "Took", "Cause"];

pub(super) async fn page(site: &Site, view: &ChartView) -> Result<WebPage, NoAnswer> {
    let length_us = view.length_s() * 1_000_000;
    let until_us = view.until_ms.map(|until| until.saturating_mul(1_000));
    let end_us = until_us.unwrap_or_else(now_us);
    let since_us = end_us.saturating_sub(length_us);
    let mut target = format!(
        "/v1/timeline?bars={BARS}&limit={ROWS}&after={}&since_us={since_us}",
        view.after
    );
    if let Some(until_us) = until_us {
        target = format!("{target}&until_us={until_us}");
    }
    let told = site.run.get(&target).await?;
    let chart = ShownTime::of(&told);
    let page = WebPage::new("Timeline");
    let page = page.part("timeline-time", time(view, &told, &chart));
    let page = page.part("timeline-chart", rows(view, &told, &chart));
    Ok(page.part("timeline-words", in_words(&told, &chart)))
}

fn now_us() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let micros = since_1970.unwrap_or_default().as_micros();
    u64::try_from(micros).unwrap_or(u64::MAX)
}

/// The time that is shown, in microseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct ShownTime {
    since_us: u64,
    until_us: u64,
}

impl ShownTime {
    fn of(told: &Value) -> Self {
        ShownTime {
            since_us: count(&told["since_us"]),
            until_us: count(&told["until_us"]),
        }
    }

    fn length_us(self) -> u64 {
        self.until_us.saturating_sub(self.since_us).max(1)
    }

    /// Returns the place of a moment in a row.
    fn x(self, at_us: u64) -> f64 {
        let after = at_us.clamp(self.since_us, self.until_us) - self.since_us;
        (after as f64 / self.length_us() as f64 * WIDTH * 10.0).round() / 10.0
    }
}

/// The links that move the chart, and what it shows.
fn time(view: &ChartView, told: &Value, chart: &ShownTime) -> Markup {
    let half_ms = (view.length_s() * 500).max(1);
    let until_ms = chart.until_us / 1_000;
    let at = |until_ms: Option<u64>| ChartView {
        until_ms,
        ..view.clone()
    };
    // What lies ahead is not known yet: the chart goes on with the run from there.
    let is_ahead = (until_ms + half_ms) * 1_000 >= count(&told["now_us"]);
    let later = at((!is_ahead).then_some(until_ms + half_ms));
    let earlier = at(Some(until_ms.saturating_sub(half_ms)));
    let of_length = |length: usize| ChartView {
        length,
        ..view.clone()
    };
    let is_missing = count(&told["known_since_us"]) > chart.since_us;
    html! {
        p.buttons {
            a.button id="earlier" href=(earlier.address()) data-key="ArrowLeft" { "Earlier" }
            @if view.until_ms.is_some() {
                a.button id="later" href=(later.address()) data-key="ArrowRight" { "Later" }
                a.button id="now" href=(at(None).address()) data-key="0" { "Now" }
            }
            @if view.length > 0 {
                a.button id="zoom-in" href=(of_length(view.length - 1).address()) data-key="+" { "Zoom in" }
            }
            @if view.length + 1 < LENGTHS_S.len() {
                a.button id="zoom-out" href=(of_length(view.length + 1).address()) data-key="-" { "Zoom out" }
            }
        }
        p.facts {
            (duration(view.length_s() as f64))
            @if let Some(until) = moment(&told["until_us"]) { " until " (until) }
            @if is_missing && let Some(since) = moment(&told["known_since_us"]) {
                ". Of attempts that ended before " (since) " nothing is kept."
            }
        }
    }
}

fn rows(view: &ChartView, told: &Value, chart: &ShownTime) -> Markup {
    let rows = values(&told["rows"]);
    let all = count(&told["workers"]);
    let from = |after: u64| ChartView {
        after,
        ..view.clone()
    };
    html! {
        @if rows.is_empty() {
            p { "There is no worker here." }
        } @else {
            // The table below says the same.
            div.lanes aria-hidden="true" {
                @for row in rows {
                    div.lane {
                        span { (printable(text(&row["worker"]))) }
                        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" {
                            @for quarter in 1..4 {
                                @let at = WIDTH * f64::from(quarter) / 4.0;
                                line.grid x1=(at) x2=(at) y1="0" y2=(HEIGHT) {}
                            }
                            @for bar in values(&row["bars"]) { (drawn(bar, chart)) }
                        }
                    }
                }
                div.axis {
                    @for quarter in [0, 2, 4] {
                        span { (clock(chart.since_us + chart.length_us() / 4 * quarter, chart)) }
                    }
                }
                p.legend {
                    @for (kind, words) in [("done", "done"), ("failed", "failed"), ("begun", "under way")] {
                        span { span class={ "key " (kind) } {} (words) }
                    }
                }
            }
        }
        @if let Some(after) = told["after"].as_u64() {
            p { a href=(from(after).address()) rel="next" {
                "Workers after the first " (grouped(after)) " of " (grouped(all)) } }
        }
        @if view.after > 0 {
            p { a href=(from(view.after.saturating_sub(ROWS)).address()) rel="prev" { "Workers before these" } }
        }
    }
}

/// A bar, which leads to its item, or to the list of its items.
fn drawn(bar: &Value, chart: &ShownTime) -> Markup {
    let ended_us = bar["ended_us"].as_u64().unwrap_or(chart.until_us);
    let (from, to) = (chart.x(count(&bar["started_us"])), chart.x(ended_us));
    let width = (to - from).max(WIDTH_MIN);
    let kind = kind(bar);
    // What failed is higher, so that it is told without its colour.
    let (y, height) = match kind {
        "failed" => (0, HEIGHT),
        _ => (4, HEIGHT - 8),
    };
    let words = format!("{}: {}", items(bar), outcome(bar));
    html! {
        a href=(address(bar)) tabindex="-1" {
            rect class={ "bar " (kind) @if width > WIDE { " wide" } } x=(from.min(WIDTH - width)) y=(y)
                width=((width * 10.0).round() / 10.0) height=(height) {
                title { (words) }
            }
        }
    }
}

fn kind(bar: &Value) -> &'static str {
    match (bar["ended_us"].is_null(), count(&bar["failed"])) {
        (true, _) => "begun",
        (false, 0) => "done",
        (false, _) => "failed",
    }
}

fn address(bar: &Value) -> String {
    let (first, last) = (count(&bar["first"]), count(&bar["last"]));
    match first == last {
        true => format!("items/{first}"),
        false => format!("items?after={}", first.saturating_sub(1)),
    }
}

fn items(bar: &Value) -> String {
    let (first, last) = (count(&bar["first"]), count(&bar["last"]));
    match first == last {
        true => format!("item {first}"),
        false => format!("items {first} to {last}"),
    }
}

fn outcome(bar: &Value) -> String {
    let (attempts, failed) = (count(&bar["attempts"]), count(&bar["failed"]));
    let mut words = match (kind(bar), attempts) {
        ("begun", _) => return "under way".to_owned(),
        ("done", 1) => format!("attempt {} is done", count(&bar["attempt"])),
        ("failed", 1) => format!("attempt {} has failed", count(&bar["attempt"])),
        ("done", _) => format!("{} are done", counted(attempts, "attempt", "attempts")),
        _ => format!("of {attempts} attempts {failed} have failed"),
    };
    if let Some(cause) = bar["cause"].as_str() {
        words = format!("{words}: {}", printable(cause));
    }
    words
}

/// The time of day, as exactly as the chart is long.
fn clock(at_us: u64, chart: &ShownTime) -> String {
    let micros = i64::try_from(at_us).unwrap_or(i64::MAX);
    let form = match chart.length_us() {
        ..=5_000_000 => "%H:%M:%S%.3f",
        5_000_001..=3_600_000_000 => "%H:%M:%S",
        _ => "%b %d %H:%M",
    };
    let at = Timestamp::from_microsecond(micros);
    at.map_or_else(|_| String::new(), |at| at.strftime(form).to_string())
}

/// The latest bars in a table, for who does not see them.
fn in_words(told: &Value, chart: &ShownTime) -> Markup {
    let rows = values(&told["rows"]).iter();
    let mut bars: Vec<(&str, &Value)> = rows
        .flat_map(|row| {
            let bars = values(&row["bars"]).iter();
            bars.map(|bar| (text(&row["worker"]), bar))
        })
        .collect();
    bars.sort_by_key(|(_, bar)| std::cmp::Reverse(count(&bar["started_us"])));
    let all = bars.len() as u64;
    let shown = html! {
        @for (worker, bar) in bars.into_iter().take(WORDS_MAX) {
            @let end_us = bar["ended_us"].as_u64().unwrap_or(chart.until_us);
            @let length_us = end_us.saturating_sub(count(&bar["started_us"]));
            tr {
                td.number { a href=(address(bar)) { (items(bar)) } }
                td.name { (printable(worker)) }
                td { (told_outcome(bar)) }
                td.number { @if let Some(at) = moment(&bar["started_us"]) { (at) } }
                td.number { (duration(length_us as f64 / 1e6)) }
                td { (printable(text(&bar["cause"]))) }
            }
        }
    };
    html! {
        @if all > 0 {
            (table(&format!("The latest of {} in this time", counted(all, "bar", "bars")), &COLUMNS, shown))
        }
    }
}

fn told_outcome(bar: &Value) -> Markup {
    let (attempts, failed) = (count(&bar["attempts"]), count(&bar["failed"]));
    let state = match kind(bar) {
        "begun" => "running",
        "done" => "done",
        _ => "failed",
    };
    html! {
        (badge(state))
        @if attempts > 1 {
            " " (grouped(attempts)) " attempts"
            @if failed > 0 { ", " (grouped(failed)) " failed" }
        } @else if let Some(attempt) = bar["attempt"].as_u64().filter(|attempt| *attempt > 1) {
            " attempt " (attempt)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CHART: ShownTime = ShownTime {
        since_us: 1_000_000,
        until_us: 2_000_000,
    };

    fn bar(first: u64, last: u64, failed: u64, started_us: u64, ended_us: Option<u64>) -> Value {
        json!({"first": first, "last": last, "attempts": last - first + 1, "failed": failed,
            "attempt": 2, "cause": (failed > 0).then_some("<b>bad</b>\u{1b}[2J"),
            "started_us": started_us, "ended_us": ended_us})
    }

    #[test]
    fn a_bar_lies_at_its_time_and_leads_to_its_item() {
        let markup = drawn(&bar(7, 7, 0, 1_250_000, Some(1_500_000)), &CHART).into_string();
        for part in [
            "href=\"items/7\"",
            "x=\"250\"",
            "width=\"250\"",
            "bar done wide",
        ] {
            assert!(markup.contains(part), "{part}: {markup}");
        }
        let markup = drawn(&bar(7, 9, 1, 0, None), &CHART).into_string();
        for part in [
            "href=\"items?after=6\"",
            "x=\"0\"",
            "width=\"1000\"",
            "under way",
        ] {
            assert!(markup.contains(part), "{part}: {markup}");
        }
    }

    #[test]
    fn the_shortest_bar_is_seen_within_the_row() {
        let markup = drawn(&bar(7, 7, 0, 2_000_000, Some(2_000_000)), &CHART).into_string();
        assert!(markup.contains("x=\"995\" "), "{markup}");
        assert!(markup.contains("width=\"5\""), "{markup}");
    }

    #[test]
    fn a_cause_is_no_markup() {
        let told = json!({"rows": [{"worker": "<i>", "bars": [bar(7, 7, 1, 1, Some(2))]}],
            "workers": 1, "after": null});
        let view = ChartView {
            length: 0,
            until_ms: None,
            after: 0,
        };
        let markup =
            rows(&view, &told, &CHART).into_string() + &in_words(&told, &CHART).into_string();
        for mark in ["<b>", "<i>", "\u{1b}"] {
            assert!(!markup.contains(mark), "{mark}: {markup}");
        }
        assert!(markup.contains("has failed: &lt;b&gt;bad"), "{markup}");
    }

    #[test]
    fn a_chart_is_moved_by_half_its_length_and_ends_with_the_present() {
        let view = ChartView {
            length: 3,
            until_ms: Some(1_000_000),
            after: 0,
        };
        let told = |now_us: u64| {
            json!({"now_us": now_us, "since_us": 940_000_000_u64,
            "until_us": 1_000_000_000_u64, "known_since_us": 0})
        };
        let markup =
            |now_us| time(&view, &told(now_us), &ShownTime::of(&told(now_us))).into_string();
        let past = markup(2_000_000_000);
        assert!(past.contains("seconds=60&amp;until=970000\""), "{past}");
        assert!(past.contains("seconds=60&amp;until=1030000\""), "{past}");
        assert!(past.contains("seconds=15&amp;until=1000000\""), "{past}");
        assert!(past.contains("seconds=300&amp;until=1000000\""), "{past}");
        // Beyond the present it is live.
        let near = markup(1_020_000_000);
        assert!(!near.contains("1030000"), "{near}");
    }
}
