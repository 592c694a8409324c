//! Telling hosts in the LAN that addresses of a prefix are not to be used for anything new.
//!
//! Hosts learn prefixes from router advertisements (RFC 4861, RFC 4862), and mostly somebody else sends
//! these: radvd, dnsmasq, systemd-networkd, odhcpd. Their configuration is theirs. So this crate listens to
//! what this machine itself advertises on an interface, and says the same once more with one thing
//! changed: the prefixes to be avoided have a preferred lifetime of zero.
//!
//! ```text
//!  radvd ──advertisement──> lan0 ──> hosts          tap: what leaves by lan0
//!                            └─────> tap ──> voice ──> the same, preferred lifetime 0 ──> hosts
//! ```
//! Where nobody advertises, nothing is sent, unless the wish names what: then this machine advertises by
//! itself until somebody else on it does, answers hosts that ask, and takes back what is not true any
//! more.
//!
//! Start reading at [`Advertiser`]; `voice` (beside a daemon) and `own` (without one) decide what is said
//! when, without clock or socket.

mod advert;
mod advertiser;
mod own;
mod said;
mod sender;
mod solicitation;
mod tap;
mod voice;

pub use advertiser::Advertiser;
