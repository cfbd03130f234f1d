//! A supervisor is killed, suspended or cut off: others have its items after the lease, and its
//! late words do not count. Each item ends once.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::puppet::Part;
use super::stage::{
    SHORT_LEASE, STREAM, check_books, ends, held, join, let_pass, number, pool, put_items, queue,
    willing,
};
use crate::deadline::until;
use crate::proxy::Proxy;
use crate::redis_server::Server;

crate::timely_trials! {
    the_items_of_a_killed_supervisor_go_to_another,
    the_items_of_killed_worker_processes_go_to_another,
    failed_attempts_survive_a_change_of_machine,
    a_late_word_of_a_stopped_supervisor_is_refused,
    a_late_word_of_one_that_is_cut_off_is_refused,
    a_late_word_of_one_that_knows_already_counts_too,
    a_lease_is_renewed_while_an_item_is_worked_on,
    a_supervisor_that_is_killed_again_and_again_loses_nothing,
}

fn the_items_of_a_killed_supervisor_go_to_another() {
    let server = Server::plain();
    let folder = tempfile::tempdir().unwrap();
    let mut one = Part::new("one", server.url(), SHORT_LEASE)
        .workers(2)
        .start();
    one.await_line("ready");
    let near = queue(server.url(), SHORT_LEASE);
    for n in 1..=5 {
        let file = folder.path().join(format!("{n}"));
        near.put(&format!("hold {}", file.display())).unwrap();
    }
    for _ in 0..2 {
        one.await_line("began hold");
    }
    one.kill();
    let pool = willing(&near, 1);
    assert_eq!(ends(&near), (5, 0));
    assert_eq!(pool.began().len(), 5);
    check_books(&server, 5, 0);
}

fn the_items_of_killed_worker_processes_go_to_another() {
    let server = Server::plain();
    let folder = tempfile::tempdir().unwrap();
    let part = Part::new("one", server.url(), SHORT_LEASE);
    let mut one = part.workers(2).processes().start();
    one.await_line("ready");
    let near = queue(server.url(), SHORT_LEASE);
    // This item only kills its worker, time and again.
    near.put("kill its worker").unwrap();
    assert_eq!(ends(&near), (0, 1));
    let letters = near.dead_letters().unwrap();
    let causes = letters[0].history.iter().map(|one| one.cause.to_string());
    assert_eq!(causes.collect::<Vec<_>>(), ["killed by SIGKILL"; 3]);
    for n in 1..=4 {
        let file = folder.path().join(format!("{n}"));
        near.put(&format!("hold {}", file.display())).unwrap();
    }
    until("both have something", || {
        let pending = server.cli(&["xpending", STREAM, "dishrack"]);
        pending.lines().next().unwrap().parse::<u64>().unwrap() >= 2
    });
    one.kill();
    let pool = willing(&near, 1);
    assert_eq!(ends(&near), (4, 1));
    assert_eq!(pool.began().len(), 4);
    check_books(&server, 4, 1);
}

fn failed_attempts_survive_a_change_of_machine() {
    let server = Server::plain();
    // After the first attempt, the item rests there until the end comes.
    let part = Part::new("one", server.url(), SHORT_LEASE);
    let mut one = part.rest(Duration::from_secs(600)).start();
    one.await_line("ready");
    one.tell("put fail it has a crack");
    one.await_line("began fail");
    until("the attempt is known", || {
        number(&server, &["hlen", "{items}:past"]) == 1
    });
    one.kill();
    let two = Part::new("two", server.url(), SHORT_LEASE).start();
    two.await_line("ready");
    let near = queue(server.url(), SHORT_LEASE);
    assert_eq!(ends(&near), (0, 1));
    let letters = near.dead_letters().unwrap();
    let history = letters[0].history.iter();
    let history: Vec<(u32, String, &str)> = history
        .map(|one| (one.attempt, one.cause.to_string(), &*one.scene.worker))
        .collect();
    let cause = |who: &str| format!("it has a crack, said {who}");
    assert_eq!(
        history,
        [
            (1, cause("one"), "one-1"),
            (2, cause("two"), "two-1"),
            (3, cause("two"), "two-1"),
        ]
    );
    check_books(&server, 0, 1);
}

fn a_late_word_of_a_stopped_supervisor_is_refused() {
    let server = Server::plain();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go");
    let one = Part::new("one", server.url(), SHORT_LEASE).start();
    one.await_line("ready");
    one.tell(&format!("put hold {}", file.display()));
    one.await_line("began hold");
    one.signal(Signal::SIGSTOP);
    let near = queue(server.url(), SHORT_LEASE);
    let pool = willing(&near, 1);
    // The lease of a suspended one ends after some time.
    assert_eq!(ends(&near), (1, 0));
    assert_eq!(pool.began().len(), 1);
    fs::write(&file, "").unwrap();
    one.signal(Signal::SIGCONT);
    one.await_line("did hold");
    until("its late word is counted", || {
        one.tell("refused");
        one.await_line("refused") == "1"
    });
    one.tell("join");
    assert_eq!(one.await_line("joined"), "1 0");
    check_books(&server, 1, 0);
}

/// Cuts one supervisor off while it works on an item, until another one has done it. The argument
/// tells when its own late word comes.
fn cut_off(says_before_it_knows: bool) {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let far = queue(proxy.url(), SHORT_LEASE);
    let near = queue(server.url(), SHORT_LEASE);
    let (pool, gate) = held(&far);
    far.put("item").unwrap();
    pool.await_begun(1);
    proxy.black_hole();
    let other = willing(&near, 1);
    assert_eq!(ends(&near), (1, 0));
    assert_eq!(other.began(), ["item"]);
    if says_before_it_knows {
        gate.open();
        // Its word is on its way, and held.
        let_pass(SHORT_LEASE / 2);
        proxy.restore();
    } else {
        proxy.restore();
        // Its maintenance finds the item gone.
        let renewals = || {
            let said = server.cli(&["info", "commandstats"]);
            let line = said
                .lines()
                .find(|line| line.starts_with("cmdstat_xautoclaim"));
            line.map(str::to_owned)
        };
        for _ in 0..4 {
            let before = renewals();
            until("somebody looks after what they have", || {
                renewals() != before
            });
        }
        gate.open();
    }
    until("its late word is counted", || {
        far.counts().unwrap().refused == 1
    });
    assert_eq!(ends(&far), (1, 0));
    assert!(!pool.notices.has("BUG"), "{:?}", pool.notices.all());
    // The supervisor can work again.
    drop(other);
    far.put("another").unwrap();
    assert_eq!(ends(&far), (2, 0));
    check_books(&server, 2, 0);
}

fn a_late_word_of_one_that_is_cut_off_is_refused() {
    cut_off(true);
}

fn a_late_word_of_one_that_knows_already_counts_too() {
    cut_off(false);
}

fn a_lease_is_renewed_while_an_item_is_worked_on() {
    let server = Server::plain();
    let near = queue(server.url(), SHORT_LEASE);
    let (pool, gate) = held(&near);
    near.put("item").unwrap();
    pool.await_begun(1);
    let other = queue(server.url(), SHORT_LEASE);
    let idle = willing(&other, 1);
    let_pass(4 * SHORT_LEASE);
    let pending = server.cli(&["--json", "xpending", STREAM, "dishrack", "-", "+", "9"]);
    let pending: Vec<(String, String, u64, u64)> = serde_json::from_str(&pending).unwrap();
    // A busy machine may have lost it to the other one, which then has got further.
    if idle.began().is_empty() {
        assert_eq!(pending.len(), 1);
        assert_eq!(pending[0].3, 1, "a renewal is no delivery: {pending:?}");
    }
    gate.open();
    assert_eq!(join(&near).done, 1);
    check_books(&server, 1, 0);
}

fn a_supervisor_that_is_killed_again_and_again_loses_nothing() {
    const KILLS: usize = 4;
    let server = Server::plain();
    let near = queue(server.url(), SHORT_LEASE);
    let part = || {
        Part::new("one", server.url(), SHORT_LEASE)
            .workers(2)
            .start()
    };
    let mut one = part();
    std::thread::scope(|scope| {
        for _ in 0..KILLS {
            // So many that some are left when it is killed, at any speed.
            scope.spawn(|| put_items(&near, 100));
            for _ in 0..20 {
                one.await_line("began");
            }
            one.kill();
            one = part();
        }
    });
    let last = pool(&near, 1, |_| Ok(()));
    assert_eq!(ends(&near), (400, 0));
    assert!(!last.notices.has("BUG"), "{:?}", last.notices.all());
    check_books(&server, 400, 0);
}
