//! The dead letters, by the causes of their last failures: tried again or dropped, one, the chosen, or all
//! of a cause or with a text.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::Value;

use super::access::Visitor;
use super::actions::Chosen;
use super::frame::{FORM, WebPage, button, button_for, search_form};
use super::place::{ItemSearch, LetterSearch};
use super::site::Site;
use super::words::{cause_of, count, grouped, printable, text, values};
use crate::ItemState;
use crate::control::client::NoAnswer;
use crate::observe::words::counted;

/// The letters that are looked at for one page.
const LOOKED: usize = 1000;

/// The letters that are shown of one cause.
const SHOWN: usize = 50;

/// The causes of one page: each look draws them anew.
const CAUSES: usize = 50;

pub(super) async fn page(
    site: &Site,
    search: &LetterSearch,
    visitor: &Visitor,
) -> Result<WebPage, NoAnswer> {
    let of_dead = ItemSearch {
        state: Some(ItemState::Dead),
        ..search.items.clone()
    };
    let target = format!("{}&limit={LOOKED}", of_dead.address("/v1/items"));
    let found = site.run.get(&target).await?;
    let page = WebPage::new("Dead letters").head(search_form("dead", &search.items.text, html! {}));
    Ok(page.part("letters", letters(search, &found, visitor.may_change())))
}

/// One page of the causes of these letters, and the ways to the others.
fn letters(search: &LetterSearch, found: &Value, may_change: bool) -> Markup {
    let items = values(&found["items"]);
    let mut causes: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for item in items {
        causes.entry(cause_of(item)).or_default().push(item);
    }
    let mut causes: Vec<_> = causes.into_iter().collect();
    causes.sort_by_key(|(_, letters)| std::cmp::Reverse(letters.len()));
    let from = search.causes.min(causes.len());
    let until = (from + CAUSES).min(causes.len());
    html! {
        @if items.is_empty() {
            p { "There is none." }
        } @else if may_change {
            p.buttons {
                (button("Try the chosen again", "act/retry"))
                (button("Drop the chosen …", "act/drop"))
                @let all = Chosen::Text(&search.items.text).to_string();
                (button_for("Try all again …", "act/retry-all", &all, "with this text"))
                (button_for("Drop all …", "act/drop-all", &all, "with this text"))
            }
        }
        @if causes.len() > CAUSES {
            p {
                @if from < until { "Causes " (grouped(from as u64 + 1)) " to " (grouped(until as u64)) } @else { "None" }
                " of " (grouped(causes.len() as u64)) ", the most frequent first"
            }
        }
        @for (cause, letters) in &causes[from..until] {
            (group(cause, letters, may_change))
        }
        p.buttons {
            @if from > 0 {
                a.button href=(search.address(from.saturating_sub(CAUSES))) rel="prev" { "Earlier causes" }
            }
            @if until < causes.len() {
                a.button href=(search.address(until)) rel="next" { "Further causes" }
            }
            @if let Some(next) = search.items.next(&found["after"]) {
                a.button href=(next.address("dead")) { "Further dead letters" }
            }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::place::WebPlace;
    use super::*;

    /// Returns the page at this address where each of so many letters has a cause of its own, but two share
    /// the last one.
    fn shown(address: &str, count: u64) -> String {
        let cause = |number: u64| format!("cause {:04}", number.min(count - 1));
        let items = (1..=count).map(|number| json!({"number": number, "cause": cause(number)}));
        let found = json!({"items": items.collect::<Value>(), "after": count});
        let Some(WebPlace::Dead(search)) = WebPlace::of(address) else {
            panic!("{address} is no page of dead letters");
        };
        letters(&search, &found, true).into_string()
    }

    fn causes(page: &str) -> Vec<String> {
        let heads = page.split("<h2>").skip(1);
        let heads = heads.filter_map(|head| head.split('<').next());
        heads.map(ToOwned::to_owned).collect()
    }

    #[test]
    fn all_causes_are_reached_page_by_page() {
        let (mut address, mut seen) = ("/dead".to_owned(), Vec::new());
        loop {
            let page = shown(&address, 1000);
            let here = causes(&page);
            assert!(here.len() <= CAUSES, "{}", here.len());
            assert!(page.len() < 100_000, "{}", page.len());
            seen.extend(here);
            assert!(page.contains("href=\"dead?after=1000\""), "{address}");
            let Some((before, _)) = page.split_once("\" rel=\"next\"") else {
                break;
            };
            let (_, next) = before.rsplit_once("href=\"").unwrap();
            address = format!("/{}", next.replace("&amp;", "&"));
        }
        // The most frequent one comes first.
        let all = (1..=998).map(|number| format!("cause {number:04}"));
        let wanted: Vec<_> = std::iter::once("cause 0999".to_owned())
            .chain(all)
            .collect();
        assert_eq!(seen, wanted);
        let page = shown("/dead?causes=50", 1000);
        assert!(page.contains("Causes 51 to 100 of 999"), "{page}");
        assert!(page.contains("\"dead?causes=0\" rel=\"prev\""), "{page}");
    }

    #[test]
    fn a_page_behind_the_last_cause_leads_back() {
        let page = shown("/dead?causes=5000", 100);
        assert_eq!(causes(&page), Vec::<String>::new());
        assert!(page.contains("None of 99"), "{page}");
        assert!(page.contains("\"dead?causes=49\" rel=\"prev\""), "{page}");
    }

    #[test]
    fn few_causes_are_one_page() {
        let page = shown("/dead", 3);
        assert_eq!(causes(&page), ["cause 0002", "cause 0001"]);
        assert!(!page.contains("rel=\"next\"") && !page.contains("the most frequent first"));
    }
}
