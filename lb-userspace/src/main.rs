//! `lb`: parse and dispatch.

use std::process::ExitCode;

fn main() -> ExitCode {
    lb_userspace::cli::main()
}
