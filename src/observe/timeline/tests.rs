//! Facts about pictures, read from their XML.

use roxmltree::{Document, Node};

use super::super::spans::story::*;
use super::super::spans::{Labels, MarkKind};
use super::*;
use dishrack_core::ledger::{Cause, Exit};

fn drawn(labels: Labels, events: &[Event]) -> String {
    svg::draw(&folded(labels, events))
}

fn folded(labels: Labels, events: &[Event]) -> Timeline {
    let mut timeline = Timeline::new(labels);
    events.iter().for_each(|event| timeline.see(event));
    timeline.end();
    timeline
}

fn parsed(svg: &str) -> Document<'_> {
    Document::parse(svg).unwrap_or_else(|error| panic!("{error}: {svg}"))
}

fn texts(svg: &Document<'_>) -> Vec<String> {
    let texts = svg.descendants().filter(|node| node.has_tag_name("text"));
    texts.map(|node| written(&node)).collect()
}

fn written(node: &Node<'_, '_>) -> String {
    let own = node.children().filter(|child| child.is_text());
    own.filter_map(|child| child.text()).collect()
}

/// Returns what the elements of these classes show when they are pointed at.
fn told(svg: &Document<'_>, class: &str) -> Vec<String> {
    svg.descendants()
        .filter(|node| {
            let classes = node.attribute("class").unwrap_or_default();
            classes.split(' ').any(|one| one == class)
        })
        .filter_map(|node| node.children().find(|child| child.has_tag_name("title")))
        .filter_map(|title| title.text().map(str::to_owned))
        .collect()
}

/// Checks that no text lies on another one or beyond the edge, in a font that is not very wide.
fn assert_legible(svg: &Document<'_>) {
    let number =
        |node: &Node<'_, '_>, name| -> f64 { node.attribute(name).unwrap_or("0").parse().unwrap() };
    let sheet = svg.root_element();
    let (sheet_width, sheet_height) = (number(&sheet, "width"), number(&sheet, "height"));
    let mut boxes: Vec<(f64, f64, f64, f64, String)> = Vec::new();
    for node in svg.descendants().filter(|node| node.has_tag_name("text")) {
        let text = written(&node);
        let size = number(&node, "font-size");
        let count = u32::try_from(text.chars().count()).unwrap();
        let width = f64::from(count) * size * 0.58;
        let x = number(&node, "x")
            - match node.attribute("text-anchor") {
                Some("middle") => width / 2.0,
                Some("end") => width,
                _ => 0.0,
            };
        let y = number(&node, "y") - size * 0.75;
        let height = size * 0.8;
        assert!(
            x >= 0.0 && x + width <= sheet_width,
            "beyond the edge: {text}"
        );
        assert!(
            y >= 0.0 && y + height <= sheet_height,
            "beyond the edge: {text}"
        );
        for (left, top, other_width, other_height, other) in &boxes {
            let is_beside = x >= left + other_width || *left >= x + width;
            let is_below = y >= top + other_height || *top >= y + height;
            assert!(is_beside || is_below, "{text:?} lies on {other:?}");
        }
        boxes.push((x, y, width, height, text));
    }
}

#[test]
fn a_killed_worker_is_marked() {
    let svg = drawn(labels(), &of_a_kill());
    let svg = parsed(&svg);
    assert_eq!(told(&svg, "x"), ["died: killed by SIGKILL\n250.0 ms"]);
    let retries = told(&svg, "r");
    assert_eq!(
        retries,
        ["item-1: attempt 1 failed: killed by SIGKILL\n250.0 ms"]
    );
    assert_eq!(told(&svg, "f").len(), 1, "the failed attempt is hatched");
    let texts = texts(&svg);
    let rows = ["mixer", "worker-1", "worker-2"];
    assert!(
        rows.iter()
            .all(|row| texts.iter().filter(|text| text == row).count() == 1)
    );
    assert!(texts.contains(&"pid 11, then 13".to_owned()), "{texts:?}");
    assert_legible(&svg);
}

#[test]
fn bars_bear_the_names_of_their_items() {
    let svg = drawn(labels(), &of_a_kill());
    let svg = parsed(&svg);
    let texts = texts(&svg);
    let count = |name: &str| texts.iter().filter(|text| *text == name).count();
    assert_eq!(
        (count("item-1"), count("item-2")),
        (3, 2),
        "made, and attempted"
    );
    assert_eq!((told(&svg, "p").len(), told(&svg, "w").len()), (2, 2));
}

#[test]
fn the_callers_words_are_used_and_a_producer_is_not_made_up() {
    let svg = drawn(no_producer(), &of_a_kill());
    let texts = texts(&parsed(&svg));
    assert!(texts.contains(&"Grinding".to_owned()), "{texts:?}");
    assert!(!texts.contains(&"Mixing".to_owned()), "{texts:?}");
    assert!(!texts.contains(&"mixer".to_owned()), "{texts:?}");
}

#[test]
fn what_was_given_up_on_is_marked() {
    let events = [
        born(0, "worker-1", 11),
        began(1, 1, "worker-1", 11, 3),
        dead(50, 1, "worker-1", 3),
        summary(60, Counts::default()),
    ];
    let svg = drawn(no_producer(), &events);
    let svg = parsed(&svg);
    let words = "item-1: attempt 3 failed, given up on: killed by SIGKILL\n50.0 ms";
    assert_eq!(told(&svg, "d"), [words]);
}

#[test]
fn strange_names_are_text() {
    for name in ["<b>&\"'", "a\0b\u{1b}[31m\u{fffe}", "]]>", "\u{202e}x", ""] {
        let events = [
            producing(0, name),
            produced(1000, name),
            born(1000, name, 7),
            summary(1000, Counts::default()),
        ];
        let mut labels = labels();
        labels.title = name.into();
        let svg = drawn(labels, &events);
        let svg = parsed(&svg);
        assert_eq!(told(&svg, "p").len(), 1, "{name:?}");
    }
}

#[test]
fn long_names_are_cut_and_told_in_full_when_pointed_at() {
    let name = "a name that is rather long ".repeat(6);
    let events = [
        producing(0, &name),
        produced(300, &name),
        producing(300, "short"),
        produced(900, "short"),
        born(0, &name, 7),
        summary(1000, Counts::default()),
    ];
    let mut labels = labels();
    labels.title = name.repeat(3);
    let svg = drawn(labels, &events);
    let svg = parsed(&svg);
    assert!(told(&svg, "p")[0].contains(&name));
    assert!(!texts(&svg).contains(&name));
    assert_legible(&svg);
}

#[test]
fn a_run_without_events_is_a_picture() {
    for labels in [labels(), no_producer()] {
        let svg = drawn(labels, &[]);
        let texts = texts(&parsed(&svg));
        assert!(
            texts.iter().any(|text| text.contains("broken off")),
            "{texts:?}"
        );
        assert!(texts.contains(&"Nothing was done.".to_owned()), "{texts:?}");
    }
    parsed(&svg::sheet("nothing", &[]));
}

#[test]
fn a_run_that_was_stopped_shows_what_was_in_hand() {
    let events = [
        born(0, "worker-1", 11),
        began(10, 1, "worker-1", 11, 1),
        producing(10, "item-2"),
        event(
            60,
            EventKind::NotProduced {
                item: "item-2".into(),
                pid: 1,
            },
        ),
        event(
            80,
            EventKind::NoWorkersLeft {
                why: "they were stopped".into(),
            },
        ),
        summary(100, Counts::default()),
    ];
    let svg = drawn(labels(), &events);
    let svg = parsed(&svg);
    let broken = told(&svg, "b");
    assert_eq!(broken.len(), 2, "{broken:?}");
    assert!(
        broken.iter().all(|words| words.ends_with("broken off")),
        "{broken:?}"
    );
    assert!(
        texts(&svg)
            .iter()
            .any(|text| text.ends_with("; they were stopped"))
    );
    assert_legible(&svg);
}

/// Runs many items on workers that fail now and then.
fn crowd(items: u64, workers: u32) -> Timeline {
    let mut timeline = Timeline::new(labels());
    let name = |n: u32| format!("worker-{n}");
    for n in 1..=workers {
        timeline.see(&born(0, &name(n), n));
    }
    for id in 1..=items {
        let n = u32::try_from(id).unwrap() % workers + 1;
        let at = id * 10;
        let item = format!("item-{id}");
        timeline.see(&producing(at, &item));
        timeline.see(&produced(at + 2, &item));
        timeline.see(&began(at + 2, id, &name(n), n, 1));
        match id % 1000 {
            7 => timeline.see(&dead(at + 9, id, &name(n), 1)),
            8 => {
                timeline.see(&exited(at + 8, &name(n), n, KILLED));
                timeline.see(&retry(at + 8, id, &name(n), 1));
                timeline.see(&born(at + 9, &name(n), n));
            }
            _ => timeline.see(&done(at + 9, id, &name(n), 5)),
        }
    }
    timeline.see(&summary(items * 10 + 20, Counts::default()));
    timeline.end();
    timeline
}

#[test]
fn a_hundred_thousand_items_make_a_small_picture_in_which_failures_are_seen() {
    let timeline = crowd(100_000, 2);
    assert!(timeline.bars_kept <= BARS_MAX);
    assert!(timeline.rows.iter().all(|row| row.bars().is_empty()));
    let svg = svg::draw(&timeline);
    assert!(svg.len() < 100_000, "{} bytes", svg.len());
    let svg = parsed(&svg);
    for class in ["x", "d", "r"] {
        let marks = told(&svg, class);
        assert!(marks.len() > 20, "{class}: {marks:?}");
    }
    let busy = told(&svg, "w");
    // 50,000 items each, of which a hundred failed or were retried, and half of the time.
    assert!(
        busy[0].starts_with("worker-1: 49,9") && busy[0].contains("25.0 %"),
        "{busy:?}"
    );
    assert_legible(&svg);
}

#[test]
fn the_picture_does_not_grow_with_the_run() {
    let [short, long] = [20_000, 80_000].map(|items| svg::draw(&crowd(items, 5)).len());
    assert!(long < short * 3 / 2, "{short} and {long} bytes");
}

#[test]
fn two_hundred_workers_have_a_row_each() {
    let svg = svg::draw(&crowd(3000, 200));
    assert!(svg.len() < 1_500_000, "{} bytes", svg.len());
    let svg = parsed(&svg);
    assert!(!texts(&svg).iter().any(|text| text.ends_with(" more")));
    let lives = svg
        .descendants()
        .filter(|node| node.attribute("class") == Some("l"));
    assert!(lives.count() >= 200);
    assert_legible(&svg);
}

#[test]
fn workers_without_number_are_summed_up() {
    let timeline = crowd(5000, 1000);
    assert_eq!(timeline.rows.len(), ROWS_MAX);
    let svg = svg::draw(&timeline);
    assert!(svg.len() < 1_000_000, "{} bytes", svg.len());
    let svg = parsed(&svg);
    let more = format!("and {} more", 1001 - ROWS_MAX);
    assert!(texts(&svg).contains(&more), "{:?}", texts(&svg));
    assert_legible(&svg);
}

#[test]
fn rows_of_any_number_are_legible() {
    for workers in [1, 2, 12, 13, 40, 41, 100, 101] {
        let svg = svg::draw(&crowd(300, workers));
        assert_legible(&parsed(&svg));
    }
}

#[test]
fn workers_are_in_the_order_in_which_people_count() {
    let births = [10, 2, 1].map(|n| born(0, &format!("worker-{n}"), n));
    let svg = drawn(no_producer(), &births);
    let texts = texts(&parsed(&svg));
    let rows: Vec<_> = texts
        .iter()
        .filter(|text| text.starts_with("worker-"))
        .collect();
    assert_eq!(rows, ["worker-1", "worker-2", "worker-10"]);
}

#[test]
fn charts_of_a_sheet_have_one_scale() {
    let run = |ms| {
        let events = [
            born(0, "worker-1", 1),
            began(0, 1, "worker-1", 1, 1),
            done(ms, 1, "worker-1", ms),
            summary(ms, Counts::default()),
        ];
        folded(no_producer(), &events)
    };
    let svg = svg::sheet("two", &[run(1000), run(500)]);
    let svg = parsed(&svg);
    let bars = svg
        .descendants()
        .filter(|node| node.attribute("class") == Some("w e"));
    let widths: Vec<f64> = bars
        .map(|bar| bar.attribute("width").unwrap().parse().unwrap())
        .collect();
    assert!((widths[0] - 2.0 * widths[1]).abs() < 0.5, "{widths:?}");
    assert_legible(&svg);
}

#[test]
fn what_nobody_had_in_hand_is_marked_in_the_first_row() {
    let mut undelivered = dead(20, 1, "", 0);
    if let EventKind::Dead { history, .. } = &mut undelivered.kind {
        let failure = dishrack_core::ledger::Failure::new(0, Cause::Cancelled, Default::default());
        *history = vec![failure].into();
    }
    let timeline = folded(labels(), &[undelivered]);
    assert_eq!(timeline.rows[0].marks(MarkKind::DeadLetter).len(), 1);
}

#[test]
fn a_worker_that_ends_in_order_is_not_marked() {
    let events = [
        born(0, "worker-1", 1),
        exited(10, "worker-1", 1, Exit::Exited(0)),
    ];
    let svg = drawn(no_producer(), &events);
    assert_eq!(told(&parsed(&svg), "x"), Vec::<String>::new());
}
