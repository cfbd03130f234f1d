//! The statements of `docs/redis.md`.

use std::time::Duration;

use dishrack::{Capacity, JoinableQueue, Options as QueueOptions, RedisOptions, Supervisor};

use crate::cli::{said, supervisor};
use crate::deadline::DEADLINE;
use crate::redis_server::{Options, Server};

crate::timely_trials! {
    a_user_with_the_rules_of_the_page_can_do_all,
    a_user_with_the_rules_of_the_page_can_use_the_command_line,
    all_keys_are_on_the_page,
}

const PAGE: &str = include_str!("../../docs/redis.md");

/// Returns the rules for a user, without its name and its password.
fn rules() -> String {
    let (_, rest) = PAGE.split_once("on >SECRET ").unwrap();
    let (rules, _) = rest.split_once("```").unwrap();
    rules.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Uses all features.
fn use_all(url: &str) {
    let place = RedisOptions::new(url, "jobs").results(10);
    let options = QueueOptions::default().capacity(Capacity::Bounded(2));
    let queue = JoinableQueue::<u64>::shared(&place, options).unwrap();
    let refuse_threes = |n: u64| match n {
        3 => Err("a three"),
        n => Ok(n),
    };
    let builder = Supervisor::builder().threads(1);
    let pool = builder.handler(&queue, refuse_threes).unwrap();
    assert_eq!(pool.map(0..10).filter(Result::is_err).count(), 1);
    for n in 0..10 {
        queue.put(&n).unwrap();
    }
    let joined = queue.join_timeout(DEADLINE).unwrap();
    assert_eq!((joined.done, joined.dead), (18, 2));
    let letters = queue.dead_letters().unwrap();
    assert!(queue.retry_dead_letter(letters[0].id).unwrap());
    queue.join_timeout(DEADLINE).unwrap();
    assert_eq!(queue.take_dead_letters().unwrap().len(), 2);
    pool.stop();
    assert!(queue.get_timeout(Duration::from_millis(1)).is_err());
}

fn a_user_with_the_rules_of_the_page_can_do_all() {
    let server = Options::default().user("crew", "secret", &rules()).start();
    use_all(&server.url_of("crew", "secret"));
    assert_eq!(server.cli(&["ACL", "LOG"]), "");
}

fn a_user_with_the_rules_of_the_page_can_use_the_command_line() {
    let server = Options::default().user("crew", "secret", &rules()).start();
    for (line, code) in [
        ("put --stream jobs ::: a", 0),
        ("work --stream jobs --until-done -- true", 0),
        ("put --stream jobs ::: b", 0),
        (
            "work --stream jobs --until-done --max-attempts 1 -- false",
            1,
        ),
        ("join --stream jobs", 1),
        ("status --stream jobs --interval 0", 0),
        ("dead list --stream jobs", 0),
        ("dead retry --all --stream jobs", 0),
        ("work --stream jobs --until-done -- true", 0),
    ] {
        let mut command = supervisor();
        command.env("REDIS_URL", server.url_of("crew", "secret"));
        command.args(line.split(' '));
        let said = said(command);
        assert_eq!(said.code, Some(code), "{line}: {said:?}");
    }
    assert_eq!(server.cli(&["ACL", "LOG"]), "");
}

fn all_keys_are_on_the_page() {
    let server = Server::plain();
    use_all(&server.url());
    for key in server.cli(&["KEYS", "*"]).lines() {
        let kind = key.trim_start_matches("{jobs}:").split(':').next().unwrap();
        let is_there = PAGE.contains(&format!("| `{{jobs}}:{kind}")) || key == "jobs";
        assert!(is_there, "{key} is not on the page");
    }
    let meta = server.cli(&["HKEYS", "{jobs}:meta"]);
    for field in meta.lines() {
        assert!(
            PAGE.contains(&format!("`{field}`")),
            "{field} is not on the page"
        );
    }
}
