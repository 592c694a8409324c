//! The file that a new user starts from.

/// The commented default file: a short first part that works, then every other key, commented out,
/// with its default.
///
/// Lines that begin with `#` and a letter or bracket are optional keys and can be un-commented as
/// they are; lines that begin with `# ` are text.
pub fn sample() -> String {
    SAMPLE.to_owned()
}

const SAMPLE: &str = r##"# uplinkd: shares traffic between several ways to the internet, and takes
# over when one of them fails. `uplinkd check` tells what is wrong with this
# file, `uplinkd plan` what it would do.

# Interfaces whose traffic is shared out. This machine's own traffic always is.
lan = ["br-lan"]                  # default []: every interface's

# One table for each provider. Its name is up to you and is also the name of
# its routing table: `ip route show table isp1`.
[uplink.isp1]
interface = "eth1"
weight = 3                        # default 1; here 3 of 5 new connections, at most 256

[uplink.isp2]
interface = "eth2"
weight = 2

# ---- everything from here on is optional and shown with its default ----

#[uplink.isp1.ipv4]

# The next hop: "auto" takes it from the default route that DHCP, PPP or you
# keep on the interface; or an address, such as "192.0.2.1".
#gateway = "auto"

# What becomes of source addresses: "masquerade" replaces them by the uplink's
# own address, an address such as "203.0.113.7" by that one, "none" leaves them.
#nat = "masquerade"

# How all uplinks are watched. [uplink.isp1.probe] takes the same keys for one.
#[probe]

# Who is asked: "gateway", or "icmp:" and an IPv4 address. The gateway explains
# where a fault lies but does not decide, unless it is the only target. With []
# the link alone decides. Give every uplink targets that it can reach alone.
#targets = ["gateway", "icmp:1.1.1.1", "icmp:8.8.8.8"]

# How many of the deciding targets must answer.
#quorum = 1

# Time between two questions to a target, 10ms to 1h.
#interval = "500ms"

# How long an answer may take, 10ms to 1m.
#timeout = "1s"

# So many lost answers in a row, and a target counts as silent.
#fall = 3

# So many answers in a row, and a silent target counts again.
#rise = 5

#[uplink.isp1.probe]
#quorum = 1

# What uplinkd claims in the kernel. Change it only where other software wants
# the same; run `uplinkd clean` before you do, so that nothing is left behind.
#[reserve]

# Protocol number on routes, rules and nexthops: the sign that they are ours.
#proto = 177

# First of 65536 routing table numbers.
#tables = 7000

# First of 100 rule priorities for the rules that must come early.
#rule_priority = 2000

# First of 100 rule priorities for the last resort, behind those of VPNs.
#rule_priority_last = 32000

# First of 1048576 nexthop ids.
#nexthop_ids = 177000000

# The bits of packet and connection marks: one run of 4 or more. Half of them
# number the uplinks; these have room for 15.
#mark_mask = "0xff000000"

# The name of the nft table (family inet).
#nft_table = "uplinkd"
"##;
