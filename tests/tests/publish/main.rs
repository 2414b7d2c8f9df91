//! Publishing to the real kernel: pins, take-over, attaching and transitions.

mod support;
mod take_over;
mod attaching;
mod decapsulation;
mod transitions;
