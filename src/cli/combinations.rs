//! PURE: lists of items, and their combinations: each item with each of every other list, the last
//! list first. It does not know where they come from.

use std::path::PathBuf;

use crate::jobs::arguments::joined;

/// The way in which a list goes with those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListJoining {
    /// Each of its items goes with each of theirs.
    Combined,
    /// Its items go along with those of the last list, until one of the two ends.
    Linked,
    /// The same, and the shorter of the two begins again until the longer one ends.
    LinkedAround,
}

/// Items that stand side by side.
type ListRow = Vec<Vec<u8>>;

/// Several lists: each item is a row with one of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lists {
    /// The rows of lists that go along with each other.
    groups: Vec<Vec<ListRow>>,
    /// The files that they were read from.
    pub(super) files: Vec<PathBuf>,
}

impl Lists {
    /// Adds a list.
    pub(super) fn add(&mut self, items: Vec<Vec<u8>>, joining: ListJoining) {
        let rows = || items.iter().map(|item| vec![item.clone()]).collect();
        match (joining, self.groups.last_mut()) {
            (ListJoining::Combined, _) | (_, None) => self.groups.push(rows()),
            (ListJoining::Linked, Some(group)) => {
                let length = group.len().min(items.len());
                link(group, &items, length);
            }
            (ListJoining::LinkedAround, Some(group)) => {
                let is_any = !group.is_empty() && !items.is_empty();
                let length = if is_any {
                    group.len().max(items.len())
                } else {
                    0
                };
                link(group, &items, length);
            }
        }
    }

    /// Returns the number of combinations.
    pub(super) fn count(&self) -> u64 {
        let counts = self.groups.iter().map(|group| group.len() as u64);
        counts.fold(1, u64::saturating_mul)
    }

    /// Returns the texts of all combinations, one after the other.
    pub(super) fn texts(self) -> impl Iterator<Item = Vec<u8>> + Send {
        (0..self.count()).map(move |number| self.text(number))
    }

    /// Returns the text of the combination with this number, from 0 on.
    fn text(&self, number: u64) -> Vec<u8> {
        let mut rest = number;
        let mut rows: Vec<&ListRow> = Vec::with_capacity(self.groups.len());
        for group in self.groups.iter().rev() {
            // None is empty where there is a combination.
            let length = group.len() as u64;
            rows.push(&group[usize::try_from(rest % length).unwrap_or(0)]);
            rest /= length;
        }
        let items = rows.into_iter().rev().flatten();
        joined(items.map(Vec::as_slice))
    }
}

/// Puts items beside rows, so many of them; the shorter of the two begins again.
fn link(rows: &mut Vec<ListRow>, items: &[Vec<u8>], length: usize) {
    let before = std::mem::take(rows);
    let beside = before.iter().cycle().zip(items.iter().cycle());
    rows.extend(beside.take(length).map(|(row, item)| {
        let mut row = row.clone();
        row.push(item.clone());
        row
    }));
}
