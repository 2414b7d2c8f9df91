//! Health checks: which targets answer.

use std::net::IpAddr;

use crate::desired::model::Check;

/// What is checked: services with the same backend address and check share one target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Address of the backend.
    pub address: IpAddr,
    /// How it is checked.
    pub check: Check,
}
