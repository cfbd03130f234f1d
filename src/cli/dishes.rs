//! Runs of the kitchen: the washer in this process, the dryers as workers.

use std::process;
use std::time::Duration;

use serde_bytes::ByteBuf;

use super::config::{Config, DishConfig, Purpose};
use super::exit_codes::RunError;
use super::input;
use super::layout::DishText;
use super::pictures;
use super::view::{Out, View};
use super::work::{Origin, Producer, ReadItem, Work};
use crate::kitchen::{self, Dish};
use crate::observe::spans::Labels;
use crate::observe::text::{Steps, Wording};
use crate::observe::{EventKind, Mode};
use crate::{Builder, Error, JoinableQueue, Supervisor};
use dishrack_core::stream::entry::Layout;

/// The chapter's words.
pub(super) static WORDS: Wording = Wording {
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

pub(super) struct Dishes {
    config: DishConfig,
    mode: Mode,
    workers: usize,
}

impl Dishes {
    pub(super) fn new(config: DishConfig, run: &Config) -> Self {
        Dishes {
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

impl Work for Dishes {
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

    fn layout(&self) -> Box<dyn Layout> {
        Box::new(DishText {
            dry: self.config.dry,
            tells_dry: self.config.is_dry_given,
        })
    }

    fn labels(&self, config: &Config) -> Labels {
        pictures::kitchen_labels_of(config, &self.config)
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

pub(super) fn start_workers(
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
