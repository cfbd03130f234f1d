//! PURE: what `supervisor top` knows and shows of a run or a stream, and what a key does. It knows neither the
//! terminal nor the socket, and time only as the run tells it.

use std::collections::VecDeque;

use serde_json::Value;

use crate::cli::asking::{number, text, time, values};
use crate::cli::items;
use crate::cli::steering::{SteeringOrder, WantedWorkers};
use crate::observe::text::{attempts_in_words, printable, waited_for};

/// The number of looks whose rates are kept for the chart.
const RATES_MAX: usize = 240;

/// The help, as narrow as the smallest terminal.
const HELP: [&str; 14] = [
    "p          pause, or resume",
    "+ -        a worker more, fewer",
    "c          cancel the item",
    "r          retry the dead letter",
    "Enter      show the item",
    "/          show what has this text",
    "Esc        show everything again",
    "Tab        the next list",
    "Up Down    select (or k, j)",
    "PgUp PgDn  ten lines up, down",
    "Home End   the first line, the last",
    "q          quit; the work goes on",
    "",
    "Any other key leaves this page.",
];

/// The result of a look at a run: the answers of the control API.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    pub(super) status: Value,
    pub(super) resting: Value,
    pub(super) waiting: Value,
    pub(super) failures: Value,
}

/// A worker, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WorkerLine {
    pub(super) name: String,
    pub(super) state: String,
    /// The number of its item.
    pub(super) number: Option<u64>,
    pub(super) item: String,
    pub(super) time: String,
    pub(super) memory: String,
    pub(super) restarts: u64,
    pub(super) last_death: String,
}

/// An item that waits, or a failure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ItemLine {
    /// `None` on a stream, as long as no supervisor has taken an item of another program.
    pub(super) number: Option<u64>,
    pub(super) item: String,
    pub(super) note: String,
    /// True if it is given up on.
    pub(super) is_dead: bool,
}

/// The lists that are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Panel {
    Workers,
    Waiting,
    Failures,
}

impl Panel {
    pub(super) const ALL: [Panel; 3] = [Panel::Workers, Panel::Waiting, Panel::Failures];

    pub(super) fn title(self) -> &'static str {
        match self {
            Panel::Workers => "workers",
            Panel::Waiting => "waiting",
            Panel::Failures => "failures",
        }
    }
}

/// A key, as far as it has a meaning here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TopKey {
    Letter(char),
    Enter,
    Escape,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Tab,
    BackTab,
}

/// The consequence of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TopAction {
    Quit,
    Order(SteeringOrder),
    /// The page of this item is wanted.
    Show(u64),
    /// Another look is wanted, at once.
    Look,
}

/// The present use of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dialog {
    None,
    /// The filter is being typed.
    Filter,
    /// A question that `y` answers.
    Confirm(String, SteeringOrder),
    /// A text, from this line on.
    Page(Vec<String>, usize),
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct TopModel {
    pub(super) status: Value,
    pub(super) workers: Vec<WorkerLine>,
    pub(super) waiting: Vec<ItemLine>,
    pub(super) failures: Vec<ItemLine>,
    /// Items that ended in each second, as far as somebody has looked.
    pub(super) rates: VecDeque<u64>,
    pub(super) panel: Panel,
    /// The selected line of each list.
    selected: [usize; 3],
    pub(super) filter: String,
    /// The number of the item up to which those that wait were looked through for the filter, if that was
    /// not all of them.
    pub(super) searched: Option<u64>,
    pub(super) dialog: Dialog,
    /// The result of the last order.
    pub(super) note: String,
    /// The reason why the last look was none.
    pub(super) trouble: String,
    /// The end of the run, in words.
    pub(super) end: Option<String>,
    /// The seconds for which the run has not answered.
    pub(super) silence_s: u64,
}

impl TopModel {
    pub(super) fn new() -> Self {
        TopModel {
            status: Value::Null,
            workers: Vec::new(),
            waiting: Vec::new(),
            failures: Vec::new(),
            rates: VecDeque::new(),
            panel: Panel::Workers,
            selected: [0; 3],
            filter: String::new(),
            searched: None,
            dialog: Dialog::None,
            note: String::new(),
            trouble: String::new(),
            end: None,
            silence_s: 0,
        }
    }

    /// Takes what was found.
    pub(super) fn handle_look(&mut self, look: &Look) {
        self.note_rate(&look.status);
        self.silence_s = 0;
        self.trouble.clear();
        self.workers = values(&look.status["workers"])
            .iter()
            .map(worker_line)
            .collect();
        let resting = values(&look.resting["items"]).iter().map(waiting_line);
        let waiting = values(&look.waiting["items"]).iter().map(waiting_line);
        self.waiting = resting.chain(waiting).collect();
        self.searched = look.waiting["searched"].as_u64();
        self.failures = values(&look.failures["failures"])
            .iter()
            .map(failure_line)
            .collect();
        self.status = look.status.clone();
        self.keep_selection();
    }

    /// Notes the rate since the last look, by the run's own clock.
    fn note_rate(&mut self, status: &Value) {
        let ended = |of: &Value| number(&of["counts"]["done"]) + number(&of["counts"]["dead"]);
        let (before, now) = (
            number(&self.status["uptime_us"]),
            number(&status["uptime_us"]),
        );
        // An order may be followed by another look at once.
        if self.status.is_null() || now < before + 500_000 {
            return;
        }
        let count = ended(status).saturating_sub(ended(&self.status));
        let rate = u128::from(count) * 1_000_000 / u128::from(now - before);
        if self.rates.len() == RATES_MAX {
            self.rates.pop_front();
        }
        self.rates
            .push_back(u64::try_from(rate).unwrap_or(u64::MAX));
    }

    /// Notes why it cannot be looked at just now.
    pub(super) fn handle_no_look(&mut self, why: &str) {
        self.trouble = why.to_owned();
    }

    /// Takes the result of an order.
    pub(super) fn handle_answer(&mut self, answer: Result<String, String>) {
        self.note = answer.unwrap_or_else(|why| format!("not done: {why}"));
    }

    /// Takes the page of an item.
    pub(super) fn handle_page(&mut self, page: Result<Value, String>) {
        match page {
            Ok(item) => {
                let lines = items::page(&item).lines().map(str::to_owned).collect();
                self.dialog = Dialog::Page(lines, 0);
            }
            Err(why) => self.note = why,
        }
    }

    /// Notes that the run is not there any more.
    pub(super) fn handle_end(&mut self) {
        let end = match text(&self.status["state"]) {
            "" => "the run has ended".to_owned(),
            _ => {
                let up = time(&self.status["uptime_us"]);
                format!("the run has ended; this is how it was last seen, {up} after its beginning")
            }
        };
        self.end = Some(end);
        self.note.clear();
        if matches!(self.dialog, Dialog::Confirm(..)) {
            self.dialog = Dialog::None;
        }
    }

    /// Obeys a key.
    pub(super) fn handle_key(&mut self, key: TopKey) -> Option<TopAction> {
        match std::mem::replace(&mut self.dialog, Dialog::None) {
            Dialog::None => self.handle_command(key),
            Dialog::Filter => self.edit_filter(key),
            Dialog::Confirm(_, order) if key == TopKey::Letter('y') => {
                Some(TopAction::Order(order))
            }
            Dialog::Confirm(..) => {
                self.note = "nothing was done".into();
                None
            }
            Dialog::Page(lines, at) => {
                self.turn_page(lines, at, key);
                None
            }
        }
    }

    fn edit_filter(&mut self, key: TopKey) -> Option<TopAction> {
        match key {
            TopKey::Enter => return Some(TopAction::Look),
            TopKey::Escape => {
                self.filter.clear();
                self.keep_selection();
                return Some(TopAction::Look);
            }
            TopKey::Backspace => drop(self.filter.pop()),
            TopKey::Letter(letter) => self.filter.push(letter),
            _ => {}
        }
        self.dialog = Dialog::Filter;
        self.keep_selection();
        None
    }

    fn turn_page(&mut self, lines: Vec<String>, at: usize, key: TopKey) {
        let last = lines.len().saturating_sub(1);
        let at = match key {
            TopKey::Up => at.saturating_sub(1),
            TopKey::Down => (at + 1).min(last),
            TopKey::PageUp => at.saturating_sub(10),
            TopKey::PageDown => (at + 10).min(last),
            TopKey::Home => 0,
            TopKey::End => last,
            _ => return,
        };
        self.dialog = Dialog::Page(lines, at);
    }

    fn handle_command(&mut self, key: TopKey) -> Option<TopAction> {
        match key {
            TopKey::Letter('q') => return Some(TopAction::Quit),
            TopKey::Letter('?' | 'h') => {
                self.dialog = Dialog::Page(HELP.map(str::to_owned).to_vec(), 0);
            }
            TopKey::Letter('/') => self.dialog = Dialog::Filter,
            TopKey::Escape => {
                self.note.clear();
                if !self.filter.is_empty() {
                    self.filter.clear();
                    self.keep_selection();
                    return Some(TopAction::Look);
                }
            }
            TopKey::Tab => self.turn_to(1),
            TopKey::BackTab => self.turn_to(2),
            TopKey::Up | TopKey::Letter('k') => self.select(|at| at.saturating_sub(1)),
            TopKey::Down | TopKey::Letter('j') => self.select(|at| at + 1),
            TopKey::PageUp => self.select(|at| at.saturating_sub(10)),
            TopKey::PageDown => self.select(|at| at + 10),
            TopKey::Home => self.select(|_| 0),
            TopKey::End => self.select(|_| usize::MAX),
            TopKey::Enter => match self.selected_item() {
                Some((number, _)) => return Some(TopAction::Show(number)),
                None => self.note = self.no_item().into(),
            },
            TopKey::Letter(letter) => return self.handle_order(letter),
            TopKey::Backspace => {}
        }
        None
    }

    /// Obeys the keys that change the run.
    fn handle_order(&mut self, letter: char) -> Option<TopAction> {
        if !matches!(letter, 'p' | '+' | '=' | '-' | 'c' | 'r') {
            return None;
        }
        if self.end.is_some() || self.status.is_null() {
            self.note = "there is no run to be asked".into();
            return None;
        }
        match letter {
            'p' => Some(TopAction::Order(self.pause())),
            '+' | '=' => Some(scale(WantedWorkers::More(1))),
            '-' if self.wanted() == 0 => {
                self.note = "there are no workers".into();
                None
            }
            '-' => Some(scale(WantedWorkers::Fewer(1))),
            'c' => {
                self.confirm_cancel();
                None
            }
            _ => self.retry(),
        }
    }

    fn pause(&self) -> SteeringOrder {
        match text(&self.status["state"]) {
            "paused" => SteeringOrder::Resume,
            _ => SteeringOrder::Pause,
        }
    }

    fn wanted(&self) -> u64 {
        number(&self.status["workers_wanted"])
    }

    /// Says why the selected line has no item that could be asked for.
    fn no_item(&self) -> &'static str {
        match self.panel {
            Panel::Waiting if self.count(Panel::Waiting) > 0 => {
                "no supervisor has taken this item yet, so it has no number by which it is known"
            }
            _ => "there is no item in this line",
        }
    }

    fn confirm_cancel(&mut self) {
        let Some((number, item)) = self.selected_item() else {
            self.note = self.no_item().into();
            return;
        };
        if self.panel == Panel::Failures {
            self.note = "a failed attempt cannot be cancelled".into();
            return;
        }
        let order = SteeringOrder::Cancel(number);
        let question = format!("cancel {number} {item}? It becomes a dead letter. y or n");
        self.dialog = Dialog::Confirm(question, order);
    }

    fn retry(&mut self) -> Option<TopAction> {
        let line = self.filtered_failures().nth(self.selected(Panel::Failures));
        match line.filter(|_| self.panel == Panel::Failures) {
            Some(line) if line.is_dead => {
                Some(TopAction::Order(SteeringOrder::Retry(line.number?)))
            }
            Some(_) => {
                self.note = "this one is tried again anyway".into();
                None
            }
            None => {
                self.note = "select a dead letter among the failures first (Tab)".into();
                None
            }
        }
    }

    fn turn_to(&mut self, by: usize) {
        let at = self.panel as usize + by;
        self.panel = Panel::ALL[at % Panel::ALL.len()];
    }

    /// Returns the selected line of a list.
    pub(super) fn selected(&self, panel: Panel) -> usize {
        self.selected[panel as usize]
    }

    fn select(&mut self, change: impl Fn(usize) -> usize) {
        let at = &mut self.selected[self.panel as usize];
        *at = change(*at);
        self.keep_selection();
    }

    /// Keeps the selected lines among those that there are.
    fn keep_selection(&mut self) {
        for panel in Panel::ALL {
            let count = self.count(panel);
            let at = &mut self.selected[panel as usize];
            *at = (*at).min(count.saturating_sub(1));
        }
    }

    /// Returns the number of lines in a list.
    pub(super) fn count(&self, panel: Panel) -> usize {
        match panel {
            Panel::Workers => self.filtered_workers().count(),
            Panel::Waiting => self.filtered_waiting().count(),
            Panel::Failures => self.filtered_failures().count(),
        }
    }

    /// Returns the number and name of the selected item.
    fn selected_item(&self) -> Option<(u64, String)> {
        let at = self.selected(self.panel);
        let of_line = |line: &ItemLine| Some((line.number?, line.item.clone()));
        match self.panel {
            Panel::Workers => {
                let worker = self.filtered_workers().nth(at)?;
                Some((worker.number?, worker.item.clone()))
            }
            Panel::Waiting => self.filtered_waiting().nth(at).and_then(of_line),
            Panel::Failures => self.filtered_failures().nth(at).and_then(of_line),
        }
    }

    pub(super) fn filtered_workers(&self) -> impl Iterator<Item = &WorkerLine> {
        let is_shown = |one: &&WorkerLine| self.passes(&one.name) || self.passes(&one.item);
        self.workers.iter().filter(is_shown)
    }

    pub(super) fn filtered_waiting(&self) -> impl Iterator<Item = &ItemLine> {
        self.waiting.iter().filter(|one| self.passes_item(one))
    }

    pub(super) fn filtered_failures(&self) -> impl Iterator<Item = &ItemLine> {
        self.failures.iter().filter(|one| self.passes_item(one))
    }

    fn passes_item(&self, line: &ItemLine) -> bool {
        self.passes(&line.item) || self.passes(&line.note) || number_in(line.number) == self.filter
    }

    fn passes(&self, name: &str) -> bool {
        self.filter.is_empty() || name.to_lowercase().contains(&self.filter.to_lowercase())
    }
}

fn scale(workers: WantedWorkers) -> TopAction {
    TopAction::Order(SteeringOrder::Scale(workers))
}

/// Returns the number of an item, if it has one.
pub(super) fn number_in(number: Option<u64>) -> String {
    number.map_or("-".into(), |number| number.to_string())
}

/// Returns a time of an answer, if it has one.
fn time_if(value: &Value) -> String {
    match value.is_u64() {
        true => time(value),
        false => String::new(),
    }
}

fn worker_line(worker: &Value) -> WorkerLine {
    let memory = worker["rss_bytes"].as_u64();
    // On a stream several supervisors have a worker of this name. One that does not answer has none.
    let name = match (worker["worker"].as_str(), worker["supervisor"].as_str()) {
        (Some(name), Some(supervisor)) => format!("{name} {supervisor}"),
        (name, supervisor) => name.or(supervisor).unwrap_or_default().to_owned(),
    };
    let mebibytes = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
    WorkerLine {
        name: printable(&name).into_owned(),
        state: text(&worker["state"]).to_owned(),
        number: worker["number"].as_u64(),
        item: printable(text(&worker["item"])).into_owned(),
        time: time_if(&worker["for_us"]),
        memory: memory.map(mebibytes).unwrap_or_default(),
        restarts: number(&worker["restarts"]),
        last_death: printable(text(&worker["last_death"]["cause"])).into_owned(),
    }
}

fn waiting_line(item: &Value) -> ItemLine {
    let attempts = number(&item["attempts"]);
    let note = match (text(&item["state"]), attempts) {
        _ if !item["waits_for"].is_null() => {
            format!("waits for {}", waited_for(text(&item["waits_for"])))
        }
        ("resting", _) => format!("rests after: {}", text(&item["cause"])),
        (_, 0) => String::new(),
        (_, attempts) => attempts_in_words(attempts),
    };
    ItemLine {
        number: item["number"].as_u64(),
        item: printable(text(&item["item"])).into_owned(),
        note: printable(&note).into_owned(),
        is_dead: false,
    }
}

fn failure_line(failure: &Value) -> ItemLine {
    let is_dead = failure["dead"] == true;
    let what = match is_dead {
        true => "dead",
        false => "failed",
    };
    let cause = text(&failure["cause"]);
    let note = match number(&failure["attempt"]) {
        0 => format!("{what}: {cause}"),
        attempt => format!("{what} at attempt {attempt}: {cause}"),
    };
    ItemLine {
        number: failure["number"].as_u64(),
        item: printable(text(&failure["item"])).into_owned(),
        note: printable(&note).into_owned(),
        is_dead,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::sample::{look, stream};
    use super::*;

    fn model() -> TopModel {
        let mut model = TopModel::new();
        model.handle_look(&look(10, 100));
        model
    }

    fn type_in(model: &mut TopModel, letters: &str) -> Option<TopAction> {
        let mut action = None;
        for letter in letters.chars() {
            action = model.handle_key(TopKey::Letter(letter));
        }
        action
    }

    fn ordered(action: Option<TopAction>) -> SteeringOrder {
        match action {
            Some(TopAction::Order(order)) => order,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_the_run_says_is_made_harmless() {
        let model = model();
        let items: Vec<&str> = model.filtered_waiting().map(|one| &*one.item).collect();
        assert_eq!(items, ["tired", "b.mov", "c\\u{1b}[2J.mov"]);
        assert_eq!(model.workers[0].memory, "12 MiB");
        assert_eq!(model.workers[0].last_death, "killed by SIGSEGV");
        assert_eq!(model.workers[1].number, None);
    }

    #[test]
    fn the_chart_has_the_rate_between_two_looks() {
        let mut model = model();
        assert!(model.rates.is_empty());
        model.handle_look(&look(11, 130));
        model.handle_look(&look(13, 150));
        // Another look at the same moment is none.
        model.handle_look(&look(13, 150));
        assert_eq!(model.rates, [30, 10]);
        for second in 0..500 {
            model.handle_look(&look(20 + second, 150));
        }
        assert_eq!(model.rates.len(), RATES_MAX);
    }

    #[test]
    fn each_key_is_its_order() {
        let mut model = model();
        assert_eq!(ordered(type_in(&mut model, "p")), SteeringOrder::Pause);
        let scale = SteeringOrder::Scale;
        assert_eq!(
            ordered(type_in(&mut model, "+")),
            scale(WantedWorkers::More(1))
        );
        assert_eq!(
            ordered(type_in(&mut model, "-")),
            scale(WantedWorkers::Fewer(1))
        );
        model.status["state"] = "paused".into();
        assert_eq!(ordered(type_in(&mut model, "p")), SteeringOrder::Resume);
        model.status["workers_wanted"] = 0.into();
        assert_eq!(type_in(&mut model, "-"), None);
        assert_eq!(model.note, "there are no workers");
        assert_eq!(type_in(&mut model, "q"), Some(TopAction::Quit));
    }

    #[test]
    fn what_has_no_number_on_a_stream_is_said_to_have_none() {
        let mut model = TopModel::new();
        model.handle_look(&stream());
        model.handle_key(TopKey::Tab);
        model.handle_key(TopKey::End);
        assert_eq!(model.handle_key(TopKey::Enter), None);
        assert!(
            model.note.contains("no supervisor has taken this"),
            "{}",
            model.note
        );
        model.note.clear();
        assert_eq!(type_in(&mut model, "cy"), None);
        assert!(
            model.note.contains("no supervisor has taken this"),
            "{}",
            model.note
        );
        model.handle_key(TopKey::Home);
        assert_eq!(ordered(type_in(&mut model, "cy")), SteeringOrder::Cancel(7));
        // A supervisor that does not answer has a line, and no item.
        model.handle_key(TopKey::BackTab);
        model.handle_key(TopKey::End);
        assert_eq!(model.handle_key(TopKey::Enter), None);
        assert_eq!(model.note, "there is no item in this line");
    }

    #[test]
    fn trouble_is_over_with_the_next_look() {
        let mut model = model();
        model.handle_no_look("no connection");
        assert_eq!(model.trouble, "no connection");
        model.handle_look(&look(11, 100));
        assert_eq!(model.trouble, "");
    }

    #[test]
    fn an_item_is_cancelled_after_a_question() {
        let mut model = model();
        assert_eq!(type_in(&mut model, "c"), None);
        assert!(
            matches!(&model.dialog, Dialog::Confirm(question, _) if question.contains("41 a.mov"))
        );
        assert_eq!(type_in(&mut model, "n"), None);
        assert_eq!(model.note, "nothing was done");
        assert_eq!(
            ordered(type_in(&mut model, "cy")),
            SteeringOrder::Cancel(41)
        );
        // The second worker has none.
        model.handle_key(TopKey::Down);
        assert_eq!(type_in(&mut model, "cy"), None);
        model.handle_key(TopKey::Tab);
        model.handle_key(TopKey::End);
        assert_eq!(
            ordered(type_in(&mut model, "cy")),
            SteeringOrder::Cancel(44)
        );
    }

    #[test]
    fn dead_letters_alone_are_retried() {
        let mut model = model();
        assert_eq!(type_in(&mut model, "r"), None);
        assert!(model.note.contains("Tab"), "{}", model.note);
        model.handle_key(TopKey::BackTab);
        assert_eq!(ordered(type_in(&mut model, "r")), SteeringOrder::Retry(9));
        model.handle_key(TopKey::Down);
        assert_eq!(type_in(&mut model, "r"), None);
        assert_eq!(model.handle_key(TopKey::Enter), Some(TopAction::Show(7)));
    }

    #[test]
    fn a_filter_is_for_all_lists_and_has_the_run_looked_at() {
        let mut model = model();
        model.handle_key(TopKey::Tab);
        model.handle_key(TopKey::End);
        type_in(&mut model, "/B.Mo");
        assert_eq!(model.dialog, Dialog::Filter);
        model.handle_key(TopKey::Backspace);
        assert_eq!(model.handle_key(TopKey::Enter), Some(TopAction::Look));
        assert_eq!(
            (model.filter.as_str(), model.dialog.clone()),
            ("B.M", Dialog::None)
        );
        let counts = Panel::ALL.map(|panel| model.count(panel));
        assert_eq!(counts, [0, 1, 0]);
        assert_eq!(model.handle_key(TopKey::Enter), Some(TopAction::Show(43)));
        assert_eq!(model.handle_key(TopKey::Escape), Some(TopAction::Look));
        assert_eq!(model.handle_key(TopKey::Escape), None);
        assert_eq!(Panel::ALL.map(|panel| model.count(panel)), [2, 3, 2]);
        // A letter of the filter is no order.
        assert_eq!(type_in(&mut model, "/q"), None);
    }

    #[test]
    fn the_selection_stays_among_what_is_there() {
        let mut model = model();
        model.handle_key(TopKey::Tab);
        model.handle_key(TopKey::PageDown);
        assert_eq!(model.selected(Panel::Waiting), 2);
        let mut less = look(12, 100);
        less.waiting = json!({"items": []});
        model.handle_look(&less);
        assert_eq!(model.selected(Panel::Waiting), 0);
        model.handle_key(TopKey::Up);
        assert_eq!(model.selected(Panel::Waiting), 0);
    }

    #[test]
    fn nothing_is_asked_of_a_run_that_has_ended() {
        let mut model = model();
        type_in(&mut model, "c");
        model.handle_end();
        assert_eq!(model.dialog, Dialog::None);
        for key in ["p", "+", "-", "c", "r"] {
            assert_eq!(type_in(&mut model, key), None, "{key}");
            assert_eq!(model.note, "there is no run to be asked");
        }
        assert!(model.end.as_ref().unwrap().contains("10.0 s"));
        assert_eq!(type_in(&mut model, "q"), Some(TopAction::Quit));
    }

    #[test]
    fn a_page_is_turned_and_left() {
        let mut model = model();
        let item = json!({"number": 9, "state": "dead", "item": "bad.mov", "attempts": 3, "holders": [], "history": []});
        model.handle_page(Ok(item));
        let Dialog::Page(lines, 0) = model.dialog.clone() else {
            panic!("{:?}", model.dialog);
        };
        assert_eq!(lines[0], "9 bad.mov");
        model.handle_key(TopKey::Down);
        assert_eq!(model.dialog, Dialog::Page(lines.clone(), 1));
        model.handle_key(TopKey::End);
        model.handle_key(TopKey::Down);
        assert_eq!(model.dialog, Dialog::Page(lines.clone(), lines.len() - 1));
        assert_eq!(type_in(&mut model, "q"), None);
        assert_eq!(model.dialog, Dialog::None);
        model.handle_page(Err("gone".into()));
        assert_eq!(model.note, "gone");
    }
}
