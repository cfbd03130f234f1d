//! A stream that several supervisors share, as one of them sees it: what an entry says of an item,
//! and which entries are held here.

pub mod account;
pub mod entry;
