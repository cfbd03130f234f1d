//! A valid run, made from the options by `validation`.

use std::fs::File;
use std::path::PathBuf;

use super::address::Address;
use super::args::{ControlArgs, Format, PoolArgs, Show};
use super::gathering::Gathering;
use super::input::ItemSource;
use super::output::OutputFile;
use crate::observe::Mode;
use crate::{Durability, Options};

/// The purpose of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Puts items, works on them, and waits for their end.
    All,
    /// Works on items that others put, until the run is stopped.
    Work,
    /// The same, until every item has an end.
    WorkUntilDone,
    /// Works on what is put on its own queue, until the run is stopped.
    Serve,
}

impl Purpose {
    /// Returns `true` for a run that goes on until it is stopped, though there is nothing to do.
    pub(super) fn stays(self) -> bool {
        match self {
            Purpose::Work | Purpose::Serve => true,
            Purpose::All | Purpose::WorkUntilDone => false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Config {
    pub(super) purpose: Purpose,
    pub(super) workers: usize,
    pub(super) mode: Mode,
    pub(super) source: ItemSource,
    /// The byte that ends an item of the source.
    pub(super) separator: u8,
    /// The rules by which several of these are one item, if they are.
    pub(super) gathering: Option<Gathering>,
    /// The number of items in the source, if it is known.
    pub(super) total: Option<u64>,
    pub(super) is_quiet: bool,
    pub(super) has_summary: bool,
    pub(super) pool: PoolArgs,
    pub(super) options: Options,
    pub(super) format: Format,
    pub(super) progress: Show,
    pub(super) journal: Option<(PathBuf, Durability)>,
    /// The stream with the items, which others work on too.
    pub(super) shared: Option<Address>,
    /// The socket by which the run can be asked.
    pub(super) control: ControlArgs,
    /// Where it is said that it can be asked.
    pub(super) ready: Option<File>,
    pub(super) dead_letters: Option<(PathBuf, File)>,
    pub(super) timeline: Option<OutputFile>,
    pub(super) trace: Option<OutputFile>,
    /// Where a collector takes its spans.
    pub(super) otlp: Option<String>,
}

impl Config {
    /// Returns the number of items, if it is known before any is read.
    pub(super) fn items_given(&self) -> Option<u64> {
        let count = self.source.count();
        count.filter(|_| self.gathering.is_none())
    }

    /// Returns `true` if others work on the same items.
    pub(super) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Returns `true` if items may be put from outside.
    pub(super) fn serves_puts(&self) -> bool {
        !self.control.no_control && !self.is_shared()
    }
}
