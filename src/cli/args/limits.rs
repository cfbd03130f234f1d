//! The options about what items may run at the same time, as they are typed.

use std::ffi::OsString;

use std::time::Duration;

use clap::Args;

use super::{decimal, duration};

use crate::Rate;
use crate::jobs::slots::SlotKind;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options for what may run at the same time")]
pub(in crate::cli) struct LimitArgs {
    /// Give each COMMAND that runs one of these for itself, such as gpu=0,1,2,3: no more run than
    /// there are. {slot:NAME} is what it has, and so is $SUPERVISOR_SLOT_NAME; for gpu
    /// $CUDA_VISIBLE_DEVICES, too. NAME:2=... gives two at a time. May be given more than once
    #[arg(long, value_name = "NAME=VALUE,...", value_parser = SlotKind::parse)]
    pub(in crate::cli) slot: Vec<SlotKind>,

    /// Run no more than --per-key items of the same key at the same time; others pass them by. The
    /// key is this text with the item's places filled in: {}, {/}, {//}, and with --json {name}
    #[arg(long, value_name = "TEMPLATE")]
    pub(in crate::cli) key: Option<OsString>,

    /// The number for --key [default: 1]. With 1 the items of a key are run in their order, one that
    /// failed and is tried again before those behind it
    #[arg(long, value_name = "N", requires = "key", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) per_key: Option<u32>,

    /// Run items with a greater number first: this text with the item's places filled in, as {} or
    /// with --json {name}, must be a number from -128 to 127. Of 33 items that begin at least one is of
    /// a lower priority, if one waits
    #[arg(long, value_name = "TEMPLATE", allow_hyphen_values = true)]
    pub(in crate::cli) priority: Option<OsString>,

    /// Begin no item before its time: this text with the item's places filled in, as with --json {name},
    /// is a time such as 2026-12-01T08:00:00Z, or the number of seconds since 1970; or nothing
    #[arg(long, value_name = "TEMPLATE")]
    pub(in crate::cli) not_before: Option<OsString>,

    /// Begin no item at this time or later, in the same form: it is given up then
    #[arg(long, value_name = "TEMPLATE")]
    pub(in crate::cli) deadline: Option<OsString>,

    /// Put no item while another one of the same key has no end; it is left out, and counted. The key is
    /// this text with the item's places filled in, as {} or with --json {name}; one that makes nothing
    /// is none. What has failed frees its key
    #[arg(long, value_name = "TEMPLATE")]
    pub(in crate::cli) unique: Option<OsString>,

    /// Put none for so long after the other one was put, such as 10m, done or not, and no longer
    #[arg(long, value_name = "DUR", requires = "unique", value_parser = duration)]
    pub(in crate::cli) unique_for: Option<Duration>,

    /// Begin no more than so many items a second, a minute or an hour, evenly, such as 10/s; each
    /// attempt counts
    #[arg(long, value_name = "N/s|N/m|N/h", value_parser = rate)]
    pub(in crate::cli) rate: Option<Rate>,

    /// Let so many begin at once after a time in which none did [default: 1]
    #[arg(long, value_name = "N", requires = "rate", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) burst: Option<u32>,
}

impl LimitArgs {
    /// Returns the rate with its bursts.
    pub(in crate::cli) fn rate(&self) -> Option<Rate> {
        let rate = self.rate?;
        Some(rate.burst(self.burst.unwrap_or(1)))
    }
}

/// Reads `10/s`.
fn rate(text: &str) -> Result<Rate, String> {
    const EXPECTED: &str = "expected a rate such as 10/s, 90/m or 1000/h";
    let (count, unit) = text.split_once('/').ok_or(EXPECTED)?;
    let seconds = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        _ => return Err(EXPECTED.into()),
    };
    if let Ok(count @ 1..) = count.parse() {
        return Ok(Rate::new(count, Duration::from_secs(seconds)));
    }
    // Of a part, as in 0.5/s, there are a thousand times as many in as much more time.
    let thousandths = decimal(count).map(|count| (count * 1000.0).round());
    let in_range = |count: &f64| (1.0..f64::from(u32::MAX)).contains(count);
    let thousandths = thousandths.filter(in_range).ok_or(EXPECTED)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is in the range"
    )]
    let count = thousandths as u32;
    Ok(Rate::new(count, Duration::from_secs(seconds * 1000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_in_a_time() {
        for (text, interval) in [
            ("10/s", 100_000_u64),
            ("1/m", 60_000_000),
            ("90/min", 666_666),
            ("7200/h", 500_000),
            ("0.5/s", 2_000_000),
            ("2.5/m", 24_000_000),
        ] {
            let read = rate(text).map(|rate| rate.interval().as_micros());
            assert_eq!(read, Ok(interval.into()), "{text}");
        }
        for text in [
            "",
            "10",
            "0/s",
            "-1/s",
            "10/d",
            "0.0001/s",
            "1e3/s",
            "./s",
            "9999999.5/s",
            "/s",
            "10/",
        ] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
