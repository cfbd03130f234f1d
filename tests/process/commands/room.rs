//! Room in memory: commands with a limit of it.

use crate::place::Place;
use crate::said::sh;
use crate::support::{is_alive, named, until};

crate::trials!(
    what_a_command_has_started_counts_for_its_item,
    a_limit_of_memory_that_makes_no_sense_is_refused,
);

fn what_a_command_has_started_counts_for_its_item() {
    let place = Place::new();
    place.gate("never");
    // A shell that another one has started keeps this much in a variable.
    let script = "test $0 = a || exit 0
        sh -c 'echo $$ > child; a=$(head -c 150000000 /dev/zero | tr \"\\0\" a); read x < never' &
        wait";
    let options = "-w 2 --memory 64M --max-attempts 1 --joblog log";
    let events = place.watch(&sh(options, script, "{} ::: a b c d")).ends(1);
    let child: u32 = place.text("child").trim().parse().unwrap();
    until("what it has started has ended", || !is_alive(child));
    let over = named(&events, "memory_limit");
    assert!(over.iter().all(|one| one["item"] == "a"), "{over:?}");
    assert!(over[0]["bytes"].as_u64() > Some(64 << 20), "{over:?}");
    let dead = named(&events, "dead");
    assert_eq!((dead.len(), &dead[0]["item"]), (1, &"a".into()));
    let cause = "killed for memory, also when it ran alone: it used more than its limit of 64 MiB";
    assert_eq!(dead[0]["cause"], cause);
    let retries = named(&events, "retry");
    assert_eq!((retries.len(), &retries[0]["item"]), (1, &"a".into()));
    let cause = "used more memory than its limit of 64 MiB";
    assert_eq!(retries[0]["cause"], cause);
    assert_eq!(named(&events, "summary")[0]["done"], 3);
    let log = place.joblog("log");
    assert!(log.iter().any(|row| row[7] == "9"), "{log:?}");
}

fn a_limit_of_memory_that_makes_no_sense_is_refused() {
    let place = Place::new();
    let refused = |options| place.run(&sh(options, "true", "{} ::: a"), b"");
    refused("--memory 0").is_refused("--memory 0: no memory is too little for any item");
    refused("--memory lots").is_refused("expected a size such as 400M");
    let threads = ["--mode", "threads", "--memory", "1G"];
    let words = "--memory: what --mode threads works on cannot be ended; use processes";
    place.run(&threads, b"").is_refused(words);
}
