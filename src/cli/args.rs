//! The options as they are typed. Their meaning together is for `config`.

mod arguments;
mod control;
mod copies;
mod deferred;
pub(super) mod groups;
mod habits;
mod items;
mod jobs;
mod limits;
mod pool;
pub(super) mod serve;
pub(super) mod stream;
mod target;
mod web;

use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Arg, ValueEnum};
use jiff::{SignedDuration, Span, SpanRelativeTo};

use crate::observe::Mode;

pub(super) use arguments::ArgumentArgs;
pub(super) use control::ControlArgs;
pub(super) use deferred::Deferred;
pub(super) use groups::URL;
pub(super) use habits::HabitArgs;
pub(super) use items::ItemArgs;
pub(super) use jobs::JobArgs;
pub(super) use limits::LimitArgs;
pub(super) use pool::{PoolArgs, ShownArgs};
pub(super) use serve::{SERVED, ServeArgs};
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

/// Makes an option of a subcommand from one of a run: those that are not for it are hidden, and its COMMAND has
/// this help.
pub(super) fn of_run(arg: Arg, hidden: &[&str], help: &'static str) -> Arg {
    match arg.get_id().as_str() {
        "command" => arg.help(help).long_help(help),
        name if hidden.contains(&name) => arg.hide(true),
        _ => arg,
    }
}

/// Reads `2s`, `100ms`, `1h30m`, `1d`, or a bare number of seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let signed = match text.parse::<f64>() {
        Ok(seconds) => SignedDuration::try_from_secs_f64(seconds)
            .map_err(|_| "not a time, or more than a year")?,
        Err(_) => text
            .parse::<Span>()
            .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
            .map_err(|_| "expected a time such as 2s, 100ms, or 0.5 for half a second")?,
    };
    let time = Duration::try_from(signed).map_err(|_| "a time cannot be negative")?;
    if time > YEAR {
        return Err("a time of more than a year".into());
    }
    Ok(time)
}

/// Reads a number that may have a fraction, in digits and with a point: no sign, no exponent.
fn decimal(text: &str) -> Option<f64> {
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| is_plain)
}

/// Reads `400M`, `1.5G`, or a bare number of bytes; a `K` is 1024 bytes, and a `k` 1000, as GNU parallel
/// has it.
pub(super) fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(char, u64); 8] = [
        ('K', 1 << 10),
        ('M', 1 << 20),
        ('G', 1 << 30),
        ('T', 1 << 40),
        ('k', 1_000),
        ('m', 1_000_000),
        ('g', 1_000_000_000),
        ('t', 1_000_000_000_000),
    ];
    let expected = || "expected a size such as 400M, 1.5G, or a number of bytes".to_owned();
    // A Ki is 1024, and a ki is nothing.
    let short = text.strip_suffix("iB").unwrap_or(text);
    if short.len() < text.len() && !short.ends_with(|unit: char| unit.is_ascii_uppercase()) {
        return Err(expected());
    }
    let with_unit = |(unit, bytes)| Some((short.strip_suffix(unit)?, bytes));
    let (number, unit) = match UNITS.into_iter().find_map(with_unit) {
        Some(with_unit) => with_unit,
        None => (text, 1),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole
            .checked_mul(unit)
            .ok_or_else(|| "a size of more than any machine has".to_owned());
    }
    // There is no part of a byte.
    let part = decimal(number).filter(|_| unit > 1).ok_or_else(expected)?;
    // No unit has more digits than a float.
    #[expect(clippy::cast_precision_loss, reason = "no unit has as many bits")]
    let bytes = part * unit as f64;
    if bytes >= 2_f64.powi(63) {
        return Err(expected());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is not negative, and in the range"
    )]
    Ok(bytes as u64)
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
    fn sizes_are_read_with_a_unit_or_as_bytes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("3K", 3 << 10),
            ("400M", 400 << 20),
            ("400MiB", 400 << 20),
            ("1.5G", 3 << 29),
            ("2T", 2 << 40),
            ("400m", 400_000_000),
            ("1.5k", 1500),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "M",
            "-1",
            "-1M",
            "1.5",
            "1e3M",
            "infM",
            "400MB",
            "3kiB",
            "7iB",
            "1MM",
            "99999999T",
            "99999999.5T",
        ] {
            assert!(size(text).is_err(), "{text}");
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
