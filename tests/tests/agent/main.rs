//! The `lb` binary end to end, as users and scripts meet it.

mod support;
mod story;
mod bad_input;
mod shapes;
mod lifecycle;
mod checks;
