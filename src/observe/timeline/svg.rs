//! A sheet with one or more charts below each other, on one scale of time, as an SVG file.

use std::time::Duration;

use super::canvas::{Canvas, GREY, INK, Px, Type};
use super::chart::{Chart, Scale};
use super::row::Row;
use super::shapes::{draw_box, draw_hill, draw_mark};
use super::{Timeline, axis};
use crate::observe::spans::{MarkKind, SpanEnd};

const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 24.0;
/// The width of the counts to the right of the rows.
const COUNTS_WIDTH: f64 = 84.0;
/// The space between the ends of the plot and what stands beside it.
const AIR: f64 = 14.0;
/// The height above which a sheet has its axis at the top as well.
const TALL: f64 = 1000.0;

const TITLE: Type = Type::of(20.0, INK).bold();
const OUTCOME: Type = Type::of(13.0, GREY);
const HEADING: Type = Type::of(15.0, INK).bold();
const LEGEND: Type = Type::of(12.0, INK);
const TICK: Type = Type::of(11.0, GREY).anchored("middle");
const COLUMN: Type = Type::of(11.0, GREY).anchored("end");

/// Colours that differ also for the colour-blind; failed work is hatched, broken-off work is
/// dashed, a copy that does not count is pale, and marks differ in their shapes.
const DEFINITIONS: &str = "\
<pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
patternTransform=\"rotate(45)\">
<rect width=\"6\" height=\"6\" fill=\"#ffffff\"/>
<rect width=\"2.4\" height=\"6\" fill=\"#c9a0bd\"/>
</pattern>
<style>
.p{fill:#8cc4ea}
.w{fill:#f2c063}
.e{stroke:#ffffff;stroke-width:0.7}
.f{fill:url(#hatch);stroke:#7b2d62;stroke-width:1}
.b{stroke:#56626e;stroke-width:1;stroke-dasharray:4 3;fill-opacity:0.35}
.c{stroke:#56626e;stroke-width:1;fill-opacity:0.35}
.l{fill:#eef1f4}
.g{stroke:#d5dbe1;stroke-width:1}
.a{stroke:#56626e;stroke-width:1}
.r{fill:#ffffff;stroke:#7b2d62;stroke-width:1.8}
.d{fill:#1b2733;stroke:#ffffff;stroke-width:1}
.x{fill:none;stroke:#b3261e;stroke-width:3;stroke-linecap:round}
.h{fill:none;stroke:#ffffff;stroke-width:6;stroke-linecap:round}
.s{stroke:#1b2733;stroke-width:1}
.o{stroke:#ffffff;stroke-width:3.5;stroke-linejoin:round;paint-order:stroke}
</style>
";

pub(crate) fn draw(timeline: &Timeline) -> String {
    sheet(&timeline.labels.title, std::slice::from_ref(timeline))
}

/// Draws one or more runs; a single one needs no heading of its own.
pub(crate) fn sheet(title: &str, timelines: &[Timeline]) -> String {
    let charts: Vec<Chart<'_>> = timelines.iter().map(Chart::of).collect();
    let names = charts.iter().map(Chart::names_width).fold(60.0, f64::max);
    let length = timelines.iter().map(Timeline::length).max();
    // Even a run of no time needs an axis.
    let length = length.unwrap_or_default().max(Duration::from_micros(10));
    let left = MARGIN + names + AIR;
    let scale = Scale {
        left,
        width: WIDTH - MARGIN - COUNTS_WIDTH - left,
        length,
    };
    let inner = WIDTH - 2.0 * MARGIN;
    let mut canvas = Canvas::default();
    let mut y = MARGIN + 16.0;
    canvas.text(
        MARGIN,
        y,
        TITLE,
        &TITLE.fit(title, inner).unwrap_or_default(),
    );
    if let [only] = timelines {
        y += 22.0;
        write_fitting(&mut canvas, MARGIN, y, OUTCOME, &only.outcome(), inner);
    }
    y = draw_legend(&mut canvas, y + 28.0, &keys(&charts)) + 16.0;
    let ticks = axis::ticks(length, 10);
    let is_tall = charts.iter().map(Chart::height).sum::<f64>() > TALL;
    if is_tall {
        y += 26.0;
        draw_axis(&mut canvas, &scale, &ticks, y, -1.0);
    }
    for (index, (chart, timeline)) in charts.iter().zip(timelines).enumerate() {
        y += 12.0;
        if timelines.len() > 1 {
            y += 14.0;
            draw_heading(&mut canvas, y, timeline, WIDTH - MARGIN - COUNTS_WIDTH);
            y += 4.0;
        }
        if index == 0 {
            let items = COLUMN.fit(&timeline.labels.items, COUNTS_WIDTH - AIR);
            canvas.text(WIDTH - MARGIN, y, COLUMN, &items.unwrap_or_default());
        }
        y += 6.0;
        draw_grid(&mut canvas, &scale, &ticks, y, y + chart.height());
        chart.draw(&mut canvas, &scale, y, (MARGIN, names, WIDTH - MARGIN));
        y += chart.height() + 4.0;
    }
    draw_axis(&mut canvas, &scale, &ticks, y, 1.0);
    canvas.finish(WIDTH, y + 24.0 + MARGIN, title, DEFINITIONS)
}

fn write_fitting(canvas: &mut Canvas, x: f64, y: f64, style: Type, text: &str, width: f64) {
    let fitting = style.fit(text, width).unwrap_or_default();
    if fitting == text {
        canvas.text(x, y, style, text);
    } else {
        canvas.text_told(x, y, style, &fitting, text);
    }
}

fn draw_heading(canvas: &mut Canvas, y: f64, timeline: &Timeline, right: f64) {
    let title = &timeline.labels.title;
    let heading = HEADING
        .fit(title, (right - MARGIN) / 2.0)
        .unwrap_or_default();
    canvas.text(MARGIN, y, HEADING, &heading);
    let x = MARGIN + HEADING.width(&heading) + AIR;
    write_fitting(canvas, x, y, OUTCOME, &timeline.outcome(), right - x);
}

fn draw_grid(canvas: &mut Canvas, scale: &Scale, ticks: &[(Duration, String)], from: f64, to: f64) {
    let lines: String = ticks
        .iter()
        .map(|(at, _)| format!("M{} {}V{}", Px(scale.x(*at)), Px(from), Px(to)))
        .collect();
    canvas.shape(format_args!("path class=\"g\" d=\"{lines}\""));
}

/// Draws an axis. `side` is 1 for labels below the line, and -1 for labels above.
fn draw_axis(canvas: &mut Canvas, scale: &Scale, ticks: &[(Duration, String)], y: f64, side: f64) {
    let mut lines = format!("M{} {}h{}", Px(scale.left), Px(y), Px(scale.width));
    for (at, _) in ticks {
        lines += &format!("M{} {}v{}", Px(scale.x(*at)), Px(y), Px(5.0 * side));
    }
    canvas.shape(format_args!("path class=\"a\" fill=\"none\" d=\"{lines}\""));
    let baseline = if side > 0.0 { y + 18.0 } else { y - 9.0 };
    for (at, label) in ticks {
        canvas.text(scale.x(*at), baseline, TICK, label);
    }
}

/// The entries of the legend, in this order.
#[derive(Clone, Copy)]
enum LegendEntry {
    Bar(&'static str),
    Density,
    Life,
    Mark(MarkKind),
}

/// Draws the legend of what is on this sheet. Returns the place of its last line.
fn draw_legend(canvas: &mut Canvas, y: f64, keys: &[(LegendEntry, String)]) -> f64 {
    const KEY_WIDTH: f64 = 22.0;
    let (mut x, mut y) = (MARGIN, y);
    for (key, words) in keys {
        let width = KEY_WIDTH + 6.0 + LEGEND.width(words);
        if x > MARGIN && x + width > WIDTH - MARGIN {
            (x, y) = (MARGIN, y + 20.0);
        }
        let top = y - 11.0;
        match key {
            LegendEntry::Bar(class) => draw_box(canvas, x, top, KEY_WIDTH, 14.0, class),
            LegendEntry::Density => draw_hill(canvas, x, top, KEY_WIDTH, 14.0),
            LegendEntry::Life => draw_box(canvas, x, top, KEY_WIDTH, 14.0, "l"),
            LegendEntry::Mark(kind) => {
                draw_mark(canvas, *kind, x + KEY_WIDTH / 2.0, y - 4.0, 11.0, &[]);
            }
        }
        canvas.text(x + KEY_WIDTH + 6.0, y, LEGEND, words);
        x += width + 20.0;
    }
    y
}

fn keys(charts: &[Chart<'_>]) -> Vec<(LegendEntry, String)> {
    let Some(first) = charts.first() else {
        return Vec::new();
    };
    let labels = first.labels();
    let mut keys = Vec::new();
    if let Some(producer) = &labels.producer {
        keys.push((LegendEntry::Bar("p"), producer.doing.clone()));
    }
    keys.push((LegendEntry::Bar("w"), labels.working.clone()));
    let has = |is_so: &dyn Fn(&Row) -> bool| charts.iter().any(|chart| chart.has(is_so));
    let ends = |is_such: fn(&SpanEnd) -> bool| {
        has(&|row| row.bars().iter().any(|span| is_such(&span.outcome)))
    };
    let marked = |kind| has(&|row| !row.marks(kind).is_empty());
    let (is_crowded, is_alive) = (has(&Row::is_crowded), has(&|row| !row.lives().is_empty()));
    let further = [
        (
            ends(|end| matches!(end, SpanEnd::Failed(_))),
            LegendEntry::Bar("f"),
            "attempt that failed",
        ),
        (
            ends(|end| *end == SpanEnd::BrokenOff),
            LegendEntry::Bar("w b"),
            "broken off",
        ),
        (
            ends(|end| matches!(end, SpanEnd::Spare(_))),
            LegendEntry::Bar("w c"),
            "copy that was not needed",
        ),
        (is_crowded, LegendEntry::Density, "how busy"),
        (is_alive, LegendEntry::Life, "alive"),
    ];
    let marks = [
        (MarkKind::Retry, "tried again"),
        (MarkKind::DeadLetter, "given up on"),
        (MarkKind::Death, "worker died"),
    ];
    let marks = marks.map(|(kind, words)| (marked(kind), LegendEntry::Mark(kind), words));
    let there = further
        .into_iter()
        .chain(marks)
        .filter(|(is_there, ..)| *is_there);
    keys.extend(there.map(|(_, key, words)| (key, words.to_owned())));
    keys
}
