//! The rules for a pool's workers: promises, lives and restarts, and the limits of items in time and memory.

pub mod child;
pub mod clock;
pub mod forks;
pub mod memory;
pub mod restart;
pub mod scaler;
pub mod spec;
pub mod watchdog;
