//! The names of groups of options, for their declarations and the rules about them.

/// The arguments that say what is run for each item.
pub(in crate::cli) const COMMAND: &str = "runs";

/// The options that say how an item is handed to a COMMAND that is executed for it.
pub(in crate::cli) const HANDED: &str = "handed";

/// The options that give one COMMAND several items.
pub(in crate::cli) const LOTS: &str = "lots";

/// The options for the address of a shared queue, of which there is one for each kind of server.
pub(in crate::cli) const URL: &str = "url";

/// The options that say which stream a run shares.
pub(in crate::cli) const PLACE: &str = "place";
