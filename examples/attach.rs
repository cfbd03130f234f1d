//! Two programs and one queue. The first one has it and serves it on a control socket; the second one
//! is nobody's child and attaches by the socket's path. Try it in two terminals:
//!
//! ```console
//! $ cargo run --example attach -- serve /tmp/sink.sock
//! $ cargo run --example attach -- dry /tmp/sink.sock
//! ```
//!
//! Without words it serves, and starts the second one itself.

use std::env;
use std::error::Error;
use std::io;
use std::process::Command;

use dishrack::{Control, Controlled, JoinableQueue};

type Sink = JoinableQueue<String>;

/// Has the queue, and waits until others have dried all dishes. It calls `announce` once they can
/// attach.
fn serve(path: &str, announce: impl FnOnce() -> io::Result<()>) -> Result<(), Box<dyn Error>> {
    let sink = Sink::bounded(10);
    let _control = Control::serve_at(path, Controlled::of_queue(&sink))?;
    announce()?;
    for n in 1..=20 {
        // It waits until somebody takes some.
        sink.put(&format!("dish-{n}"))?;
    }
    let joined = sink.join()?;
    sink.close();
    writeln_out(&format!("{} done, {} dead", joined.done, joined.dead));
    Ok(())
}

/// Takes dishes out of the other program's queue. If this process is killed, its dish goes back there
/// at once, and the next one to ask gets it.
fn dry(path: &str) -> Result<(), dishrack::Error> {
    let sink = Sink::attach(path)?;
    loop {
        match sink.get() {
            Ok(dish) => {
                writeln_out(&format!("{} is dried by {}", *dish, std::process::id()));
                dish.task_done()?;
            }
            // The other program has closed the queue, or has ended after that.
            Err(error) if error.is_closed() || error.is_supervisor_gone() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Serves, and has one other program attach, which is told nothing but the path.
fn serve_one() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("sink.sock");
    let path = path
        .to_str()
        .ok_or("the temporary folder's path is no text")?;
    let mut dry = Command::new(env::current_exe()?);
    dry.args(["dry", path]);
    let mut dryer = None;
    serve(path, || {
        dryer = Some(dry.spawn()?);
        Ok(())
    })?;
    if let Some(mut dryer) = dryer {
        dryer.wait()?;
    }
    Ok(())
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => serve_one()?,
        ["serve", path] => serve(path, || Ok(()))?,
        ["dry", path] => dry(path)?,
        _ => return Err("say `serve PATH` in one terminal and `dry PATH` in others".into()),
    }
    Ok(())
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn writeln_out(line: &str) {
    println!("{line}");
}
