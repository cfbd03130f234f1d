//! Handles that travel, and programs that attach: what they can do, and what becomes of the bad and the
//! slow. Both sides are this process here; `tests/process/any_queue.rs` has real ones.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dishrack::{
    Capacity, Cause, Control, Controlled, Durability, ItemId, JoinableQueue, Options, Supervisor,
    join_all,
};
use serde::{Deserialize, Serialize};

use crate::deadline::{DEADLINE, until};
use crate::http::{ask, connect};

crate::trials! {
    a_handle_comes_out_of_an_item_as_a_handle,
    a_handle_goes_nowhere_where_it_would_name_nothing,
    a_handle_does_not_outlive_its_queue,
    a_handle_that_comes_to_an_attached_program_is_attached_too,
    what_a_program_held_goes_back_with_its_connection,
    what_a_program_cannot_have_seen_is_not_charged,
    a_part_that_was_left_unread_excuses_nothing_before_it,
    the_end_of_the_socket_charges_nobody,
    nothing_is_put_by_those_who_are_attached_after_the_last_look,
    an_attached_program_that_closes_the_queue_closes_it_for_all,
    a_join_waits_for_who_takes_items_though_the_pool_has_ended,
    items_of_another_type_are_refused,
    a_socket_of_another_version_is_refused,
    what_is_no_control_socket_is_told,
    as_many_attach_as_may_and_others_are_told_so,
    a_frame_that_makes_no_sense_ends_its_connection_alone,
    a_client_that_goes_within_a_put_has_put_nothing,
    a_client_that_stops_within_a_frame_is_let_go,
    one_that_reads_nothing_stops_nobody,
    an_item_that_is_too_large_for_a_connection_is_refused_there,
    the_history_names_who_had_it,
}

type Queue = JoinableQueue<String>;

/// A queue that is served without workers.
struct Served {
    queue: Queue,
    control: Control,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Served {
    fn new() -> Self {
        Served::with(Options::default())
    }

    fn with(options: Options) -> Self {
        Served::of(JoinableQueue::with(options))
    }

    fn of(queue: Queue) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("queue.sock");
        let control = Control::serve_at(&socket, Controlled::of_queue(&queue)).unwrap();
        Served {
            queue,
            control,
            socket,
            _folder: folder,
        }
    }

    fn attach(&self) -> Queue {
        Queue::attach(&self.socket).unwrap()
    }

    /// Goes on in frames, and says which queue is wanted, as a program of this build does.
    fn frames(&self) -> UnixStream {
        let mut stream = connect(&self.socket);
        let word = format!("dishrack-frames/{}", self.version());
        let head = upgrade(&word);
        stream.write_all(head.as_bytes()).unwrap();
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 101"));
        let mut hello = vec![0];
        let item_type = std::any::type_name::<String>();
        hello.push(u8::try_from(item_type.len()).unwrap());
        hello.extend(item_type.as_bytes());
        send_frame(&mut stream, &hello);
        let welcome = read_frame(&mut stream);
        assert_eq!(welcome[0], 0, "it is accepted");
        stream
    }

    /// Returns the version of its frames, as it says itself.
    fn version(&self) -> String {
        let answer = ask(&self.socket, "GET", "/v1/attach", b"");
        assert_eq!(
            (answer.status, answer.code()),
            (426, "upgrade_required".into())
        );
        let word = answer.head.split("dishrack-frames/").nth(1).unwrap();
        word.lines().next().unwrap().to_owned()
    }

    /// Makes sure that all goes on as ever.
    fn is_unharmed(&self) {
        let other = self.attach();
        other.put("after").unwrap();
        assert_eq!(*other.get_timeout(DEADLINE).unwrap().into_item(), *"after");
        other.task_done().unwrap();
        assert_eq!(ask(&self.socket, "GET", "/v1/status", b"").status, 200);
    }
}

fn upgrade(word: &str) -> String {
    format!(
        "GET /v1/attach HTTP/1.1\r\nHost: run\r\nConnection: Upgrade\r\nUpgrade: {word}\r\n\r\n"
    )
}

fn read_head(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn send_frame(stream: &mut UnixStream, record: &[u8]) {
    let length = u32::try_from(record.len()).unwrap().to_le_bytes();
    stream.write_all(&[&length, record].concat()).unwrap();
}

/// The record that asks for an item, as long as that takes: request 1, of one item.
const GET: [u8; 5] = [4, 1, 1, 1, 1];

fn read_frame(stream: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut record = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut record).unwrap();
    record
}

/// Waits until the other side has ended a connection.
fn await_end(mut stream: UnixStream) {
    let mut rest = Vec::new();
    // What is closed with something unread in it is reset.
    let _ = stream.read_to_end(&mut rest);
}

/// A question, and where its answer goes.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    number: u64,
    reply_to: JoinableQueue<u64>,
}

fn a_handle_comes_out_of_an_item_as_a_handle() {
    let (questions, replies) = (JoinableQueue::unbounded(), JoinableQueue::unbounded());
    let pool = Supervisor::builder()
        .threads(2)
        .handler(&questions, |question: Question| {
            question.reply_to.put(&(question.number * 2)).map(drop)
        });
    let _pool = pool.unwrap();
    for number in 1..=100 {
        let reply_to = replies.clone();
        questions.put(&Question { number, reply_to }).unwrap();
    }
    let sum: u64 = (0..100)
        .map(|_| {
            let reply = replies.get_timeout(DEADLINE).unwrap();
            let value = *reply;
            reply.task_done().unwrap();
            value
        })
        .sum();
    assert_eq!(sum, 100 * 101);
    let joined = join_all(&[&questions, &replies]).unwrap();
    assert_eq!((joined[0].done, joined[1].done), (100, 100));
}

fn a_handle_goes_nowhere_where_it_would_name_nothing() {
    let replies = JoinableQueue::<u64>::unbounded();
    let text = serde_json::to_string(&replies).unwrap_err().to_string();
    assert!(text.contains("an item of a queue"), "{text}");
    assert!(postcard::to_allocvec(&replies).is_err());
    let read = serde_json::from_str::<JoinableQueue<u64>>("{\"home\":1}").unwrap_err();
    assert!(read.to_string().contains("text"), "{read}");
    // A journal outlives this process.
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("questions.journal");
    let kept =
        JoinableQueue::<Question>::journaled(&journal, Durability::Normal, Options::default());
    let kept = kept.unwrap();
    let question = Question {
        number: 1,
        reply_to: replies,
    };
    let refused = kept.put(&question).unwrap_err();
    assert!(refused.is_not_serializable(), "{refused}");
    assert!(refused.to_string().contains("journal"), "{refused}");
    assert_eq!(kept.len(), 0);
    // An item that was refused leaves nothing behind for the next one.
    let other = JoinableQueue::<Question>::unbounded();
    other.put(&question).unwrap();
    assert_eq!(other.get().unwrap().number, 1);
}

fn a_handle_does_not_outlive_its_queue() {
    let questions = JoinableQueue::<Question>::with(Options::default().max_attempts(1));
    let question = Question {
        number: 1,
        reply_to: JoinableQueue::unbounded(),
    };
    questions.put(&question).unwrap();
    drop(question);
    assert!(questions.try_get().unwrap_err().is_empty());
    let letters = questions.raw_dead_letters().unwrap();
    let cause = &letters[0].history[0].cause;
    assert!(matches!(cause, Cause::Undecodable(why) if why.contains("not there any more")));
}

fn a_handle_that_comes_to_an_attached_program_is_attached_too() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("queue.sock");
    let questions = JoinableQueue::<Question>::unbounded();
    let replies = JoinableQueue::<u64>::unbounded();
    let _control = Control::serve_at(&socket, Controlled::of_queue(&questions)).unwrap();
    let question = Question {
        number: 4,
        reply_to: replies.clone(),
    };
    // By another connection, and back again.
    let attached = JoinableQueue::<Question>::attach(&socket).unwrap();
    attached.put(&question).unwrap();
    let got = attached.get().unwrap();
    got.reply_to.put(&got.number).unwrap();
    got.task_done().unwrap();
    assert_eq!(*replies.get().unwrap(), 4);
}

fn what_a_program_held_goes_back_with_its_connection() {
    let served = Served::new();
    served.queue.put("a").unwrap();
    let mut stream = served.frames();
    send_frame(&mut stream, &GET);
    assert!(read_frame(&mut stream).ends_with(b"\x01a"));
    assert_eq!(served.queue.counts().unwrap().leased, 1);
    drop(stream);
    let again = served.queue.get_timeout(DEADLINE).unwrap();
    assert_eq!(again.attempt(), 2);
    again.task_done().unwrap();
    assert_eq!(served.queue.join_timeout(DEADLINE).unwrap().done, 1);
}

fn what_a_program_cannot_have_seen_is_not_charged() {
    let served = Served::new();
    served.queue.put("a").unwrap();
    let mut stream = served.frames();
    send_frame(&mut stream, &GET);
    until("it is sent", || served.queue.counts().unwrap().leased == 1);
    // Nothing is read of it.
    drop(stream);
    let again = served.queue.get_timeout(DEADLINE).unwrap();
    assert_eq!(again.attempt(), 1);
    again.task_done().unwrap();
}

fn a_part_that_was_left_unread_excuses_nothing_before_it() {
    let served = Served::with(Options::default().max_attempts(1));
    served.queue.put("a").unwrap();
    let large = "x".repeat(8 << 20);
    served.queue.put(&large).unwrap();
    let mut stream = served.frames();
    send_frame(&mut stream, &GET);
    assert!(read_frame(&mut stream).ends_with(b"\x01a"));
    // The next one has no room in a socket. Its beginning is there, and it never is as a whole.
    send_frame(&mut stream, &[4, 2, 1, 1, 1]);
    stream.read_exact(&mut [0]).unwrap();
    drop(stream);
    until("the first is given up", || {
        served.queue.counts().unwrap().dead == 1
    });
    let again = served.queue.get_timeout(DEADLINE).unwrap();
    assert_eq!((again.attempt(), again.len()), (1, large.len()));
    again.task_done().unwrap();
}

fn the_end_of_the_socket_charges_nobody() {
    let served = Served::new();
    served.queue.put("a").unwrap();
    let attached = served.attach();
    let delivery = attached.get().unwrap();
    let waiting = std::thread::spawn({
        let attached = attached.clone();
        move || attached.get().unwrap_err()
    });
    let Served { queue, control, .. } = served;
    drop(control);
    // It has gone back by now, as it was.
    assert_eq!(queue.try_get().unwrap().attempt(), 1);
    assert!(waiting.join().unwrap().is_supervisor_gone());
    assert!(delivery.task_done().unwrap_err().is_supervisor_gone());
    assert!(attached.put("b").unwrap_err().is_supervisor_gone());
    assert!(attached.is_closed() && attached.is_empty());
}

fn nothing_is_put_by_those_who_are_attached_after_the_last_look() {
    let served = Served::new();
    let attached = served.attach();
    attached.put("a").unwrap();
    served.control.refuse_changes();
    assert!(attached.put("b").unwrap_err().is_closed());
    let got = attached.get().unwrap();
    got.task_done().unwrap();
    assert_eq!(attached.join_timeout(DEADLINE).unwrap().done, 1);
}

fn an_attached_program_that_closes_the_queue_closes_it_for_all() {
    let served = Served::new();
    let attached = served.attach();
    attached.close();
    assert!(served.queue.is_closed() && attached.is_closed());
    assert!(attached.get().unwrap_err().is_closed());
    assert!(served.attach().put("a").unwrap_err().is_closed());
}

fn a_join_waits_for_who_takes_items_though_the_pool_has_ended() {
    let served = Served::new();
    let builder = Supervisor::builder().threads(1);
    let pool = builder.handler(&served.queue, |_: String| Ok::<(), String>(()));
    pool.unwrap().stop();
    let attached = served.attach();
    served.queue.put("a").unwrap();
    let lost = served.queue.join_timeout(DEADLINE).unwrap_err();
    assert!(
        lost.is_no_workers_left(),
        "who is only attached does no work"
    );
    attached.get().unwrap().task_done().unwrap();
    assert_eq!(served.queue.join_timeout(DEADLINE).unwrap().done, 1);
    served.queue.put("b").unwrap();
    let waits = served.queue.join_timeout(Duration::ZERO).unwrap_err();
    assert!(waits.is_timeout(), "it may ask again");
    let joining = std::thread::spawn({
        let queue = served.queue.clone();
        move || queue.join_timeout(DEADLINE)
    });
    drop(attached);
    assert!(joining.join().unwrap().unwrap_err().is_no_workers_left());
}

fn items_of_another_type_are_refused() {
    let served = Served::new();
    let refused = JoinableQueue::<u64>::attach(&served.socket).unwrap_err();
    assert!(refused.is_setup());
    let text = refused.to_string();
    assert!(
        text.contains("alloc::string::String") && text.contains("u64"),
        "{text}"
    );
    served.is_unharmed();
}

fn a_socket_of_another_version_is_refused() {
    let served = Served::new();
    let mut stream = connect(&served.socket);
    stream
        .write_all(upgrade("dishrack-frames/999999").as_bytes())
        .unwrap();
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 426"), "{head}");
    let own = format!("dishrack-frames/{}", served.version());
    assert!(head.contains(&own), "{head}");
    // The same as the program sees it: a server of another version.
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("other.sock");
    let other = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        read_head(&mut stream);
        let body = "{\"code\":\"other_version\",\"message\":\"this run speaks dishrack-frames/1\"}";
        let length = body.len();
        let answer =
            format!("HTTP/1.1 426 Upgrade Required\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let refused = Queue::attach(&socket).unwrap_err();
    assert!(refused.is_setup());
    assert!(
        refused
            .to_string()
            .ends_with("this run speaks dishrack-frames/1"),
        "{refused}"
    );
    serving.join().unwrap();
    served.is_unharmed();
}

fn what_is_no_control_socket_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = Queue::attach(folder.path().join("none.sock")).unwrap_err();
    assert!(nobody.is_setup() && nobody.to_string().contains("nobody serves it"));
    let socket = folder.path().join("other.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for answer in [
        "SSH-2.0-OpenSSH_10.2\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
        "",
        "\r\n\r\n",
    ] {
        let listener = listener.try_clone().unwrap();
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            read_head(&mut stream);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let refused = Queue::attach(&socket).unwrap_err();
        assert!(refused.is_setup() && !refused.is_busy(), "{refused}");
        serving.join().unwrap();
    }
}

fn as_many_attach_as_may_and_others_are_told_so() {
    let served = Served::new();
    let mut attached = Vec::new();
    let refused = loop {
        match Queue::attach(&served.socket) {
            Ok(queue) => attached.push(queue),
            Err(refused) => break refused,
        }
        assert!(attached.len() <= 256);
    };
    assert!(refused.is_busy() && !refused.is_setup(), "{refused}");
    // Who only asks is answered.
    assert_eq!(ask(&served.socket, "GET", "/v1/status", b"").status, 200);
    attached.pop();
    until("there is a place", || Queue::attach(&served.socket).is_ok());
    attached[0].put("a").unwrap();
    assert_eq!(served.queue.len(), 1);
}

fn a_frame_that_makes_no_sense_ends_its_connection_alone() {
    let served = Served::new();
    // An unknown record; one of a worker's ring; more bytes than a record; a run that cannot be;
    // nothing.
    let records: [&[u8]; 6] = [
        &[99],
        &[7],
        &[4, 1, 3, 4, 1, 3],
        &[3, 9, 1, 0],
        &[0xff; 40],
        &[],
    ];
    for record in records {
        let mut stream = served.frames();
        send_frame(&mut stream, record);
        await_end(stream);
        served.is_unharmed();
    }
    let mut stream = served.frames();
    stream.write_all(&u32::MAX.to_le_bytes()).unwrap();
    await_end(stream);
    // The number of a request that is not answered yet.
    let mut stream = served.frames();
    send_frame(&mut stream, &GET);
    send_frame(&mut stream, &GET);
    await_end(stream);
    // Instead of saying which queue is wanted.
    let mut stream = connect(&served.socket);
    let word = format!("dishrack-frames/{}", served.version());
    stream.write_all(upgrade(&word).as_bytes()).unwrap();
    stream.write_all(&[0xff; 100]).unwrap();
    await_end(stream);
    served.is_unharmed();
}

fn a_client_that_goes_within_a_put_has_put_nothing() {
    let served = Served::new();
    let mut stream = served.frames();
    let length: u32 = 10 << 20;
    stream.write_all(&length.to_le_bytes()).unwrap();
    stream.write_all(&vec![1; 5 << 20]).unwrap();
    drop(stream);
    served.is_unharmed();
    assert_eq!(served.queue.counts().unwrap().accepted, 1);
}

fn a_client_that_stops_within_a_frame_is_let_go() {
    let served = Served::new();
    let mut idle = served.frames();
    let mut stream = served.frames();
    stream.write_all(&100_u32.to_le_bytes()).unwrap();
    stream.write_all(&[1; 50]).unwrap();
    let began = Instant::now();
    await_end(stream);
    assert!(began.elapsed() > Duration::from_secs(5), "it had some time");
    // One that says nothing may stay.
    served.queue.put("a").unwrap();
    send_frame(&mut idle, &GET);
    assert!(read_frame(&mut idle).ends_with(b"\x01a"));
}

fn one_that_reads_nothing_stops_nobody() {
    let served = Served::new();
    let large = "x".repeat(1 << 20);
    for _ in 0..20 {
        served.queue.put(&large).unwrap();
    }
    let mut stream = served.frames();
    // It asks for all of them, for the state again and again, and never reads.
    send_frame(&mut stream, &[4, 1, 1, 1, 20]);
    stream
        .set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let mut number = 2_u64;
    let is_stopped = loop {
        let mut record = vec![4];
        let mut left = number;
        while left >= 0x80 {
            record.push(left.to_le_bytes()[0] | 0x80);
            left >>= 7;
        }
        record.extend([left.to_le_bytes()[0], 3]);
        let length = u32::try_from(record.len()).unwrap().to_le_bytes();
        if stream.write_all(&[&length[..], &record].concat()).is_err() {
            break true;
        }
        number += 1;
        if number > 1_000_000 {
            break false;
        }
    };
    assert!(is_stopped, "it is listened to for ever");
    let began = Instant::now();
    served.is_unharmed();
    assert!(began.elapsed() < DEADLINE);
    drop(stream);
    // Of what it was given it can have seen little, and nothing is lost.
    for _ in 0..20 {
        let item = served.queue.get_timeout(DEADLINE).unwrap();
        assert_eq!(item.len(), large.len());
        item.task_done().unwrap();
    }
    assert_eq!(served.queue.join_timeout(DEADLINE).unwrap().dead, 0);
}

fn an_item_that_is_too_large_for_a_connection_is_refused_there() {
    let served = Served::with(
        Options::default()
            .max_attempts(1)
            .capacity(Capacity::Unbounded),
    );
    let attached = served.attach();
    let large = "x".repeat((64 << 20) + 1);
    let refused = attached.put(&large).unwrap_err();
    assert!(refused.is_not_serializable(), "{refused}");
    served.queue.put(&large).unwrap();
    served.queue.put("b").unwrap();
    assert_eq!(*attached.get().unwrap().into_item(), *"b");
    attached.task_done().unwrap();
    let letters = served.queue.raw_dead_letters().unwrap();
    assert!(matches!(
        letters[0].history[0].cause,
        Cause::Undeliverable(_)
    ));
}

fn the_history_names_who_had_it() {
    let served = Served::with(Options::default().max_attempts(1));
    served.queue.put("a").unwrap();
    let mut stream = served.frames();
    send_frame(&mut stream, &GET);
    read_frame(&mut stream);
    let item = served.queue.item(ItemId(1)).unwrap().unwrap();
    let (name, own) = (format!("client {}", std::process::id()), std::process::id());
    let holder = &item.holders[0];
    assert_eq!((&*holder.worker, holder.pid), (&*name, own));
    drop(stream);
    until("it is given up", || {
        served.queue.counts().unwrap().dead == 1
    });
    let letter = served.queue.dead_letters().unwrap().remove(0);
    let failure = &letter.history[0];
    assert_eq!(failure.cause, Cause::Disconnected);
    assert_eq!((&*failure.scene.worker, failure.scene.pid), (&*name, own));
}
