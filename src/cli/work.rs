//! The contract of a run's work: what its items are and who works on them. The run itself (`run`)
//! knows neither.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::args::Mode;
use super::config::Config;
use super::dead_letter_log::DeadLetterLog;
use super::exit_codes::Failure;
use super::expected::Expected;
use super::halt::HaltRule;
use super::input::{Feed, Line, Source};
use super::printer::Printer;
use super::stop::Stop;
use super::unwritten::Unwritten;
use super::view::{Out, View};
use crate::error::Error;
use crate::observe::spans::Labels;
use crate::observe::text::Words;
use crate::observe::{Event, EventKind, Observer};
use crate::queue::JoinableQueue;
use crate::supervision::{Builder, Supervisor};
use dishrack_core::ledger::ItemId;
use dishrack_core::stream::entry::Layout;

/// What a run is about: items of one kind, who works on them, and what more is shown of that.
pub(super) trait Work {
    type Item: Serialize + DeserializeOwned + 'static;

    /// What is said of them.
    fn words(&self) -> &'static Words;

    /// Whether its items take long enough to be followed one by one where nobody has asked for
    /// that.
    fn is_slow(&self) -> bool;

    /// Whether what has ended is kept in the journal until it is shown.
    fn keeps_attempts(&self) -> bool {
        false
    }

    /// What an item is called, by its serialized bytes or the beginning of them.
    fn name_of(&self, _item: &[u8]) -> String {
        String::new()
    }

    /// What its items are given to, in one line, where that is for the journal to remember.
    fn command(&self) -> Option<String> {
        None
    }

    /// What ends the run early.
    fn halt_rule(&self, _origin: &Origin) -> Option<HaltRule> {
        None
    }

    /// How its items stand on a stream.
    fn layout(&self) -> Box<dyn Layout>;

    /// The words of its pictures.
    fn labels(&self, config: &Config) -> Labels;

    /// What shows the run, besides its lines.
    ///
    /// # Errors
    /// What they need is not there.
    fn views(
        &mut self,
        config: &Config,
        origin: &Origin,
        out: &Out,
    ) -> Result<Vec<Box<dyn View>>, Failure>;

    /// Hires the workers.
    fn hire(
        &self,
        builder: Builder,
        queue: &JoinableQueue<Self::Item>,
    ) -> Result<Supervisor<Self::Item, ()>, Error>;

    /// Makes an item of each line and puts it on the queue.
    fn produce(&self, producer: &mut Producer<'_, Self::Item>) -> Result<(), Failure>;
}

/// Notes that these attempts are shown, so that no later run shows them again.
pub(super) type Shown = Arc<dyn Fn(&[(ItemId, u32)]) + Send + Sync>;

/// How a run begins, for those who show it.
pub(super) struct Origin {
    /// Items that were accepted by earlier runs.
    pub(super) accepted: u64,
    /// Those of them that are not ended, if they are wanted.
    pub(super) unfinished: BTreeSet<ItemId>,
    /// How attempts ended that earlier runs have not shown, oldest items first.
    pub(super) unshown: Vec<Event>,
    /// What tells the journal from all others, if there is one.
    pub(super) journal: Option<u128>,
    /// Where dead letters are written, if they are.
    pub(super) letters: Option<Arc<DeadLetterLog>>,
    /// Says which attempts are shown.
    pub(super) shown: Shown,
    /// Those of which something could not be written.
    pub(super) unwritten: Unwritten,
    pub(super) stop: Stop,
    /// How many items there are in all, as far as that is known.
    pub(super) expected: Expected,
}

/// Where the producer stands: lines come in, items go out.
pub(super) struct Producer<'a, T> {
    pub(super) config: &'a Config,
    pub(super) feed: Feed,
    pub(super) queue: &'a JoinableQueue<T>,
    pub(super) printer: &'a Printer,
    pub(super) stop: &'a Stop,
    /// The item that is put next.
    pub(super) next_id: ItemId,
    pub(super) expected: &'a Expected,
    /// Lines that were read.
    pub(super) lines: u64,
}

impl<'a, T: Serialize + DeserializeOwned + 'static> Producer<'a, T> {
    /// Where the lines come from.
    pub(super) fn source(&self) -> &'a Source {
        &self.config.source
    }

    /// The next line; none at the end, or when the run is stopped.
    pub(super) fn next(&mut self) -> Result<Option<Line>, Failure> {
        if !self.stop.sleep(Duration::ZERO) {
            return Ok(None);
        }
        let line = self.feed.next(self.stop).transpose();
        let line = line.map_err(Failure::Usage)?;
        self.lines += u64::from(line.is_some());
        Ok(line)
    }

    /// Whether an item of this text was put by an earlier run, and is not to be put again.
    pub(super) fn was_put_before(&self, key: &[u8]) -> bool {
        let was_put = self.queue.was_put_before(key);
        if was_put {
            self.expected.pass_over();
        }
        was_put
    }

    /// Tells of an item that is being made, where somebody wants to know. Waits while too much is
    /// untold.
    pub(super) fn tell(&self, what: impl FnOnce() -> EventKind) -> Result<(), Failure> {
        if self.printer.wants_items() {
            self.printer.wait_for_room();
            self.queue.emit(what())?;
        }
        Ok(())
    }

    /// Whether others work on the same items: then nobody here knows how many are unfinished.
    pub(super) fn is_shared(&self) -> bool {
        self.config.is_shared()
    }

    /// Puts an item that came from this text. Whether it was accepted: the queue may be closed.
    pub(super) fn put(&mut self, item: &T, key: &[u8]) -> Result<bool, Failure> {
        // One person who does everything works on it before the next one.
        let put = match self.is_shared() && self.config.mode == Mode::Sequential {
            true => self.queue.put(item).map(Some),
            false => self.queue.put_with_key(item, Some(key)),
        };
        match put {
            Ok(id) => {
                // A stream gives numbers of its own, and nobody here asks for the next one.
                self.next_id = id.map_or(self.next_id, |id| ItemId(id.0 + 1));
                Ok(true)
            }
            Err(error) if error.is_closed() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
