//! PURE: the places that may reach a command on its stdin through a pipe, a here-document or a
//! here-string, and the commands that may run what they read. It does not examine commands itself.
//!
//! A place is refused if a command that may run its stdin can get it there: in the same pipeline
//! after the `|`, in the command that a here-document belongs to, in compounds and substitutions of
//! these at any depth; and after `exec <<EOF`, or where there are functions, anywhere.

use std::ops::Range;

/// Commands whose output a later one may read.
#[derive(Debug, Clone, Copy)]
struct Pipeline {
    number: usize,
    /// The number of places before it.
    from: usize,
}

/// The scope in which fed text may be read.
#[derive(Debug, Clone, Copy)]
pub(super) enum FeedScope {
    Anywhere,
    /// By all commands of a pipeline with higher numbers.
    In {
        pipeline: usize,
        after: usize,
    },
}

/// Places that a command may read.
#[derive(Debug)]
struct FedPlaces {
    places: Range<usize>,
    scopes: Vec<FeedScope>,
}

/// A command that may run what it reads.
#[derive(Debug)]
struct StdinReader {
    number: usize,
    /// The pipelines around it.
    pipelines: Vec<usize>,
    is_anywhere: bool,
}

#[derive(Debug, Default)]
pub(super) struct Feeds {
    count: usize,
    /// The pipelines that are being read, the outermost first.
    open: Vec<Pipeline>,
    fed: Vec<FedPlaces>,
    readers: Vec<StdinReader>,
    /// Places whose text is never output: names of files of which only the contents are.
    names: Vec<Range<usize>>,
    /// True if complaints, which contain names, may be fed as well.
    pub(super) has_complaints: bool,
    /// True if there is a function, which may be called anywhere.
    pub(super) has_function: bool,
}

impl Feeds {
    fn next_number(&mut self) -> usize {
        self.count += 1;
        self.count
    }

    /// Begins a list of commands after this number of places.
    pub(super) fn begin(&mut self, from: usize) {
        let number = self.next_number();
        self.open.push(Pipeline { number, from });
    }

    /// Ends this number of lists.
    pub(super) fn end(&mut self, count: usize) {
        self.open.truncate(self.open.len().saturating_sub(count));
    }

    /// Begins the next pipeline of the same list.
    pub(super) fn next(&mut self, from: usize) {
        self.end(1);
        self.begin(from);
    }

    /// Returns the numbers of the pipelines around.
    pub(super) fn around(&self) -> Vec<usize> {
        self.open.iter().map(|pipeline| pipeline.number).collect()
    }

    /// Returns the scope of a here-document or here-string that stands here.
    pub(super) fn here(&self, is_anywhere: bool) -> FeedScope {
        match self.open.last().filter(|_| !is_anywhere) {
            Some(pipeline) => FeedScope::In {
                pipeline: pipeline.number,
                after: 0,
            },
            None => FeedScope::Anywhere,
        }
    }

    /// Reads a `|` after so many places. Returns the pipeline, and the scope of the text before it.
    pub(super) fn pipe(&mut self, places: usize) -> Option<(usize, FeedScope)> {
        let after = self.next_number();
        let Pipeline { number, from } = *self.open.last()?;
        let scope = FeedScope::In {
            pipeline: number,
            after,
        };
        self.feed(from..places, vec![scope]);
        Some((number, scope))
    }

    pub(super) fn feed(&mut self, places: Range<usize>, scopes: Vec<FeedScope>) {
        if !places.is_empty() {
            self.fed.push(FedPlaces { places, scopes });
        }
    }

    /// Adds a command that may run what it reads.
    pub(super) fn reader(&mut self, is_anywhere: bool) {
        let number = self.next_number();
        self.readers.push(StdinReader {
            number,
            pipelines: self.around(),
            is_anywhere,
        });
    }

    pub(super) fn has_reader(&self) -> bool {
        !self.readers.is_empty()
    }

    /// Adds places that name files of which only the contents are output.
    pub(super) fn name(&mut self, places: Range<usize>) {
        self.names.push(places);
    }

    /// Returns `true` if a place's text is never output.
    fn is_name_only(&self, place: usize) -> bool {
        let is_hidden = !(self.has_complaints || self.has_function);
        is_hidden && self.names.iter().any(|places| places.contains(&place))
    }

    /// Returns the places that a command may run.
    pub(super) fn run(&self) -> Vec<usize> {
        let is_run = |feed: &&FedPlaces| {
            self.readers
                .iter()
                .any(|reader| self.has_function || reader.reads(feed))
        };
        let fed = self.fed.iter().filter(is_run);
        fed.flat_map(|feed| feed.places.clone())
            .filter(|place| !self.is_name_only(*place))
            .collect()
    }
}

impl StdinReader {
    fn reads(&self, feed: &FedPlaces) -> bool {
        self.is_anywhere
            || feed.scopes.iter().any(|scope| match scope {
                FeedScope::Anywhere => true,
                FeedScope::In { pipeline, after } => {
                    self.number > *after && self.pipelines.contains(pipeline)
                }
            })
    }
}
