//! A stream that several supervisors share, as one of them sees it: the meaning of an entry, and
//! the entries held here.

pub mod account;
pub mod entry;
