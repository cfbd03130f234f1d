//! `--halt`: ends the run early when enough items have become dead letters.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::exit_codes::code;
use super::expected::Expected;
use super::stop::{Manner, Stop};

/// The bound on dead letters, and the manner of the halt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Halt {
    manner: Manner,
    limit: Limit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Items(u64),
    /// A share of all items, for which their number must be known.
    Percent(u64),
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.manner {
            Manner::AtOnce => "now",
            Manner::Patiently => "soon",
        })?;
        match self.limit {
            Limit::Items(items) => write!(f, ",fail={items}"),
            Limit::Percent(percent) => write!(f, ",fail={percent}%"),
        }
    }
}

impl Halt {
    /// Reads `now,fail=3` or `soon,fail=10%`.
    ///
    /// # Errors
    /// The text is neither.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parse = || {
            let (manner, condition) = text.split_once(',')?;
            let manner = match manner {
                "now" => Manner::AtOnce,
                "soon" => Manner::Patiently,
                _ => return None,
            };
            let limit = condition.strip_prefix("fail=")?;
            let limit = match limit.strip_suffix('%') {
                Some(percent) => Limit::Percent(percent.parse().ok().filter(|n| *n <= 100)?),
                None => Limit::Items(limit.parse().ok()?),
            };
            let is_sensible = !matches!(limit, Limit::Items(0) | Limit::Percent(0));
            is_sensible.then_some(Halt { manner, limit })
        };
        let example =
            "expected now or soon, and a number or a share, as in now,fail=1 or soon,fail=10%";
        parse().ok_or_else(|| format!("--halt {text}: {example}"))
    }

    fn is_reached(self, failed: u64, total: Option<u64>) -> bool {
        match self.limit {
            Limit::Items(items) => failed >= items,
            Limit::Percent(percent) => {
                failed > 0 && total.is_some_and(|total| failed * 100 >= total * percent)
            }
        }
    }
}

/// Counts dead letters and halts the run. It is asked where items end, so that nothing is begun
/// after the last permitted one.
#[derive(Debug)]
pub(super) struct HaltRule {
    halt: Halt,
    failed: AtomicU64,
    is_blown: AtomicBool,
    expected: Expected,
    /// The number of items that earlier runs have accepted.
    before: u64,
    stop: Stop,
}

impl HaltRule {
    pub(super) fn new(halt: Halt, expected: Expected, before: u64, stop: Stop) -> Self {
        HaltRule {
            halt,
            failed: AtomicU64::new(0),
            is_blown: AtomicBool::new(false),
            expected,
            before,
            stop,
        }
    }

    /// Counts a dead letter.
    pub(super) fn count(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.check();
    }

    /// Halts the run if the bound is reached, which the number of items alone can cause.
    pub(super) fn check(&self) {
        let failed = self.failed.load(Ordering::Relaxed);
        if failed == 0 || self.is_blown() {
            return;
        }
        let total = self.expected.total(self.before);
        if self.halt.is_reached(failed, total) && !self.is_blown.swap(true, Ordering::Relaxed) {
            let why = format!("halted, as --halt {} says", self.halt);
            self.stop.halt(self.halt.manner, why, code::DEAD_LETTERS);
        }
    }

    /// Returns `true` if the bound was reached.
    pub(super) fn is_blown(&self) -> bool {
        self.is_blown.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_a_meaning_is_taken() {
        for text in ["now,fail=1", "soon,fail=3", "soon,fail=100%", "now,fail=1%"] {
            assert_eq!(Halt::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "now",
            "later,fail=1",
            "now,fail=0",
            "now,fail=0%",
            "now,fail=101%",
            "now,fail=-1",
            "now,fail=1.5%",
            "now,done=1",
            "now, fail=1",
            "fail=1",
        ] {
            let why = Halt::parse(text).unwrap_err();
            assert!(why.contains("--halt") && why.contains("fail=10%"), "{why}");
        }
    }

    #[test]
    fn a_share_is_of_all_items_once_they_are_counted() {
        let halt = Halt::parse("soon,fail=10%").unwrap();
        assert!(!halt.is_reached(5, None));
        assert!(!halt.is_reached(9, Some(100)) && halt.is_reached(10, Some(100)));
        assert!(halt.is_reached(1, Some(3)) && !halt.is_reached(0, Some(3)));
        let halt = Halt::parse("now,fail=2").unwrap();
        assert!(!halt.is_reached(1, Some(2)) && halt.is_reached(2, None));
    }
}
