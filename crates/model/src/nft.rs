//! What our one nft table must do, as values. `kernel::nft` writes it as text.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{ids::Mark, intent::Nat};

/// The content of our nft table (family inet).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftTable {
    /// Its name.
    pub name: String,
    /// The bits that pin a connection ([`crate::Reserve::mark_pin_mask`]).
    pub pin_mask: u32,
    /// The uplinks, by slot.
    pub uplinks: Vec<NftUplink>,
}

/// An uplink's part in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftUplink {
    /// The lasting number, which names its chains.
    pub slot: u16,
    /// The interface.
    pub interface: String,
    /// The mark of connections that leave by it.
    pub mark_out: Mark,
    /// The mark of connections that come in by it.
    pub mark_in: Mark,
    /// What becomes of IPv4 source addresses.
    pub nat: Nat,
    /// The uplink's own addresses, both families, sorted: never rewritten when they leave by it, and
    /// the sign by which connections older than us are recognised as this uplink's.
    pub addresses: Vec<IpAddr>,
}
