//! The `lb` binary end to end, as users and scripts meet it.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;
mod story;
mod bad_input;
mod shapes;
mod lifecycle;
mod checks;
mod drain;
mod choice;
mod dry_run;
mod bench;
