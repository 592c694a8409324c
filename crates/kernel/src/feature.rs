//! What this kernel and this process can do, probed once. Nothing is changed by it.

use std::fs;

use nix::libc;

use crate::{
    Kernel,
    netlink::Message,
    nft::{self, NftError},
    wire::{connection, fixed, message},
};

/// `CAP_NET_ADMIN`.
const NET_ADMIN: u32 = 12;
/// `CAP_NET_RAW`.
const NET_RAW: u32 = 13;

/// What is there to work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// The kernel has nexthop objects (5.3).
    pub nexthop_objects: bool,
    /// The version of `nft`, or why there is none.
    pub nft: Result<String, NoNft>,
    /// We may change routes, rules and nft.
    pub net_admin: bool,
    /// We may send ICMP by a raw socket.
    pub net_raw: bool,
    /// Connections can be listed and removed by mark. False also where we may not ask.
    pub conntrack_mark: bool,
}

/// Why nobody knows the version of `nft`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoNft {
    /// It is not installed.
    Missing,
    /// It is there and does not do its work, in these words.
    Broken(String),
}

impl Features {
    /// What is missing, each with what to do about it.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let mut check = |is_there: bool, text: &str| {
            if !is_there {
                missing.push(text.to_owned());
            }
        };
        check(
            self.net_admin,
            "the right to change routing (CAP_NET_ADMIN): run as root, or start it by its systemd unit",
        );
        check(
            self.net_raw,
            "the right to send probes (CAP_NET_RAW): run as root, or start it by its systemd unit",
        );
        check(
            self.nexthop_objects,
            "nexthop objects: use a kernel from 5.3 on (5.15 or newer is tested)",
        );
        match &self.nft {
            Ok(_) => {}
            Err(NoNft::Missing) => check(
                false,
                "the program nft: `apt-get install nftables`, or your system's package of that name",
            ),
            Err(NoNft::Broken(why)) => check(
                false,
                &format!(
                    "a program nft that works ({why}): try `nft --version`; where starting a \
                     program takes seconds, set {}",
                    nft::PATIENCE
                ),
            ),
        }
        // Without the right nobody could tell, and the right comes first.
        check(
            self.conntrack_mark || !self.net_admin,
            "connection tracking with marks: `modprobe nf_conntrack_netlink`, and a kernel built with \
             CONFIG_NF_CONNTRACK_MARK and CONFIG_NF_CT_NETLINK",
        );
        missing
    }
}

impl Kernel {
    /// Finds out what can be done here.
    pub fn features(&mut self) -> Features {
        let capabilities = effective_capabilities();
        let has = |bit: u32| capabilities & (1_u64 << bit) != 0;
        let nexthops = Message::new(message::GET_NEXTHOP, 0, &[0; fixed::NEXTHOP]);
        // A mark that nobody has: the list is empty, and the answer says whether it was understood.
        let connections = Message::new(message::GET_CONNECTIONS, 0, &[0; 4])
            .be32(connection::MARK, u32::MAX)
            .be32(connection::MARK_MASK, u32::MAX);
        Features {
            nexthop_objects: match self.route.dump(nexthops) {
                Err(e) => e.errno != libc::EOPNOTSUPP,
                Ok(_) => true,
            },
            nft: self.nft.version().map_err(|e| {
                if matches!(e, NftError::Missing) {
                    NoNft::Missing
                } else {
                    NoNft::Broken(e.to_string())
                }
            }),
            net_admin: has(NET_ADMIN),
            net_raw: has(NET_RAW),
            conntrack_mark: self.netfilter.dump(connections).is_ok(),
        }
    }
}

/// The rights of this thread, one bit each; none where they cannot be read.
fn effective_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_with_a_remedy() {
        let none = Features {
            nexthop_objects: false,
            nft: Err(NoNft::Missing),
            net_admin: true,
            net_raw: true,
            conntrack_mark: true,
        };
        let missing = none.missing();
        assert_eq!(missing.len(), 2);
        assert!(
            missing[1].contains("apt-get install nftables"),
            "{missing:?}"
        );
    }

    #[test]
    fn an_nft_that_hangs_is_not_told_to_be_installed() {
        let slow = Features {
            nexthop_objects: true,
            nft: Err(NoNft::Broken(NftError::TimedOut { seconds: 3 }.to_string())),
            net_admin: true,
            net_raw: true,
            conntrack_mark: true,
        };
        let missing = slow.missing();
        assert_eq!(missing.len(), 1);
        assert!(!missing[0].contains("apt-get"), "{missing:?}");
        assert!(
            missing[0].contains("within 3 seconds") && missing[0].contains(nft::PATIENCE),
            "{missing:?}"
        );
    }

    #[test]
    fn without_the_right_nothing_is_said_about_what_only_the_right_would_show() {
        let no_right = Features {
            nexthop_objects: true,
            nft: Ok("1.0.6".to_owned()),
            net_admin: false,
            net_raw: true,
            conntrack_mark: false,
        };
        assert_eq!(no_right.missing().len(), 1);
    }
}
