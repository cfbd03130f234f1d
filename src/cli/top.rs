//! `supervisor top`: shows a run on the whole terminal, once a second, and steers it by keys. It is a
//! client of the control API, and the run does nothing more for it than answer.

mod draw;
mod model;
#[cfg(test)]
mod sample;
mod screen;
mod search;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use hyper::Method;
use nix::sys::signal::{Signal, raise};
use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, read};
use serde_json::Value;
use signal_hook::iterator::Signals;

use self::model::{Look, TopAction, TopKey, TopModel, TopRequest};
use self::screen::TopScreen;
use self::search::TopSearch;
use super::args::{Choice, TargetArgs};
use super::exit_codes::{RunError, code};
use crate::control::client::{Client, NoAnswer};
use crate::control::runs;
use crate::fail;
use crate::sys::threads::spawn;

/// The time between two looks at the run.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// The longest time of a look that is spent on a search. The next one goes on with it.
const SEARCH_TIME: Duration = Duration::from_millis(200);

/// The number of failures that are asked for, and of items in each list.
const FAILURES: usize = 50;
const WAITING: usize = 50;

#[derive(Debug, Args)]
#[command(after_help = "\
Keys: p pause or resume, + and - a worker more or fewer, c cancel, r retry, Enter show, / filter, Tab
next list, ? help, q quit. The run goes on when `top` is quit, however that happens.

Examples:
  supervisor top
      the only run: counts, pace, workers, what waits and what failed
  supervisor top --at nightly
      the run of this name
A stream in Redis has no workers that could be shown: `supervisor status --redis URL` shows how it
stands, and `top` each of the runs that work on it.")]
pub(super) struct Top {
    #[command(flatten)]
    target: TargetArgs,
}

/// A thing that happens to the display.
enum TopEvent {
    Key(TopKey),
    /// The display is to end, with this exit code.
    End(u8),
    /// The program is to be stopped, as by Ctrl-Z.
    Suspend,
    /// The terminal has another size.
    Resize,
    Look(Box<Look>),
    /// The result of an order.
    Answer(Result<String, String>),
    Page(Result<Value, String>),
    /// The run is gone.
    Gone,
    /// The run cannot be asked.
    Lost(NoAnswer),
}

/// Shows a run until it is told to end, and returns the exit code.
pub(super) fn run(command: &Top) -> Result<u8, RunError> {
    let at = match command.target.target("top").map_err(RunError::Usage)? {
        Choice::Run(at) => at,
        Choice::Stream(_) => {
            return Err(RunError::Usage(
                "top shows a run; `supervisor status --redis URL` shows how a stream stands, and \
                 `supervisor top --at NAME` a run that works on it"
                    .into(),
            ));
        }
    };
    if !TopScreen::is_possible() {
        return Err(RunError::Usage(
            "top needs a terminal for its stdin and stdout; `supervisor status` prints the same once"
                .into(),
        ));
    }
    let path = runs::find(at.at.as_deref()).map_err(RunError::Usage)?;
    // What is wrong with it is said before the terminal is taken over.
    let client = Client::connect(&path)?;
    let (sender, events) = unbounded();
    hear_signals(&sender).map_err(RunError::of_thread)?;
    let screen = TopScreen::open().map_err(|error| cannot_draw(&error))?;
    read_keys(&sender).map_err(RunError::of_thread)?;
    let looks = look_on(client, &sender).map_err(RunError::of_thread)?;
    let display = Display {
        screen,
        model: TopModel::new(),
        path,
        sender,
        looks,
        looked: Instant::now(),
    };
    display.run(&events)
}

fn cannot_draw(error: &io::Error) -> RunError {
    RunError::Usage(format!("cannot use the terminal: {error}"))
}

/// Passes the signals on by which the program is ended or stopped.
fn hear_signals(sender: &Sender<TopEvent>) -> io::Result<()> {
    let ends = [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ];
    let heard = ends.into_iter().chain([Signal::SIGTSTP]);
    let mut signals = Signals::new(heard.map(|signal| signal as i32))?;
    let sender = sender.clone();
    spawn("signals", move || {
        for signal in signals.forever() {
            let event = match signal == Signal::SIGTSTP as i32 {
                true => TopEvent::Suspend,
                false => TopEvent::End(code::of_signal(signal)),
            };
            if sender.send(event).is_err() {
                return;
            }
        }
    })
}

/// Reads keys, in a thread that ends with the program.
fn read_keys(sender: &Sender<TopEvent>) -> io::Result<()> {
    let sender = sender.clone();
    spawn("keys", move || {
        loop {
            let event = match read() {
                Ok(event) => event_of(&event),
                // The terminal is gone.
                Err(_) => Some(TopEvent::End(code::of_signal(Signal::SIGHUP as i32))),
            };
            if let Some(event) = event {
                let is_end = matches!(event, TopEvent::End(_));
                if sender.send(event).is_err() || is_end {
                    return;
                }
            }
        }
    })
}

fn event_of(event: &Event) -> Option<TopEvent> {
    let key = match event {
        Event::Resize(..) => return Some(TopEvent::Resize),
        Event::Key(key) if key.kind != KeyEventKind::Release => key,
        _ => return None,
    };
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(TopEvent::End(code::of_signal(Signal::SIGINT as i32))),
            KeyCode::Char('z') => Some(TopEvent::Suspend),
            KeyCode::Char('l') => Some(TopEvent::Resize),
            _ => None,
        };
    }
    let key = match key.code {
        KeyCode::Char(letter) => TopKey::Letter(letter),
        KeyCode::Enter => TopKey::Enter,
        KeyCode::Esc => TopKey::Escape,
        KeyCode::Backspace => TopKey::Backspace,
        KeyCode::Up => TopKey::Up,
        KeyCode::Down => TopKey::Down,
        KeyCode::PageUp => TopKey::PageUp,
        KeyCode::PageDown => TopKey::PageDown,
        KeyCode::Home => TopKey::Home,
        KeyCode::End => TopKey::End,
        KeyCode::Tab => TopKey::Tab,
        KeyCode::BackTab => TopKey::BackTab,
        _ => return None,
    };
    Some(TopEvent::Key(key))
}

/// Looks at the run once a second, and whenever it is told to, for items with a text.
fn look_on(mut client: Client, sender: &Sender<TopEvent>) -> io::Result<Sender<String>> {
    let (looks, wanted) = unbounded::<String>();
    let sender = sender.clone();
    spawn("looks", move || {
        let mut looked = Looked::for_text(String::new());
        loop {
            let event = match looked.look(&mut client) {
                Ok(look) => TopEvent::Look(Box::new(look)),
                Err(NoAnswer::Lost { .. } | NoAnswer::NotThere { .. }) => TopEvent::Gone,
                Err(why) => TopEvent::Lost(why),
            };
            let is_gone = matches!(event, TopEvent::Gone);
            if sender.send(event).is_err() || is_gone {
                return;
            }
            assert!(
                !fail::is_planted("a panic of what looks for top"),
                "planted"
            );
            match wanted.recv_timeout(LOOK_PAUSE) {
                // The last one counts.
                Ok(text) => looked.seek(wanted.try_iter().last().unwrap_or(text)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    })?;
    Ok(looks)
}

/// Looks one after the other, for the same text.
struct Looked {
    text: String,
    /// Those for items that rest and for items that wait, where there is a text.
    searches: [TopSearch; 2],
}

impl Looked {
    fn for_text(text: String) -> Self {
        let searches = ["resting", "waiting"].map(|state| TopSearch::new(state, &text));
        Looked { text, searches }
    }

    fn seek(&mut self, text: String) {
        if text != self.text {
            *self = Looked::for_text(text);
        }
    }

    fn look(&mut self, client: &mut Client) -> Result<Look, NoAnswer> {
        let mut ask = |target: &str| client.ask(Method::GET, target, None, "");
        let status = ask("/v1/status")?;
        let [resting, waiting] = match self.text.is_empty() {
            true => [
                ask(&format!("/v1/items?state=resting&limit={WAITING}"))?,
                ask(&format!("/v1/items?state=waiting&limit={WAITING}"))?,
            ],
            false => {
                let began = Instant::now();
                for search in &mut self.searches {
                    while !search.take(&ask(&search.target())?) && began.elapsed() < SEARCH_TIME {}
                }
                self.searches.each_ref().map(TopSearch::shown)
            }
        };
        Ok(Look {
            resting,
            waiting,
            failures: ask(&format!("/v1/failures?limit={FAILURES}"))?,
            status,
        })
    }
}

/// The display, and what it asks of others.
struct Display {
    screen: TopScreen,
    model: TopModel,
    path: PathBuf,
    sender: Sender<TopEvent>,
    looks: Sender<String>,
    /// The time of the last look.
    looked: Instant,
}

impl Display {
    fn run(mut self, events: &Receiver<TopEvent>) -> Result<u8, RunError> {
        self.look_again();
        loop {
            if self.screen.is_lost() {
                return Err(RunError::Internal("a thread of top has panicked".into()));
            }
            self.screen
                .draw(&self.model)
                .map_err(|error| cannot_draw(&error))?;
            // Woken up to say for how long there was no answer.
            let event = match events.recv_timeout(LOOK_PAUSE) {
                Ok(event) => event,
                Err(_) => {
                    self.model.silence_s = self.looked.elapsed().as_secs();
                    continue;
                }
            };
            if let Some(code) = self.handle(event)? {
                return Ok(code);
            }
        }
    }

    /// Takes an event. Returns the exit code if it is the last one.
    fn handle(&mut self, event: TopEvent) -> Result<Option<u8>, RunError> {
        match event {
            TopEvent::Key(key) => match self.model.handle_key(key) {
                Some(TopAction::Quit) => return Ok(Some(code::DONE)),
                Some(TopAction::Ask(request)) => self.ask(request),
                Some(TopAction::Show(number)) => self.show(number),
                Some(TopAction::Look) => self.look_again(),
                None => {}
            },
            TopEvent::End(code) => return Ok(Some(code)),
            TopEvent::Suspend => self.suspend()?,
            TopEvent::Resize => {}
            TopEvent::Look(look) => {
                self.looked = Instant::now();
                self.model.handle_look(&look);
                assert!(!fail::is_planted("a panic of top"), "planted");
            }
            TopEvent::Answer(answer) => {
                self.model.handle_answer(answer);
                self.look_again();
            }
            TopEvent::Page(page) => self.model.handle_page(page),
            TopEvent::Gone => self.model.handle_end(),
            TopEvent::Lost(why) => self.model.handle_answer(Err(why.to_string())),
        }
        Ok(None)
    }

    /// Has the run looked at now, rather than within a second.
    fn look_again(&self) {
        // Nobody looks any more at a run that has ended.
        let _ = self.looks.send(self.model.filter.clone());
    }

    /// Gives the terminal back until the program goes on.
    fn suspend(&mut self) -> Result<(), RunError> {
        let stopped = self.screen.leave_while(|| {
            // Nobody handles this one, and it does not wait for a handler either.
            let _ = raise(Signal::SIGSTOP);
        });
        stopped.map_err(|error| cannot_draw(&error))
    }

    /// Asks the run in a thread of its own, because an answer may take as long as an item.
    fn ask(&mut self, request: TopRequest) {
        self.model.note = "...".into();
        let (path, words) = (self.path.clone(), request.words.clone());
        self.aside(move || {
            let answer = ask(&path, request.method, &request.target, request.body);
            TopEvent::Answer(answer.map(|_| words))
        });
    }

    fn show(&mut self, number: u64) {
        let path = self.path.clone();
        self.aside(move || {
            let target = format!("/v1/items/{number}");
            TopEvent::Page(ask(&path, Method::GET, &target, String::new()))
        });
    }

    fn aside(&mut self, act: impl FnOnce() -> TopEvent + Send + 'static) {
        let sender = self.sender.clone();
        let begun = spawn("ask", move || {
            // The display may have ended.
            let _ = sender.send(act());
        });
        if let Err(error) = begun {
            self.model.note = format!("cannot start a thread: {error}");
        }
    }
}

fn ask(path: &Path, method: Method, target: &str, body: String) -> Result<Value, String> {
    let mut client = Client::connect(path).map_err(|why| why.to_string())?;
    let answer = client.ask(method, target, None, body);
    answer.map_err(|why| why.to_string())
}
