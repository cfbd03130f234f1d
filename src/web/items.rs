//! Items: those in one state or with a text, and all that is known of one.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use maud::{Markup, html};
use serde_json::Value;

use super::access::Visitor;
use super::answer::SharedSite;
use super::frame::{WebPage, button_for, search_form, table};
use super::output;
use super::place::ItemSearch;
use super::site::Site;
use super::words::{badge, count, moment, printable, text, values, visible};
use crate::ItemState;
use crate::control::client::NoAnswer;
use crate::observe::words::{DROPPED, attempts_in_words, waited_for};

/// The items of one page.
const PAGE: usize = 100;

/// The greatest length in letters of a text that is shown here; a link leads to the whole.
const SHOWN_MAX: usize = 4000;

/// The states in which items are known. A stream keeps none that is done.
const STATES: [ItemState; 5] = [
    ItemState::Waiting,
    ItemState::Running,
    ItemState::Resting,
    ItemState::Dead,
    ItemState::Done,
];

pub(super) async fn list(site: &Site, search: &ItemSearch) -> Result<WebPage, NoAnswer> {
    let target = format!("{}&limit={PAGE}", search.address("/v1/items"));
    let found = site.run.get(&target).await?;
    let states = states(search.state, site.run.is_stream());
    let page = WebPage::new("Items").head(search_form("items", &search.text, states));
    Ok(page.part("items-list", listed(search, &found)))
}

/// The field by which a state is chosen.
fn states(chosen: Option<ItemState>, is_stream: bool) -> Markup {
    let known = STATES.into_iter();
    let known = known.filter(|state| !is_stream || *state != ItemState::Done);
    html! {
        label for="state" { "State" }
        select id="state" name="state" {
            option value="" { "any" }
            @for state in known {
                option value=(state) selected[chosen == Some(state)] { (state) }
            }
        }
    }
}

fn listed(search: &ItemSearch, found: &Value) -> Markup {
    let items = values(&found["items"]);
    let rows = html! {
        @for item in items {
            tr {
                td.number { (numbered(item)) }
                td { (badge(text(&item["state"]))) }
                th scope="row" { (printable(item["item"].as_str().unwrap_or("(not kept)"))) }
                td.number { (count(&item["attempts"])) }
                td { (who(&item["workers"])) }
                td { (printable(text(&item["cause"]))) }
            }
        }
    };
    let columns = [
        "Number",
        "State",
        "Item",
        "Attempts",
        "Workers",
        "Last cause",
    ];
    html! {
        @if items.is_empty() {
            p { "There is none here." }
        } @else {
            (table("Items", &columns, rows))
        }
        @if let Some(next) = search.next(&found["after"]) {
            p { a href=(next.address("items")) rel="next" { "Further items" } }
        }
    }
}

/// Returns the number of an item, which leads to it. One on a stream may have none yet.
pub(super) fn numbered(item: &Value) -> Markup {
    html! {
        @if let Some(number) = item["number"].as_u64() {
            a href=(format!("items/{number}")) { (number) }
        } @else {
            "–"
        }
    }
}

fn who(workers: &Value) -> String {
    let names = values(workers).iter().map(|name| printable(text(name)));
    names.collect::<Vec<_>>().join(", ")
}

pub(super) async fn single(
    site: &Site,
    number: u64,
    visitor: &Visitor,
) -> Result<WebPage, NoAnswer> {
    let item = site.run.get(&format!("/v1/items/{number}")).await?;
    let state = text(&item["state"]);
    let page = WebPage::new(format!("Item {number}"));
    let page = page.part("item", facts(number, &item, visitor));
    let page = page.part("attempts", attempts(&item));
    let output = match state {
        "running" => output::followed(number),
        _ => output::markup(number, output::beginning(site, number).await),
    };
    Ok(page.part("output", output))
}

fn facts(number: u64, item: &Value, visitor: &Visitor) -> Markup {
    let state = text(&item["state"]);
    let ended = &item["ended"];
    let is_dropped = state == "dead" && values(&item["history"]).is_empty();
    let whole = format!("items/{number}/text");
    html! {
        (cut("name", item["item"].as_str().unwrap_or("Its name is not kept."), &whole))
        p.facts {
            (badge(state)) ", "
            @if is_dropped {
                (DROPPED)
            } @else {
                (attempts_in_words(count(&item["attempts"])))
            }
            @if let Some(what) = item["waits_for"].as_str() {
                ", waits for " (waited_for(what))
            }
            @for holder in values(&item["holders"]) {
                ", with " (printable(text(&holder["worker"])))
                " (process " (count(&holder["pid"])) ")"
                @if let Some(since) = moment(&holder["since_us"]) { " since " (since) }
            }
            @if let Some(supervisor) = item["supervisor"].as_str() { ", at " (printable(supervisor)) }
            @if let Some(due) = moment(&item["due_us"]) { ", tried again at " (due) }
            @if let Some(at) = moment(&ended["ended_us"]) { ", ended " (at) }
            @if let Some(worker) = ended["worker"].as_str() { " by " (printable(worker)) }
        }
        @if visitor.may_change() && !is_dropped {
            p.buttons {
                @if state == "dead" {
                    (button_for("Try again", "act/retry", &number.to_string(), "this item"))
                    (button_for("Drop …", "act/drop", &number.to_string(), "this item"))
                } @else if state != "done" {
                    (button_for("Cancel …", "act/cancel", &number.to_string(), "this item"))
                }
            }
        }
    }
}

fn attempts(item: &Value) -> Markup {
    let history = values(&item["history"]);
    let whole = format!("items/{}/json", count(&item["number"]));
    html! {
        @if !history.is_empty() {
            h2 { "Failed attempts" }
            ol.attempts {
                @for failed in history {
                    li value=(count(&failed["attempt"])) {
                        p { (printable(text(&failed["cause"]))) }
                        p.facts {
                            @if let Some(worker) = failed["worker"].as_str() {
                                (printable(worker)) " (process " (count(&failed["pid"])) ") "
                            }
                            @if let Some(at) = moment(&failed["started_us"]) { "from " (at) " " }
                            @if let Some(at) = moment(&failed["ended_us"]) { "to " (at) }
                        }
                        @let stderr = text(&failed["stderr"]);
                        @if !stderr.is_empty() { (cut("stderr", stderr, &whole)) }
                    }
                }
            }
        }
    }
}

/// A text as it is, or its beginning and the way to the whole.
fn cut(class: &str, text: &str, whole: &str) -> Markup {
    let end = text.char_indices().nth(SHOWN_MAX).map(|(end, _)| end);
    html! {
        pre class=(class) tabindex="0" role="region" aria-label=(class) {
            (visible(&text[..end.unwrap_or(text.len())]))
        }
        @if end.is_some() {
            p { "This is the beginning: " a href=(whole) { "all of it" } }
        }
    }
}

/// Answers with all of an item, as plain text.
pub(super) async fn whole(State(site): SharedSite, Path(number): Path<u64>) -> Response {
    match site.run.pieces(&format!("/v1/items/{number}/text")).await {
        Ok(text) => {
            let kind = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
            (kind, text).into_response()
        }
        Err(why) => (StatusCode::NOT_FOUND, format!("{why}\n")).into_response(),
    }
}

/// Answers with all that is known of an item, as the control API says it.
pub(super) async fn raw(State(site): SharedSite, Path(number): Path<u64>) -> Response {
    match site.run.get(&format!("/v1/items/{number}")).await {
        Ok(item) => {
            let kind = [(CONTENT_TYPE, "application/json")];
            (kind, format!("{item:#}\n")).into_response()
        }
        Err(why) => (StatusCode::NOT_FOUND, format!("{why}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_cannot_be_tried_again() {
        let dropped = serde_json::json!({"number": 7, "state": "dead", "history": []});
        let page = facts(7, &dropped, &Visitor::operator()).into_string();
        assert!(
            page.contains(DROPPED) && !page.contains("<button"),
            "{page}"
        );
    }

    #[test]
    fn what_an_item_says_is_no_markup() {
        let hostile = "<script>alert(1)</script>\u{1b}[2J\u{202e}&amp;";
        let item = serde_json::json!({"number": 7, "item": hostile, "state": hostile, "history": [
            {"attempt": 1, "cause": hostile, "worker": hostile, "stderr": hostile}]});
        let visitor = Visitor::operator();
        let page = facts(7, &item, &visitor).into_string() + &attempts(&item).into_string();
        assert!(
            !page.contains("<script") && !page.contains('\u{1b}'),
            "{page}"
        );
        assert!(page.contains("&lt;script&gt;"), "{page}");
    }

    #[test]
    fn a_long_text_is_cut_at_a_letter_and_leads_to_the_whole() {
        let long = "ä".repeat(SHOWN_MAX + 1);
        let markup = cut("name", &long, "/items/7/text").into_string();
        assert_eq!(markup.matches('ä').count(), SHOWN_MAX);
        assert!(markup.contains("/items/7/text"), "{markup}");
        assert!(
            !cut("name", "short", "/whole")
                .into_string()
                .contains("whole")
        );
    }
}
