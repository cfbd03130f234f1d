//! `supervisor top`: shows a run, or a stream with all of its supervisors, on the whole terminal, once a
//! second, and steers it by keys. It is a client as the other subcommands are, and nobody does more for it
//! than answer.

mod draw;
mod looks;
mod model;
#[cfg(test)]
mod sample;
mod screen;
mod search;

use std::io;
use std::time::{Duration, Instant};

use clap::Args;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use nix::sys::signal::{Signal, raise};
use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, read};
use serde_json::Value;
use signal_hook::iterator::Signals;

use self::looks::Looks;
use self::model::{Look, TopAction, TopKey, TopModel};
use self::screen::TopScreen;
use super::args::{AtArgs, Choice, TargetArgs};
use super::asking::Asked;
use super::bug;
use super::exit_codes::{RunError, code};
use super::steering::{CarriedOut, SteeringOrder};
use crate::control::client::NoAnswer;
use crate::control::runs;
use crate::fail;
use crate::sys::threads::spawn;

/// The time between two looks at the run.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "\
Keys: p pause or resume, + and - a worker more or fewer, c cancel, r retry, Enter show, / filter, Tab
next list, ? help, q quit. The work goes on when `top` is quit, however that happens.

Examples:
  supervisor top
      the only run: counts, pace, workers, what waits and what failed
  supervisor top --at nightly
      the run of this name
  supervisor top --redis redis://db1
      the stream, with the workers of all its supervisors; p, + and - are about all of these")]
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
    /// It cannot be looked at just now.
    Lost(NoAnswer),
}

/// Shows a run until it is told to end, and returns the exit code.
pub(super) fn run(command: &Top) -> Result<u8, RunError> {
    let choice = command.target.target("top").map_err(RunError::Usage)?;
    if !TopScreen::is_possible() {
        return Err(RunError::Usage(
            "top needs a terminal for its stdin and stdout; `supervisor status` prints the same once"
                .into(),
        ));
    }
    let choice = match choice {
        // The same one for every order.
        Choice::Run(AtArgs { at }) => {
            let path = runs::find(at.as_deref()).map_err(RunError::Usage)?;
            let at = Some(path.into_os_string());
            Choice::Run(AtArgs { at })
        }
        Choice::Stream(place) => Choice::Stream(place),
    };
    // What is wrong with it is said before the terminal is taken over.
    let looks = Looks::at(&choice)?;
    let (sender, events) = unbounded();
    hear_signals(&sender).map_err(RunError::of_thread)?;
    let screen = TopScreen::open().map_err(|error| cannot_draw(&error))?;
    read_keys(&sender).map_err(RunError::of_thread)?;
    let looks = look_on(looks, &sender).map_err(RunError::of_thread)?;
    let display = Display {
        screen,
        model: TopModel::new(),
        choice,
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

/// Looks once a second, and whenever it is told to, for items with a text.
fn look_on(mut looks: Looks, sender: &Sender<TopEvent>) -> io::Result<Sender<String>> {
    let (wishes, wanted) = unbounded::<String>();
    let sender = sender.clone();
    spawn("looks", move || {
        loop {
            let event = match looks.look() {
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
                Ok(text) => looks.seek(wanted.try_iter().last().unwrap_or(text)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    })?;
    Ok(wishes)
}

/// The display, and what it asks of others.
struct Display {
    screen: TopScreen,
    model: TopModel,
    /// The run or stream that is shown, and given orders.
    choice: Choice,
    sender: Sender<TopEvent>,
    looks: Sender<String>,
    /// The time of the last look.
    looked: Instant,
}

impl Display {
    fn run(mut self, events: &Receiver<TopEvent>) -> Result<u8, RunError> {
        self.look_again();
        loop {
            if let Some(why) = self.screen.lost() {
                bug::found(why.to_owned());
                bug::wait_if_found();
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
                Some(TopAction::Order(order)) => self.give(order),
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
            TopEvent::Lost(why) => self.model.handle_no_look(&why.to_string()),
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

    /// Gives an order in a thread of its own, because an answer may take as long as an item.
    fn give(&mut self, order: SteeringOrder) {
        self.model.note = "...".into();
        let choice = self.choice.clone();
        self.aside(move || {
            let carried_out = Asked::chosen(&choice).and_then(|mut asked| asked.carry_out(order));
            let answer = carried_out.map_err(|why| why.to_string());
            TopEvent::Answer(answer.and_then(CarriedOut::in_a_line))
        });
    }

    fn show(&mut self, number: u64) {
        let choice = self.choice.clone();
        self.aside(move || {
            let page = Asked::chosen(&choice).and_then(|mut asked| asked.item(number));
            TopEvent::Page(page.map_err(|why| why.to_string()))
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
