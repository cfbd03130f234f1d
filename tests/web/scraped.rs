//! The numbers, as Prometheus itself reads them.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::deadline::DEADLINE;
use crate::shown::ShownRun;

crate::trials! {
    promtool_finds_nothing_to_say_of_the_numbers,
    prometheus_scrapes_them,
}

/// Asks a server over TCP, and returns the body of its answer.
fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let answer = std::io::read_to_string(stream).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some(body.to_owned())
}

fn promtool_finds_nothing_to_say_of_the_numbers() {
    let run = ShownRun::of(&["a", "b", "fail-1"]);
    run.until("all have ended", |status| status["counts"]["dead"] == 1);
    let text = get(run.host(), "/metrics").unwrap();
    let check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut check = check.unwrap();
    check
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let said = check.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success() && words.is_empty(), "{words}: {text}");
}

fn prometheus_scrapes_them() {
    let run = ShownRun::of(&["a", "b", "c", "fail-1", "long-1"]);
    run.until("all but one have ended", |status| {
        status["counts"]["dead"] == 1 && status["counts"]["done"] == 3
    });
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("prometheus.yml");
    let target = run.host();
    let text = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: dishrack\n    static_configs: \
         [{{targets: [\"{target}\"]}}]\n"
    );
    fs::write(&config, text).unwrap();
    // Free a moment ago: Prometheus does not say which port it has chosen itself.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let mut prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.path().join("data").display()
        ))
        .arg(format!("--web.listen-address={free}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let asked = |query: &str| -> Option<String> {
        let answer = get(&free, &format!("/api/v1/query?query={query}"))?;
        let answer: Value = serde_json::from_str(&answer).ok()?;
        Some(answer["data"]["result"][0]["value"][1].as_str()?.to_owned())
    };
    let began = Instant::now();
    let seen = loop {
        let seen = [
            "dishrack_items_done_total",
            "dishrack_items_dead_total",
            "sum(dishrack_workers)",
            "sum(dishrack_item_duration_seconds_bucket%7Ble=%22%2BInf%22%7D)",
        ]
        .map(asked);
        if seen.iter().all(Option::is_some) || began.elapsed() > DEADLINE {
            break seen;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let _ = prometheus.kill();
    let _ = prometheus.wait();
    // Three done, and one that has failed twice.
    assert_eq!(seen.map(Option::unwrap_or_default), ["3", "1", "2", "5"]);
}
