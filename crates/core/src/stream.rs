//! A stream that several supervisors share, as one of them sees it: entries, and those held here.

pub mod account;
pub mod entry;
