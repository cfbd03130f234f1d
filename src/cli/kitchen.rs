//! The work of a run without a COMMAND: dishes, with the washer in this process and the dryers as
//! workers. All that the command line says and asks about dishes is here.

pub(super) mod compare;
mod labels;
mod options;
mod text;

use std::any::type_name;
use std::process;
use std::time::Duration;

use serde_bytes::ByteBuf;

use self::text::DishText;
use super::config::{Config, Purpose};
use super::exit_codes::RunError;
use super::input;
use super::view::{Out, View};
use super::work::{Origin, Producer, ReadItem, Work};
use crate::kitchen::{self, Dish};
use crate::observe::spans::Labels;
use crate::observe::text::{Steps, Wording};
use crate::observe::{EventKind, Mode};
use crate::{Builder, Error, JoinableQueue, Supervisor};
use dishrack_core::stream::entry::Layout;

pub(super) use options::{
    COUNT, DishConfig, DryArgs, GROUP, NOT_FOR_A_COMMAND, PutDishesArgs, WashArgs, check_payload,
};

/// The summary of the program for its help.
pub(super) const ABOUT: &str = "Runs a COMMAND for each item by supervised workers; without one, washes dishes and has them dried";

/// The items of a run without a COMMAND, for the program's help.
pub(super) const WITHOUT_COMMAND: &str =
    "Without a COMMAND items are dishes, which are washed here and dried by the workers.";

/// The activity of `supervisor work` without a COMMAND, for its help.
pub(super) const WORK_WITHOUT_COMMAND: &str = "Without a COMMAND it dries dishes.";

/// Examples of runs without a COMMAND, for the program's help.
pub(super) const EXAMPLES: &str = "  supervisor --workers 2
      no command: four dishes, a second to wash and two to dry each, by two processes
  supervisor --mode sequential
      the same by one person
  supervisor --workers 2 --timeline run.svg
      the same as a picture: who did what when, and what died
  supervisor compare
      one person, processes, threads and tasks, drawn below each other";

/// The complaint about a stdin that a run without a COMMAND does not read.
pub(super) const UNREAD: &str = "supervisor: what comes on stdin is not read: --input - takes \
                                 dishes from there, and a COMMAND after -- its items";

/// Returns the type of the items, as a journal names it.
pub(super) fn item_type() -> &'static str {
    type_name::<Dish>()
}

/// Returns the name in the serialized bytes of an item, if they are a dish's.
pub(super) fn name_of(item: &[u8]) -> Option<String> {
    postcard::from_bytes::<Dish>(item)
        .ok()
        .map(|dish| dish.name)
}

/// The chapter's words.
static WORDS: Wording = Wording {
    items: "dishes",
    doing: "drying",
    done: "being dried",
    again: "dried again",
    steps: Some(Steps {
        making_line: "Washing",
        working_line: "Drying ",
        making: "washing",
        made: "washed",
        not_made: "not_washed",
        working: "drying",
    }),
};

/// The shortest drying time at which events are shown. For shorter ones they cost more than the
/// work.
const SHORTEST_TO_WATCH: Duration = Duration::from_millis(1);

pub(super) struct KitchenWork {
    config: DishConfig,
    mode: Mode,
    workers: usize,
}

impl KitchenWork {
    pub(super) fn new(config: DishConfig, run: &Config) -> Self {
        KitchenWork {
            config,
            mode: match run.purpose {
                // No dishes are put here, so the one person is a dryer.
                Purpose::Work | Purpose::WorkUntilDone if run.mode == Mode::Sequential => {
                    Mode::Threads
                }
                Purpose::All | Purpose::Work | Purpose::WorkUntilDone | Purpose::Serve => run.mode,
            },
            workers: run.workers,
        }
    }

    fn dish(&self, name: String) -> Dish {
        dish(name, self.config.dry, self.config.payload)
    }
}

/// Makes a dish of at least this many bytes.
fn dish(name: String, dry: Duration, payload: usize) -> Dish {
    let missing = payload.saturating_sub(name.len());
    Dish {
        name,
        dry,
        padding: ByteBuf::from(vec![0; missing]),
    }
}

impl Work for KitchenWork {
    type Item = Dish;
    type Outcome = ();

    fn words(&self) -> &'static Wording {
        &WORDS
    }

    fn is_slow(&self) -> bool {
        self.config.wash.max(self.config.dry) >= SHORTEST_TO_WATCH
    }

    fn reader(&self) -> ReadItem<Dish> {
        let (dry, payload) = (self.config.dry, self.config.payload);
        Box::new(move |line| {
            let name: String = serde_json::from_slice(line).map_err(|why| why.to_string())?;
            Ok(dish(name, dry, payload))
        })
    }

    fn writer(&self) -> fn(Dish) -> Vec<u8> {
        |dish| dish.name.into_bytes()
    }

    fn layout(&self) -> Box<dyn Layout> {
        Box::new(DishText {
            dry: self.config.dry,
            tells_dry: self.config.is_dry_given,
        })
    }

    fn labels(&self, config: &Config) -> Labels {
        labels::of_run(config, &self.config)
    }

    fn views(&mut self, _: &Config, _: &Origin, _: &Out) -> Result<Vec<Box<dyn View>>, RunError> {
        Ok(Vec::new())
    }

    fn start_workers(
        &self,
        builder: Builder,
        rack: &JoinableQueue<Dish>,
    ) -> Result<Supervisor<Dish, ()>, Error> {
        start_workers(self.mode, self.workers, builder, rack)
    }

    /// Washes dishes one after the other and puts them on the rack.
    fn produce(&self, producer: &mut Producer<'_, Dish>) -> Result<(), RunError> {
        let (source, pid) = (producer.source(), process::id());
        while let Some(line) = producer.next()? {
            let name = input::text(line, source).map_err(RunError::Usage)?;
            if producer.was_put_before(name.as_bytes()) {
                continue;
            }
            let item = name.clone();
            producer.tell(|| EventKind::Producing { item, pid })?;
            let is_washed = producer.stop.sleep(self.config.wash);
            let item = name.clone();
            if !is_washed {
                producer.tell(|| EventKind::NotProduced { item, pid })?;
                break;
            }
            producer.tell(|| EventKind::Produced { item, pid })?;
            let dish = self.dish(name);
            if !producer.put(&dish, dish.name.as_bytes())? {
                break;
            }
        }
        Ok(())
    }
}

fn start_workers(
    mode: Mode,
    workers: usize,
    builder: Builder,
    rack: &JoinableQueue<Dish>,
) -> Result<Supervisor<Dish, ()>, Error> {
    let builder = builder
        .name("dryer")
        .name_items(|dish: &Dish| dish.name.clone());
    match mode {
        Mode::Processes => builder.processes(workers).handler(rack, kitchen::dry),
        Mode::Threads => builder.threads(workers).handler(rack, kitchen::dry),
        Mode::Tasks => builder
            .tasks(workers)
            .handler_async(rack, kitchen::dry_async),
        Mode::Sequential => builder.inline().handler(rack, kitchen::dry),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ItemId;
    use crate::cli::event_json::object;
    use crate::observe::Event;

    #[test]
    fn a_dish_is_dried_and_any_other_item_runs() {
        let event = Event {
            at: Duration::from_millis(5),
            kind: EventKind::ItemStarted {
                item: "dish-3".into(),
                id: ItemId(3),
                worker: "dryer-1".into(),
                pid: 7,
                attempt: 1,
                copy: None,
            },
        };
        let mut expected = json!({
            "event": "running", "t_us": 5000, "item": "dish-3", "number": 3, "worker": "dryer-1",
            "pid": 7, "attempt": 1,
        });
        assert_eq!(object(&event, None), expected);
        expected["event"] = "drying".into();
        expected.as_object_mut().unwrap().remove("number");
        assert_eq!(object(&event, WORDS.steps.as_ref()), expected);
    }
}
