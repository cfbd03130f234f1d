//! Three hosts: Redis, and two supervisors whose cables can be pulled.

use super::puppet::{Part, Puppet};
use super::stage::{SHORT_LEASE, check_books, number};
use crate::deadline::until;
use crate::hosts::{Host, hosts};
use crate::redis_server::{Options, Server};

crate::timely_trials! {
    a_pulled_cable_of_a_supervisor_loses_nothing,
    a_pulled_cable_of_redis_loses_nothing,
}

const ITEMS: u64 = 150;

/// Starts Redis on one host, a supervisor on each of the others, and items for a while.
fn stage(hosts: &[Host; 3]) -> (Server, [Puppet; 2]) {
    let [store, one, two] = hosts;
    let server = Options::default()
        .address(&store.address().to_string())
        .prepared(store.entrance())
        .start();
    let start = |name: &str, host: &Host| {
        let part = Part::new(name, server.url(), SHORT_LEASE).workers(2);
        let puppet = part.start_on(host);
        puppet.await_line("ready");
        puppet
    };
    let puppets = [start("one", one), start("two", two)];
    for _ in 0..ITEMS {
        puppets[0].tell("put take 40");
    }
    for puppet in &puppets {
        for _ in 0..5 {
            puppet.await_line("began take");
        }
    }
    (server, puppets)
}

fn check(server: &Server, puppets: &[Puppet; 2]) {
    for puppet in puppets {
        puppet.tell("join");
    }
    let all = format!("{ITEMS} 0");
    for puppet in puppets {
        assert_eq!(puppet.await_line("joined"), all);
        let said = puppet.said();
        assert!(
            !puppet.has_said("BUG") && !puppet.has_said("failed"),
            "{said:?}"
        );
    }
    check_books(server, ITEMS, 0);
}

fn a_pulled_cable_of_a_supervisor_loses_nothing() {
    let hosts = hosts();
    let (server, puppets) = stage(&hosts);
    for _ in 0..ITEMS {
        puppets[0].await_line("put");
    }
    hosts[1].cut();
    // The other one has its items after the lease, and does all.
    until("the other one has done all", || {
        number(&server, &["xlen", "items"]) == 0
    });
    hosts[1].restore();
    check(&server, &puppets);
}

fn a_pulled_cable_of_redis_loses_nothing() {
    let hosts = hosts();
    let (server, puppets) = stage(&hosts);
    hosts[0].cut();
    // They finish their items, without being able to report them.
    super::stage::let_pass(2 * SHORT_LEASE);
    hosts[0].restore();
    for _ in 0..ITEMS {
        puppets[0].await_line("put");
    }
    check(&server, &puppets);
}
