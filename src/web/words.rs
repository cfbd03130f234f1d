//! Numbers, times and states as a page says them.

use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

pub(super) use crate::control::answers::{number as count, text, values};
use crate::observe::words::{grouped_by, printable as in_one_line};

/// The cause of an item that was given up on before any attempt had failed.
const NO_ATTEMPT: &str = "given up on before any attempt";

/// Returns a text with its lines and tabs, and with pictures in the place of other control letters and
/// of those that turn the direction.
pub(super) fn visible(text: &str) -> String {
    let seen = |letter: char| match letter {
        '\n' | '\t' => letter,
        '\u{7f}' => '\u{2421}',
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(letter)).unwrap_or('\u{fffd}'),
        '\u{80}'..='\u{9f}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        _ => letter,
    };
    text.chars().map(seen).collect()
}

/// Returns a text in one line, without control letters and those that turn the direction.
pub(super) fn printable(text: &str) -> String {
    visible(&in_one_line(text))
}

/// Returns a whole number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    grouped_by(number, '\u{202f}')
}

/// Returns the number of workers that a status tells of, in any state.
pub(super) fn workers_in_all(status: &Value) -> u64 {
    let states = status["worker_states"].as_object();
    states.map_or(0, |states| states.values().map(count).sum())
}

/// Returns the cause of an item or an attempt.
pub(super) fn cause_of(failed: &Value) -> &str {
    failed["cause"].as_str().unwrap_or(NO_ATTEMPT)
}

/// Returns a length of time in one or two units.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).floor();
    if whole < 1.0 {
        return format!("{:.0} ms", seconds.max(0.0) * 1e3);
    }
    if whole < 60.0 {
        return format!("{seconds:.1} s");
    }
    // The sum of whole seconds is exact far beyond the age of any run.
    let of = |unit: f64| (whole / unit).floor();
    let rest = |of: f64, unit: f64| ((whole % of) / unit).floor();
    match whole {
        whole if whole < 3_600.0 => units((of(60.0), "min"), (rest(60.0, 1.0), "s")),
        whole if whole < 86_400.0 => units((of(3_600.0), "h"), (rest(3_600.0, 60.0), "min")),
        _ => units((of(86_400.0), "d"), (rest(86_400.0, 3_600.0), "h")),
    }
}

/// Joins two numbers with their units, the second one only if there is something of it.
fn units((many, large): (f64, &str), (few, small): (f64, &str)) -> String {
    match few > 0.0 {
        true => format!("{many} {large} {few} {small}"),
        false => format!("{many} {large}"),
    }
}

/// Returns a field in microseconds as a length of time; nothing where it is not known.
pub(super) fn micros(value: &Value) -> Option<String> {
    value.as_f64().map(|micros| duration(micros / 1e6))
}

/// Returns a number of bytes in the unit that has one to three digits before its point.
pub(super) fn bytes(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            let digits = usize::from(unit != "B" && size < 100.0);
            return format!("{size:.digits$} {unit}");
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

/// A moment, in microseconds since 1970.
pub(super) fn moment(value: &Value) -> Option<Markup> {
    let at = Timestamp::from_microsecond(value.as_i64()?).ok()?;
    let text = at.strftime("%Y-%m-%d %H:%M:%S").to_string();
    Some(html! { time datetime=(at) { (text) " UTC" } })
}

/// A state, which is told by its word and not by its colour alone.
pub(super) fn badge(state: &str) -> Markup {
    let state = printable(state);
    html! { span class={ "badge " (state) } { (state) } }
}

/// A part of a whole in percent.
pub(super) fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "–".into(),
        _ => format!("{:.1} %", 100.0 * part as f64 / whole as f64),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_said_as_people_read_them() {
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!((grouped(0), grouped(999)), ("0".into(), "999".into()));
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(300 << 20), "300 MiB");
        assert_eq!(percent(1, 8), "12.5 %");
    }

    #[test]
    fn times_have_two_units_at_most() {
        assert_eq!(duration(0.25), "250 ms");
        assert_eq!(duration(59.94), "59.9 s");
        assert_eq!(duration(61.0), "1 min 1 s");
        assert_eq!(duration(300.0), "5 min");
        assert_eq!(duration(7_262.0), "2 h 1 min");
        assert_eq!(duration(90_000.0), "1 d 1 h");
        assert_eq!(micros(&json!(1_500_000)), Some("1.5 s".into()));
        assert_eq!(micros(&json!(null)), None);
        let markup = moment(&json!(0)).unwrap().into_string();
        assert!(markup.contains("1970-01-01 00:00:00 UTC"), "{markup}");
    }
}
