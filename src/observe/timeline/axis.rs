//! Times on an axis: the places of its ticks and their labels.

use std::time::Duration;

/// The multiples of a unit that are steps, where the next unit is a thousand of it.
const DECIMAL: &[u32] = &[1, 2, 5, 10, 20, 50, 100, 200, 500];

/// The same where the next unit is sixty of it.
const SIXTIETH: &[u32] = &[1, 2, 5, 10, 20, 30];

/// The units of time in nanoseconds, their names, and the steps between ticks in each.
const UNITS: [(u64, &str, &[u32]); 6] = [
    (1_000, "µs", DECIMAL),
    (1_000_000, "ms", DECIMAL),
    (1_000_000_000, "s", SIXTIETH),
    (60_000_000_000, "min", SIXTIETH),
    (3_600_000_000_000, "h", &[1, 2, 3, 6, 12]),
    (86_400_000_000_000, "d", &[1, 2, 7, 30, 100, 1000]),
];

/// Returns the time and the label of each tick: one at 0, and at most `count` others.
pub(super) fn ticks(length: Duration, count: u32) -> Vec<(Duration, String)> {
    let steps = UNITS.iter().flat_map(|(unit, _, multiples)| {
        let unit = Duration::from_nanos(*unit);
        multiples.iter().map(move |multiple| unit * *multiple)
    });
    let longest = steps.clone().last().unwrap_or_default();
    let step = { steps }.find(|step| *step * count >= length);
    let step = step.unwrap_or(longest);
    (0..=count)
        .map(|n| step * n)
        .take_while(|at| *at <= length)
        .map(|at| (at, label(at, step, length)))
        .collect()
}

/// Returns a time in the unit of the steps, or in decimals of the next unit on a longer axis.
fn label(at: Duration, step: Duration, length: Duration) -> String {
    if at.is_zero() {
        return "0".into();
    }
    let in_nanos = |(unit, ..): &&(u64, &str, &[u32])| u128::from(*unit);
    // Only a second and smaller units are divided by ten.
    let mut decimals = UNITS[1..3].iter().rev();
    let decimal = decimals.find(|unit| length.as_nanos() >= in_nanos(unit));
    match decimal {
        Some(one) if step.as_nanos() < in_nanos(&one) => {
            let (unit, name) = (in_nanos(&one), one.1);
            let (whole, part) = (at.as_nanos() / unit, at.as_nanos() % unit / (unit / 10));
            format!("{whole}.{part} {name}")
        }
        _ => {
            let mut units = UNITS.iter().rev();
            let own = units.find(|unit| step.as_nanos() >= in_nanos(unit));
            let own = own.unwrap_or(&UNITS[0]);
            format!("{} {}", at.as_nanos() / in_nanos(&own), own.1)
        }
    }
}

/// Returns a time in words, to about four digits.
pub(super) fn in_words(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match time.as_micros() {
        0..1_000 => format!("{:.1} µs", seconds * 1e6),
        1_000..1_000_000 => format!("{:.1} ms", seconds * 1e3),
        1_000_000..120_000_000 => format!("{seconds:.3} s"),
        _ => format!("{} min {:.1} s", time.as_secs() / 60, seconds % 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(length: Duration) -> Vec<String> {
        ticks(length, 10)
            .into_iter()
            .map(|(_, label)| label)
            .collect()
    }

    #[test]
    fn ticks_are_in_the_unit_of_their_step() {
        let cases = [
            (Duration::from_micros(7), "7 µs", 8),
            (Duration::from_millis(350), "350 ms", 8),
            (Duration::from_millis(1400), "1.4 s", 8),
            (Duration::from_micros(4100), "4.0 ms", 9),
            (Duration::from_secs(6), "6 s", 7),
            (Duration::from_secs(300), "300 s", 11),
            (Duration::from_secs(1800), "30 min", 7),
            (Duration::from_secs(36_000), "10 h", 11),
            (Duration::from_secs(10 * 86_400), "10 d", 11),
        ];
        for (length, last, count) in cases {
            let labels = labels(length);
            assert_eq!(labels[0], "0");
            assert_eq!(labels.last().map(String::as_str), Some(last), "{labels:?}");
            assert_eq!(labels.len(), count, "{labels:?}");
        }
    }

    #[test]
    fn an_axis_of_no_length_has_one_tick() {
        assert_eq!(labels(Duration::ZERO), ["0"]);
        assert!(labels(Duration::from_secs(1 << 40)).len() > 1);
    }

    #[test]
    fn times_are_told_in_a_unit_that_fits() {
        assert_eq!(in_words(Duration::from_nanos(2500)), "2.5 µs");
        assert_eq!(in_words(Duration::from_micros(2500)), "2.5 ms");
        assert_eq!(in_words(Duration::from_millis(2500)), "2.500 s");
        assert_eq!(in_words(Duration::from_millis(150_500)), "2 min 30.5 s");
    }
}
