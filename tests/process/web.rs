//! The page by the command line: where it is, who may see it, and what is refused.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use crate::place::Place;
use crate::support::{send, until};

crate::trials! {
    a_run_serves_its_page_and_ends_with_it,
    the_page_of_another_run_is_served_until_it_is_told_to_end,
    a_token_is_made_once_and_kept_to_its_owner,
    what_cannot_be_served_is_told_before_anything_begins,
}

/// A program that has said where its page is.
struct Serving {
    child: Child,
    said: Vec<String>,
    host: String,
}

impl Serving {
    fn begin(mut command: Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let host = loop {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("no address: {said:?}"))
                .unwrap();
            if let Some((_, host)) = line.split_once("the page is at http://") {
                break host.trim_end_matches('/').to_owned();
            }
            said.push(line);
        };
        std::thread::spawn(move || lines.for_each(drop));
        Serving { child, said, host }
    }

    /// Asks for a page, and returns the whole answer.
    fn get(&self, headers: &str) -> String {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        write!(
            stream,
            "GET / HTTP/1.0\r\nHost: {}\r\n{headers}\r\n",
            self.host
        )
        .unwrap();
        std::io::read_to_string(stream).unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn supervisor(place: &Place, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    command.args(arguments).current_dir(place.path("."));
    command.env("XDG_RUNTIME_DIR", place.path("."));
    command
}

fn refused(place: &Place, arguments: &[&str]) -> String {
    let ended = supervisor(place, arguments).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(2), "{said}");
    said
}

fn a_run_serves_its_page_and_ends_with_it() {
    let place = Place::new();
    let arguments = ["--web", "127.0.0.1:0", "-w", "1", "--", "true"];
    let mut serving = Serving::begin(supervisor(&place, &arguments));
    assert!(serving.get("").contains("<h1>Overview</h1>"));
    let mut input = serving.child.stdin.take().unwrap();
    writeln!(input, "one").unwrap();
    drop(input);
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
    assert!(TcpStream::connect(&serving.host).is_err());
}

fn the_page_of_another_run_is_served_until_it_is_told_to_end() {
    let place = Place::new();
    let arguments = ["--name", "shown", "-w", "1", "--", "cat"];
    let mut run = supervisor(&place, &arguments);
    let mut run = run
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("its socket is there", || {
        place.path("dishrack/shown.sock").exists()
    });
    let mut serving = Serving::begin(supervisor(&place, &["web", "0", "--at", "shown"]));
    assert!(serving.get("").contains("<strong>shown</strong>"));
    drop(run.stdin.take());
    assert!(run.wait().unwrap().success());
    until("the end of the run is told", || {
        serving.get("").contains("502")
    });
    send(serving.child.id(), Signal::SIGTERM);
    assert_eq!(serving.child.wait().unwrap().code(), Some(143));
    let said = refused(&place, &["web", "0"]);
    assert!(said.contains("no run is there"), "{said}");
}

fn a_token_is_made_once_and_kept_to_its_owner() {
    let place = Place::new();
    let file = place.path("token");
    let arguments = [
        "--web",
        "0.0.0.0:0",
        "--web-token-file",
        "token",
        "-w",
        "1",
        "--",
        "cat",
    ];
    let serving = Serving::begin(supervisor(&place, &arguments));
    let token = fs::read_to_string(&file).unwrap().trim().to_owned();
    assert_eq!(token.len(), 64);
    assert!(
        serving.said.iter().any(|line| line.ends_with(&token)),
        "{:?}",
        serving.said
    );
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert!(serving.get("").contains("401"));
    let page = serving.get(&format!("Authorization: Bearer {token}\r\n"));
    assert!(page.contains("<h1>Overview</h1>"));
    drop(serving);
    let serving = Serving::begin(supervisor(&place, &arguments));
    assert!(
        !serving.said.iter().any(|line| line.contains(&token)),
        "{:?}",
        serving.said
    );
    drop(serving);
    // Others could read it.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let said = refused(&place, &arguments);
    assert!(
        said.contains("token: others may read it (its mode is 644)"),
        "{said}"
    );
    for (text, why) in [
        ("short\n", "at least 16 letters"),
        ("\n", "there is no token"),
    ] {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let said = refused(&place, &arguments);
        assert!(said.contains(why), "{said}");
    }
}

fn what_cannot_be_served_is_told_before_anything_begins() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, why) in [
        (&["--web", &taken][..], "in use"),
        (&["--web", "0.0.0.0:0"], "--web-token-file FILE gives one"),
        (&["--web", "box:http"], "it is no address"),
        (&["--web", "0", "--no-control"], "cannot be used with"),
    ] {
        let marked = [arguments, &["--", "sh", "-c", "touch begun"]].concat();
        let said = refused(&place, &marked);
        assert!(said.contains(why), "{why}: {said}");
    }
    assert!(!place.path("begun").exists());
}
