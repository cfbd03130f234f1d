//! `-n`, `-X` and their kin: several items for one command.
//!
//! Items are taken until there are as many as were asked for, or until the command would be longer
//! than the system allows. With `-X` and `-m` those that are left at the end of the input are
//! divided among the workers, as GNU parallel does it. Each lot becomes one item, a line of words.

use std::collections::VecDeque;
use std::time::Duration;

use super::input::{InputLine, LineRead, LineSource};
use super::stop::Stop;
use crate::jobs::Setup;
use crate::jobs::arguments::{ArgumentForm, ItemsOfCommand, quoted};
use crate::jobs::room::{WORD_MAX, WordSizes, room_for_words};
use crate::jobs::template::Template;

/// The number of items that a command is given, as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LotSize {
    /// The most of them, if not as many as there is room for.
    pub(super) items_max: Option<usize>,
    /// The most bytes of the words, if not as many as the system allows.
    pub(super) bytes_max: Option<usize>,
    /// True if all workers get the same share of what is left at the end.
    pub(super) is_spread: bool,
}

/// The rules by which items are gathered.
#[derive(Debug, Clone)]
pub(super) struct Gathering {
    size: LotSize,
    workers: usize,
    /// The command that is given them.
    template: Template,
    /// The form of a single item.
    form: ArgumentForm,
    /// The bytes that the system has for the command's words.
    room: usize,
}

impl Gathering {
    /// Makes the rules for a command with these variables besides. `are_words` says that each item is a
    /// line of words already.
    pub(super) fn new(size: LotSize, workers: usize, are_words: bool, setup: &Setup) -> Self {
        Gathering {
            size,
            workers,
            template: setup.template.clone(),
            form: ArgumentForm {
                items: match are_words {
                    true => ItemsOfCommand::Words,
                    false => ItemsOfCommand::One,
                },
                ..setup.template.form().clone()
            },
            room: room_for_words(&setup.environment),
        }
    }

    fn has_room_for(&self, sizes: WordSizes) -> bool {
        let is_short = self.size.bytes_max.is_none_or(|most| sizes.texts <= most);
        is_short && sizes.bytes() <= self.room
    }

    /// Returns the share of each worker of what is left at the end.
    fn share(&self, left: usize) -> usize {
        match (self.size.items_max, self.size.is_spread) {
            (None, true) => left.div_ceil(self.workers).max(1),
            (items_max, _) => items_max.unwrap_or(usize::MAX).max(1),
        }
    }
}

/// The items of a run, as they are put.
pub(super) enum Feed {
    /// Each line is one.
    Lines(LineSource),
    /// Several lines are one.
    Lots(Box<LotFeed>),
}

impl Feed {
    /// Makes the feed of a source whose lines are gathered by these rules, if there are any.
    pub(super) fn of(source: LineSource, rules: Option<&Gathering>) -> Self {
        match rules {
            Some(rules) => Feed::Lots(Box::new(LotFeed::new(source, rules.clone()))),
            None => Feed::Lines(source),
        }
    }

    /// Returns true if the next item, or the end, is there and need not be waited for.
    pub(super) fn is_ready(&mut self, stop: &Stop) -> bool {
        match self {
            Feed::Lines(lines) => lines.is_ready(),
            Feed::Lots(gathered) => gathered.is_ready(stop),
        }
    }

    /// Returns the next item, or `None` at the end, or when the run is stopped.
    pub(super) fn next(&mut self, stop: &Stop) -> Option<LineRead> {
        match self {
            Feed::Lines(lines) => lines.next(stop),
            Feed::Lots(gathered) => gathered.next(stop),
        }
    }
}

/// Items that are gathered from a source.
pub(super) struct LotFeed {
    source: LineSource,
    rules: Gathering,
    /// Those that are in no lot yet, each as a line of words.
    lot: Vec<Vec<u8>>,
    /// Lots that are whole, and the reasons for which there is no line after them.
    full: VecDeque<Result<Vec<Vec<u8>>, String>>,
    /// The room that the command takes with these.
    sizes: WordSizes,
    /// The number of arguments in the lot.
    arguments: usize,
    has_ended: bool,
    /// The lots that were made.
    made: u64,
}

impl LotFeed {
    fn new(source: LineSource, rules: Gathering) -> Self {
        LotFeed {
            source,
            sizes: rules.template.sizes_without_arguments(),
            rules,
            lot: Vec::new(),
            full: VecDeque::new(),
            arguments: 0,
            has_ended: false,
            made: 0,
        }
    }

    /// Gathers what is there. Returns true if that is a whole lot, or the end.
    fn is_ready(&mut self, stop: &Stop) -> bool {
        while !self.has_next() && self.source.is_ready() {
            self.gather(stop);
        }
        self.has_next()
    }

    /// Returns true if nothing is to be gathered before the next lot, or the end.
    fn has_next(&self) -> bool {
        !self.full.is_empty() || self.has_ended
    }

    /// Adds the next item, which is waited for.
    fn gather(&mut self, stop: &Stop) {
        match self.source.next(stop) {
            Some(Ok(line)) => self.add(line.bytes),
            Some(Err(why)) => {
                self.end_lot();
                self.full.push_back(Err(why));
            }
            None => self.end(),
        }
    }

    /// Returns the next lot, or `None` at the end, or when the run is stopped.
    fn next(&mut self, stop: &Stop) -> Option<LineRead> {
        while !self.has_next() {
            self.gather(stop);
        }
        let lot = match self.full.pop_front()? {
            Ok(lot) => lot,
            Err(why) => return Some(Err(why)),
        };
        if !stop.sleep(Duration::ZERO) {
            return None;
        }
        self.made += 1;
        Some(Ok(InputLine {
            number: self.made,
            bytes: lot.join(&b' '),
        }))
    }

    /// Adds an item. One that no command can have is a lot of its own, so that it takes no others along.
    fn add(&mut self, item: Vec<u8>) {
        let is_too_long = item.len() >= WORD_MAX;
        let (sizes, _) = self.sizes_of(&item);
        if is_too_long || !self.rules.has_room_for(self.sizes.and(sizes)) {
            self.end_lot();
        }
        let (sizes, arguments) = self.sizes_of(&item);
        self.sizes = self.sizes.and(sizes);
        self.arguments += arguments;
        self.lot.push(match self.rules.form.items {
            ItemsOfCommand::Words => item,
            ItemsOfCommand::One | ItemsOfCommand::None => quoted(&item),
        });
        if is_too_long || self.rules.size.items_max == Some(self.lot.len()) {
            self.end_lot();
        }
    }

    /// Ends the lot, if something is in it.
    fn end_lot(&mut self) {
        let lot = std::mem::take(&mut self.lot);
        self.full.extend((!lot.is_empty()).then_some(Ok(lot)));
        self.sizes = self.rules.template.sizes_without_arguments();
        self.arguments = 0;
    }

    /// Divides what is left when the source has ended.
    fn end(&mut self) {
        self.has_ended = true;
        let share = self.rules.share(self.lot.len());
        let left = std::mem::take(&mut self.lot);
        let lots = left.chunks(share);
        self.full.extend(lots.map(|lot| Ok(lot.to_vec())));
    }

    /// Returns what an item makes the words take, and the number of its arguments.
    fn sizes_of(&self, item: &[u8]) -> (WordSizes, usize) {
        let template = &self.rules.template;
        // The lines of combined lists were made of words.
        let arguments = self.rules.form.arguments(item).unwrap_or_default();
        let numbered = arguments.iter().zip(self.arguments..);
        let sizes = numbered.map(|(argument, at)| template.sizes_of_argument(argument, at));
        let sizes = sizes.fold(WordSizes::default(), WordSizes::and);
        (sizes, arguments.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::input::ItemSource;

    fn gathered(source: LineSource, size: LotSize, workers: usize, room: usize) -> LotFeed {
        let form = ArgumentForm::default();
        let rules = Gathering {
            size,
            workers,
            template: Template::parse(&["echo".into()], false).with_item(),
            form,
            room,
        };
        LotFeed::new(source, rules)
    }

    fn lots(size: LotSize, workers: usize, room: usize, items: &[&str]) -> Vec<String> {
        let items = items.iter().map(|item| item.as_bytes().to_vec()).collect();
        let source = LineSource::open(&ItemSource::Given(items), b'\n').unwrap();
        let mut gathered = gathered(source, size, workers, room);
        let (mut lots, stop) = (Vec::new(), Stop::new());
        while let Some(lot) = gathered.next(&stop) {
            let lot = lot.unwrap();
            lots.push(String::from_utf8(lot.bytes).unwrap());
            assert_eq!(lot.number, lots.len() as u64);
        }
        lots
    }

    const TWOS: LotSize = LotSize {
        items_max: Some(2),
        ..MANY
    };

    const MANY: LotSize = LotSize {
        items_max: None,
        bytes_max: None,
        is_spread: false,
    };

    #[test]
    fn a_lot_has_as_many_items_as_were_asked_for() {
        let items = ["a", "b c", "", "d", "e"];
        assert_eq!(lots(TWOS, 4, 1 << 20, &items), ["a 'b c'", "'' d", "e"]);
        assert!(lots(TWOS, 4, 1 << 20, &[]).is_empty());
    }

    #[test]
    fn a_whole_lot_is_not_kept_back_by_one_that_is_begun() {
        let (sender, batches) = crossbeam_channel::bounded(1);
        let batch = Vec::new().into_iter();
        let source = LineSource::Awaited { batches, batch };
        let (mut lots, stop) = (gathered(source, TWOS, 1, 1 << 20), Stop::new());
        assert!(!lots.is_ready(&stop));
        let send = |lines: &[&str]| {
            let line = |(bytes, number): (&&str, u64)| {
                let bytes = bytes.as_bytes().to_vec();
                Ok(InputLine { number, bytes })
            };
            sender
                .send(lines.iter().zip(1..).map(line).collect())
                .unwrap();
        };
        send(&["a", "b", "c"]);
        assert!(lots.is_ready(&stop));
        assert_eq!(lots.next(&stop).unwrap().unwrap().bytes, b"a b");
        assert!(!lots.is_ready(&stop), "there is half of one");
        send(&["d", "e"]);
        assert!(lots.is_ready(&stop));
        assert_eq!(lots.next(&stop).unwrap().unwrap().bytes, b"c d");
        sender.send(vec![Err("is broken".into())]).unwrap();
        assert!(lots.is_ready(&stop));
        assert_eq!(lots.next(&stop).unwrap().unwrap().bytes, b"e");
        assert_eq!(lots.next(&stop), Some(Err("is broken".into())));
    }

    /// As GNU parallel 20221122 does.
    #[test]
    fn what_is_left_at_the_end_is_divided_among_the_workers() {
        let spread = LotSize {
            is_spread: true,
            ..MANY
        };
        let items = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
        let all = 1 << 20;
        assert_eq!(
            lots(spread, 4, all, &items),
            ["1 2 3", "4 5 6", "7 8 9", "10"]
        );
        assert_eq!(lots(spread, 2, all, &items), ["1 2 3 4 5", "6 7 8 9 10"]);
        assert_eq!(lots(spread, 20, all, &["1", "2"]), ["1", "2"]);
        assert_eq!(lots(MANY, 4, all, &items), ["1 2 3 4 5 6 7 8 9 10"]);
    }

    /// `echo` and the place take 5 + 8 and 1 + 8 bytes, and each item of a letter 2 + 8.
    #[test]
    fn a_lot_is_not_longer_than_there_is_room_for() {
        let items = ["a", "b", "c", "d", "e"];
        assert_eq!(lots(MANY, 1, 22 + 20, &items), ["a b", "c d", "e"]);
        assert_eq!(lots(MANY, 1, 22 + 29, &items), ["a b", "c d", "e"]);
        // One that is too long for any is not left out: its end says so.
        assert_eq!(lots(MANY, 1, 1, &items), items);
        let short = LotSize {
            bytes_max: Some(6 + 2 * 2),
            ..MANY
        };
        assert_eq!(lots(short, 1, 1 << 20, &items), ["a b", "c d", "e"]);
    }
}
