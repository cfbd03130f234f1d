//! Draws one run's rows: bars where they are few, hills where they are many, and marks.

use std::time::Duration;

use super::Timeline;
use super::canvas::{Canvas, GREY, INK, Px, Type, grouped};
use super::row::{Notch, Row};
use super::shapes::{Hill, draw_box, draw_mark};
use super::words;
use crate::observe::spans::{Doing, Labels, MarkKind, Span, SpanEnd};

#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub(super) left: f64,
    pub(super) width: f64,
    pub(super) length: Duration,
}

impl Scale {
    /// Returns the place of a time; times beyond the end are at the end.
    pub(super) fn x(&self, at: Duration) -> f64 {
        let share = at.as_secs_f64() / self.length.as_secs_f64();
        self.left + self.width * share.min(1.0)
    }
}

/// The height of rows and of the parts in and beside them: the more rows, the lower.
#[derive(Debug, Clone, Copy)]
struct Form {
    /// The room for marks above the bars.
    rail: f64,
    bar: f64,
    gap: f64,
    mark: f64,
    /// The distance, in rows, from one row with a name to the next.
    named: usize,
    names: Type,
    has_processes: bool,
    has_items: bool,
}

const ITEM: Type = Type::of(12.0, INK);
const PROCESS: Type = Type::of(10.0, GREY);

impl Form {
    fn of(rows: usize, has_marks: bool) -> Self {
        let (rail, bar, gap, mark, named) = match rows {
            0..=12 => (14.0, 26.0, 6.0, 11.0, 1),
            13..=40 => (11.0, 15.0, 3.0, 9.0, 1),
            41..=100 => (3.0, 9.0, 1.0, 7.0, 1),
            _ => (0.0, 5.0, 1.0, 6.0, 2),
        };
        Form {
            rail: if has_marks { rail } else { 0.0 },
            bar,
            gap,
            mark,
            // Without a rail the rows are lower than a name.
            named: if rows > 40 && !has_marks { 2 } else { named },
            names: Type::of(if rows <= 12 { 13.0 } else { 10.0 }, INK),
            has_processes: rows <= 12,
            has_items: rows <= 40,
        }
    }

    fn pitch(self) -> f64 {
        self.rail + self.bar + self.gap
    }
}

/// One run's rows in their order.
#[derive(Debug)]
pub(super) struct Chart<'a> {
    timeline: &'a Timeline,
    rows: Vec<&'a Row>,
    form: Form,
}

impl<'a> Chart<'a> {
    pub(super) fn of(timeline: &'a Timeline) -> Self {
        let mut rows: Vec<&Row> = timeline.rows.iter().collect();
        let producer = timeline.labels.producer.as_ref();
        rows.sort_by_cached_key(|row| {
            let is_producer = producer.is_some_and(|one| one.name == row.name);
            (!is_producer, natural(&row.name))
        });
        if timeline.others_count > 0 {
            rows.push(&timeline.others);
        }
        let in_rail = [MarkKind::Retry, MarkKind::DeadLetter];
        let has_marks = in_rail.map(|kind| rows.iter().any(|row| !row.marks(kind).is_empty()));
        let form = Form::of(rows.len(), has_marks.contains(&true));
        Chart {
            timeline,
            rows,
            form,
        }
    }

    pub(super) fn labels(&self) -> &'a Labels {
        &self.timeline.labels
    }

    pub(super) fn height(&self) -> f64 {
        // An empty chart has a line that says so.
        let rows = u32::try_from(self.rows.len().max(1)).unwrap_or(u32::MAX);
        f64::from(rows) * self.form.pitch()
    }

    fn name(&self, row: &'a Row) -> String {
        match std::ptr::eq(row, &raw const self.timeline.others) {
            true => format!("and {} more", grouped(self.timeline.others_count.into())),
            false => row.name.clone(),
        }
    }

    /// Returns the room for the names beside the rows, within bounds.
    pub(super) fn names_width(&self) -> f64 {
        let name_width = |row: &&Row| self.form.names.width(&self.name(row));
        let names = self.rows.iter().map(name_width).fold(0.0, f64::max);
        let process_width = |row: &&Row| PROCESS.width(&row.processes());
        let processes = self.rows.iter().map(process_width).fold(0.0, f64::max);
        let processes = if self.form.has_processes {
            processes
        } else {
            0.0
        };
        names.max(processes).min(200.0)
    }

    /// Returns `true` if this is so of a row.
    pub(super) fn has(&self, is_so: impl Fn(&Row) -> bool) -> bool {
        self.rows.iter().any(|row| is_so(row))
    }

    /// Draws the chart. `columns`: the left edge and the width of names, the right edge of counts.
    pub(super) fn draw(
        &self,
        canvas: &mut Canvas,
        scale: &Scale,
        top: f64,
        columns: (f64, f64, f64),
    ) {
        if self.rows.is_empty() {
            canvas.text(scale.left + 8.0, top + 18.0, ITEM, "Nothing was done.");
        }
        let mut y = top;
        for (index, row) in self.rows.iter().enumerate() {
            let bar_y = y + self.form.rail;
            self.draw_lives(canvas, scale, bar_y, row);
            if row.is_crowded() {
                self.draw_hills(canvas, scale, bar_y, row);
            }
            for bar in row.bars() {
                self.draw_bar(canvas, scale, bar_y, row, bar);
            }
            if index.is_multiple_of(self.form.named) {
                self.draw_names(canvas, bar_y, columns, row);
            }
            y += self.form.pitch();
        }
        // Marks come last, so that no bar of the row below lies on them.
        let mut y = top + self.form.rail;
        for row in &self.rows {
            for kind in [MarkKind::Death, MarkKind::Retry, MarkKind::DeadLetter] {
                self.draw_marks(canvas, scale, y, row, kind);
            }
            y += self.form.pitch();
        }
    }

    fn draw_lives(&self, canvas: &mut Canvas, scale: &Scale, y: f64, row: &Row) {
        let over = self.timeline.length();
        for (start, end) in row.lives() {
            let x = scale.x((*start).min(over));
            let width = scale.x(end.unwrap_or(over).min(over)) - x;
            draw_box(canvas, x, y, width.max(0.5), self.form.bar, "l");
        }
    }

    fn draw_names(&self, canvas: &mut Canvas, y: f64, columns: (f64, f64, f64), row: &'a Row) {
        let Form {
            bar,
            names,
            has_processes,
            ..
        } = self.form;
        let (left, width, right) = columns;
        let (name, processes) = (self.name(row), row.processes());
        let fitting = names.fit(&name, width).unwrap_or_default();
        let told = format!("{name} ({processes})");
        // The height of a small letter is about half the size.
        let middle = y + bar / 2.0 + names.size * 0.36;
        let two_lines = has_processes && !processes.is_empty();
        let baseline = if two_lines { middle - 6.0 } else { middle };
        canvas.text_told(left, baseline, names, &fitting, &told);
        if two_lines {
            let fitting = PROCESS.fit(&processes, width).unwrap_or_default();
            canvas.text(left, baseline + 12.0, PROCESS, &fitting);
        }
        let count = names.anchored("end");
        canvas.text(right, middle, count, &grouped(row.items()));
    }

    fn draw_bar(&self, canvas: &mut Canvas, scale: &Scale, y: f64, row: &Row, span: &Span) {
        let x = scale.x(span.start);
        let width = (scale.x(span.end) - x).max(0.8);
        let doing = match span.doing {
            Doing::Producing => "p",
            Doing::Working => "w",
        };
        let class = match span.outcome {
            // A white edge would leave nothing of a narrow one.
            SpanEnd::Done if width < 3.0 => doing.to_owned(),
            SpanEnd::Done => format!("{doing} e"),
            SpanEnd::Failed(_) => "f".to_owned(),
            SpanEnd::BrokenOff => format!("{doing} b"),
            SpanEnd::Spare(_) => format!("{doing} c"),
        };
        let round = if width > 6.0 && self.form.bar > 10.0 {
            " rx=\"2\""
        } else {
            ""
        };
        let attributes = format_args!(
            "class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"{round}",
            Px(x),
            Px(y),
            Px(width),
            Px(self.form.bar)
        );
        let lines = words::of_span(span, &row.name, self.labels());
        canvas.told("rect", attributes, &lines);
        let style = Type {
            size: ITEM.size.min(self.form.bar - 4.0),
            has_halo: matches!(span.outcome, SpanEnd::Failed(_)),
            ..ITEM
        };
        if self.form.has_items
            && let Some(item) = style.fit(&span.item, width - 10.0)
            && !item.is_empty()
        {
            let baseline = y + self.form.bar / 2.0 + style.size * 0.36;
            let x = x + width / 2.0;
            canvas.text(x, baseline, style.anchored("middle"), &item);
        }
    }

    /// Draws the row's activity in each column.
    fn draw_hills(&self, canvas: &mut Canvas, scale: &Scale, y: f64, row: &'a Row) {
        let bar = self.form.bar;
        let is_others = std::ptr::eq(row, &raw const self.timeline.others);
        let workers = if is_others {
            self.timeline.others_count
        } else {
            1
        };
        // Low rows show less, so they need fewer.
        let columns: u32 = if bar < 9.0 { 400 } else { 1000 };
        let column = scale.length / columns;
        let width = scale.width / f64::from(columns);
        let full = column.as_secs_f64() * f64::from(workers);
        let height = |busy: Duration| match busy.is_zero() {
            true => 0.0,
            // Any activity must be visible.
            false => (bar * busy.as_secs_f64() / full).clamp(1.0, bar),
        };
        let (mut all, mut working) = (Hill::new(y + bar), Hill::new(y + bar));
        let (mut produced_all, mut worked_all) = (Duration::ZERO, Duration::ZERO);
        for index in 0..columns {
            let (produced, worked) = row.bins().busy(column * index, column * (index + 1));
            let x = scale.left + width * f64::from(index);
            all.step(x, height(produced + worked));
            working.step(x, height(worked));
            produced_all += produced;
            worked_all += worked;
        }
        let end = scale.left + scale.width;
        let busy = (produced_all + worked_all).as_secs_f64();
        let length = self.timeline.length().as_secs_f64();
        let percent = 100.0 * busy / (length * f64::from(workers));
        let words = [format!(
            "{}: {} {}, busy for {percent:.1} % of the time",
            self.name(row),
            grouped(row.items()),
            self.timeline.labels.items
        )];
        if !produced_all.is_zero() {
            let path = all.close(end);
            canvas.told("path", format_args!("class=\"p\" d=\"{path}\""), &words);
        }
        if !worked_all.is_zero() {
            let path = working.close(end);
            canvas.told("path", format_args!("class=\"w\" d=\"{path}\""), &words);
        }
    }

    /// Draws the marks. Those that would overlap become one with their number.
    fn draw_marks(&self, canvas: &mut Canvas, scale: &Scale, y: f64, row: &Row, kind: MarkKind) {
        let Form {
            bar, rail, mark, ..
        } = self.form;
        let in_bar = kind == MarkKind::Death || rail < mark;
        let middle = if in_bar {
            y + bar / 2.0
        } else {
            y - rail / 2.0
        };
        let size = if in_bar { mark.min(bar + 2.0) } else { mark };
        for (notch, count) in gathered(row.marks(kind), scale, size) {
            // Move it off the cross, onto the failed part.
            let shift = if in_bar && kind != MarkKind::Death {
                size + 2.0
            } else {
                0.0
            };
            let x = scale.x(notch.at) - shift;
            if !in_bar {
                let line = format_args!(
                    "path class=\"s\" d=\"M{} {}V{}\"",
                    Px(x),
                    Px(middle),
                    Px(y + bar)
                );
                canvas.shape(line);
            }
            let lines = words::of_mark(kind, &notch, count);
            draw_mark(canvas, kind, x, middle, size, &lines);
        }
    }
}

/// Gathers marks that are nearer to each other than their size: the first of each, and the number.
fn gathered<'a>(notches: Vec<Notch<'a>>, scale: &Scale, size: f64) -> Vec<(Notch<'a>, u32)> {
    let mut groups: Vec<(Notch<'a>, u32)> = Vec::new();
    for notch in notches {
        match groups.last_mut() {
            Some((first, count)) if scale.x(notch.at) - scale.x(first.at) < size => {
                *count = count.saturating_add(notch.count);
            }
            _ => {
                let count = notch.count;
                groups.push((notch, count));
            }
        }
    }
    groups
}

/// Returns a key that orders numbers in names by value: 2 before 10.
fn natural(name: &str) -> (String, u64, String) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name[stem.len()..].parse().unwrap_or(u64::MAX);
    (stem.to_owned(), number, name.to_owned())
}
