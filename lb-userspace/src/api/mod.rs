//! How the command line and the agent talk: HTTP and JSON over a Unix socket.

pub mod view;
