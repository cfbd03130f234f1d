//! Tests of the tools on which the other tests stand.

pub(crate) mod backup;
pub(crate) mod hosts;
pub(crate) mod proxy;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use crate::deadline::until;
use crate::dependants;
use crate::redis_server::{Options, Server, answer};

crate::timely_trials! {
    a_server_answers_and_is_gone_when_dropped,
    a_server_outlives_the_thread_that_started_it,
    a_server_ends_with_the_program_that_started_it,
    a_durable_server_survives_a_kill,
    a_server_forgets_when_it_is_not_durable,
    a_password_is_needed,
    a_user_may_only_what_its_rules_say,
    memory_has_a_limit,
    tls_is_spoken_and_nothing_else,
    a_unix_socket_answers,
    a_replica_has_what_its_master_has,
    a_stopped_server_goes_on,
    a_taken_port_is_given_up,
}

fn a_server_answers_and_is_gone_when_dropped() {
    let server = Server::plain();
    assert_eq!(server.cli(&["ping"]), "PONG");
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}", server.port()));
    let (folder, pid) = (server.folder().to_owned(), server.pid());
    assert!(folder.join("redis.conf").exists());
    drop(server);
    assert!(!folder.exists());
    assert!(fs::exists(format!("/proc/{pid}")).is_ok_and(|is_there| !is_there));
}

fn a_server_outlives_the_thread_that_started_it() {
    let server = std::thread::spawn(Server::plain).join().unwrap();
    assert_eq!(server.cli(&["ping"]), "PONG");
    let pid = server.pid();
    std::thread::scope(|scope| scope.spawn(|| server.restart()).join().unwrap());
    assert_eq!(server.cli(&["ping"]), "PONG");
    assert_ne!(server.pid(), pid);
}

/// A program that starts a server, prints its pid and its folder, and never ends by itself.
pub(crate) const PLAY: &str = "a server";

pub(crate) fn play() {
    let server = Server::plain();
    let said = format!("{} {}\n", server.pid(), server.folder().display());
    std::io::stdout().write_all(said.as_bytes()).unwrap();
    loop {
        std::thread::park();
    }
}

fn a_server_ends_with_the_program_that_started_it() {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.env(crate::PLAY, PLAY).stdout(Stdio::piped());
    let mut program = dependants::spawn(program).unwrap();
    let mut said = String::new();
    let mut stdout = BufReader::new(program.stdout.take().unwrap());
    stdout.read_line(&mut said).unwrap();
    let (pid, folder) = said.trim_end().split_once(' ').unwrap();
    let is_there = || fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(is_redis);
    assert!(is_there());
    program.kill().unwrap();
    program.wait().unwrap();
    until("the server ends", || !is_there());
    fs::remove_dir_all(folder).unwrap();
}

/// Returns `true` if a process that is no zombie is a server.
fn is_redis(command_line: String) -> bool {
    command_line.contains("redis-server")
}

fn a_durable_server_survives_a_kill() {
    let server = Options::default().durable().start();
    let port = server.port();
    assert_eq!(server.cli(&["xadd", "items", "1-1", "name", "one"]), "1-1");
    server.kill();
    server.try_cli(&["ping"]).unwrap_err();
    server.restart();
    assert_eq!(server.port(), port);
    assert_eq!(server.cli(&["xlen", "items"]), "1");
}

fn a_server_forgets_when_it_is_not_durable() {
    let server = Server::plain();
    assert_eq!(server.cli(&["set", "name", "one"]), "OK");
    server.restart();
    assert_eq!(server.cli(&["get", "name"]), "");
}

fn a_password_is_needed() {
    let server = Options::default().password("secret").start();
    assert_eq!(server.cli(&["ping"]), "PONG");
    assert_eq!(
        server.url(),
        format!("redis://:secret@127.0.0.1:{}", server.port())
    );
    let mut stranger = server.cli_command(&["ping"]);
    stranger.env_remove("REDISCLI_AUTH");
    assert!(answer(stranger).unwrap().contains("NOAUTH"));
}

fn a_user_may_only_what_its_rules_say() {
    let rules = "~* &* +@all -xautoclaim";
    let server = Options::default().user("limited", "pw", rules).start();
    let as_user = |command: &[&str]| {
        let who = ["--user", "limited", "--pass", "pw", "--no-auth-warning"];
        server.cli(&[&who, command].concat())
    };
    assert_eq!(as_user(&["xadd", "items", "1-1", "name", "one"]), "1-1");
    let claim = ["xautoclaim", "items", "group", "me", "0", "0"];
    assert!(as_user(&claim).contains("NOPERM"));
    assert!(server.cli(&claim).contains("NOGROUP"));
    let url = server.url_of("limited", "pw");
    assert_eq!(answer(cli_by(&url, &["acl", "whoami"])).unwrap(), "limited");
}

fn cli_by(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("redis-cli");
    command
        .args(["--no-auth-warning", "-u", url])
        .args(arguments);
    command
}

fn memory_has_a_limit() {
    let server = Options::default().memory_max(1).start();
    assert!(server.cli(&["set", "name", "one"]).contains("OOM"));
    server.limit_memory(0);
    assert_eq!(server.cli(&["set", "name", "one"]), "OK");
    server.limit_memory(1);
    assert!(server.cli(&["set", "name", "two"]).contains("OOM"));
    assert_eq!(server.cli(&["get", "name"]), "one");
}

fn tls_is_spoken_and_nothing_else() {
    let server = Options::default().tls().password("secret").start();
    assert_eq!(server.cli(&["ping"]), "PONG");
    assert!(server.url().starts_with("rediss://:secret@127.0.0.1:"));
    let mut plain = Command::new("redis-cli");
    plain.args(["-p", &server.port().to_string(), "ping"]);
    assert_ne!(answer(plain).as_deref(), Ok("PONG"));
    // Another authority did not sign its certificate.
    let stranger = Options::default().tls().start();
    let mut mistaken = Command::new("redis-cli");
    mistaken.args(["-p", &server.port().to_string(), "--tls", "--cacert"]);
    mistaken.arg(stranger.ca()).arg("ping");
    assert!(answer(mistaken).unwrap_err().contains("certificate"));
}

fn a_unix_socket_answers() {
    let server = Options::default().socket().start();
    let mut command = Command::new("redis-cli");
    command.arg("-s").arg(server.socket()).arg("ping");
    assert_eq!(answer(command).as_deref(), Ok("PONG"));
    assert_eq!(server.cli(&["ping"]), "PONG");
}

fn a_replica_has_what_its_master_has() {
    let master = Options::default().password("secret").start();
    assert_eq!(master.cli(&["set", "name", "one"]), "OK");
    let replica = Options::default()
        .password("secret")
        .replica_of(&master)
        .start();
    assert_eq!(replica.cli(&["get", "name"]), "one");
    assert!(replica.cli(&["set", "name", "two"]).contains("READONLY"));
    assert_eq!(master.cli(&["set", "name", "three"]), "OK");
    assert_eq!(master.cli(&["wait", "1", "0"]), "1");
    assert_eq!(replica.cli(&["get", "name"]), "three");
}

fn a_stopped_server_goes_on() {
    let server = Server::plain();
    server.stop();
    let mut impatient = Command::new("timeout");
    impatient.args(["0.2", "redis-cli", "-p", &server.port().to_string(), "ping"]);
    assert!(answer(impatient).is_err());
    server.cont();
    assert_eq!(server.cli(&["ping"]), "PONG");
    // A suspended one is killed as well.
    server.stop();
}

fn a_taken_port_is_given_up() {
    let thief: Arc<OnceLock<TcpListener>> = Arc::default();
    let taken = Arc::clone(&thief);
    // Another program takes the port before the server, once.
    let steal = move |command: &mut Command| {
        if command.get_program() == "redis-server" {
            thief.get_or_init(|| TcpListener::bind(("127.0.0.1", port_of(command))).unwrap());
        }
    };
    let server = Options::default().prepared(steal).start();
    let taken = taken.get().unwrap().local_addr().unwrap();
    assert_ne!(server.port(), taken.port());
    assert_eq!(server.cli(&["ping"]), "PONG");
}

/// Returns the port in the server's file.
fn port_of(command: &Command) -> u16 {
    let file = fs::read_to_string(command.get_args().next().unwrap()).unwrap();
    let port = file.lines().find_map(|line| line.strip_prefix("port "));
    port.unwrap().parse().unwrap()
}
