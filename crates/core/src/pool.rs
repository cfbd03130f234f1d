//! The rules for the workers of a pool: a worker's promises, life and restarts, and the time limits
//! of its items.

pub mod child;
pub mod clock;
pub mod restart;
pub mod spec;
pub mod watchdog;
