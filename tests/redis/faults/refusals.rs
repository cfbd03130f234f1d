//! An unusable Redis is reported at once: its address, the fault, the remedy, and no password.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use dishrack::{Error, Options as QueueOptions, RedisOptions};

use super::puppet::Part;
use super::stage::{LONG_LEASE, Queue, STREAM, check_books, join, open, place, willing};
use crate::port::Port;
use crate::redis_server::{Options, Server};

crate::timely_trials! {
    a_wrong_password_is_told_and_not_shown,
    a_missing_password_is_told,
    an_unknown_user_is_told,
    a_closed_port_is_told_at_once,
    an_unknown_host_is_told,
    a_url_that_is_none_is_told,
    a_key_of_another_kind_is_told,
    items_of_another_type_are_told,
    a_user_without_the_scripts_is_told,
    a_user_without_a_command_is_told_before_work_begins,
    a_user_of_some_keys_is_told,
    a_user_with_what_is_needed_can_work,
    tls_with_a_trusted_certificate_works,
    tls_with_a_certificate_of_a_stranger_is_refused,
    tls_where_there_is_none_is_told,
    a_unix_socket_works,
    another_database_is_another_queue,
}

/// Returns the reason why no queue can be opened there.
fn refusal(url: &str) -> Error {
    let began = Instant::now();
    let refused = Queue::shared(&RedisOptions::new(url, STREAM), QueueOptions::default());
    let error = refused.expect_err("it cannot be used");
    // None of Redis' timeout of five minutes is used up.
    assert!(began.elapsed() < Duration::from_secs(60), "{error}");
    assert!(error.is_shared() && error.is_setup(), "{error:?}");
    error
}

/// Checks for the words of a refusal, all of which must be there.
#[track_caller]
fn assert_words(error: &Error, words: &[&str]) {
    let said = error.to_string();
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    for secret in ["secret", "guess"] {
        assert!(!said.contains(secret), "a password is shown: {said}");
    }
}

fn a_wrong_password_is_told_and_not_shown() {
    let server = Options::default().password("secret").start();
    let url = format!("redis://:guess@127.0.0.1:{}", server.port());
    let place = format!("redis at 127.0.0.1:{} ", server.port());
    assert_words(&refusal(&url), &[&place, "password in the URL"]);
}

fn a_missing_password_is_told() {
    let server = Options::default().password("secret").start();
    let place = format!("127.0.0.1:{}", server.port());
    let error = refusal(&format!("redis://{place}"));
    assert_words(&error, &["redis at", &place, "wants a password"]);
}

fn an_unknown_user_is_told() {
    let server = Options::default()
        .user("known", "secret", "~* &* +@all")
        .start();
    let error = refusal(&server.url_of("stranger", "guess"));
    assert_words(&error, &["redis at 127.0.0.1", "user"]);
}

fn a_closed_port_is_told_at_once() {
    let port = Port::reserve();
    let url = format!("redis://:secret@127.0.0.1:{}", port.number());
    let place = format!("redis at 127.0.0.1:{} ", port.number());
    assert_words(&refusal(&url), &[&place, "refused"]);
}

fn an_unknown_host_is_told() {
    // This name never exists (RFC 2606).
    let error = refusal("redis://:secret@nobody.invalid:6379");
    assert_words(&error, &["redis at nobody.invalid:6379 cannot be reached"]);
}

fn a_url_that_is_none_is_told() {
    assert_words(
        &refusal("db1.example:6379"),
        &["db1.example:6379", "is no address of Redis"],
    );
    assert_words(
        &refusal("http://:secret@db1.example"),
        &["http://db1.example"],
    );
}

fn a_key_of_another_kind_is_told() {
    let server = Server::plain();
    assert_eq!(server.cli(&["set", STREAM, "a string"]), "OK");
    let error = refusal(&server.url());
    assert_words(&error, &["items", "is no stream", "name another one"]);
    assert_eq!(server.cli(&["get", STREAM]), "a string");
}

fn items_of_another_type_are_told() {
    let server = Server::plain();
    drop(open(&place(server.url())));
    let numbers = dishrack::JoinableQueue::<u64>::shared(
        &RedisOptions::new(server.url(), STREAM),
        QueueOptions::default(),
    );
    let error = numbers.unwrap_err();
    assert!(error.is_shared(), "{error:?}");
    assert_words(
        &error,
        &["items of type", "String", "u64", "another stream"],
    );
}

/// Returns the URL of a user who may do all but this.
fn limited(rules: &str) -> (Server, String) {
    let server = Options::default().user("limited", "secret", rules).start();
    let url = server.url_of("limited", "secret");
    (server, url)
}

fn a_user_without_the_scripts_is_told() {
    for (lacks, word) in [("-evalsha", "evalsha"), ("-script", "script")] {
        let (_server, url) = limited(&format!("~* &* +@all {lacks}"));
        let error = refusal(&url);
        assert_words(
            &error,
            &["redis at 127.0.0.1", "user", word, "docs/redis.md"],
        );
    }
}

fn a_user_without_a_command_is_told_before_work_begins() {
    let lacks = [
        "xreadgroup",
        "xautoclaim",
        "xclaim",
        "xack",
        "xdel",
        "xadd",
        "xrange",
        "xpending",
        "xinfo",
    ];
    for command in lacks {
        let (server, url) = limited(&format!("~* &* +@all -{command}"));
        // A user with the permission has put an item.
        let owner = open(&place(server.url()));
        owner.put("item").unwrap();
        let refused = match Queue::shared(&place(url), QueueOptions::default()) {
            Err(error) => error,
            Ok(queue) => {
                let pool = willing(&queue, 1);
                let error = queue.join().expect_err(command);
                assert_eq!(pool.began(), [""; 0], "nothing is begun without {command}");
                error
            }
        };
        assert!(refused.is_shared(), "{command}: {refused:?}");
        assert_words(&refused, &["redis at 127.0.0.1", "user", "docs/redis.md"]);
        // A join may get a script's error, in which Redis does not name the command.
        let names_it = refused.to_string().contains(command);
        let may_be_unnamed = ["xinfo", "xpending"].contains(&command);
        assert!(names_it || may_be_unnamed, "{command}: {refused}");
        // A user with the permission gets the item.
        let _pool = willing(&owner, 1);
        assert_eq!(join(&owner).done, 1);
    }
}

fn a_user_of_some_keys_is_told() {
    let (_server, url) = limited("~items &* +@all");
    let error = refusal(&url);
    assert_words(&error, &["user", "docs/redis.md"]);
}

fn a_user_with_what_is_needed_can_work() {
    // CLIENT only helps to end waits early.
    let (server, url) = limited("~items ~{items}:* &* +@all -client -@admin");
    let queue = open(&place(url));
    let _pool = willing(&queue, 1);
    queue.put("item").unwrap();
    assert_eq!(join(&queue).done, 1);
    check_books(&server, 1, 0);
}

fn tls_with_a_trusted_certificate_works() {
    let server = Options::default().tls().password("secret").start();
    let ca = server.ca();
    let part = Part::new("one", server.url(), LONG_LEASE);
    let puppet = part.variable("SSL_CERT_FILE", ca.to_str().unwrap()).start();
    puppet.await_line("ready");
    puppet.tell("put item");
    puppet.await_line("put 1");
    puppet.tell("join");
    assert_eq!(puppet.await_line("joined"), "1 0");
    check_books(&server, 1, 0);
}

fn tls_with_a_certificate_of_a_stranger_is_refused() {
    let server = Options::default().tls().password("secret").start();
    let error = refusal(&server.url());
    assert_words(
        &error,
        &["redis at 127.0.0.1", "certificate", "SSL_CERT_FILE"],
    );
    // This holds even if another authority is trusted.
    let other = Options::default().tls().start();
    let part = Part::new("one", server.url(), LONG_LEASE);
    let ca = other.ca();
    let mut puppet = part.variable("SSL_CERT_FILE", ca.to_str().unwrap()).start();
    let said = puppet.await_line("unusable");
    assert!(
        said.contains("certificate") && !said.contains("secret"),
        "{said}"
    );
    puppet.await_end();
}

fn tls_where_there_is_none_is_told() {
    let server = Server::plain();
    let url = server.url().replace("redis://", "rediss://");
    let place = format!("redis at 127.0.0.1:{} cannot be reached", server.port());
    assert_words(&refusal(&url), &[&place, "no answer in time"]);
    let server = Options::default().tls().start();
    let url = server.url().replace("rediss://", "redis://");
    let place = format!("redis at 127.0.0.1:{} cannot be reached", server.port());
    assert_words(&refusal(&url), &[&place]);
}

fn a_unix_socket_works() {
    let server = Options::default().socket().password("secret").start();
    // The name is short, because the length of such a path is limited.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    symlink(server.socket(), &path).unwrap();
    let path = path.display();
    let queue = open(&place(format!("redis+unix://{path}?pass=secret")));
    let _pool = willing(&queue, 1);
    queue.put("item").unwrap();
    assert_eq!(join(&queue).done, 1);
    check_books(&server, 1, 0);
    let error = refusal(&format!("redis+unix://{path}?pass=guess"));
    assert_words(&error, &[&format!("redis at {path} "), "password"]);
    let error = refusal("redis+unix:///nowhere/redis.sock");
    assert_words(&error, &["/nowhere/redis.sock", "No such file"]);
}

fn another_database_is_another_queue() {
    let server = Server::plain();
    let [zero, three] = ["0", "3"].map(|db| open(&place(format!("{}/{db}", server.url()))));
    zero.put("item").unwrap();
    assert_eq!((zero.len(), three.len()), (1, 0));
    assert_eq!(server.cli(&["-n", "3", "xlen", STREAM]), "0");
    let error = refusal(&format!("{}/99", server.url()));
    assert_words(&error, &["redis at 127.0.0.1", "DB index"]);
}
