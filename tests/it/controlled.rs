//! A run in this process whose items begin and end when a test says so, and its control.

use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use dishrack::{Control, Controlled, JoinableQueue, Options, Supervisor};

use crate::deadline::DEADLINE;
use crate::http::{Answer, ask};

/// A queue whose worker holds each item until it is let go, and its control.
pub(crate) struct Run {
    pub(crate) control: Option<Control>,
    pub(crate) socket: PathBuf,
    pub(crate) queue: JoinableQueue<u32>,
    pub(crate) pool: Arc<Supervisor<u32, ()>>,
    /// Tells which items are begun.
    pub(crate) begun: Receiver<u32>,
    /// Ends them: well, or not.
    pub(crate) ends: Sender<Result<(), String>>,
    _folder: tempfile::TempDir,
}

impl Run {
    pub(crate) fn new() -> Self {
        Run::with(Options::default().max_attempts(1))
    }

    pub(crate) fn with(options: Options) -> Self {
        Run::named("run", options)
    }

    pub(crate) fn named(name: &str, options: Options) -> Self {
        let queue = JoinableQueue::with(options);
        let (begins, begun) = unbounded();
        let (ends, end) = unbounded::<Result<(), String>>();
        let builder = Supervisor::builder().threads(1).without_prefetch();
        let pool = builder.handler(&queue, move |n: u32| {
            begins.send(n).unwrap();
            end.recv_timeout(DEADLINE).unwrap_or(Ok(()))
        });
        let pool = Arc::new(pool.unwrap());
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join(format!("{name}.sock"));
        let control = Control::serve_at(&socket, Controlled::new(&queue, &pool)).unwrap();
        Run {
            control: Some(control),
            socket,
            queue,
            pool,
            begun,
            ends,
            _folder: folder,
        }
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        ask(&self.socket, method, path, body.as_bytes())
    }

    /// Returns the numbers of the items on a page, and where the next one begins.
    pub(crate) fn list(&self, query: &str) -> (Vec<u64>, Option<u64>) {
        let answer = self.ask("GET", &format!("/v1/items?{query}"), "").json();
        let numbers = answer["items"].as_array().unwrap().iter();
        let numbers = numbers.map(|item| item["number"].as_u64().unwrap());
        (numbers.collect(), answer["after"].as_u64())
    }

    pub(crate) fn put(&self, body: &str) -> Answer {
        self.ask("POST", "/v1/items", body)
    }

    pub(crate) fn next_begun(&self) -> u32 {
        self.begun.recv_timeout(DEADLINE).expect("an item is begun")
    }

    pub(crate) fn let_go(&self, count: usize) {
        for _ in 0..count {
            self.ends.send(Ok(())).unwrap();
        }
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.queue.counts().unwrap().accepted
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // A worker that holds an item is to end, if it is still there.
        for _ in 0..100 {
            let _ = self.ends.send(Ok(()));
        }
    }
}
