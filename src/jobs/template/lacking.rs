//! PURE: the arguments that a text needs of an item, and an item that lacks one of them.

use super::{Placeholder, Template, UnfitItem, WhichArguments};

impl Template {
    /// Returns `true` if it has a place for an argument by its number, besides the first.
    pub(crate) fn has_nth(&self) -> bool {
        self.places().any(|place| match place {
            Placeholder::Argument(WhichArguments::Nth(nth), _) => *nth != 1,
            _ => false,
        })
    }

    /// Returns the first place for an argument that this item has not.
    ///
    /// # Errors
    /// It is no line of words where it should be one.
    pub(crate) fn lacking(&self, item: &[u8]) -> Result<Option<String>, UnfitItem> {
        let count = self.form.arguments(item)?.len();
        let lacks = |nth: i32| usize::try_from(nth.unsigned_abs()).is_ok_and(|nth| nth > count);
        let mut places = self.places().filter(|place| match place {
            Placeholder::Argument(WhichArguments::Nth(nth), _) => lacks(*nth),
            _ => false,
        });
        let lacking = places.next();
        Ok(lacking.map(|place| String::from_utf8_lossy(&place.sign()).into_owned()))
    }
}
