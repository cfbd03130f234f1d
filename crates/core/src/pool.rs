//! The rules for the workers of a pool: what is promised for each, its life, its restarts, the time
//! limits of its items.

pub mod child;
pub mod clock;
pub mod restart;
pub mod spec;
pub mod watchdog;
