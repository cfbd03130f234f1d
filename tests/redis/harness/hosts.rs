//! Hosts reach each other by their cables, and by nothing else.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use crate::deadline::{DEADLINE, until};
use crate::hosts::{Host, hosts};
use crate::redis_server::{Options, answer};

crate::timely_trials! {
    hosts_reach_each_other_until_a_cable_is_pulled,
    a_connection_outlives_a_pulled_cable,
    a_server_runs_on_a_host,
    hosts_are_gone_when_dropped,
}

/// Long enough for messages that are not cut, nearly always; those that are cut never arrive.
const A_WHILE: Duration = Duration::from_millis(200);

/// Makes a listener on a host, and returns its address.
fn listen(host: &Host) -> (TcpListener, SocketAddr) {
    let listener = host.inside(|| TcpListener::bind((host.address(), 0)).unwrap());
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn connect(from: &Host, to: SocketAddr, time: Duration) -> io::Result<TcpStream> {
    from.inside(|| TcpStream::connect_timeout(&to, time))
}

fn hosts_reach_each_other_until_a_cable_is_pulled() {
    let [one, two, three] = hosts();
    let (_listener, address) = listen(&three);
    for host in [&one, &two, &three] {
        connect(host, address, DEADLINE).unwrap();
    }
    one.cut();
    connect(&one, address, A_WHILE).unwrap_err();
    connect(&two, address, DEADLINE).unwrap();
    one.restore();
    three.cut();
    connect(&one, address, A_WHILE).unwrap_err();
    connect(&two, address, A_WHILE).unwrap_err();
    // Its own addresses need no cable.
    connect(&three, address, DEADLINE).unwrap();
    three.restore();
    for host in [&one, &two] {
        until("it is reached again", || {
            connect(host, address, DEADLINE).is_ok()
        });
    }
}

fn a_connection_outlives_a_pulled_cable() {
    let [one, two] = hosts();
    let (listener, address) = listen(&two);
    let mut near = connect(&one, address, DEADLINE).unwrap();
    let (mut far, from) = listener.accept().unwrap();
    assert_eq!(from.ip(), one.address());
    far.set_read_timeout(Some(A_WHILE)).unwrap();
    one.cut();
    near.write_all(b"held").unwrap();
    far.read(&mut [0; 4]).unwrap_err();
    one.restore();
    far.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut said = [0; 4];
    far.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"held");
}

fn a_server_runs_on_a_host() {
    let [front, store] = hosts();
    let address = store.address().to_string();
    let server = Options::default()
        .address(&address)
        .prepared(store.entrance())
        .start();
    assert_eq!(server.url(), format!("redis://{address}:{}", server.port()));
    let is_reached = |seconds| {
        let mut command = front.command("timeout");
        command.args([seconds, "redis-cli", "-u", &server.url(), "ping"]);
        answer(command).as_deref() == Ok("PONG")
    };
    until("it is reached", || is_reached("5"));
    store.cut();
    assert!(!is_reached("0.2"));
    // Clients on the server's own host are not cut off.
    assert_eq!(server.cli(&["ping"]), "PONG");
    store.restore();
    until("it is reached again", || is_reached("5"));
    server.restart();
    until("it is reached anew", || is_reached("5"));
}

fn hosts_are_gone_when_dropped() {
    let [one, two] = hosts();
    let name = |host: &Host| host.inside(|| fs::read_link("/proc/thread-self/ns/net").unwrap());
    let names = [name(&one), name(&two)];
    assert_ne!(names[0], names[1]);
    assert_ne!(fs::read_link("/proc/self/ns/net").unwrap(), names[0]);
    assert!(names.iter().all(is_open));
    drop((one, two));
    assert!(!names.iter().any(is_open));
}

/// Returns `true` if this process holds a file of this name.
fn is_open(name: &PathBuf) -> bool {
    let files = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let mut names = files.filter_map(|file| fs::read_link(file.path()).ok());
    names.any(|one| one == *name)
}
