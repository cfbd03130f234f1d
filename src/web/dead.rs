//! The dead letters, by the causes of their last failures: tried again or dropped, one, the chosen, or all
//! of a cause or with a text.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::Value;

use super::access::Visitor;
use super::actions::Chosen;
use super::frame::{FORM, WebPage, button, button_for, search_form};
use super::place::ItemSearch;
use super::site::Site;
use super::words::{cause_of, count, grouped, printable, text, values};
use crate::ItemState;
use crate::control::client::NoAnswer;
use crate::observe::words::counted;

/// The letters that are looked at for one page.
const LOOKED: usize = 1000;

/// The letters that are shown of one cause.
const SHOWN: usize = 50;

pub(super) async fn page(
    site: &Site,
    search: &ItemSearch,
    visitor: &Visitor,
) -> Result<WebPage, NoAnswer> {
    let of_dead = ItemSearch {
        state: Some(ItemState::Dead),
        ..search.clone()
    };
    let target = format!("{}&limit={LOOKED}", of_dead.address("/v1/items"));
    let found = site.run.get(&target).await?;
    let page = WebPage::new("Dead letters").head(search_form("dead", &search.text, html! {}));
    Ok(page.part("letters", letters(search, &found, visitor)))
}

fn letters(search: &ItemSearch, found: &Value, visitor: &Visitor) -> Markup {
    let items = values(&found["items"]);
    let mut causes: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for item in items {
        causes.entry(cause_of(item)).or_default().push(item);
    }
    let mut causes: Vec<_> = causes.into_iter().collect();
    causes.sort_by_key(|(_, letters)| std::cmp::Reverse(letters.len()));
    let may_change = visitor.may_change();
    html! {
        @if items.is_empty() {
            p { "There is none." }
        } @else if may_change {
            p.buttons {
                (button("Try the chosen again", "act/retry"))
                (button("Drop the chosen …", "act/drop"))
                @let all = Chosen::Text(&search.text).to_string();
                (button_for("Try all again …", "act/retry-all", &all, "with this text"))
                (button_for("Drop all …", "act/drop-all", &all, "with this text"))
            }
        }
        @for (cause, letters) in &causes {
            (group(cause, letters, may_change))
        }
        @if let Some(next) = search.next(&found["after"]) {
            p { a href=(next.address("dead")) rel="next" { "Further dead letters" } }
        }
    }
}

fn group(cause: &str, letters: &[&Value], may_change: bool) -> Markup {
    let first = letters.first().map_or(0, |letter| count(&letter["number"]));
    let all = Chosen::like(first, cause).to_string();
    let words = counted(letters.len() as u64, "dead letter", "dead letters");
    html! {
        section.cause aria-label=(printable(cause)) {
            h2 { (printable(cause)) }
            p { (words) }
            @if may_change {
                p.buttons {
                    (button_for("Try these again …", "act/retry-all", &all, &printable(cause)))
                    (button_for("Drop these …", "act/drop-all", &all, &printable(cause)))
                }
            }
            ul.letters {
                @for letter in letters.iter().take(SHOWN) {
                    @let number = count(&letter["number"]);
                    li {
                        @if may_change {
                            input type="checkbox" id=(format!("chosen-{number}")) name="what" value=(number)
                                form=(FORM) aria-label=(format!("choose item {number}"));
                        }
                        a href=(format!("items/{number}")) { (number) } " "
                        (printable(text(&letter["item"])))
                    }
                }
                @if letters.len() > SHOWN {
                    li { "and " (grouped((letters.len() - SHOWN) as u64)) " more" }
                }
            }
        }
    }
}
