//! Lists of the items of a stream: page by page, in the order in which they are handed out, and then its dead
//! letters.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::{StreamClient, failed, line};
use crate::control::client::NoAnswer;
use crate::control::item::{self, SoughtText};
use crate::observe::item::{ItemInfo, ItemState};
use crate::store::stream::{EntryId, StreamItem};

/// The place up to which the items of a stream were listed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ListPlace {
    /// The last unfinished one.
    Unfinished(Option<EntryId>),
    /// The last dead letter.
    Dead(Option<EntryId>),
    Over,
}

/// Writes it so that it can be read again; an empty text for the end.
impl fmt::Display for ListPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListPlace::Unfinished(after) => write!(f, "u{}", after.unwrap_or_default()),
            ListPlace::Dead(after) => write!(f, "d{}", after.unwrap_or_default()),
            ListPlace::Over => Ok(()),
        }
    }
}

impl FromStr for ListPlace {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_at_checked(1) {
            Some(("u", entry)) => Ok(ListPlace::Unfinished(Some(entry.parse()?))),
            Some(("d", entry)) => Ok(ListPlace::Dead(Some(entry.parse()?))),
            _ => Err(()),
        }
    }
}

impl ListPlace {
    pub(crate) fn is_over(self) -> bool {
        matches!(self, ListPlace::Over)
    }
}

impl StreamClient {
    /// Returns where a list of the items in this state begins, or in any. Those that are done are
    /// not kept.
    pub(crate) fn list(&self, state: Option<ItemState>) -> Result<ListPlace, NoAnswer> {
        match state {
            Some(ItemState::Done) => Err(failed(
                "a stream does not keep items that are done; `supervisor status` counts them",
            )),
            Some(ItemState::Dead) => Ok(ListPlace::Dead(None)),
            _ => Ok(ListPlace::Unfinished(None)),
        }
    }

    /// Returns the next items of a list with this text, one line each, with the place after it.
    pub(crate) fn next_page(
        &self,
        place: &mut ListPlace,
        state: Option<ItemState>,
        text: &str,
    ) -> Result<Vec<(ListPlace, Value)>, NoAnswer> {
        let sought = SoughtText::new(text);
        let is_sought = |info: &ItemInfo| text.is_empty() || sought.is_in(info, || None);
        match *place {
            ListPlace::Over => Ok(Vec::new()),
            ListPlace::Unfinished(after) => {
                let page = self.stream.page(after).map_err(failed)?;
                if page.iter().any(|item| item.holder.is_some()) {
                    self.ask_holders(None)?;
                }
                *place = match page.last() {
                    Some(last) => ListPlace::Unfinished(Some(last.entry)),
                    None if state.is_some() => ListPlace::Over,
                    None => ListPlace::Dead(None),
                };
                let page = page.iter().map(|item| (self.info(item), item));
                let wanted = page.filter(|(info, _)| {
                    state.is_none_or(|wanted| info.state == wanted) && is_sought(info)
                });
                let line = |(info, item): (ItemInfo, &StreamItem)| {
                    let after = ListPlace::Unfinished(Some(item.entry));
                    (after, line(&info, item))
                };
                Ok(wanted.map(line).collect())
            }
            ListPlace::Dead(after) => {
                let page = self.stream.letter_page(after).map_err(failed)?;
                *place = match page.last() {
                    Some((last, _)) => ListPlace::Dead(Some(*last)),
                    None => ListPlace::Over,
                };
                let letters = page
                    .into_iter()
                    .map(|(place, letter)| (ListPlace::Dead(Some(place)), self.dead_info(letter)));
                let wanted = letters.filter(|(_, info)| is_sought(info));
                Ok(wanted
                    .map(|(after, info)| (after, item::line(&info, None)))
                    .collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_list_is_read_as_it_was_written() {
        for text in ["u1764-3", "d1764-0"] {
            assert_eq!(text.parse::<ListPlace>().unwrap().to_string(), text);
        }
        for text in ["", "u", "x1-2", "u1", "d1-x", "ü1-2"] {
            assert!(text.parse::<ListPlace>().is_err(), "{text}");
        }
    }
}
