//! A run that can be, as its options came to mean it. How they did, `validation` says.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use super::address::Address;
use super::args::{Format, Mode, PoolArgs, Show};
use super::input::Source;
use super::output::Output;
use crate::store::journal::Durability;
use dishrack_core::ledger::Options;

/// What is done with dishes.
#[derive(Debug)]
pub(super) struct DishConfig {
    pub(super) wash: Duration,
    pub(super) dry: Duration,
    /// It was said, rather than left to whoever dries.
    pub(super) is_dry_given: bool,
    pub(super) payload: usize,
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Items are put, worked on, and waited for.
    All,
    /// What others put is worked on, until the run is stopped.
    Work,
    /// The same, until everything has an end.
    WorkUntilDone,
}

/// A run that can be.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) purpose: Purpose,
    pub(super) workers: usize,
    pub(super) mode: Mode,
    pub(super) source: Source,
    /// What ends an item of the source.
    pub(super) separator: u8,
    /// How many items the source has, where that is known.
    pub(super) total: Option<u64>,
    pub(super) is_quiet: bool,
    pub(super) has_summary: bool,
    pub(super) pool: PoolArgs,
    pub(super) options: Options,
    pub(super) format: Format,
    pub(super) progress: Show,
    pub(super) journal: Option<(PathBuf, Durability)>,
    /// The stream that the items are on, which others work on, too.
    pub(super) shared: Option<Address>,
    pub(super) dead_letters: Option<(PathBuf, File)>,
    pub(super) timeline: Option<Output>,
    pub(super) trace: Option<Output>,
}

impl Config {
    /// Whether others work on the same items.
    pub(super) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }
}
