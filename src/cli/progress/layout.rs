//! PURE: the text of the bars, for a terminal of a given size. It does not know the other lines.
//!
//! No line is as wide as the terminal, so none is wrapped, and control characters are removed.

use std::time::Duration;

use unicode_width::UnicodeWidthChar;

use crate::cli::screen::Size;
use crate::observe::progress::{Activity, Progress};

/// The smallest width of a bar.
const BAR_COLUMNS_MIN: usize = 12;

/// The smallest terminal with room for times.
const TIME_COLUMNS_MIN: usize = 30;

/// The greatest width of a worker's name.
const NAME_COLUMNS_MAX: usize = 24;

/// The first line, with or without a bar in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The text before the bar, or all of the first line.
    pub(super) before: String,
    /// The text after the bar.
    pub(super) after: String,
    pub(super) has_bar: bool,
}

impl Head {
    /// Returns the line, in which the bar takes the columns that the words leave.
    pub(super) fn line(self, progress: &Progress, size: Size) -> String {
        let Head {
            before,
            after,
            has_bar,
        } = self;
        if !has_bar {
            return before;
        }
        let words = before.len() + after.len() + " [] ".len();
        let counts = progress.counts();
        let ended = counts.done + counts.dead;
        let total = progress.total().unwrap_or(0);
        let bar = bar(ended, total, columns(size).saturating_sub(words));
        format!("{before} [{bar}] {after}")
    }
}

/// Draws a bar of so many columns, with characters that every terminal and encoding has.
fn bar(ended: u64, total: u64, columns: usize) -> String {
    // Rounded down, so that the bar is full only when all has ended.
    let full = match total {
        0 => columns as u128,
        _ => u128::from(ended.min(total)) * columns as u128 / u128::from(total),
    };
    let full = usize::try_from(full).unwrap_or(columns);
    let tip = if ended > 0 && full < columns { ">" } else { "" };
    format!("{:<columns$}", "=".repeat(full) + tip)
}

/// Returns the number of columns that a line may take.
pub(super) fn columns(size: Size) -> usize {
    size.columns.saturating_sub(1).max(1)
}

/// Makes the first line, with a place for the bar.
pub(super) fn head(progress: &Progress, now: Duration, elapsed: Duration, size: Size) -> Head {
    let columns = columns(size);
    let counts = progress.counts();
    let (done, dead) = (counts.done, counts.dead);
    let start = match progress.total() {
        Some(total) => format!("{done} of {total} done, {dead} dead"),
        None => format!("{done} done, {dead} dead"),
    };
    let rate = Some(progress.rate(now)).filter(|rate| *rate > 0.0);
    let rate = rate.map(per_time);
    let left = progress.time_left(now).filter(|time| !time.is_zero());
    let left = left.map(|time| format!("{} left", clock(time)));
    let elapsed = Some(clock(elapsed));
    // The least important part goes first.
    let tails = [
        vec![&rate, &left, &elapsed],
        vec![&rate, &left],
        vec![&left],
        vec![],
    ];
    let tails = tails.map(|parts| {
        let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
        parts.join(", ")
    });
    let has_bar = progress.total().is_some()
        && start.len() + tails[0].len() + BAR_COLUMNS_MIN + "[] ".len() <= columns;
    let [all, ..] = &tails;
    let (before, after) = match has_bar {
        true => (start, all.clone()),
        false => {
            let lines = tails.iter().map(|tail| match tail.is_empty() {
                true => start.clone(),
                false => format!("{start}, {tail}"),
            });
            let mut fitting = lines.filter(|line| line.len() <= columns);
            let line = fitting.next().unwrap_or_else(|| cut(&start, columns));
            (line, String::new())
        }
    };
    Head {
        before,
        after,
        has_bar,
    }
}

/// Returns a line for each worker with its item and time, as far as there is room.
pub(super) fn hands(progress: &Progress, now: Duration, size: Size) -> Vec<String> {
    // One row stays free for the next printed line, so that it does not move everything.
    let room = size.rows.saturating_sub(2);
    let mut workers = progress.workers();
    let all = workers.len();
    if all > room {
        // Busy workers come first. Both groups keep their order.
        workers.sort_by_key(|(_, hand)| hand.item().is_none());
        workers.truncate(room.saturating_sub(1));
    }
    let fitting = workers.len();
    let names = workers.iter().map(|(name, _)| cut(name, NAME_COLUMNS_MAX));
    let shown: Vec<(String, &Activity)> =
        names.zip(workers.iter().map(|(_, hand)| *hand)).collect();
    let name_columns = shown.iter().map(|(name, _)| name.chars().count()).max();
    let name_columns = name_columns.unwrap_or(0);
    let mut lines: Vec<String> = shown
        .iter()
        .map(|(name, hand)| {
            let time = span(now.saturating_sub(hand.since));
            let item = hand.item().unwrap_or("(idle)");
            let line = match columns(size) < TIME_COLUMNS_MIN {
                true => format!("{name:<name_columns$} {item}"),
                false => format!("  {name:<name_columns$} {time:>7}  {item}"),
            };
            cut(&line, columns(size))
        })
        .collect();
    if room > 0 && all > fitting {
        let more = format!("  … and {} more", all - fitting);
        lines.push(cut(&more, columns(size)));
    }
    lines
}

/// Cuts the text to so many columns, and removes characters that act on a terminal.
pub(super) fn cut(text: &str, columns: usize) -> String {
    let mut cut = String::new();
    let mut used = 0;
    // The last place at which a cut leaves room for its mark.
    let mut last = 0;
    for c in text.chars() {
        let shown = match is_active(c) {
            true => c.escape_default().to_string(),
            false => c.to_string(),
        };
        let width: usize = shown.chars().map(|c| c.width().unwrap_or(0)).sum();
        if used + width > columns {
            cut.truncate(last);
            cut.push('…');
            return cut;
        }
        used += width;
        cut.push_str(&shown);
        if used < columns {
            last = cut.len();
        }
    }
    cut
}

/// Returns `true` if a character moves the cursor, ends the line, or turns the text's direction.
fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || c == '\u{feff}'
}

/// Writes a rate in items per second, or per minute or hour if it is small.
fn per_time(rate: f64) -> String {
    match rate {
        rate if rate >= 99.5 => format!("{rate:.0}/s"),
        rate if rate >= 0.5 => format!("{rate:.1}/s"),
        rate if rate * 60.0 >= 0.5 => format!("{:.1}/min", rate * 60.0),
        rate => format!("{:.1}/h", rate * 3600.0),
    }
}

/// Writes a time, with tenths if it is short.
fn span(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1}s", time.as_secs_f64()),
        _ => clock(time),
    }
}

/// Writes minutes and seconds, and hours if there are any.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let seconds = seconds % 60;
    match (days, hours) {
        (0, 0) => format!("{minutes}:{seconds:02}"),
        (0, hours) => format!("{hours}:{minutes:02}:{seconds:02}"),
        (days, hours) => format!("{days}d {hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Event, EventKind};
    use crate::{Counts, ItemId};

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn size(columns: usize, rows: usize) -> Size {
        Size { columns, rows }
    }

    /// After ten seconds, twenty of a hundred are done.
    fn progress() -> Progress {
        let mut progress = Progress::new(secs(0), Counts::default());
        let mut counts = Counts::default();
        (counts.done, counts.dead) = (19, 1);
        progress.count(secs(10), &counts);
        progress.expect(Some(100));
        progress
    }

    fn with_workers(count: u32, item: &str) -> Progress {
        let mut progress = progress();
        for n in 1..=count {
            let kind = EventKind::ItemStarted {
                id: ItemId(n.into()),
                item: item.into(),
                worker: format!("w-{n}").into(),
                pid: n,
                attempt: 1,
                copy: None,
            };
            let at = secs(8);
            progress.see(&Event { at, kind });
        }
        progress
    }

    fn first_line(progress: &Progress, columns: usize) -> (String, String, bool) {
        let head = head(progress, secs(10), secs(10), size(columns, 24));
        (head.before, head.after, head.has_bar)
    }

    #[test]
    fn a_narrow_terminal_gets_what_matters_most() {
        let head = "19 of 100 done, 1 dead";
        let cases = [
            (100, head, "2.0/s, 0:40 left, 0:10", true),
            (60, head, "2.0/s, 0:40 left, 0:10", true),
            (
                50,
                "19 of 100 done, 1 dead, 2.0/s, 0:40 left, 0:10",
                "",
                false,
            ),
            (43, "19 of 100 done, 1 dead, 2.0/s, 0:40 left", "", false),
            (35, "19 of 100 done, 1 dead, 0:40 left", "", false),
            (30, head, "", false),
            (20, "19 of 100 done, 1 …", "", false),
            (1, "…", "", false),
        ];
        for (columns, head, tail, has_bar) in cases {
            let expected = (head.to_owned(), tail.to_owned(), has_bar);
            assert_eq!(first_line(&progress(), columns), expected, "{columns}");
        }
    }

    #[test]
    fn a_bar_takes_what_the_words_leave() {
        let size = size(61, 24);
        let line = head(&progress(), secs(10), secs(10), size).line(&progress(), size);
        let expected = "19 of 100 done, 1 dead [==>         ] 2.0/s, 0:40 left, 0:10";
        assert_eq!((line.as_str(), line.len()), (expected, 60));
    }

    #[test]
    fn a_bar_is_full_when_all_has_ended_and_no_sooner() {
        let cases = [
            (0, 10, "     "),
            (1, 10, ">    "),
            (2, 10, "=>   "),
            (9, 10, "====>"),
            (10, 10, "====="),
            // More may be done than was expected.
            (11, 10, "====="),
            (u64::MAX - 1, u64::MAX, "====>"),
            (0, 0, "====="),
        ];
        for (ended, total, expected) in cases {
            assert_eq!(bar(ended, total, 5), expected, "{ended} of {total}");
        }
        assert_eq!(bar(1, 2, 0), "");
    }

    #[test]
    fn without_a_total_there_is_neither_bar_nor_time_left() {
        let mut progress = progress();
        progress.expect(None);
        let line = "19 done, 1 dead, 2.0/s, 0:10";
        assert_eq!(
            first_line(&progress, 100),
            (line.into(), String::new(), false)
        );
    }

    #[test]
    fn a_worker_has_a_line_with_what_it_holds_and_since_when() {
        let lines = hands(&with_workers(2, "cup"), secs(10), size(80, 24));
        assert_eq!(lines, ["  w-1    2.0s  cup", "  w-2    2.0s  cup"]);
    }

    #[test]
    fn workers_for_which_there_is_no_room_are_counted() {
        let count = |workers, rows| {
            let lines = hands(&with_workers(workers, "cup"), secs(10), size(80, rows));
            (lines.len(), lines.last().cloned().unwrap_or_default())
        };
        assert_eq!(count(3, 5), (3, "  w-3    2.0s  cup".into()));
        assert_eq!(count(4, 5), (3, "  … and 2 more".into()));
        assert_eq!(count(200, 24), (22, "  … and 179 more".into()));
        assert_eq!(count(200, 3), (1, "  … and 200 more".into()));
        assert_eq!(count(200, 2), (0, String::new()));
        assert_eq!(count(0, 24), (0, String::new()));
    }

    #[test]
    fn the_idle_are_left_out_first() {
        let mut progress = with_workers(3, "cup");
        let kind = EventKind::WorkerStarted {
            worker: "w-1".into(),
            pid: 1,
        };
        progress.see(&Event { at: secs(9), kind });
        let all = hands(&progress, secs(10), size(80, 5));
        assert_eq!(all[0], "  w-1    1.0s  (idle)");
        let lines = hands(&progress, secs(10), size(80, 4));
        assert_eq!(lines, ["  w-2    2.0s  cup", "  … and 2 more"]);
    }

    #[test]
    fn names_are_cut_to_the_terminal_and_do_nothing_on_it() {
        let lines = |item: &str, columns| hands(&with_workers(1, item), secs(10), size(columns, 9));
        assert_eq!(
            lines("a\x1b[2Jb\nc", 80),
            ["  w-1    2.0s  a\\u{1b}[2Jb\\nc"]
        );
        assert_eq!(lines("\u{202e}cup", 80), ["  w-1    2.0s  \\u{202e}cup"]);
        let name = "a plate with a long name";
        assert_eq!(lines(name, 31), ["  w-1    2.0s  a plate with a…"]);
        assert_eq!(lines(name, 40), [format!("  w-1    2.0s  {name}")]);
        assert_eq!(lines(name, 20), ["w-1 a plate with a…"]);
        // Each character has two columns.
        assert_eq!(lines("盘子盘子", 8), ["w-1 盘…"]);
        assert_eq!(lines("盘子盘子", 10), ["w-1 盘子…"]);
        assert_eq!(lines("盘子", 9), ["w-1 盘子"]);
    }

    #[test]
    fn an_escape_is_not_cut_in_the_middle() {
        assert_eq!(cut("ab\x1bcd", 10), "ab\\u{1b}cd");
        assert_eq!(cut("ab\x1bcd", 9), "ab\\u{1b}…");
        assert_eq!(cut("ab\x1bcd", 7), "ab…");
        assert_eq!(cut("ab", 0), "…");
    }

    #[test]
    fn rates_and_times_are_short() {
        let rates = [1e6, 99.6, 42.0, 0.6, 0.1, 1.0 / 3600.0].map(per_time);
        assert_eq!(
            rates,
            ["1000000/s", "100/s", "42.0/s", "0.6/s", "6.0/min", "1.0/h"]
        );
        let times = [7, 600, 3723, 93_784].map(|time| clock(secs(time)));
        assert_eq!(times, ["0:07", "10:00", "1:02:03", "1d 2:03:04"]);
        assert_eq!(span(Duration::from_millis(1_260)), "1.3s");
        assert_eq!(span(secs(61)), "1:01");
    }
}
