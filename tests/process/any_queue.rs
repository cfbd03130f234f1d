//! Any queue in any process: workers that use other queues than their own, and programs that are
//! nobody's child and attach.

#![allow(
    clippy::exit,
    reason = "ending without a word is what some of it is for"
)]

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dishrack::observe::{Event, EventKind, Observer};
use dishrack::{
    Capacity, Cause, Control, Controlled, JoinableQueue, Joined, Options, Restart, Roles,
    StartMethod, Supervisor,
};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::roles::{self, Work};
use crate::support::{DEADLINE, PLAY, Run, is_alive, send, until};

crate::trials!(
    a_consumer_killed_between_get_and_task_done,
    an_idle_consumer_killed_inside_a_blocking_get,
    a_process_killed_while_waiting_in_join,
    an_item_that_a_client_cannot_serialize,
    a_producer_that_exits_right_after_put,
    a_producer_killed_in_the_middle_of_sending,
    what_a_client_put_is_visible_at_once,
    a_client_that_is_joined_before_its_large_item_is_taken,
    what_a_dead_consumer_held_is_charged_to_its_item,
    a_worker_that_waits_at_another_queue_ends_when_it_is_stopped,
    a_workers_own_queue_comes_to_it_as_a_handle,
    what_workers_put_is_told_before_it_begins,
    what_attached_programs_put_is_told_before_it_begins,
    what_a_worker_does_before_it_is_ready_reaches_any_queue,
    a_handle_of_another_process_is_not_passed_on,
    clients_leave_neither_threads_nor_files,
    a_line_of_three_pools_loses_nothing,
    two_programs_share_a_queue,
    a_worker_hands_its_supervisors_queue_on_to_workers_of_its_own,
    consumers_killed_one_by_one_lose_nothing,
);

type Queue = JoinableQueue<Work>;
type Numbers = JoinableQueue<u64>;

/// What a client does with a queue.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Task {
    /// Works as the chapter's loop does.
    Loop,
    /// Does one item, and then waits for another one.
    GetTwice,
    /// Puts an item, and joins.
    PutAndJoin,
    /// Puts what does not serialize, alone and among others.
    PutBad,
    /// Puts 10 MiB, and ends.
    PutLarge,
    /// Puts two items and ends without a word.
    PutAndExit,
    /// Puts 10 MiB again and again.
    PutForEver,
    /// Puts items, and looks at once.
    PutAndLook,
    /// Puts the queue's handle on a queue of its own.
    PassOn,
    /// Has a worker of its own do that, this many times, and the last one put an item and join.
    HandOn(u8),
    /// Has a worker of its own get an item, and die.
    HandOnAndDie,
    /// Gets an item, and dies.
    GetAndDie,
}

const LARGE: usize = 10 << 20;

fn carry_out(task: Task, queue: &Queue) {
    match task {
        Task::Loop => roles::chapters_loop(queue.clone()),
        Task::GetTwice => {
            queue.get().unwrap().task_done().unwrap();
            assert!(queue.get().unwrap_err().is_closed());
        }
        Task::PutAndJoin => {
            queue.put(&Work::Nothing).unwrap();
            queue.join().unwrap();
        }
        Task::PutBad => {
            let refused = queue.put(&Work::Unserializable(1)).unwrap_err();
            assert!(refused.is_not_serializable(), "{refused}");
            assert!(refused.to_string().contains("Work"), "{refused}");
            assert!(queue.is_empty());
            let put = queue.put_many([Work::Unserializable(2), Work::Nothing]);
            assert_eq!((put.accepted, put.refused.len()), (1, 1), "{put:?}");
        }
        Task::PutLarge => drop(queue.put(&Work::Carry(vec![7; LARGE])).unwrap()),
        Task::PutAndExit => roles::put_and_exit(queue.clone()),
        Task::PutForEver => loop {
            queue.put(&Work::Carry(vec![7; LARGE])).unwrap();
        },
        Task::PutAndLook => {
            for n in 1..=100 {
                queue.put(&Work::Nothing).unwrap();
                assert_eq!(queue.qsize(), n);
            }
            for n in (0..100).rev() {
                queue.try_get().unwrap().task_done().unwrap();
                assert_eq!(queue.qsize(), n);
            }
            assert!(queue.try_get().unwrap_err().is_empty());
            assert!(queue.task_done().unwrap_err().is_task_done_too_often());
        }
        Task::PassOn => {
            let own = JoinableQueue::<Errand>::unbounded();
            let queue = queue.clone();
            let refused = own.put(&Errand { task, queue }).unwrap_err();
            assert!(refused.is_not_serializable(), "{refused}");
            assert!(refused.to_string().contains("own process"), "{refused}");
        }
        Task::HandOn(0) => hand_on(Task::PutAndJoin, queue, (1, 0)),
        Task::HandOn(more) => hand_on(Task::HandOn(more - 1), queue, (1, 0)),
        Task::HandOnAndDie => hand_on(Task::GetAndDie, queue, (0, 1)),
        Task::GetAndDie => {
            let _held = queue.get().unwrap();
            std::process::abort();
        }
    }
}

/// Has a worker of this process do it. It is done so often, and dead so often.
fn hand_on(task: Task, queue: &Queue, end: (u64, u64)) {
    let errands = JoinableQueue::with(Options::default().max_attempts(1));
    let pool = Supervisor::builder().processes(1);
    let _pool = pool.handler(&errands, run_errand).unwrap();
    let queue = queue.clone();
    errands.put(&Errand { task, queue }).unwrap();
    let joined = errands.join_timeout(DEADLINE).unwrap();
    assert_eq!((joined.done, joined.dead), end);
}

/// A task for a worker, with the queue for it, which is not the worker's own.
#[derive(Debug, Serialize, Deserialize)]
struct Errand {
    task: Task,
    queue: Queue,
}

fn run_errand(errand: Errand) -> Result<(), String> {
    carry_out(errand.task, &errand.queue);
    Ok(())
}

/// Counts an item down on the queue that it is given as its context.
fn count_down(left: u64) -> Result<(), String> {
    let queue: JoinableQueue<u64> = dishrack::context().ok_or("no context")?;
    if left > 0 {
        queue.put(&(left - 1)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

pub(crate) fn register(roles: &mut Roles) {
    roles.handler(run_errand);
    roles.handler(count_down);
    roles.handler_between(say_pid_and_wait, halve_byte, || {});
}

/// The variables of an attached program.
const SOCKET: &str = "DISHRACK_TEST_SOCKET";
const TASK: &str = "DISHRACK_TEST_TASK";

/// Is an attached program.
pub(crate) fn play() {
    let variable = |name| std::env::var(name).unwrap();
    let queue = Queue::attach(variable(SOCKET)).unwrap();
    let task = variable(TASK);
    carry_out(serde_json::from_str(&task).unwrap(), &queue);
}

/// The name of that play.
pub(crate) const CLIENT: &str = "uses another program's queue";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Worker,
    Forked,
    Attached,
}

const KINDS: [Kind; 3] = [Kind::Worker, Kind::Forked, Kind::Attached];

/// A process that uses a queue which is not its own.
enum Client {
    Worker {
        errands: JoinableQueue<Errand>,
        pool: Supervisor<Errand, ()>,
        pid: u32,
    },
    Attached(Run),
}

impl Client {
    fn new(kind: Kind, table: &Table, task: Task) -> Self {
        let method = match kind {
            Kind::Worker => StartMethod::Spawn,
            Kind::Forked => StartMethod::Fork,
            Kind::Attached => return Client::Attached(attached(table.control.path(), task)),
        };
        let errands = JoinableQueue::unbounded();
        let builder = Supervisor::builder().processes(1).start_method(method);
        let builder = builder.restart(Restart::Temporary);
        let pool = builder.handler(&errands, run_errand).unwrap();
        until("the worker is ready", || pool.workers().len() == 1);
        let pid = pool.workers()[0].pid;
        let queue = table.queue.clone();
        errands.put(&Errand { task, queue }).unwrap();
        Client::Worker { errands, pool, pid }
    }

    fn pid(&self) -> u32 {
        match self {
            Client::Worker { pid, .. } => *pid,
            Client::Attached(run) => run.pid(),
        }
    }

    fn kill(&mut self) {
        send(self.pid(), Signal::SIGKILL);
        let pid = self.pid();
        match self {
            Client::Worker { .. } => until("it is gone", || !is_alive(pid)),
            Client::Attached(run) => drop(run.exit()),
        }
    }

    /// Waits until it has done its task.
    fn finish(&mut self) {
        match self {
            Client::Worker { errands, .. } => {
                let joined = errands.join_timeout(DEADLINE).unwrap();
                assert_eq!((joined.done, joined.dead), (1, 0));
            }
            Client::Attached(run) => assert!(run.exit().success()),
        }
    }
}

fn attached(socket: &Path, task: Task) -> Run {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let task = serde_json::to_string(&task).unwrap();
    command
        .env(PLAY, CLIENT)
        .env(SOCKET, socket)
        .env(TASK, task);
    Run::of(command)
}

/// A queue without workers of its own.
struct Table {
    queue: Queue,
    control: Control,
    folder: tempfile::TempDir,
}

impl Table {
    fn new() -> Self {
        Table::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let queue = JoinableQueue::with(options);
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("queue.sock");
        let control = Control::serve_at(&socket, Controlled::of_queue(&queue)).unwrap();
        Table {
            queue,
            control,
            folder,
        }
    }

    fn join(&self) -> Joined {
        self.queue.join_timeout(DEADLINE).unwrap()
    }

    /// Joins, and returns the numbers of items that are done and dead.
    fn ends(&self) -> (u64, u64) {
        let joined = self.join();
        (joined.done, joined.dead)
    }

    /// Puts an item at which a worker waits until [`go_on`](Self::go_on), and returns when one is there.
    fn hold(&self, start: impl FnOnce() -> Client) -> Client {
        let file = self.folder.path().join("go");
        self.queue
            .put(&Work::AwaitFile(file.to_str().unwrap().into()))
            .unwrap();
        let client = start();
        let started = self.folder.path().join("go.started");
        until("somebody has it", || started.exists());
        client
    }

    fn go_on(&self) {
        std::fs::write(self.folder.path().join("go"), "").unwrap();
    }
}

/// r1.
fn a_consumer_killed_between_get_and_task_done() {
    for kind in KINDS {
        let table = Table::new();
        let mut client = table.hold(|| Client::new(kind, &table, Task::Loop));
        client.kill();
        let _other = Client::new(kind, &table, Task::Loop);
        table.go_on();
        assert_eq!(table.ends(), (1, 0), "{kind:?}");
        assert_eq!(table.queue.counts().unwrap().retries, 1);
    }
}

/// r2.
fn an_idle_consumer_killed_inside_a_blocking_get() {
    for kind in KINDS {
        let table = Table::new();
        table.queue.put(&Work::Nothing).unwrap();
        let mut client = Client::new(kind, &table, Task::GetTwice);
        assert_eq!(table.join().done, 1);
        client.kill();
        let _other = Client::new(kind, &table, Task::Loop);
        for _ in 0..10 {
            table.queue.put(&Work::Nothing).unwrap();
        }
        assert_eq!(table.ends(), (11, 0), "{kind:?}");
        // At most it was given one, which it cannot have begun or was charged with.
        assert!(table.queue.counts().unwrap().retries <= 1);
    }
}

/// r3.
fn a_process_killed_while_waiting_in_join() {
    for kind in KINDS {
        let table = Table::new();
        let mut client = Client::new(kind, &table, Task::PutAndJoin);
        until("it has put", || table.queue.len() == 1);
        client.kill();
        for _ in 0..2 {
            let delivery = table.queue.get_timeout(DEADLINE).unwrap();
            delivery.task_done().unwrap();
            table.queue.put(&Work::Nothing).unwrap();
        }
        table.queue.get().unwrap().task_done().unwrap();
        assert_eq!(table.join().done, 3, "{kind:?}");
    }
}

/// r4.
fn an_item_that_a_client_cannot_serialize() {
    for kind in KINDS {
        let table = Table::with(Options::default().capacity(Capacity::Bounded(1)));
        Client::new(kind, &table, Task::PutBad).finish();
        // The one that does has the queue's one place.
        assert_eq!((table.queue.len(), table.queue.is_full()), (1, true));
        assert_eq!(table.queue.counts().unwrap().accepted, 1, "{kind:?}");
        let delivery = table.queue.get_timeout(DEADLINE).unwrap();
        assert_eq!(*delivery, Work::Nothing);
        delivery.task_done().unwrap();
        let joined = table.join();
        assert_eq!((joined.done, joined.dead), (1, 0), "{kind:?}");
    }
}

/// r5.
fn a_producer_that_exits_right_after_put() {
    for kind in KINDS {
        let table = Table::new();
        let _client = Client::new(kind, &table, Task::PutAndExit);
        for _ in 0..2 {
            let delivery = table.queue.get_timeout(DEADLINE).unwrap();
            delivery.task_done().unwrap();
        }
        assert_eq!(table.join().done, 2, "{kind:?}");
    }
}

/// r6.
fn a_producer_killed_in_the_middle_of_sending() {
    for kind in KINDS {
        let table = Table::new();
        let mut client = Client::new(kind, &table, Task::PutForEver);
        until("it is putting", || table.queue.len() >= 3);
        client.kill();
        // What it could not finish never was: there are only whole items, and others can put.
        table.queue.put(&Work::Nothing).unwrap();
        loop {
            let delivery = table.queue.get_timeout(DEADLINE).unwrap();
            let is_last = *delivery == Work::Nothing;
            assert!(
                is_last || matches!(&*delivery, Work::Carry(bytes) if *bytes == vec![7; LARGE])
            );
            delivery.task_done().unwrap();
            if is_last {
                break;
            }
        }
        // One that it had sent whole may have come after that.
        while let Ok(delivery) = table.queue.get_timeout(Duration::from_millis(10)) {
            assert!(matches!(&*delivery, Work::Carry(bytes) if bytes.len() == LARGE));
            delivery.task_done().unwrap();
        }
        assert_eq!(table.join().dead, 0, "{kind:?}");
    }
}

/// r7 and r8.
fn what_a_client_put_is_visible_at_once() {
    for kind in KINDS {
        let table = Table::new();
        Client::new(kind, &table, Task::PutAndLook).finish();
        assert_eq!(table.ends(), (100, 0), "{kind:?}");
    }
}

/// r9.
fn a_client_that_is_joined_before_its_large_item_is_taken() {
    for kind in KINDS {
        let table = Table::new();
        let mut client = Client::new(kind, &table, Task::PutLarge);
        client.finish();
        if let Client::Worker { pool, pid, .. } = &client {
            pool.stop();
            assert!(!is_alive(*pid), "{kind:?}");
        }
        assert_eq!(table.queue.len(), 1, "{kind:?}");
        let delivery = table.queue.get_timeout(DEADLINE).unwrap();
        assert_eq!(*delivery, Work::Carry(vec![7; LARGE]));
        delivery.task_done().unwrap();
        let joined = table.join();
        assert_eq!((joined.done, joined.dead), (1, 0), "{kind:?}");
    }
}

fn what_a_dead_consumer_held_is_charged_to_its_item() {
    for kind in KINDS {
        let table = Table::with(Options::default().max_attempts(1));
        let mut client = table.hold(|| Client::new(kind, &table, Task::Loop));
        let pid = client.pid();
        let held = table.queue.item(dishrack::ItemId(1)).unwrap().unwrap();
        assert_eq!(held.holders[0].pid, pid, "{kind:?}");
        client.kill();
        assert_eq!(table.ends(), (0, 1));
        let letter = table.queue.take_dead_letters().unwrap().remove(0);
        assert_eq!(letter.history[0].cause, Cause::Disconnected);
        assert_eq!(letter.history[0].scene.pid, pid);
    }
}

fn a_worker_that_waits_at_another_queue_ends_when_it_is_stopped() {
    for kind in [Kind::Worker, Kind::Forked] {
        let table = Table::new();
        table.queue.put(&Work::Nothing).unwrap();
        let client = Client::new(kind, &table, Task::GetTwice);
        assert_eq!(table.join().done, 1);
        let Client::Worker { errands, pool, .. } = client else {
            panic!("it is a worker");
        };
        pool.stop();
        let counts = errands.counts().unwrap();
        assert_eq!((counts.done, counts.waiting), (1, 0), "{kind:?}");
        // Nothing that came afterwards was given to it.
        table.queue.put(&Work::Nothing).unwrap();
        let delivery = table.queue.try_get().unwrap();
        assert_eq!(delivery.attempt(), 1);
        delivery.task_done().unwrap();
    }
}

/// Counts from 50 down to 0, by workers that put the next number.
fn count_by_workers(queue: &JoinableQueue<u64>, method: StartMethod) {
    let builder = Supervisor::builder().processes(2).start_method(method);
    let builder = builder.context(queue).unwrap();
    let _pool = builder.handler(queue, count_down).unwrap();
    queue.put(&50).unwrap();
    let joined = queue.join_timeout(DEADLINE).unwrap();
    assert_eq!((joined.done, joined.dead), (51, 0), "{method:?}");
}

fn a_workers_own_queue_comes_to_it_as_a_handle() {
    for method in [StartMethod::Spawn, StartMethod::Fork] {
        count_by_workers(&JoinableQueue::unbounded(), method);
    }
}

/// Notes the items that were put, and those that were begun before that was told.
#[derive(Debug, Default)]
struct PutNotes(Mutex<(Vec<u64>, Vec<u64>)>);

impl PutNotes {
    fn of<T>(queue: &JoinableQueue<T>) -> Arc<Self> {
        let notes = Arc::<PutNotes>::default();
        queue.set_observer(Arc::clone(&notes) as _).unwrap();
        notes
    }

    /// Returns the items that were put, and of which none was begun before.
    fn put(&self) -> Vec<u64> {
        let (put, early) = &*self.0.lock().unwrap();
        assert!(early.is_empty(), "{early:?} of {put:?}");
        put.clone()
    }
}

impl Observer for PutNotes {
    fn wants_puts(&self) -> bool {
        true
    }

    fn observe(&self, event: Event) {
        let (put, early) = &mut *self.0.lock().unwrap();
        match event.kind {
            EventKind::Put { id, .. } => put.push(id.0),
            EventKind::ItemStarted { id, .. } if !put.contains(&id.0) => early.push(id.0),
            _ => {}
        }
    }
}

fn what_workers_put_is_told_before_it_begins() {
    for method in [StartMethod::Spawn, StartMethod::Fork] {
        let queue = JoinableQueue::<u64>::unbounded();
        let notes = PutNotes::of(&queue);
        count_by_workers(&queue, method);
        assert_eq!(notes.put(), Vec::from_iter(1..=51), "{method:?}");
    }
}

fn what_attached_programs_put_is_told_before_it_begins() {
    // The second item waits until there is room.
    let table = Table::with(Options::default().capacity(Capacity::Bounded(1)));
    let notes = PutNotes::of(&table.queue);
    let mut producer = attached(table.control.path(), Task::PutAndExit);
    let mut consumer = attached(table.control.path(), Task::Loop);
    until("both are put", || notes.put().len() == 2);
    table.queue.put(&Work::Nothing).unwrap();
    assert_eq!(table.join().done, 3);
    table.queue.close();
    assert!(consumer.exit().success());
    producer.exit();
    assert_eq!(notes.put(), [1, 2, 3]);
}

/// What a worker does before it is ready: tells its pid, and waits for a word.
fn say_pid_and_wait() {
    let (pids, words) = dishrack::context::<(Numbers, Numbers)>().unwrap();
    pids.put(&std::process::id().into()).unwrap();
    words.get().unwrap().task_done().unwrap();
}

fn halve_byte(byte: u8) -> Result<u8, String> {
    Ok(byte / 2)
}

fn what_a_worker_does_before_it_is_ready_reaches_any_queue() {
    for method in [StartMethod::Spawn, StartMethod::Fork] {
        let (pids, words) = (Numbers::unbounded(), Numbers::unbounded());
        let items = JoinableQueue::<u8>::unbounded();
        let builder = Supervisor::builder().processes(2).start_method(method);
        let builder = builder.context(&(pids.clone(), words.clone())).unwrap();
        let pool = builder.handler(&items, halve_byte).unwrap();
        let take = || pids.get_timeout(DEADLINE).unwrap().into_item();
        let mut told = [take(), take()];
        assert!(pool.workers().is_empty(), "they are not ready");
        for _ in told {
            words.put(&0).unwrap();
        }
        assert_eq!(words.join_timeout(DEADLINE).unwrap().done, 2);
        until("both are ready", || pool.workers().len() == 2);
        let mut ready: Vec<u64> = pool.workers().iter().map(|one| one.pid.into()).collect();
        ready.sort_unstable();
        told.sort_unstable();
        assert_eq!(told[..], ready, "{method:?}");
    }
}

fn a_handle_of_another_process_is_not_passed_on() {
    let table = Table::new();
    Client::new(Kind::Attached, &table, Task::PassOn).finish();
}

fn a_worker_hands_its_supervisors_queue_on_to_workers_of_its_own() {
    for kind in [Kind::Worker, Kind::Forked] {
        let table = Table::new();
        let mut client = Client::new(kind, &table, Task::HandOn(2));
        let item = table.queue.get_timeout(DEADLINE).unwrap();
        item.task_done().unwrap();
        client.finish();
        // What one of them held when it died goes back, as soon as it is dead.
        table.queue.put(&Work::Nothing).unwrap();
        let mut client = Client::new(kind, &table, Task::HandOnAndDie);
        client.finish();
        let item = table.queue.get_timeout(DEADLINE).unwrap();
        assert_eq!(item.attempt(), 2);
        item.task_done().unwrap();
    }
}

fn clients_leave_neither_threads_nor_files() {
    let count = |what: &str| {
        std::fs::read_dir(format!("/proc/self/{what}"))
            .unwrap()
            .count()
    };
    // In a process of its own, because tests run side by side.
    if std::env::var(PLAY).is_err() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(PLAY, COUNTS);
        assert!(Run::of(command).exit().success());
        return;
    }
    let table = Table::new();
    let round = |kind| {
        Client::new(kind, &table, Task::PutAndLook).finish();
        let mut client = table.hold(|| Client::new(kind, &table, Task::Loop));
        client.kill();
        drop(client);
        table
            .queue
            .get_timeout(DEADLINE)
            .unwrap()
            .task_done()
            .unwrap();
        std::fs::remove_file(table.folder.path().join("go.started")).unwrap();
    };
    KINDS.into_iter().for_each(round);
    let before = (count("task"), count("fd"));
    for _ in 0..3 {
        KINDS.into_iter().for_each(round);
    }
    until("all is as before", || {
        count("task") <= before.0 && count("fd") <= before.1
    });
}

/// The play that counts threads and files.
pub(crate) const COUNTS: &str = "counts what clients leave";

pub(crate) fn play_counts() {
    clients_leave_neither_threads_nor_files();
}

fn a_line_of_three_pools_loses_nothing() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(PLAY, LINE);
    let mut run = Run::of(command);
    let lines: Vec<String> = std::iter::from_fn(|| run.line()).collect();
    assert!(run.exit().success(), "{lines:?}");
    let (last, dishes) = lines.split_last().unwrap();
    assert_eq!(last, "12 washed, 12 dried, 12 stacked");
    let names: HashSet<&str> = dishes
        .iter()
        .map(|line| line.split(',').next().unwrap())
        .collect();
    assert_eq!((dishes.len(), names.len()), (12, 12), "{dishes:?}");
    for line in dishes {
        let stations = ["washed by", "dried by", "stacked by"];
        assert!(stations.iter().all(|one| line.contains(one)), "{line}");
    }
}

/// The play that is the example of a line.
pub(crate) const LINE: &str = "kitchen line";

/// The play that is the example of an attached program.
pub(crate) const ATTACH: &str = "attach";

fn two_programs_share_a_queue() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("sink.sock");
    let run = |role: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(PLAY, ATTACH).arg(role).arg(&socket);
        Run::of(command)
    };
    let mut owner = run("serve");
    until("it serves", || socket.exists());
    let mut dryers = [run("dry"), run("dry")];
    assert_eq!(owner.line().unwrap(), "20 done, 0 dead");
    assert!(owner.exit().success());
    let mut dishes = HashSet::new();
    for dryer in &mut dryers {
        let before = dishes.len();
        while let Some(line) = dryer.line() {
            let dish = line.split(' ').next().unwrap().to_owned();
            assert!(dishes.insert(dish), "{line}");
        }
        // One may have come when all was done and the other program was gone.
        assert!(dryer.exit().success() || dishes.len() == before);
    }
    assert_eq!(dishes.len(), 20);
}

/// Tells who begins an item, and what has ended.
#[derive(Debug)]
struct Teller(Sender<Told>);

#[derive(Debug)]
enum Told {
    Begun(u32),
    Ended(u64),
}

impl Observer for Teller {
    fn observe(&self, event: Event) {
        let told = match event.kind {
            EventKind::ItemStarted { pid, .. } => Told::Begun(pid),
            EventKind::ItemDone { id, .. } | EventKind::Dead { id, .. } => Told::Ended(id.0),
            _ => return,
        };
        // The test may be over.
        let _ = self.0.send(told);
    }
}

fn consumers_killed_one_by_one_lose_nothing() {
    const KILLS: usize = 1000;
    const ITEMS_EACH: usize = 20;
    // An item may be under way at several of so many kills.
    let table = Table::with(Options::default().max_attempts(100));
    let (teller, told) = channel();
    table.queue.set_observer(Arc::new(Teller(teller))).unwrap();
    let put = || {
        let items = (0..ITEMS_EACH).map(|_| Work::Nothing);
        table.queue.put_many(items).into_result().unwrap();
    };
    let consumer = || attached(table.control.path(), Task::Loop);
    let mut consumers: Vec<Run> = (0..4).map(|_| consumer()).collect();
    put();
    let (mut begun, mut killed, mut ended) = (0, 0, HashSet::new());
    while ended.len() < KILLS * ITEMS_EACH {
        match told.recv_timeout(DEADLINE).expect("it goes on") {
            Told::Ended(id) => assert!(ended.insert(id), "item {id} has two ends"),
            Told::Begun(pid) => {
                begun += 1;
                let one = consumers.iter_mut().find(|run| run.pid() == pid);
                if begun > killed * ITEMS_EACH
                    && killed < KILLS
                    && let Some(one) = one
                {
                    one.kill();
                    *one = consumer();
                    killed += 1;
                    if killed < KILLS {
                        put();
                    }
                }
            }
        }
    }
    assert_eq!(killed, KILLS);
    let joined = table.join();
    let items = (KILLS * ITEMS_EACH) as u64;
    assert_eq!((joined.done, joined.dead), (items, 0));
    assert!(table.queue.counts().unwrap().is_balanced());
    // All ends were told once, and no more come.
    while let Ok(told) = told.try_recv() {
        assert!(matches!(told, Told::Begun(_)), "{told:?} has two ends");
    }
    table.queue.close();
    for mut one in consumers {
        assert!(one.exit().success());
    }
}
