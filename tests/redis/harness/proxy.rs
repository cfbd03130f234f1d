//! The proxy affects connections as described.

use std::fs;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use crate::deadline::until;
use crate::proxy::Proxy;
use crate::redis_server::{Options, Server};
use crate::resp::{Client, Frame};

crate::timely_trials! {
    a_proxy_passes_everything_on,
    a_cut_ends_connections_but_for_new_ones,
    nobody_listens_at_a_proxy_that_refuses,
    a_proxy_hangs_up_on_whoever_comes,
    a_black_hole_holds_what_it_is_sent,
    what_a_black_hole_holds_is_lost_by_a_cut,
    either_way_is_delayed,
    a_command_whose_reply_is_lost_was_carried_out,
    replies_before_the_lost_one_pass,
    a_command_whose_request_is_lost_was_not_carried_out,
    the_end_of_a_connection_is_passed_on,
    a_proxy_survives_the_restart_of_its_server,
    a_proxy_turns_to_another_server,
    a_proxy_passes_tls_on,
    a_proxy_leaves_no_thread_behind,
}

/// Long enough for messages that are not held, nearly always; those that are held never arrive.
const A_WHILE: Duration = Duration::from_millis(50);

fn text(text: &str) -> Frame {
    Frame::Text(text.to_owned())
}

fn has_ended<T>(said: std::io::Result<T>) -> bool {
    let ends = [
        ErrorKind::UnexpectedEof,
        ErrorKind::ConnectionReset,
        ErrorKind::BrokenPipe,
    ];
    said.is_err_and(|error| ends.contains(&error.kind()))
}

fn a_proxy_passes_everything_on() {
    let server = Options::default().password("secret").start();
    let proxy = Proxy::before(&server);
    assert_eq!(
        proxy.url(),
        format!("redis://:secret@127.0.0.1:{}", proxy.port())
    );
    let mut client = Client::connect(proxy.port()).unwrap();
    assert_eq!(client.call(&["auth", "secret"]).unwrap(), text("OK"));
    let long = "x".repeat(1_000_000);
    assert_eq!(client.call(&["set", "name", &long]).unwrap(), text("OK"));
    assert_eq!(client.call(&["get", "name"]).unwrap(), text(&long));
    let both = client.call(&["mget", "name", "none"]).unwrap();
    assert_eq!(both, Frame::List(vec![text(&long), Frame::Nil]));
    assert_eq!(proxy.connections(), 1);
}

fn a_cut_ends_connections_but_for_new_ones() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let mut clients: Vec<Client> = (0..3)
        .map(|_| Client::connect(proxy.port()).unwrap())
        .collect();
    for client in &mut clients {
        assert_eq!(client.call(&["ping"]).unwrap(), text("PONG"));
    }
    proxy.cut();
    for client in &mut clients {
        assert!(has_ended(client.receive()));
    }
    let mut new = Client::connect(proxy.port()).unwrap();
    assert_eq!(new.call(&["ping"]).unwrap(), text("PONG"));
}

fn nobody_listens_at_a_proxy_that_refuses() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let mut client = Client::connect(proxy.port()).unwrap();
    for _ in 0..3 {
        assert_eq!(client.call(&["ping"]).unwrap(), text("PONG"));
        proxy.refuse();
        assert!(has_ended(client.call(&["ping"])));
        let refused = Client::connect(proxy.port()).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        proxy.restore();
        client = Client::connect(proxy.port()).unwrap();
    }
}

fn a_proxy_hangs_up_on_whoever_comes() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    proxy.hang_up();
    let mut client = Client::connect(proxy.port()).unwrap();
    assert!(has_ended(client.receive()));
    proxy.restore();
    let mut client = Client::connect(proxy.port()).unwrap();
    assert_eq!(client.call(&["ping"]).unwrap(), text("PONG"));
}

fn a_black_hole_holds_what_it_is_sent() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let mut client = Client::connect(proxy.port()).unwrap();
    proxy.black_hole();
    // It is more than the kernel would hold for a server that does not read.
    let long = "x".repeat(32 * 1024 * 1024);
    client.send(&["set", "name", &long]).unwrap();
    assert!(!client.hears_within(A_WHILE));
    assert_eq!(server.cli(&["exists", "name"]), "0");
    proxy.restore();
    assert_eq!(client.receive().unwrap(), text("OK"));
    assert_eq!(server.cli(&["strlen", "name"]), long.len().to_string());
}

fn what_a_black_hole_holds_is_lost_by_a_cut() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let mut client = Client::connect(proxy.port()).unwrap();
    assert_eq!(client.call(&["ping"]).unwrap(), text("PONG"));
    proxy.black_hole();
    client.send(&["set", "name", "one"]).unwrap();
    proxy.cut();
    assert!(has_ended(client.receive()));
    proxy.restore();
    let mut client = Client::connect(proxy.port()).unwrap();
    assert_eq!(client.call(&["get", "name"]).unwrap(), Frame::Nil);
}

fn either_way_is_delayed() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let mut client = Client::connect(proxy.port()).unwrap();
    assert_eq!(client.call(&["ping"]).unwrap(), text("PONG"));
    let [none, some] = [Duration::ZERO, Duration::from_millis(100)];
    for (requests, replies) in [(some, none), (none, some), (some, some)] {
        proxy.delay(requests, replies);
        let began = Instant::now();
        // Messages that are sent together are late together.
        for _ in 0..100 {
            client.send(&["ping"]).unwrap();
        }
        for _ in 0..100 {
            assert_eq!(client.receive().unwrap(), text("PONG"));
        }
        let took = began.elapsed();
        assert!(took >= requests + replies, "{took:?}");
        assert!(took < 50 * some, "{took:?}");
    }
}

fn a_command_whose_reply_is_lost_was_carried_out() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let mut client = Client::connect(proxy.port()).unwrap();
    proxy.lose_reply_to("XADD");
    assert_eq!(client.call(&["ping"]).unwrap(), text("PONG"));
    assert!(has_ended(client.call(&["xadd", "items", "*", "name", "1"])));
    proxy.await_losses(1);
    assert_eq!(server.cli(&["xlen", "items"]), "1");
    // Only one is lost.
    let mut client = Client::connect(proxy.port()).unwrap();
    let added = client.call(&["xadd", "items", "9999999999999-1", "name", "2"]);
    assert_eq!(added.unwrap(), text("9999999999999-1"));
    assert_eq!(proxy.losses(), 1);
}

fn replies_before_the_lost_one_pass() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let mut client = Client::connect(proxy.port()).unwrap();
    proxy.lose_reply_to("second");
    for name in ["first", "second", "third"] {
        client.send(&["set", name, "1"]).unwrap();
    }
    assert_eq!(client.receive().unwrap(), text("OK"));
    assert!(has_ended(client.receive()));
    assert_eq!(server.cli(&["exists", "first", "second"]), "2");
}

fn a_command_whose_request_is_lost_was_not_carried_out() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let mut client = Client::connect(proxy.port()).unwrap();
    proxy.lose_request_of("second");
    for name in ["first", "second"] {
        client.send(&["set", name, "1"]).unwrap();
    }
    proxy.await_losses(1);
    let mut client = Client::connect(proxy.port()).unwrap();
    let there = client.call(&["exists", "second"]).unwrap();
    assert_eq!(there, Frame::Number(0));
}

fn the_end_of_a_connection_is_passed_on() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let mut client = Client::connect(proxy.port()).unwrap();
    assert_eq!(
        client.call(&["client", "setname", "c"]).unwrap(),
        text("OK")
    );
    assert!(server.cli(&["client", "list"]).contains("name=c"));
    drop(client);
    until("the server knows", || {
        !server.cli(&["client", "list"]).contains("name=c")
    });
    until("the proxy knows", || proxy.connections() == 0);
}

fn a_proxy_survives_the_restart_of_its_server() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let mut client = Client::connect(proxy.port()).unwrap();
    assert_eq!(client.call(&["ping"]).unwrap(), text("PONG"));
    server.kill();
    assert!(has_ended(client.receive()));
    // There is no server behind the proxy.
    let mut client = Client::connect(proxy.port()).unwrap();
    assert!(has_ended(client.receive()));
    server.restart();
    let mut client = Client::connect(proxy.port()).unwrap();
    assert_eq!(client.call(&["ping"]).unwrap(), text("PONG"));
}

fn a_proxy_turns_to_another_server() {
    let [one, two] = [(); 2].map(|()| Server::plain());
    assert_eq!(two.cli(&["set", "name", "two"]), "OK");
    let proxy = Proxy::before(&one);
    let mut old = Client::connect(proxy.port()).unwrap();
    assert_eq!(old.call(&["get", "name"]).unwrap(), Frame::Nil);
    proxy.turn_to(&two);
    let mut new = Client::connect(proxy.port()).unwrap();
    assert_eq!(new.call(&["get", "name"]).unwrap(), text("two"));
    assert_eq!(old.call(&["get", "name"]).unwrap(), Frame::Nil);
}

fn a_proxy_passes_tls_on() {
    let server = Options::default().tls().start();
    let proxy = Proxy::before(&server);
    let port = proxy.port().to_string();
    assert_eq!(server.cli(&["-p", &port, "ping"]), "PONG");
    assert!(proxy.url().starts_with("rediss://"));
}

fn a_proxy_leaves_no_thread_behind() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let name = format!("proxy-{}", proxy.port());
    let clients: Vec<Client> = (0..5)
        .map(|_| Client::connect(proxy.port()).unwrap())
        .collect();
    until("all are let in", || proxy.connections() == clients.len());
    proxy.black_hole();
    // A new thread sets its name itself.
    until("all threads are there", || {
        threads_named(&name) == 1 + 4 * clients.len()
    });
    // A server that reads nothing does not block the proxy's end.
    server.stop();
    drop(proxy);
    // A joined thread may still be ending in the kernel.
    until("all threads are gone", || threads_named(&name) == 0);
}

fn threads_named(name: &str) -> usize {
    let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = threads.map(|thread| fs::read_to_string(thread.path().join("comm")));
    names
        .filter(|own| own.as_ref().is_ok_and(|own| own.trim_end() == name))
        .count()
}
