//! Two programs and one queue. The first one has it and serves it on a control socket; the second one
//! is nobody's child and attaches by the socket's path. Try it in two terminals:
//!
//! ```console
//! $ cargo run --example attach -- serve /tmp/sink.sock
//! $ cargo run --example attach -- dry /tmp/sink.sock
//! ```

use dishrack::{Control, Controlled, JoinableQueue};

type Sink = JoinableQueue<String>;

/// Has the queue, and waits until others have dried all dishes.
fn serve(path: &str) -> Result<(), dishrack::Error> {
    let sink = Sink::bounded(10);
    let _control = Control::serve_at(path, Controlled::of_queue(&sink))?;
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

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", path] => serve(path)?,
        ["dry", path] => dry(path)?,
        _ => return Err("say `serve PATH` in one terminal and `dry PATH` in others".into()),
    }
    Ok(())
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn writeln_out(line: &str) {
    println!("{line}");
}
