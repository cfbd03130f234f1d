//! The options about several copies of an item, as they are typed.

use clap::Args;

use super::duration;
use crate::observe::text::counted;
use crate::{Copies, Hedge};

#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Options for several copies of an item")]
pub(in crate::cli) struct CopyArgs {
    /// Have N workers run each item at once, or as many as there are: the first copy that is done
    /// counts, and the others are ended. A copy that fails does not fail the item before all have.
    /// An item must bear being run by two workers at the same time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    copies: Option<u32>,

    /// Take a result only if M of the copies agree on it: all bytes that a COMMAND has written to
    /// stdout, and its exit code. A copy that disagrees is told of on stderr. If no M agree, the
    /// attempt has failed
    #[arg(long, value_name = "M", requires = "copies", value_parser = clap::value_parser!(u32).range(1..=1000))]
    agree: Option<u32>,

    /// Begin with one copy (or M), and make the others of an item that takes longer than this: a
    /// time, or p95 for as long as 95 % of the items done so far took. Not while other items wait.
    /// Without --copies there are 2
    #[arg(long, value_name = "DUR|pN", value_parser = hedge, allow_hyphen_values = true)]
    hedge_after: Option<Hedge>,

    /// Make the later copies also while other items wait, which then wait longer
    #[arg(long, requires = "hedge_after")]
    hedge_pressing: bool,
}

impl CopyArgs {
    /// Returns the copies that are asked for, if there are to be more than one.
    ///
    /// # Errors
    /// The options do not go together, or with this number of workers; in words.
    pub(in crate::cli) fn copies(&self, workers: usize) -> Result<Option<Copies>, String> {
        let count = match (self.copies, self.hedge_after) {
            (None, None) => return Ok(None),
            (None, Some(_)) => 2,
            (Some(1), Some(_)) => {
                return Err("--hedge-after: with --copies 1 there is no other copy to make".into());
            }
            (Some(count), _) => count,
        };
        let needed = self.agree.unwrap_or(1);
        if needed > count {
            let is_one = if count == 1 { "is" } else { "are" };
            return Err(format!(
                "--agree {needed}: there {is_one} no more than {} (--copies)",
                counted(u64::from(count), "copy", "copies")
            ));
        }
        if needed as usize > workers {
            let workers = counted(workers as u64, "worker", "workers");
            return Err(format!(
                "--agree {needed}: no more than {workers} can agree (--workers)"
            ));
        }
        let mut copies = Copies::agree(needed, count);
        if let Some(hedge) = self.hedge_after {
            copies = copies.hedge_after(hedge);
        }
        if self.hedge_pressing {
            copies = copies.pressing();
        }
        Ok((count > 1).then_some(copies))
    }
}

/// Reads `2s`, or `p95`.
fn hedge(text: &str) -> Result<Hedge, String> {
    let Some(percent) = text.strip_prefix('p') else {
        let accepted = "expected a time such as 2s or 100ms, of a year at most, or p95 for as long \
                        as 95 % of the items took";
        return match duration(text) {
            Ok(delay) => Ok(Hedge::After(delay)),
            Err(_) => Err(accepted.into()),
        };
    };
    let hedge = percent
        .parse()
        .map(|percent: f64| Hedge::quantile(percent / 100.0));
    match hedge {
        Ok(hedge @ Hedge::Quantile(1..=999)) => Ok(hedge),
        _ => Err("after p comes a number from 0.1 to 99.9, as in p95".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn args(copies: Option<u32>, agree: Option<u32>, hedge_after: Option<&str>) -> CopyArgs {
        CopyArgs {
            copies,
            agree,
            hedge_after: hedge_after.map(|text| hedge(text).unwrap()),
            hedge_pressing: false,
        }
    }

    #[test]
    fn what_is_typed_is_what_is_made() {
        let made = |args: CopyArgs| args.copies(4).unwrap();
        let second = Hedge::After(Duration::from_secs(1));
        assert_eq!(made(args(None, None, None)), None);
        assert_eq!(made(args(Some(1), None, None)), None);
        assert_eq!(made(args(Some(3), None, None)), Some(Copies::first(3)));
        assert_eq!(
            made(args(Some(3), Some(2), None)),
            Some(Copies::agree(2, 3))
        );
        let backup = Copies::first(2);
        assert_eq!(
            made(args(None, None, Some("1s"))),
            Some(backup.hedge_after(second))
        );
        let slowest = backup.hedge_after(Hedge::quantile(0.995));
        let typed = args(None, None, Some("p99.5"));
        assert_eq!(made(typed), Some(slowest));
        let hedge_pressing = true;
        let pressing = CopyArgs {
            hedge_pressing,
            ..typed
        };
        assert_eq!(made(pressing), Some(slowest.pressing()));
    }

    #[test]
    fn what_cannot_be_is_refused_by_the_option() {
        let refused = |args: CopyArgs| args.copies(2).unwrap_err();
        assert!(refused(args(Some(2), Some(3), None)).starts_with("--agree 3: "));
        assert!(refused(args(Some(4), Some(3), None)).contains("2 workers"));
        assert!(refused(args(Some(1), None, Some("p9"))).starts_with("--hedge-after: "));
        let alone = args(Some(1), Some(2), None).copies(2).unwrap_err();
        assert!(alone.contains("there is no more than 1 copy"), "{alone}");
        let alone = args(Some(2), Some(2), None).copies(1).unwrap_err();
        assert!(alone.contains("no more than 1 worker can"), "{alone}");
        for wrong in ["p", "p0", "p0.01", "p99.99", "p100", "pNaN", "p-1", "p95x"] {
            let why = hedge(wrong).unwrap_err();
            assert!(
                why.contains("from 0.1 to 99.9, as in p95"),
                "{wrong}: {why}"
            );
        }
        for wrong in ["soon", "P95", "-1s", "1000d", ""] {
            let why = hedge(wrong).unwrap_err();
            assert!(
                why.contains("2s or 100ms, of a year at most, or p95"),
                "{wrong}: {why}"
            );
        }
    }
}
