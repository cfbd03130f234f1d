//! A run of commands that serves its page: some of its items fail, some take long.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::deadline::DEADLINE;
use crate::http::ask;

/// What is done for each item: one that begins with `fail` fails, and one with `long` goes on until it is
/// ended.
pub(crate) const COMMAND: &str = r#"
echo "working on $1"
echo "<script>document.title = 'broken in'</script>" >&2
case $1 in
    fail*) printf 'it \033[31mcracked\033[0m\n' >&2; exit 3 ;;
    large*) head -c 10000000 /dev/zero | tr '\000' x; head -c 5000000 /dev/zero | tr '\000' y >&2; exit 3 ;;
    broken*) printf 'a\377\376b\033[2J\033]0;broken in\007<b>bold</b>' | tee /dev/stderr; exit 3 ;;
    long*) while :; do sleep 0.2; echo tick; done ;;
esac
"#;

/// The time in which nothing happens to a page that is not kept true, and two looks of one that is.
pub(crate) const TWO_LOOKS: &str = "setTimeout(arguments[arguments.length - 1], 2500)";

/// Returns the program, which `cargo build` has made.
pub(crate) fn supervisor() -> PathBuf {
    let named = std::env::var_os("SUPERVISOR").map(PathBuf::from);
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debug/supervisor");
    named.unwrap_or_else(built)
}

pub(crate) struct ShownRun {
    child: Child,
    socket: PathBuf,
    /// The address of its page.
    pub(crate) address: String,
    _folder: tempfile::TempDir,
}

impl ShownRun {
    /// Begins a run with these items, which ends when it is dropped.
    pub(crate) fn of(items: &[&str]) -> Self {
        ShownRun::named("run", items)
    }

    /// Does the same for one of several that differ by their names.
    pub(crate) fn named(name: &str, items: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join(format!("{name}.sock"));
        let child = Command::new(supervisor())
            .args([
                "--workers",
                "2",
                "--max-attempts",
                "2",
                "--web",
                "127.0.0.1:0",
                "--input",
                "-",
            ])
            .arg("--control")
            .arg(&socket)
            .args(["--", "sh", "-c", COMMAND, "_", "{}"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        let address = address_of(&mut child);
        let mut input = child.stdin.as_ref().unwrap();
        writeln!(input, "{}", items.join("\n")).unwrap();
        ShownRun {
            child,
            socket,
            address,
            _folder: folder,
        }
    }

    pub(crate) fn page(&self, path: &str) -> String {
        format!("{}{}", self.address.trim_end_matches('/'), path)
    }

    /// Returns the host and the port of its page.
    pub(crate) fn host(&self) -> &str {
        self.address
            .trim_start_matches("http://")
            .trim_end_matches('/')
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        ask(&self.socket, "GET", path, b"").json()
    }

    /// Waits until the run stands so.
    pub(crate) fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        let began = Instant::now();
        loop {
            let status = self.get("/v1/status");
            if is_so(&status) {
                return;
            }
            assert!(began.elapsed() < DEADLINE, "{what}: {status}");
            std::thread::yield_now();
        }
    }
}

/// Returns the address of a page, once it is served.
pub(crate) fn address_of(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    let address = loop {
        let line = lines.next();
        let line = line.unwrap_or_else(|| panic!("no address: {said:?}"));
        let line = line.unwrap();
        if let Some((_, address)) = line.split_once("the page is at ") {
            break address.to_owned();
        }
        said.push(line);
    };
    std::thread::spawn(move || lines.for_each(drop));
    address
}

impl Drop for ShownRun {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
