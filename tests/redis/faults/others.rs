//! Servers that are no Redis, or an unsuitable one: one line says what it seems to be, and what to
//! do.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use dishrack::{Options as QueueOptions, RedisOptions};

use super::stage::{Queue, STREAM, check_books, join, open, place, willing};
use crate::deadline::until;
use crate::dependants;
use crate::port::Port;
use crate::redis_server::{Options, Server};
use crate::resp::{Client, Frame};

crate::timely_trials! {
    a_server_that_never_answers_is_told_soon,
    an_http_server_is_told,
    a_server_of_another_kind_is_told_by_its_greeting,
    a_replica_is_told,
    a_node_of_a_cluster_without_the_stream_names_the_one_that_has_it,
    a_cluster_that_is_down_is_told,
    a_sentinel_is_told,
    a_server_that_takes_flags_and_does_not_run_them_is_worked_with,
}

/// Returns the reason why no queue can be opened there, in one line.
fn refusal(url: &str) -> String {
    let refused = Queue::shared(&RedisOptions::new(url, STREAM), QueueOptions::default());
    let error = refused.expect_err("it cannot be used");
    assert!(error.is_shared() && error.is_setup(), "{error:?}");
    let words = error.to_string();
    assert_eq!(words.lines().count(), 1, "{words}");
    assert!(words.starts_with("redis at 127.0.0.1"), "{words}");
    words
}

/// Serves all clients, in threads that end with this program. Returns its URL.
fn serve(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(client));
        }
    });
    url
}

fn a_server_that_never_answers_is_told_soon() {
    let url = serve(|mut client| {
        // It reads, so that the client does not see the end of the connection.
        let _ = std::io::copy(&mut client, &mut std::io::sink());
    });
    let began = Instant::now();
    let words = refusal(&url);
    assert!(words.contains("lets us in and does not answer"), "{words}");
    // It was 21 s. A busy machine may add something to the seven that it takes.
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
}

fn an_http_server_is_told() {
    let url = serve(|mut client| {
        let mut bytes = [0; 1024];
        let _ = client.read(&mut bytes);
        let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    let words = refusal(&url);
    assert!(
        words.contains("is an HTTP server") && words.contains("6379"),
        "{words}"
    );
}

fn a_server_of_another_kind_is_told_by_its_greeting() {
    let url = serve(|mut client| {
        let _ = client.write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
        let _ = std::io::copy(&mut client, &mut std::io::sink());
    });
    let words = refusal(&url);
    assert!(
        words.contains("is no Redis: it says \"SSH-2.0-OpenSSH_9.2\""),
        "{words}"
    );
}

fn a_replica_is_told() {
    let master = Server::plain();
    drop(open(&place(master.url())));
    let replica = Options::default().replica_of(&master).start();
    let words = refusal(&replica.url());
    assert!(
        words.contains("is a replica") && words.contains("name its master"),
        "{words}"
    );
}

/// Returns a node of a cluster, and the port on which it speaks with others. By default that is
/// beyond all ports if its own is a high one.
fn node() -> (Server, Port) {
    let bus = Port::reserve();
    let options = Options::default().line("cluster-enabled yes");
    let options = options.line(&format!("cluster-port {}", bus.number()));
    (options.start(), bus)
}

fn a_cluster_that_is_down_is_told() {
    let (node, _bus) = node();
    let words = refusal(&node.url());
    assert!(words.contains("node of a cluster that is down"), "{words}");
}

fn a_node_of_a_cluster_without_the_stream_names_the_one_that_has_it() {
    let [(one, _bus), (two, bus)] = [node(), node()];
    let [port, bus] = [two.port(), bus.number()].map(|number| number.to_string());
    assert_eq!(one.cli(&["cluster", "addslotsrange", "0", "8191"]), "OK");
    assert_eq!(
        two.cli(&["cluster", "addslotsrange", "8192", "16383"]),
        "OK"
    );
    assert_eq!(
        one.cli(&["cluster", "meet", "127.0.0.1", &port, &bus]),
        "OK"
    );
    let is_up = |server: &Server| {
        server
            .cli(&["cluster", "info"])
            .contains("cluster_state:ok")
    };
    until("the cluster is up", || is_up(&one) && is_up(&two));
    let slot: u32 = one.cli(&["cluster", "keyslot", STREAM]).parse().unwrap();
    let (with, without) = if slot < 8192 { (one, two) } else { (two, one) };
    let words = refusal(&without.url());
    let node = format!("is on node 127.0.0.1:{}: name that one", with.port());
    assert!(
        words.contains("node of a cluster") && words.contains(&node),
        "{words}"
    );
    let queue = open(&place(with.url()));
    let _pool = willing(&queue, 1);
    queue.put("item").unwrap();
    assert_eq!(join(&queue).done, 1);
}

/// A child that ends with the test.
struct Sentinel(Child);

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sentinel(folder: &Path, port: u16) -> Sentinel {
    let file = folder.join("sentinel.conf");
    let lines = format!("port {port}\nbind 127.0.0.1\ndir {}\n", folder.display());
    std::fs::write(&file, lines).unwrap();
    let mut command = Command::new("redis-server");
    command.arg(file).arg("--sentinel").stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let sentinel = Sentinel(dependants::spawn(command).unwrap());
    until("the Sentinel answers", || {
        Client::connect(port).is_ok_and(|mut client| client.call(&["ping"]).is_ok())
    });
    sentinel
}

fn a_sentinel_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let port = Port::reserve();
    let _sentinel = sentinel(folder.path(), port.number());
    let words = refusal(&format!("redis://127.0.0.1:{}", port.number()));
    assert!(
        words.contains("is a Sentinel") && words.contains("SENTINEL MASTERS"),
        "{words}"
    );
}

/// Returns the next frame and its bytes.
fn next(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<(Frame, Vec<u8>)> {
    loop {
        if let Some((frame, length)) = Frame::parse(bytes).unwrap() {
            return Some((frame, bytes.drain(..length).collect()));
        }
        let mut more = [0; 65536];
        match stream.read(&mut more) {
            Ok(count @ 1..) => bytes.extend(&more[..count]),
            _ => return None,
        }
    }
}

/// Passes all on to a server, except scripts that begin with flags: these are taken, and their
/// calls are errors of the script, as with servers of another Lua.
fn pass_on(mut client: TcpStream, port: u16, flagged: &Mutex<Vec<String>>) -> Option<()> {
    let mut server = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let (mut asked, mut said) = (Vec::new(), Vec::new());
    loop {
        let (command, bytes) = next(&mut client, &mut asked)?;
        let Frame::List(words) = command else {
            return None;
        };
        let text = |place: usize| match words.get(place) {
            Some(Frame::Text(text)) => text.as_str(),
            _ => "",
        };
        let knows = |hash: &str| flagged.lock().unwrap().iter().any(|one| one == hash);
        if text(0) == "EVALSHA" && knows(text(1)) {
            client
                .write_all(b"-ERR user_script:1: unexpected symbol near '#'\r\n")
                .ok()?;
            continue;
        }
        server.write_all(&bytes).ok()?;
        let (answer, bytes) = next(&mut server, &mut said)?;
        if let Frame::Text(hash) = &answer
            && text(2).starts_with("#!")
        {
            flagged.lock().unwrap().push(hash.clone());
        }
        client.write_all(&bytes).ok()?;
    }
}

fn a_server_that_takes_flags_and_does_not_run_them_is_worked_with() {
    let server = Server::plain();
    let (port, flagged) = (server.port(), Mutex::default());
    let url = serve(move |client| {
        let _ = pass_on(client, port, &flagged);
    });
    let queue = open(&place(url));
    let pool = willing(&queue, 1);
    queue.put("item").unwrap();
    assert_eq!(join(&queue).done, 1);
    assert_eq!(pool.began(), ["item"]);
    check_books(&server, 1, 0);
}
