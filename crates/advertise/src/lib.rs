//! Telling hosts in the LAN that addresses of a prefix are not to be used for anything new.
//!
//! Hosts learn prefixes from router advertisements (RFC 4861, RFC 4862), and somebody else sends these:
//! radvd, dnsmasq, systemd-networkd, odhcpd. Their configuration is theirs. So this crate listens to
//! what this machine itself advertises on an interface, and says the same once more with one thing
//! changed: the prefixes to be avoided have a preferred lifetime of zero.
//!
//! ```text
//!  radvd ──advertisement──> lan0 ──> hosts          tap: what leaves by lan0
//!                            └─────> tap ──> voice ──> the same, preferred lifetime 0 ──> hosts
//! ```
//! Where nobody advertises, nothing is sent: hosts have no addresses from advertisements there, and one
//! of ours would have to claim or deny that this machine is a default router, which nobody asked for.
//!
//! Start reading at [`Advertiser`]; `voice` decides what is said when, without clock or socket.

mod advert;
mod advertiser;
mod sender;
mod solicitation;
mod tap;
mod voice;

pub use advertiser::{Advertiser, Wish};
