//! PURE: the rate of the last minutes, as far as somebody has looked, and its chart.

use std::collections::VecDeque;

use maud::{Markup, html};
use serde_json::Value;

use super::words::{count, duration};

/// The time that the chart shows, in seconds.
const SHOWN_S: f64 = 300.0;

/// The least time between two samples, in seconds.
const STEP_S: f64 = 0.5;

/// The size of the chart, in units of its own.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;

/// A gap between two samples that is longer shows that nobody has looked, in seconds.
const GAP_S: f64 = 5.0;

/// The number of ended items at a moment of the run.
#[derive(Debug, Clone, Copy)]
struct RateSample {
    at_s: f64,
    ended: u64,
}

/// The rate between two samples.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stretch {
    from_s: f64,
    to_s: f64,
    per_s: f64,
}

/// The samples of the last minutes.
#[derive(Debug, Default)]
pub(super) struct RateHistory(VecDeque<RateSample>);

impl RateHistory {
    /// Notes how a run stands, by its own clock.
    pub(super) fn note(&mut self, status: &Value) {
        let at_s = status["uptime_us"].as_f64().unwrap_or(0.0) / 1e6;
        let ended = count(&status["counts"]["done"]) + count(&status["counts"]["dead"]);
        match self.0.back() {
            // Another run has its place.
            Some(last) if at_s < last.at_s || ended < last.ended => self.0.clear(),
            Some(last) if at_s - last.at_s < STEP_S => return,
            _ => {}
        }
        self.0.push_back(RateSample { at_s, ended });
        while self
            .0
            .front()
            .is_some_and(|first| at_s - first.at_s > SHOWN_S)
        {
            self.0.pop_front();
        }
    }

    fn stretches(&self) -> Vec<Stretch> {
        let pairs = self.0.iter().zip(self.0.iter().skip(1));
        let seen = pairs.filter(|(before, after)| after.at_s - before.at_s <= GAP_S);
        seen.map(|(before, after)| Stretch {
            from_s: before.at_s,
            to_s: after.at_s,
            per_s: (after.ended - before.ended) as f64 / (after.at_s - before.at_s),
        })
        .collect()
    }

    /// Draws the rate of the last minutes.
    pub(super) fn chart(&self) -> Markup {
        let stretches = self.stretches();
        let most = stretches.iter().map(|one| one.per_s).fold(0.0, f64::max);
        let scale = nice(most);
        let end = self.0.back().map_or(0.0, |last| last.at_s);
        let x = |at: f64| WIDTH * (1.0 - (end - at) / SHOWN_S);
        let y = |rate: f64| HEIGHT * (1.0 - rate / scale);
        let words = match stretches.last() {
            None => "Items per second: nothing is known yet".to_owned(),
            Some(last) => format!(
                "Items per second in the last {}: {:.1} now, {most:.1} at most",
                duration(SHOWN_S),
                last.per_s
            ),
        };
        html! {
            figure.chart {
                figcaption { (words) }
                svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" aria-hidden="true" {
                    @for quarter in 0..=4 {
                        @let at = HEIGHT * f64::from(quarter) / 4.0;
                        line.grid x1="0" x2=(WIDTH) y1=(at) y2=(at) {}
                    }
                    @for one in &stretches {
                        rect.rate x=(round(x(one.from_s))) width=(round(x(one.to_s) - x(one.from_s)))
                            y=(round(y(one.per_s))) height=(round(HEIGHT - y(one.per_s))) {}
                    }
                }
                div.axis aria-hidden="true" {
                    span { (duration(SHOWN_S)) " ago" }
                    span { "full height: " (scale) " a second" }
                    span { "now" }
                }
            }
        }
    }
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Returns the next number of the form 1, 2 or 5 with zeros.
fn nice(most: f64) -> f64 {
    let mut scale = 1.0;
    loop {
        for step in [1.0, 2.0, 5.0] {
            if most <= scale * step {
                return scale * step;
            }
        }
        scale *= 10.0;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn history(samples: &[(u64, u64)]) -> RateHistory {
        let mut history = RateHistory::default();
        for (at_s, done) in samples {
            let counts = json!({"done": done, "dead": 0});
            history.note(&json!({"uptime_us": at_s * 1_000_000, "counts": counts}));
        }
        history
    }

    #[test]
    fn the_rate_is_that_between_two_looks() {
        let rates = |samples| {
            let stretches = history(samples).stretches();
            stretches.iter().map(|one| one.per_s).collect::<Vec<_>>()
        };
        assert_eq!(rates(&[(0, 0), (1, 10), (3, 12)]), [10.0, 1.0]);
        // Nobody looked for a while, so nothing is said of that.
        assert_eq!(
            rates(&[(0, 0), (1, 10), (100, 1000), (101, 1005)]),
            [10.0, 5.0]
        );
        // It is another run.
        assert_eq!(rates(&[(100, 50), (0, 0), (1, 3)]), [3.0]);
    }

    #[test]
    fn what_is_older_than_the_chart_is_forgotten() {
        let samples: Vec<_> = (0..1000).map(|at| (at, at)).collect();
        assert_eq!(history(&samples).0.len(), 301);
        assert!(history(&samples).chart().into_string().contains("1.0 now"));
    }

    #[test]
    fn the_scale_is_a_round_number() {
        assert_eq!((nice(0.0), nice(3.0), nice(51.0)), (1.0, 5.0, 100.0));
    }
}
