//! Health checks: which targets answer.
//!
//! A failed target is reported within [`schedule::down_within`] of its death; see there for the reasoning.

mod report;
pub mod schedule;
mod state;
mod tcp;
mod reset_on_close;
mod http;
mod limit;
mod run;

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

pub(crate) use report::unix_ms;
pub use report::{Event, Outcome, Report, Status};
pub use run::{carry_over, run};

use crate::desired::model::Check;

/// What is checked: services with the same backend address and check share one target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    /// Address of the backend.
    pub address: IpAddr,
    /// How it is checked.
    pub check: Check,
}

/// What is to be checked, by target id (the index of the `LIVENESS` map).
pub type Targets = BTreeMap<u32, Target>;

/// What is known of each target, by target id.
pub type Reports = BTreeMap<u32, Report>;
