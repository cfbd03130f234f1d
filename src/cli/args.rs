//! The options as they are typed. Their meaning together is for `config`.

mod control;
mod copies;
pub(super) mod groups;
mod items;
mod jobs;
mod pool;
pub(super) mod serve;
pub(super) mod stream;
mod target;
mod web;

use std::time::Duration;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use jiff::SignedDuration;

use crate::observe::Mode;

pub(super) use control::ControlArgs;
pub(super) use groups::URL;
pub(super) use items::ItemArgs;
pub(super) use jobs::JobArgs;
pub(super) use pool::{PoolArgs, ShownArgs};
pub(super) use serve::{SERVED, ServeArgs, serve};
pub(super) use stream::{PlaceArgs, PromiseArgs, StreamArgs, options};
pub(super) use target::{AtArgs, Choice, TargetArgs};
pub(super) use web::{WebAccessArgs, WebArgs, address as web_address};

/// The longest time that is accepted; a longer one is a typing error.
const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Promise {
    Full,
    Normal,
}

impl ValueEnum for Mode {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Mode::Processes,
            Mode::Threads,
            Mode::Tasks,
            Mode::Sequential,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Method {
    Spawn,
    Fork,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Show {
    Auto,
    Bar,
    Json,
    None,
}

/// Reads `2s`, `100ms`, `1h30m`, or a bare number of seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let signed = match text.parse::<f64>() {
        Ok(seconds) => SignedDuration::try_from_secs_f64(seconds)
            .map_err(|_| "not a time, or more than a year")?,
        Err(_) => text
            .parse::<SignedDuration>()
            .map_err(|_| "expected a time such as 2s, 100ms, or 0.5 for half a second")?,
    };
    let time = Duration::try_from(signed).map_err(|_| "a time cannot be negative")?;
    if time > YEAR {
        return Err("a time of more than a year".into());
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_a_unit_or_as_seconds() {
        let cases = [
            ("2s", 2_000),
            ("100ms", 100),
            ("0.5", 500),
            ("0", 0),
            ("0s", 0),
            ("1.5s", 1_500),
            ("1h30m", 5_400_000),
        ];
        for (text, millis) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn senseless_times_are_refused() {
        for text in [
            "-1s",
            "-0.1",
            "nan",
            "inf",
            "1e300",
            "400d",
            "10000h",
            "",
            "2 parsecs",
            "s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
