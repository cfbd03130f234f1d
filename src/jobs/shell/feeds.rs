//! PURE: which places may reach a command on its stdin: what a pipe's writer, a here-document or a
//! here-string has in it, and which commands may run what they read. Does not know commands: those are
//! looked at where they are read.
//!
//! A place is refused if anything that may run its stdin stands where what was fed may be it: in the
//! same pipeline behind the `|`, in the command that a here-document belongs to, in compounds and
//! substitutions of these at any depth; and after `exec <<EOF`, or where there are functions, anywhere.

use std::ops::Range;

/// Commands whose output may be what a later one reads.
#[derive(Debug, Clone, Copy)]
struct Pipeline {
    number: usize,
    /// How many places there were before it.
    from: usize,
}

/// Where something that was fed may be read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope {
    Anywhere,
    /// In a pipeline, by all commands with higher numbers.
    In {
        pipeline: usize,
        after: usize,
    },
}

/// Places that something may read.
#[derive(Debug)]
struct Feed {
    places: Range<usize>,
    scopes: Vec<Scope>,
}

/// A command that may run what it reads.
#[derive(Debug)]
struct Reader {
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
    fed: Vec<Feed>,
    readers: Vec<Reader>,
    /// Places whose text nobody writes anywhere: names of files that only their contents come from.
    names: Vec<Range<usize>>,
    /// Whether complaints, which have names in them, may be fed as well.
    pub(super) has_complaints: bool,
    /// Functions may be called anywhere.
    pub(super) has_function: bool,
}

impl Feeds {
    fn next_number(&mut self) -> usize {
        self.count += 1;
        self.count
    }

    /// A list of commands begins, behind so many places.
    pub(super) fn begin(&mut self, from: usize) {
        let number = self.next_number();
        self.open.push(Pipeline { number, from });
    }

    /// So many lists end.
    pub(super) fn end(&mut self, count: usize) {
        self.open.truncate(self.open.len().saturating_sub(count));
    }

    /// The next pipeline of the same list begins.
    pub(super) fn next(&mut self, from: usize) {
        self.end(1);
        self.begin(from);
    }

    /// The numbers of the pipelines around.
    pub(super) fn around(&self) -> Vec<usize> {
        self.open.iter().map(|pipeline| pipeline.number).collect()
    }

    /// Where a here-document or here-string that stands here may be read.
    pub(super) fn here(&self, is_anywhere: bool) -> Scope {
        match self.open.last().filter(|_| !is_anywhere) {
            Some(pipeline) => Scope::In {
                pipeline: pipeline.number,
                after: 0,
            },
            None => Scope::Anywhere,
        }
    }

    /// A `|` behind so many places. The pipeline, and where what stands before it may be read.
    pub(super) fn pipe(&mut self, places: usize) -> Option<(usize, Scope)> {
        let after = self.next_number();
        let Pipeline { number, from } = *self.open.last()?;
        let scope = Scope::In {
            pipeline: number,
            after,
        };
        self.feed(from..places, vec![scope]);
        Some((number, scope))
    }

    pub(super) fn feed(&mut self, places: Range<usize>, scopes: Vec<Scope>) {
        if !places.is_empty() {
            self.fed.push(Feed { places, scopes });
        }
    }

    /// A command that may run what it reads.
    pub(super) fn reader(&mut self, is_anywhere: bool) {
        let number = self.next_number();
        self.readers.push(Reader {
            number,
            pipelines: self.around(),
            is_anywhere,
        });
    }

    pub(super) fn has_reader(&self) -> bool {
        !self.readers.is_empty()
    }

    /// A place that is the name of a file of which only the contents are written.
    pub(super) fn name(&mut self, places: Range<usize>) {
        self.names.push(places);
    }

    /// Whether a place's text is written nowhere.
    fn is_name_only(&self, place: usize) -> bool {
        let is_hidden = !(self.has_complaints || self.has_function);
        is_hidden && self.names.iter().any(|places| places.contains(&place))
    }

    /// The places that a command may run.
    pub(super) fn run(&self) -> Vec<usize> {
        let is_run = |feed: &&Feed| {
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

impl Reader {
    fn reads(&self, feed: &Feed) -> bool {
        self.is_anywhere
            || feed.scopes.iter().any(|scope| match scope {
                Scope::Anywhere => true,
                Scope::In { pipeline, after } => {
                    self.number > *after && self.pipelines.contains(pipeline)
                }
            })
    }
}
