//! The options for dishes, as they are typed, and what a run makes of them.

use std::time::Duration;

use clap::{ArgGroup, Args};

use crate::cli::args::duration;
use crate::cli::input::{self, ItemSource, Series};

use super::text::REDIS_PAYLOAD_MAX;

/// The name of the group of options that are for dishes alone.
pub(in crate::cli) const GROUP: &str = "for dishes";

/// The option for the number of dishes.
pub(in crate::cli) const COUNT: &str = "dishes";

/// The reason why one of them is refused beside a COMMAND.
pub(in crate::cli) const NOT_FOR_A_COMMAND: &str = "is for dishes, and not for a COMMAND";

/// The heaviest dish that is not a typing error.
const PAYLOAD_MAX: usize = 1 << 30;

/// The heaviest dish that a journal takes, with room for its other fields.
const JOURNALED_PAYLOAD_MAX: usize = 999_000_000;

/// The default times of a dish.
const WASH: Duration = Duration::from_secs(1);
const DRY: Duration = Duration::from_secs(2);

/// The options for the dishes that are made here.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Options for dishes")]
pub(in crate::cli) struct WashArgs {
    /// Make dish-1 ... dish-N [default: 4, where there is no --input]
    #[arg(long, value_name = "N", group = GROUP, conflicts_with = "input")]
    dishes: Option<u64>,

    /// Time to wash a dish: 2s, 100ms, or 0.5 for half a second
    /// [default: 1s]
    #[arg(group = GROUP, long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true)]
    wash: Option<Duration>,

    /// Pad each dish to this size [default: 0]
    #[arg(group = GROUP, long, value_name = "BYTES")]
    payload: Option<usize>,
}

/// The option for the dishes that are dried here.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Options for dishes",
    group = ArgGroup::new(GROUP).multiple(true)
)]
pub(in crate::cli) struct DryArgs {
    /// Time to dry a dish [default: 2s]
    #[arg(group = GROUP, long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true)]
    dry: Option<Duration>,
}

/// The option of `supervisor put` for dishes.
#[derive(Debug, Args)]
pub(in crate::cli) struct PutDishesArgs {
    /// Put dish-1 ... dish-N
    #[arg(long, value_name = "N", conflicts_with = "input")]
    dishes: Option<u64>,
}

impl WashArgs {
    /// Returns the dishes to be made.
    pub(in crate::cli) fn source(&self) -> ItemSource {
        series(self.dishes.unwrap_or(4))
    }

    /// Checks that each line of the source can be the name of a dish. Returns their number, if it
    /// was seen.
    ///
    /// # Errors
    /// A line cannot, or the source cannot be read.
    pub(in crate::cli) fn check(
        &self,
        source: &ItemSource,
        separator: u8,
    ) -> Result<Option<u64>, String> {
        input::check(source, separator, |line| {
            input::text(line.clone(), source).map(drop)
        })
    }
}

impl PutDishesArgs {
    /// Returns the dishes to be put, if they were asked for.
    pub(in crate::cli) fn source(&self) -> Option<ItemSource> {
        self.dishes.map(series)
    }
}

fn series(count: u64) -> ItemSource {
    ItemSource::MadeUp(Series {
        option: "--dishes",
        name: "dish",
        count,
    })
}

/// Checks that the backend takes dishes of this weight.
///
/// # Errors
/// They are too heavy.
pub(in crate::cli) fn check_payload(
    args: &WashArgs,
    has_journal: bool,
    is_shared: bool,
) -> Result<(), String> {
    let payload_max = match (is_shared, has_journal) {
        (true, _) => REDIS_PAYLOAD_MAX,
        (false, true) => JOURNALED_PAYLOAD_MAX,
        (false, false) => PAYLOAD_MAX,
    };
    match args.payload.filter(|payload| *payload > payload_max) {
        Some(payload) => Err(format!("--payload {payload}: at most {payload_max} bytes")),
        None => Ok(()),
    }
}

/// The settings for dishes.
#[derive(Debug)]
pub(in crate::cli) struct DishConfig {
    pub(super) wash: Duration,
    pub(super) dry: Duration,
    /// True if the drying time was given, rather than left to the dryers.
    pub(super) is_dry_given: bool,
    pub(super) payload: usize,
}

impl DishConfig {
    pub(in crate::cli) fn new(washing: &WashArgs, drying: &DryArgs) -> Self {
        DishConfig {
            wash: washing.wash.unwrap_or(WASH),
            dry: drying.dry.unwrap_or(DRY),
            is_dry_given: drying.dry.is_some(),
            payload: washing.payload.unwrap_or(0),
        }
    }
}
