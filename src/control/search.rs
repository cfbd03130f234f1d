//! Pages of items: all that are there, or those that have a text, found a bounded look at a time. It does not
//! know requests.

use serde::Deserialize;

use super::item::SoughtText;
use super::output::AttemptEnding;
use super::target::ControlTarget;
use crate::error::Error;
use crate::{ItemInfo, ItemState};
use dishrack_core::ledger::ItemId;

/// The greatest number of items that are looked through for one answer.
const SEARCHED_MAX: usize = 10_000;

/// The number of items that are looked at in one go.
const LOOK: usize = 1000;

/// The items that are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    pub(super) state: Option<ItemState>,
    pub(super) text: Option<String>,
    pub(super) limit: Option<usize>,
    pub(super) after: Option<u64>,
}

/// A page that is asked for: at most so many items after a number, in this state, and with this text.
#[derive(Debug)]
pub(super) struct ItemPage {
    pub(super) state: Option<ItemState>,
    pub(super) text: Option<String>,
    pub(super) after: ItemId,
    pub(super) limit: usize,
}

/// The items of a page, and the number after which to go on, unless nothing is left.
#[derive(Debug)]
pub(super) struct FoundItems {
    pub(super) items: Vec<ItemInfo>,
    pub(super) after: Option<ItemId>,
}

impl FoundItems {
    /// Makes a page of items that follow each other, of which this many were asked for.
    fn of_page(items: Vec<ItemInfo>, limit: usize) -> Self {
        let is_full = items.len() >= limit;
        let last = items.last().filter(|_| is_full);
        FoundItems {
            after: last.map(|one| one.number),
            items,
        }
    }
}

/// Returns a page. `ending` returns what is kept of the end of an item.
pub(super) fn list(
    target: &dyn ControlTarget,
    page: &ItemPage,
    ending: impl Fn(&ItemInfo) -> Option<AttemptEnding>,
) -> Result<FoundItems, Error> {
    let (after, limit) = (page.after, page.limit);
    let items = |after, limit| target.items(page.state, after, limit);
    match page.text.as_deref().filter(|text| !text.is_empty()) {
        None => Ok(FoundItems::of_page(items(after, limit)?, limit)),
        Some(text) => {
            let sought = SoughtText::new(text);
            find(after, limit, items, |one| sought.is_in(one, || ending(one)))
        }
    }
}

/// Finds the first items after this one that are wanted, at most this many. `items` returns the items
/// after a number, so many of them as there are and are asked for. A page may be empty though there are
/// more, and then says after which to go on.
fn find<E>(
    mut after: ItemId,
    limit: usize,
    mut items: impl FnMut(ItemId, usize) -> Result<Vec<ItemInfo>, E>,
    mut is_wanted: impl FnMut(&ItemInfo) -> bool,
) -> Result<FoundItems, E> {
    let mut found = Vec::new();
    for _ in 0..SEARCHED_MAX / LOOK {
        let look = items(after, LOOK)?;
        let is_last = look.len() < LOOK;
        for item in look {
            after = item.number;
            if is_wanted(&item) {
                found.push(item);
            }
            if found.len() >= limit {
                return Ok(FoundItems::of_page(found, limit));
            }
        }
        if is_last {
            return Ok(FoundItems {
                items: found,
                after: None,
            });
        }
    }
    Ok(FoundItems {
        items: found,
        after: Some(after),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks among so many items for those whose number is a multiple of this one.
    fn multiples(of: u64, all: u64, after: u64, limit: usize) -> (Vec<u64>, Option<u64>) {
        let items = |after: ItemId, limit: usize| {
            let numbers = (after.0 + 1..=all).take(limit).map(ItemId);
            let waiting = numbers.map(|number| ItemInfo::new(number, ItemState::Waiting));
            Ok::<_, std::convert::Infallible>(waiting.collect())
        };
        let found = find(ItemId(after), limit, items, |one| {
            one.number.0.is_multiple_of(of)
        });
        let Ok(FoundItems { items, after }) = found;
        let numbers = items.iter().map(|one| one.number.0).collect();
        (numbers, after.map(|one| one.0))
    }

    #[test]
    fn a_page_is_full_or_ends_with_the_items() {
        assert_eq!(multiples(700, 2500, 0, 2), (vec![700, 1400], Some(1400)));
        assert_eq!(multiples(700, 2500, 1400, 2), (vec![2100], None));
        assert_eq!(multiples(9000, 2500, 0, 2), (vec![], None));
        assert_eq!(multiples(1, 0, 0, 2), (vec![], None));
    }

    #[test]
    fn one_answer_looks_through_so_many_and_says_where_to_go_on() {
        let searched = SEARCHED_MAX as u64;
        let last = searched + 5;
        assert_eq!(multiples(last, last, 0, 2), (vec![], Some(searched)));
        assert_eq!(multiples(last, last, searched, 2), (vec![last], None));
        // Nothing is left, which the next answer says.
        assert_eq!(
            multiples(searched, searched, 0, 2),
            (vec![searched], Some(searched))
        );
        assert_eq!(multiples(searched, searched, searched, 2), (vec![], None));
    }
}
