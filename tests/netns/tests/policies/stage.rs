//! What these tests play on: a LAN with several hosts and guests, the router, two lines, and a
//! witness in the internet.
//!
//! Whatever no policy takes goes by isp1 here, so that a packet over isp2 was led there.

use std::{fmt::Write as _, net::IpAddr, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use uplinkd_lab::{
    Isp, LabSpec, Netns, addresses,
    traffic::{Fate, Packet, PacketKind, Sent, Witness, send_all},
};
use uplinkd_model::{Family, Reserve};
use uplinkd_netns_tests::{Rig, config_with_guests, isp, servers_of};

/// How long a packet may take. Only what vanishes takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_millis(600);

/// Both families, in the order in which things are tried.
pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// What is not led elsewhere goes by isp1, and by isp2 only when that is dead.
pub(crate) const ISP1_BY_DEFAULT: &str = "[group.default]\ntiers = [[\"isp1\"], [\"isp2\"]]\n";

/// The laboratory with the daemon running, and the witness.
pub(crate) struct Stage {
    pub(crate) rig: Rig,
    pub(crate) witness: Witness,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The first host of the LAN.
    Client,
    /// Another host of the LAN.
    Host(u8),
    /// The host in the guests' network.
    Guest,
    /// The router itself.
    Router,
}

impl Sender {
    /// The interface that its packets come in by.
    pub(crate) fn interface(self) -> Option<&'static str> {
        match self {
            Self::Client | Self::Host(_) => Some("lan0"),
            Self::Guest => Some("guest0"),
            Self::Router => None,
        }
    }

    /// Its first address.
    pub(crate) fn address(self, family: Family) -> IpAddr {
        match self {
            Self::Client => addresses::client(family, 0).addr(),
            Self::Host(number) => addresses::host(family, number).addr(),
            Self::Guest => addresses::guest(family).addr(),
            Self::Router => isp(1).router(family).addr(),
        }
    }

    /// Its Ethernet address; none for the router itself.
    pub(crate) fn mac(self) -> Option<[u8; 6]> {
        match self {
            Self::Client => Some(addresses::host_mac(0)),
            Self::Host(number) => Some(addresses::host_mac(number)),
            Self::Guest => Some(addresses::host_mac(u8::MAX)),
            Self::Router => None,
        }
    }
}

/// The laboratory of these tests.
pub(crate) fn spec() -> LabSpec {
    LabSpec {
        hosts: 2,
        guests: true,
        ..LabSpec::default()
    }
}

impl Stage {
    /// Sets it up, with more in the configuration than the uplinks.
    pub(crate) fn set(more: &str) -> Result<Self> {
        let mut stage = Self::without_daemon(more)?;
        stage.rig.start_daemon()?;
        stage.rig.wait_settled()?;
        Ok(stage)
    }

    /// The same before the daemon is started.
    pub(crate) fn without_daemon(more: &str) -> Result<Self> {
        let rig = Rig::without_daemon(spec(), &whole(more))?;
        rig.lab().answer_everywhere()?;
        // The kernel tells a host about refusals six times at once, and then once in a second.
        rig.lab().router().set_sysctls(&[
            ("net.ipv4.icmp_ratelimit", "0"),
            ("net.ipv6.icmp.ratelimit", "0"),
        ])?;
        let witness = Witness::start(rig.lab())?;
        Ok(Self { rig, witness })
    }

    /// Puts other text behind the uplinks in the configuration, and waits until it is in force.
    pub(crate) fn reload(&self, more: &str) -> Result<()> {
        self.rig.reload(&whole(more))
    }

    /// Where a sender is.
    pub(crate) fn place(&self, sender: Sender) -> Result<&Netns> {
        let lab = self.rig.lab();
        Ok(match sender {
            Sender::Client => lab.client(),
            Sender::Host(number) => lab.host(number),
            Sender::Guest => lab.guest().context("no guests")?,
            Sender::Router => lab.router(),
        })
    }

    /// Sends packets, each from its own place, and tells what became of them, in their order.
    pub(crate) fn fates(&self, packets: &[(Sender, Packet)]) -> Result<Vec<Fate>> {
        let sent = packets
            .iter()
            .map(|(sender, packet)| Ok(send_all(self.place(*sender)?, &[*packet])?.remove(0)))
            .collect::<Result<Vec<Sent>>>()?;
        Ok(self.witness.fates(&sent, PATIENCE))
    }

    /// As [`Self::fates`], of one sender.
    pub(crate) fn fates_of(&self, sender: Sender, packets: &[Packet]) -> Result<Vec<Fate>> {
        let sent = send_all(self.place(sender)?, packets)?;
        Ok(self.witness.fates(&sent, PATIENCE))
    }

    /// A server that is nobody's target; the first is number 0.
    pub(crate) fn server(&self, family: Family, number: usize) -> IpAddr {
        servers_of(self.rig.lab(), family)[number]
    }

    /// Puts one policy in force that leads to isp2 what it takes, sends packets, and sees whether it
    /// took those that it should and no others.
    pub(crate) fn takes(&self, what: &str, cases: &[(Sender, Packet, bool)]) -> Result<()> {
        self.reload(&policy(what))?;
        self.ensure_taken(what, cases)
    }

    /// Whether the policy that is in force takes those packets that it should and no others.
    pub(crate) fn ensure_taken(&self, what: &str, cases: &[(Sender, Packet, bool)]) -> Result<()> {
        let packets: Vec<_> = cases.iter().map(|(s, p, _)| (*s, *p)).collect();
        for ((sender, packet, is_taken), fate) in cases.iter().zip(self.fates(&packets)?) {
            let line = isp(if *is_taken { 2 } else { 1 });
            let expected = Fate::Over(line, line.router(Family::of(packet.to)).addr());
            ensure!(
                fate == expected,
                "`{what}` {} take it: {fate:?}, not {expected:?}\n  {sender:?} {packet:?}",
                if *is_taken { "should" } else { "should not" },
            );
        }
        Ok(())
    }

    /// Every sender's UDP, TCP and echo to a server, in both families.
    pub(crate) fn everything(&self, senders: &[Sender]) -> Vec<(Sender, Packet)> {
        let mut all = Vec::new();
        for sender in senders {
            for family in FAMILIES {
                let to = self.server(family, 5);
                let kinds = [
                    Packet::udp(to, 4000),
                    Packet::tcp(to, 4000),
                    Packet::new(to, PacketKind::Echo),
                ];
                all.extend(kinds.map(|packet| (*sender, packet)));
            }
        }
        all
    }
}

/// Counts packets in a namespace: those of TCP and UDP that something is true of.
#[derive(Debug)]
pub(crate) struct Arrivals<'a>(&'a Netns);

impl<'a> Arrivals<'a> {
    /// Those that come to a provider from its customer and that one of these expressions of nft,
    /// each on a line, is true of.
    pub(crate) fn count(stage: &'a Stage, line: Isp, what: &str) -> Result<Self> {
        let rules = what.lines().map(|one| format!("iifname \"cust\" {one}"));
        Self::at(
            stage.rig.lab().isp(line),
            "prerouting priority raw - 10",
            rules,
        )
    }

    /// Those that leave the router by an uplink with the mark of a policy, and to a port.
    pub(crate) fn led_out(stage: &'a Stage, line: Isp, port: u16) -> Result<Self> {
        let (device, outlet) = (line.interface(), Reserve::default().marks().outlet);
        let rule = format!("oifname \"{device}\" th dport {port} meta mark and {outlet:#x} != 0");
        Self::at(stage.rig.lab().router(), "postrouting priority 300", [rule])
    }

    /// Those that come by a hook of a place and that one of these rules takes.
    pub(crate) fn at(
        place: &'a Netns,
        hook: &str,
        rules: impl IntoIterator<Item = String>,
    ) -> Result<Self> {
        // Without their addresses: a rule that speaks of one family cannot take note of the other's.
        let who = "meta nfproto . meta l4proto . th sport . meta length";
        let rules = rules.into_iter().map(|r| {
            let r = format!("meta l4proto {{ tcp, udp }} {r}");
            format!("{r} add @who {{ {who} }}; {r} counter name found; ")
        });
        let rules: String = rules.collect();
        place.nft(&format!(
            "table inet arrivals {{ counter found {{ }}; \
             set who {{ typeof {who}; flags dynamic; size 64; }}; \
             chain look {{ type filter hook {hook}; {rules}}}; }}\n"
        ))?;
        Ok(Self(place))
    }

    /// How many there were.
    pub(crate) fn found(&self) -> Result<u64> {
        let mut command = Command::new("nft");
        command.args(["-j", "list", "counter", "inet", "arrivals", "found"]);
        let listed = self.0.output(command, "", Duration::from_secs(5))?;
        let listed: serde_json::Value = serde_json::from_str(&listed.stdout)?;
        let entries = listed["nftables"].as_array().context("no list")?;
        let mut counts = entries
            .iter()
            .filter_map(|e| e["counter"]["packets"].as_u64());
        counts.next().context("no counter")
    }

    /// The first of them: family, protocol, source port and length, for a message.
    pub(crate) fn who(&self) -> Result<String> {
        let mut command = Command::new("nft");
        command.args(["list", "sets", "table", "inet", "arrivals"]);
        Ok(self.0.output(command, "", Duration::from_secs(5))?.stdout)
    }

    /// Begins at zero again.
    pub(crate) fn forget(&self) -> Result<()> {
        self.0.nft("reset counter inet arrivals found\n")
    }
}

/// The file with this text behind the uplinks.
pub(crate) fn whole(more: &str) -> String {
    config_with_guests(&[1, 1]) + more
}

/// One policy that leads to isp2, with these conditions.
pub(crate) fn policy(conditions: &str) -> String {
    format!(
        "{ISP1_BY_DEFAULT}[[policy]]\nname = \"tried\"\nmatch = {{ {conditions} }}\nuse = \"isp2\"\n"
    )
}

/// Several policies, by conditions and where they lead, with the other keys of each.
pub(crate) fn policies<'a>(list: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (conditions, rest) in list {
        let _ = write!(text, "[[policy]]\nmatch = {{ {conditions} }}\n{rest}\n");
    }
    text
}

/// Whether all fates are over one line.
pub(crate) fn ensure_over(fates: &[Fate], line: Isp, when: &str) -> Result<()> {
    let other = fates.iter().find(|f| f.isp() != Some(line));
    ensure!(
        other.is_none(),
        "{when}: {other:?} among {} packets, not over {line}",
        fates.len()
    );
    Ok(())
}
