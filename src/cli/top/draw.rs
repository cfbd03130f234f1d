//! PURE: draws what `supervisor top` knows of a run or a stream onto a buffer of cells, of whatever size. It does
//! not know the terminal.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Margin, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Sparkline, Table, TableState, Wrap};
use serde_json::Value;

use super::model::{Dialog, ItemLine, Panel, TopModel, WorkerLine, number_in};
use crate::cli::asking::{number, text, time};
use crate::observe::text::{counted, printable};

/// The smallest screen on which all lists are shown at a time.
const WIDE_COLUMNS: u16 = 70;
const WIDE_ROWS: u16 = 18;

/// The smallest width at which there is room for memory, restarts and last deaths.
const DETAIL_COLUMNS: u16 = 60;

const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const SELECTED: Style = Style::new().add_modifier(Modifier::REVERSED);
const BAD: Style = Style::new().fg(Color::Red);

/// The keys, for the last line and the help.
const KEYS: &str = "q quit  ? help  p pause  +/- scale  c cancel  r retry  Enter show  / filter";
const FEW_KEYS: &str = "q quit  ? help  Tab next list";

/// Draws everything.
pub(super) fn draw(model: &TopModel, frame: &mut Frame<'_>) {
    let area = frame.area();
    let is_wide = area.width >= WIDE_COLUMNS && area.height >= WIDE_ROWS;
    let chart = if is_wide { 4 } else { 0 };
    let rows = [
        Constraint::Length(3),
        Constraint::Length(chart),
        Constraint::Min(1),
        Constraint::Length(1),
    ];
    let [head, chart, lists, foot] = Layout::vertical(rows).areas(area);
    draw_head(model, frame, head);
    if is_wide {
        draw_chart(model, frame, chart);
        draw_all_lists(model, frame, lists);
    } else {
        draw_one_list(model, frame, lists);
    }
    draw_foot(model, frame, foot);
    match &model.dialog {
        Dialog::None | Dialog::Filter | Dialog::Confirm(..) => {}
        Dialog::Page(lines, at) => draw_page(frame, lines, *at),
    }
}

/// Draws who the run is, its counts, and its pace.
fn draw_head(model: &TopModel, frame: &mut Frame<'_>, area: Rect) {
    let status = &model.status;
    if status.is_null() {
        let line = model.end.as_deref().unwrap_or("asking...");
        return frame.render_widget(Paragraph::new(line), area);
    }
    let state = match (&model.end, model.silence_s) {
        (Some(_), _) => Span::styled("ENDED", BAD.add_modifier(Modifier::BOLD)),
        (None, silence @ 3..) => Span::styled(format!("no answer for {silence} s"), BAD),
        (None, _) => Span::styled(text(&status["state"]).to_owned(), BOLD),
    };
    let who = printable(text(&status["name"])).into_owned();
    let about = about(status);
    let counts = &status["counts"];
    let count = |name: &str| number(&counts[name]);
    let (accepted, done, dead) = (count("accepted"), count("done"), count("dead"));
    let dead_style = if dead > 0 { BAD } else { Style::new() };
    let is_narrow = area.width < DETAIL_COLUMNS;
    let (rate, left) = pace(model);
    let (after_dead, after_running) = match is_narrow {
        true => (format!(", {rate}"), left),
        false => {
            let resting = format!(", {} resting; {rate}{left}", count("delayed"));
            (format!(", {} retries", count("retries")), resting)
        }
    };
    let lines = vec![
        Line::from(vec![
            Span::styled(who, BOLD),
            Span::raw(" "),
            state,
            Span::styled(about, DIM),
        ]),
        Line::from(vec![
            Span::raw(format!(
                "{done} of {accepted} done{}, ",
                share(done + dead, accepted)
            )),
            Span::styled(format!("{dead} dead"), dead_style),
            Span::raw(after_dead),
        ]),
        Line::raw(format!(
            "{} waiting, {} running{after_running}",
            count("waiting"),
            count("leased")
        )),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

/// Returns what the head says beside name and state: of a run its process, of a stream who works on it.
fn about(status: &Value) -> String {
    let Some(supervisors) = status["supervisors"].as_array() else {
        return format!(
            "  {} for {}, process {}",
            text(&status["mode"]),
            time(&status["uptime_us"]),
            number(&status["pid"])
        );
    };
    let at = printable(text(&status["at"])).into_owned();
    let count = supervisors.len() as u64;
    let all = counted(count, "supervisor", "supervisors");
    let absent = ["silent", "lost", "unknown"].map(|state| {
        let count = supervisors.iter().filter(|one| one["state"] == state);
        match count.count() {
            0 => String::new(),
            count => format!(", {count} {state}"),
        }
    });
    format!("  {all}{}, at {at}", absent.concat())
}

fn share(ended: u64, accepted: u64) -> String {
    match (u128::from(ended) * 100).checked_div(u128::from(accepted)) {
        Some(percent) => format!(" ({percent}%)"),
        None => String::new(),
    }
}

/// Returns the rate, and the time that is left.
fn pace(model: &TopModel) -> (String, String) {
    let status = &model.status;
    let rate = status["rate_per_s"].as_f64().unwrap_or_default();
    let left = match status["eta_s"].as_f64() {
        Some(left) if left > 0.0 && model.end.is_none() => format!(", {} left", duration(left)),
        _ => String::new(),
    };
    (format!("{rate:.1}/s"), left)
}

fn duration(seconds: f64) -> String {
    // Far less than 2^64 microseconds, and a float that is larger becomes the greatest number.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let micros = (seconds * 1e6) as u64;
    time(&micros.into())
}

/// Draws how many items have ended in each second, the latest at the right.
fn draw_chart(model: &TopModel, frame: &mut Frame<'_>, area: Rect) {
    let room = usize::from(area.width);
    let rates = model.rates.iter().rev().take(room).rev().copied();
    let rates: Vec<u64> = rates.collect();
    let highest = rates.iter().copied().max().unwrap_or_default();
    let before = vec![0; room - rates.len()];
    let title = format!(" ended in a second; at most {highest} ");
    let chart = Sparkline::default()
        .block(Block::new().title(Span::styled(title, DIM)))
        .max(highest.max(1))
        .data([before, rates].concat());
    frame.render_widget(chart, area);
}

fn draw_all_lists(model: &TopModel, frame: &mut Frame<'_>, area: Rect) {
    let workers = u16::try_from(model.count(Panel::Workers)).unwrap_or(u16::MAX);
    // A third for what waits and failed, and more where there are few workers.
    let workers = workers.saturating_add(2).min(area.height - area.height / 3);
    let rows = [Constraint::Length(workers.max(3)), Constraint::Min(3)];
    let [above, below] = Layout::vertical(rows).areas(area);
    let columns = [Constraint::Percentage(40), Constraint::Percentage(60)];
    let [left, right] = Layout::horizontal(columns).spacing(2).areas(below);
    draw_list(model, frame, above, Panel::Workers);
    draw_list(model, frame, left, Panel::Waiting);
    draw_list(model, frame, right, Panel::Failures);
}

fn draw_one_list(model: &TopModel, frame: &mut Frame<'_>, area: Rect) {
    draw_list(model, frame, area, model.panel);
}

fn draw_list(model: &TopModel, frame: &mut Frame<'_>, area: Rect, panel: Panel) {
    let has_focus = model.panel == panel;
    let title_style = if has_focus { BOLD } else { DIM };
    let block = Block::new().title(Span::styled(title(model, panel), title_style));
    let has_details = area.width >= DETAIL_COLUMNS;
    let table = match panel {
        Panel::Workers => {
            let rows = model
                .filtered_workers()
                .map(|one| worker_row(one, has_details));
            workers_table(rows.collect(), name_columns(model, area.width), has_details)
        }
        Panel::Waiting => items_table(model.filtered_waiting()),
        Panel::Failures => items_table(model.filtered_failures()),
    };
    let style = if has_focus { SELECTED } else { Style::new() };
    let table = table.block(block).row_highlight_style(style);
    let mut state = TableState::new().with_selected(Some(model.selected(panel)));
    frame.render_stateful_widget(table, area, &mut state);
}

fn title(model: &TopModel, panel: Panel) -> String {
    let (shown, name) = (model.count(panel), panel.title());
    let counts = &model.status["counts"];
    let all = match panel {
        Panel::Workers => model.workers.len() as u64,
        Panel::Waiting => number(&counts["waiting"]) + number(&counts["delayed"]),
        Panel::Failures => model.failures.len() as u64,
    };
    let so_far = match (panel, model.searched) {
        (Panel::Waiting, Some(last)) => format!(" among those up to {last}"),
        _ => String::new(),
    };
    match (panel, model.filter.is_empty()) {
        (Panel::Failures, true) => format!(" latest {name}: {all} "),
        (_, true) => format!(" {name}: {all} "),
        (_, false) => format!(" {name} with \"{}\": {shown}{so_far} ", model.filter),
    }
}

fn worker_row(worker: &WorkerLine, has_details: bool) -> Row<'_> {
    let item = match worker.number {
        Some(number) => format!("{number} {}", worker.item),
        None if has_details => worker.item.clone(),
        None => format!("({})", worker.state),
    };
    let (name, item, time) = (&*worker.name, Cell::new(item), &*worker.time);
    if !has_details {
        return Row::new([Cell::new(name), item, Cell::new(time)]);
    }
    Row::new([
        Cell::new(name),
        Cell::new(&*worker.state),
        item,
        Cell::new(time),
        Cell::new(&*worker.memory),
        Cell::new(worker.restarts.to_string()),
        Cell::new(&*worker.last_death).style(BAD),
    ])
}

/// Returns the room for the names of workers: on a stream, those of their supervisors belong to them.
fn name_columns(model: &TopModel, width: u16) -> u16 {
    let names = model.filtered_workers().map(|one| one.name.chars().count());
    let longest = u16::try_from(names.max().unwrap_or(0)).unwrap_or(u16::MAX);
    longest.clamp(10, (width / 3).max(10))
}

/// Makes the table of workers. A narrow one has no room for their states and what they cost.
fn workers_table(rows: Vec<Row<'_>>, name_columns: u16, has_details: bool) -> Table<'_> {
    let (name, time) = (Constraint::Length(name_columns), Constraint::Length(11));
    let (names, widths) = match has_details {
        false => (
            vec!["worker", "item", "for"],
            vec![name, Constraint::Fill(1), time],
        ),
        true => (
            vec![
                "worker",
                "state",
                "item",
                "for",
                "memory",
                "restarts",
                "last death",
            ],
            vec![
                name,
                Constraint::Length(8),
                Constraint::Fill(3),
                time,
                Constraint::Length(8),
                Constraint::Length(8),
                Constraint::Fill(2),
            ],
        ),
    };
    Table::new(rows, widths).header(Row::new(names).style(DIM))
}

fn items_table<'a>(items: impl Iterator<Item = &'a ItemLine>) -> Table<'a> {
    let row = |one: &'a ItemLine| {
        let style = if one.is_dead { BAD } else { Style::new() };
        let words = match one.note.is_empty() {
            true => one.item.clone(),
            false => format!("{}  {}", one.item, one.note),
        };
        Row::new([Cell::new(number_in(one.number)), Cell::new(words)]).style(style)
    };
    let rows: Vec<Row<'a>> = items.map(row).collect();
    let digits = 7;
    Table::new(rows, [Constraint::Length(digits), Constraint::Min(6)])
}

/// Draws the keys, or what there is to say or to answer.
fn draw_foot(model: &TopModel, frame: &mut Frame<'_>, area: Rect) {
    let line = match (&model.dialog, &model.end) {
        (Dialog::Filter, _) => Line::raw(format!("/{}_", model.filter)),
        (Dialog::Confirm(question, _), _) => Line::styled(question.clone(), BOLD),
        (_, Some(end)) if model.note.is_empty() => Line::styled(format!("{end}; q quits"), BAD),
        _ if !model.note.is_empty() => Line::raw(printable(&model.note).into_owned()),
        _ if !model.trouble.is_empty() => Line::styled(printable(&model.trouble).into_owned(), BAD),
        _ if KEYS.len() <= usize::from(area.width) => Line::styled(KEYS, DIM),
        _ => Line::styled(FEW_KEYS, DIM),
    };
    frame.render_widget(Paragraph::new(line), area);
}

/// Draws a text over everything else.
fn draw_page(frame: &mut Frame<'_>, lines: &[String], at: usize) {
    let area = frame.area();
    let page = area.inner(Margin::new(
        if area.width < DETAIL_COLUMNS { 0 } else { 2 },
        1,
    ));
    let text: Vec<Line<'_>> = lines
        .iter()
        .skip(at)
        .map(|line| Line::raw(&**line))
        .collect();
    let block = Block::bordered();
    frame.render_widget(Clear, page);
    let paragraph = Paragraph::new(text).wrap(Wrap { trim: false }).block(block);
    frame.render_widget(paragraph, page);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::cli::top::model::TopKey;
    use crate::cli::top::sample::{look, stream};

    fn rows(model: &TopModel, columns: u16, rows: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal.draw(|frame| draw(model, frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let row = |y: u16| {
            (0..columns)
                .map(|x| buffer[(x, y)].symbol())
                .collect::<String>()
        };
        (0..rows).map(|y| row(y).trim_end().to_owned()).collect()
    }

    fn model() -> TopModel {
        let mut model = TopModel::new();
        for second in 0..30 {
            model.handle_look(&look(10 + second, 100 + second * 20 + second % 7));
        }
        model
    }

    #[test]
    fn all_is_on_a_usual_terminal() {
        let shown = rows(&model(), 80, 24);
        let all = shown.join("\n");
        assert_eq!(
            shown[0],
            "nightly running  processes for 39.0 s, process 4711"
        );
        assert_eq!(shown[1], "681 of 1000 done (68%), 2 dead, 5 retries");
        assert_eq!(
            shown[2],
            "219 waiting, 2 running, 1 resting; 12.5/s, 70.0 s left"
        );
        assert_eq!(shown[3], " ended in a second; at most 21");
        for part in [
            "workers: 2",
            "worker-1   busy     41 a.mov",
            "12 MiB   3",
            "killed by S",
            "waiting: 220",
            "43      b.mov",
            "latest failures: 2",
            "9       bad.mov  dead at attempt 3",
        ] {
            assert!(all.contains(part), "{part}:\n{all}");
        }
        assert_eq!(shown[23], KEYS);
    }

    #[test]
    fn a_small_terminal_shows_a_list_at_a_time() {
        let mut model = model();
        let shown = rows(&model, 40, 12);
        assert_eq!(shown[1], "681 of 1000 done (68%), 2 dead, 12.5/s");
        assert_eq!(shown[2], "219 waiting, 2 running, 70.0 s left");
        assert_eq!(shown[3], " workers: 2");
        assert_eq!(shown[5], "worker-1   41 a.mov          2.5 s");
        assert_eq!(shown[6], "worker-2   (idle)");
        assert_eq!(shown[11], FEW_KEYS);
        model.handle_key(TopKey::Tab);
        assert_eq!(rows(&model, 40, 12)[3], " waiting: 220");
        model.handle_key(TopKey::Tab);
        let shown = rows(&model, 40, 12);
        assert_eq!(shown[3], " latest failures: 2");
        assert!(shown[4].starts_with("9       bad.mov  dead"), "{shown:?}");
    }

    #[test]
    fn a_stream_is_shown_with_the_workers_of_all_supervisors() {
        let mut model = TopModel::new();
        model.handle_look(&stream());
        let shown = rows(&model, 80, 24);
        let all = shown.join("\n");
        assert_eq!(
            shown[0],
            "jobs running  3 supervisors, 1 silent, at redis://db1:6379"
        );
        assert_eq!(shown[1], "100 of 1000 done (10%), 2 dead, 5 retries");
        assert_eq!(
            shown[2],
            "800 waiting, 9 running, 1 resting; 12.5/s, 70.0 s left"
        );
        for part in [
            "workers: 4",
            "worker-1 web-1-4711 busy     41 a.mov",
            "worker-1 web-2-99   busy     42 z.mov",
            "web-3-7             silent   has taken 7",
            "43      b.mov",
            "-       not taken",
            "9       bad.mov  dead at attempt 3",
        ] {
            assert!(all.contains(part), "{part}:\n{all}");
        }
        assert_eq!(shown[23], KEYS);
        // The worker's own name is what a small terminal keeps.
        let narrow = rows(&model, 40, 12);
        assert_eq!(narrow[5], "worker-1 web- 41 a.mov       2.5 s");
        model.handle_no_look("no connection to redis://db1:6379");
        let last = rows(&model, 80, 24).pop().unwrap();
        assert_eq!(last, "no connection to redis://db1:6379");
    }

    #[test]
    fn the_help_is_whole_on_a_small_terminal() {
        let mut model = model();
        model.handle_key(TopKey::Letter('?'));
        let mut seen = rows(&model, 40, 12).join("\n");
        for _ in 0..14 {
            model.handle_key(TopKey::Down);
            seen += &rows(&model, 40, 12).join("\n");
        }
        for line in [
            "pause, or resume",
            "select (or k, j)",
            "quit; the work goes on",
            "Any other key",
        ] {
            assert!(seen.contains(line), "{line}:\n{seen}");
        }
    }

    #[test]
    fn the_last_line_says_what_matters_most() {
        let mut model = model();
        let last = |model: &TopModel| rows(model, 80, 24).pop().unwrap();
        model.handle_answer(Err("no\u{1b}[2Jt now".into()));
        assert_eq!(last(&model), "not done: no\\u{1b}[2Jt now");
        model.handle_key(TopKey::Letter('c'));
        assert_eq!(
            last(&model),
            "cancel 41 a.mov? It becomes a dead letter. y or n"
        );
        model.handle_key(TopKey::Letter('n'));
        model.handle_key(TopKey::Letter('/'));
        model.handle_key(TopKey::Letter('a'));
        assert_eq!(last(&model), "/a_");
        model.handle_key(TopKey::Escape);
        model.handle_end();
        assert!(
            last(&model).starts_with("the run has ended; "),
            "{}",
            last(&model)
        );
        assert!(rows(&model, 80, 24)[0].starts_with("nightly ENDED"));
        assert!(!rows(&model, 80, 24)[2].contains("left"));
    }

    #[test]
    fn a_run_that_does_not_answer_is_told_of() {
        let mut model = model();
        model.silence_s = 5;
        assert!(rows(&model, 80, 24)[0].starts_with("nightly no answer for 5 s"));
    }

    /// Every size has room for something, also that of a window that is nearly closed.
    #[test]
    fn no_size_is_too_small() {
        let mut model = model();
        for dialog in ["", "?", "/", "c"] {
            for letter in dialog.chars() {
                model.handle_key(TopKey::Letter(letter));
            }
            for (columns, height) in [
                (1, 1),
                (1, 24),
                (80, 1),
                (5, 3),
                (70, 18),
                (71, 19),
                (300, 90),
            ] {
                assert_eq!(rows(&model, columns, height).len(), usize::from(height));
            }
            model.handle_key(TopKey::Escape);
        }
        assert_eq!(rows(&TopModel::new(), 80, 24)[0], "asking...");
    }
}
