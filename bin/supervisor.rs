//! The `supervisor` command: serve if this process is a worker, else run the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    dishrack::cli::serve();
    dishrack::cli::main(std::env::args_os())
}
