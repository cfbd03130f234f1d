//! The rules for a pool's workers: promises, lives and restarts, and the time limits of items.

pub mod child;
pub mod clock;
pub mod forks;
pub mod restart;
pub mod scaler;
pub mod spec;
pub mod watchdog;
