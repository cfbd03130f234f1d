//! Times on an axis: the places of its ticks and their labels.

use std::time::Duration;

/// The steps between ticks, in nanoseconds: 1, 2 and 5 of all below a minute, and a clock's units.
const STEPS_NS: [u64; 41] = {
    const US: u64 = 1000;
    const MS: u64 = 1000 * US;
    const S: u64 = 1000 * MS;
    const MIN: u64 = 60 * S;
    const H: u64 = 60 * MIN;
    const D: u64 = 24 * H;
    [
        US,
        2 * US,
        5 * US,
        10 * US,
        20 * US,
        50 * US,
        100 * US,
        200 * US,
        500 * US,
        MS,
        2 * MS,
        5 * MS,
        10 * MS,
        20 * MS,
        50 * MS,
        100 * MS,
        200 * MS,
        500 * MS,
        S,
        2 * S,
        5 * S,
        10 * S,
        20 * S,
        30 * S,
        MIN,
        2 * MIN,
        5 * MIN,
        10 * MIN,
        20 * MIN,
        30 * MIN,
        H,
        2 * H,
        3 * H,
        6 * H,
        12 * H,
        D,
        2 * D,
        7 * D,
        30 * D,
        100 * D,
        1000 * D,
    ]
};

/// Returns the time and the label of each tick: one at 0, and at most `count` others.
pub(super) fn ticks(length: Duration, count: u32) -> Vec<(Duration, String)> {
    let fits = |step: &&u64| Duration::from_nanos(**step) * count >= length;
    let step_ns = STEPS_NS.iter().find(fits).unwrap_or(&STEPS_NS[40]);
    let step = Duration::from_nanos(*step_ns);
    (0..=count)
        .map(|n| step * n)
        .take_while(|at| *at <= length)
        .map(|at| (at, label(at, step, length)))
        .collect()
}

/// Returns a time in the unit of the steps, or in decimals of the next unit on a longer axis.
fn label(at: Duration, step: Duration, length: Duration) -> String {
    const UNITS: [(u128, &str); 6] = [
        (1_000, "µs"),
        (1_000_000, "ms"),
        (1_000_000_000, "s"),
        (60_000_000_000, "min"),
        (3_600_000_000_000, "h"),
        (86_400_000_000_000, "d"),
    ];
    // Only a second and smaller units are divided by ten.
    let decimals = UNITS[1..3].iter().rev();
    let decimal = decimals
        .clone()
        .find(|(unit, _)| length.as_nanos() >= *unit);
    if at.is_zero() {
        return "0".into();
    }
    match decimal {
        Some((unit, name)) if step.as_nanos() < *unit => {
            let tenth = unit / 10;
            let (whole, part) = (at.as_nanos() / unit, at.as_nanos() % unit / tenth);
            format!("{whole}.{part} {name}")
        }
        _ => {
            let fits = |(unit, _): &&(u128, &str)| step.as_nanos() >= *unit;
            let (unit, name) = UNITS.iter().rev().find(fits).unwrap_or(&UNITS[0]);
            format!("{} {name}", at.as_nanos() / unit)
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
