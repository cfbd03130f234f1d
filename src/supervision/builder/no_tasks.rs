//! The place of `tasks` where that feature is off: so that the compiler says why there is no such
//! method.

use super::Builder;

/// Nothing is.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "workers that are async tasks need the feature `tasks` of dishrack",
    label = "the feature is off"
)]
pub trait NeedsFeatureTasks {}

impl Builder {
    #[doc(hidden)]
    #[must_use]
    pub fn tasks(self, _workers: impl NeedsFeatureTasks) -> Self {
        self
    }
}
