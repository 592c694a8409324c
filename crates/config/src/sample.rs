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

# Whether hosts in the LAN are told, by router advertisements, to avoid IPv6
# prefixes of uplinks that are out of service.
#deprecate = true

# Whether IPv6 networks of the LAN are advertised to hosts where nothing else
# on this machine does.
#advertise = false

# One table for each provider. Its name is up to you and is also the name of
# its routing table: `ip route show table isp1`. An interface that comes back
# under another number can be named by its beginning: "ppp*".
[uplink.isp1]
interface = "eth1"
weight = 3                        # default 1; here 3 of 5 new connections, at most 256;
                                  # or "auto": shares follow what the lines can carry

[uplink.isp2]
interface = "eth2"
weight = 2

# ---- everything from here on is optional; keys are shown with their default,
# ---- groups and policies are examples

# What new connections do while this uplink is degraded: "yield" to uplinks of
# the same tier that are well, or "keep" to it.
#on_degraded = "yield"

# How much it may carry in a time, both directions together, where it is metered.
# The period is a "month" (that begins on its reset day), a "week", a "day", or
# { rolling = "30d" }, by local time. You are told at each level once in a period.
# At the limit it serves only where no other uplink does ("last-resort"), carries
# only what comes in by it ("off"), or goes on ("keep").
#budget = { limit = "50GB", period = "month", reset_day = 1, warn_at = ["75%", "95%"], at_limit = "last-resort" }

# What the line can carry, in bits a second: a full line is not a bad one. Without
# it the highest rate that was measured counts.
#[uplink.isp2.rate]
#down = "100mbit"
#up = "40mbit"

# One table for each family. Without one a family is used where the interface
# has it; with one its absence is a failure.
#[uplink.isp1.ipv4]

# Whether this family leaves by this uplink at all.
#use = true

# The next hop: "auto" takes it from the default route that DHCP, PPP or you
# keep on the interface; or an address, such as "192.0.2.1".
#gateway = "auto"

# What becomes of source addresses: "masquerade" replaces them by the uplink's
# own address, an address such as "203.0.113.7" by that one, "none" leaves them.
#nat = "masquerade"

# The same for IPv6. A gateway may be link-local, such as "fe80::1".
#[uplink.isp1.ipv6]
#use = true
#gateway = "auto"

# Here "auto" leaves addresses of the uplink's own prefix as they are and replaces
# others by the uplink's own address; "prefix" translates those of your other
# networks one to one to the uplink's prefix; or as for IPv4.
#nat = "auto"

# The prefix that the provider routes to this uplink for your networks: "auto"
# finds it in routes and addresses that a DHCPv6 client keeps, or the prefix
# itself, such as "2001:db8:100::/56", or a range that belongs to the provider,
# { within = "2001:db8::/32" }: whatever is found inside it is this uplink's.
#prefix = "auto"

# A pool of uplinks, for policies to lead to. [group.default] says who serves
# everything else; without it that is one tier of all uplinks.
#[group.calls]

# Preference levels, best first: a later one serves while no uplink of an
# earlier one is live. Shares inside one are the uplinks' weights, unless it
# says otherwise: { uplink = "isp1", weight = 9 }.
#tiers = [["isp1"], ["isp2"]]

# When it returns to a better tier: "at-once", "by-hand", or after that has been
# live for a while: { after = "60s", flows = "drain" }. Connections on the worse
# tier: "keep" (and sticky ones stay there), "drain" (new ones move) or "move".
#failback = "at-once"

# What keeps to the uplink that it was given first, until that fails: each
# "connection" by itself, all of a "source", or of a "source-destination" pair;
# or for another time than a day: { by = "source", for = "10m" }.
#sticky = "connection"

# By what new connections are shared out inside a tier: "weights", or they go to
# the line that is "least-used" or of "lowest-latency".
#balance = "weights"

# From which part of what a tier can carry (`rate`, or the highest that was measured)
# on the next tier takes new connections, until it carries less again.
#overflow_at = "80%"

# Whether uplinks serve in this group only while there is something left of their
# budget, whatever becomes of them at its limit.
#while_budget = false

# From what loss over a minute, and what median round-trip time on, an uplink yields
# in this group, whatever its own limits say: to others of its tier, and with all
# of them over it to the next tier. Without it, while it is degraded.
#yield_at = { loss = "2%", rtt = "150ms" }

# Traffic that is treated in a way of its own. The first policy that matches
# decides; what matches none uses group `default`.
#[[policy]]
#name = "voip"                    # its place in the file, such as policy-1, without it
#match = { protocol = "udp", dport = ["5060-5061", "10000-20000"] }
#use = "calls"                    # a group, an uplink, "block", or "main": the main table decides

# Hours are of local time, and those across midnight belong to the day that they
# begin on: "mon-fri 22:00-06:00".
#[[policy]]
#name = "backups"
#match = { source = ["192.168.1.20", "192.168.1.32-192.168.1.47"], schedule = "01:00-06:00" }
#use = "isp2"
#otherwise = "block"              # default "default": the default group; or another group or uplink
#flows = "move"                   # default "keep": connections older than the policy stay where they are

# Many addresses stand in a file of their own, one a line:
# destination = { file = "company-nets.txt" }, beside this file. It is read
# again when it changes.
#[[policy]]
#name = "company"
#match = { destination = ["203.0.113.0/24", "2001:db8:7::/48"], not = { dport = 443 } }
#use = "isp1"

# The router's resolver has to fill the sets dns4_streaming and dns6_streaming.
#[[policy]]
#name = "streaming"
#match = { domain = ["*.netflix.com", "zoom.us"] }
#use = "isp2"

# Devices in the LAN.
#[[policy]]
#name = "tv"
#match = { interface = "br-lan", mac = "52:54:00:12:34:56", family = "ipv4" }
#use = "isp2"

# This machine's own traffic: users and groups by name or number.
#[[policy]]
#name = "own-backups"
#match = { user = 34, group = 34, unit = "backup.service" }
#use = "isp2"
#[[policy]]
#name = "own-containers"
#match = { cgroup = "machine.slice" }
#use = "isp2"

# Whatever else a packet shows.
#[[policy]]
#name = "urgent"
#match = { dscp = ["ef", "cs5"], sport = "1024-65535", mark = "0x10/0xff" }
#use = "calls"
#[[policy]]
#name = "pings"
#match = { icmp = "echo-request" }
#use = "default"

# How all uplinks are watched. [uplink.isp1.probe] takes the same keys for one.
#[probe]

# Who is asked: "gateway", "neighbour" (the gateway by ARP or neighbour discovery),
# "icmp:HOST", "tcp:HOST:PORT", "dns:SERVER/NAME", "dns" for the provider's
# resolvers, "https://HOST/PATH". An address is asked in its own family, a name in
# both. A table says more, for example
# { target = "http://example.org/generate_204", status = 204 }, or
# { command = ["/usr/local/bin/check-line", "--quick"] }.
# The gateway explains where a fault lies but does not decide, unless it is the
# only target. With [] the link alone decides. Give every uplink targets that it
# can reach alone.
#targets = ["gateway", "icmp:1.1.1.1", "icmp:8.8.8.8", "icmp:2606:4700:4700::1111", "icmp:2001:4860:4860::8888"]

# How many of the deciding targets of a family must answer; all of them where it
# has fewer.
#quorum = 1

# A set of the numbers below: "fast", "balanced", or "metered" for lines where
# each byte costs.
#profile = "balanced"

# Time between two questions to a target while all is well, 10ms to 1h.
#interval = "1s"

# The same after a missed answer or another sign of trouble, until it is clear
# what is wrong.
#burst = "70ms"

# How long an answer may take, 10ms to 1m. It is missed sooner, by the target's
# own round-trip times, but counts until then.
#timeout = "1s"

# So many missed answers in a row, and a target counts as silent; more on a line
# that loses some anyway.
#fall = 3

# So many answers in a row, and a silent target of a dead line counts again.
#rise = 5

# Over how long loss and round-trip times are judged.
#window = "10s"

# From what part of lost answers on an uplink is degraded, and failed. While it
# is degraded, new connections use uplinks of the same tier that are well.
#loss = { degraded = "10%", fail = "off" }

# The same for the median round-trip time, such as "300ms".
#rtt = { degraded = "off", fail = "off" }

# How long an uplink stays down or degraded at least.
#hold = "0s"

# An uplink that fails again and again is held back: half-life of its penalty.
#damping = "60s"

# Watches, by a small program in the kernel, whether TCP connections send again
# what is not acknowledged. Needs Linux 6.6; without it this sign is absent.
#tcp_sign = true

#[uplink.isp1.probe]
#quorum = 1

# Remembers loss, round-trip times, traffic and outages for two years, for
# `uplinkctl history` and `uplinkctl report`, in steps of seconds for a day,
# minutes for a month and hours after that. The size is in megabytes of disk.
#[history]
#enabled = true
#size_mb = 64

# Writes every sample down, below the state directory, so that
# `uplinkctl replay` can tell what other numbers would have done. The size is in
# megabytes of disk; the oldest samples go first.
#[record]
#samples = false
#size_mb = 64

# Who is told of what happens (docs/notify.md). Events: "uplink", "degraded",
# "group", "budget", "trouble", "configuration", "order", "network", "kernel",
# "daemon", or "all". What happens within `together` is one message.
#[notify]
#events = ["uplink", "budget", "trouble"]
#together = "5s"
#per_hour = 30

# Programs in a folder, run in the order of their names for each event, which they
# find as JSON on standard input and in the environment. Where uplinkd runs as an
# ordinary user they run as the same one, without its rights.
#[notify.hooks]
#events = ["all"]
#dir = "/etc/uplinkd/hooks.d"
#user = "nobody"
#timeout = "10s"

# Services: "json" for programs, "ntfy", "telegram" (with `to`), "slack". Secrets
# stand in files that nobody else can read; `url_file` instead of `url` is for
# URLs that are one.
#[notify.webhook.phone]
#events = ["uplink"]
#template = "ntfy"                # default "json"
#url = "https://ntfy.sh/my-router"
#token_file = "/etc/uplinkd/ntfy.token"
#ca = "/etc/uplinkd/ca.pem"

#[notify.webhook.bot]
#template = "telegram"            # default "json"
#to = "123456789"
#token_file = "/etc/uplinkd/telegram.token"

#[notify.webhook.team]
#template = "slack"               # default "json"
#url_file = "/etc/uplinkd/slack.url"

#[notify.mail]
#events = ["uplink"]
#to = ["ops@example.org"]
#from = "router@example.org"
#sendmail = "/usr/sbin/sendmail"
#user = "nobody"

# Who may ask the daemon, and who may tell it something (docs/api.md). Groups are
# named by name or number. Without `read_group` everybody on this machine may
# ask; root and the daemon's own user may always do all.
#[api]
#read_group = "1000"
#change_group = "1001"

# TCP beside the socket, for browsers and monitoring, on an address of this
# machine's own. Whoever asks there needs a token of the file: one on each line,
# with "read " before those that may only ask. Only its owner may write the file.
#listen = "127.0.0.1:8177"
#token_file = "/etc/uplinkd/tokens"

# What uplinkd claims in the kernel. Change it only where other software wants
# the same; run `uplinkd clean` before you do, so that nothing is left behind.
#[reserve]

# Protocol number on routes, rules and nexthops: the sign that they are ours.
#proto = 177

# First of 16384 routing table numbers.
#tables = 7000

# First of 100 rule priorities for the rules that must come early.
#rule_priority = 2000

# First of 100 rule priorities for the last resort, behind those of VPNs.
#rule_priority_last = 32000

# First of 1048576 nexthop ids.
#nexthop_ids = 177000000

# The bits of packet and connection marks: one run of 4 or more.
#mark_mask = "0xff000000"

# How many of these bits number the uplinks: 3 of them 7 uplinks. One more is for
# connections from outside, and the rest number where policies lead: 4 bits 15
# groups, uplinks and pairs of `use` and `otherwise`. Without it a little less
# than half of the mask's.
#mark_uplink_bits = 3

# The name of the nft table (family inet).
#nft_table = "uplinkd"
"##;
