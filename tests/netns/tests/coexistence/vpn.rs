//! VPN software by the very rules, routes and tables that it makes. The tunnel itself is a cable to
//! a namespace, since not every kernel has WireGuard: for routing there is no difference.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use uplinkd_lab::{
    Fault, LabSpec, Netns,
    addresses::servers_network,
    plumbing::{LabRoute, Plug, Plumber, STATIC, connect},
    programs::ip,
    traffic::{PORT, Servers, Transport, shares},
};
use uplinkd_model::Family;
use uplinkd_netns_tests::{
    Answer, Ask, EVENTUALLY, Rig,
    ask::{ask_all, open_all},
    config, isp, servers_of, within,
};

use crate::common::{FAMILIES, ensure_no_drift, ensure_over, ensure_we_work, told};

/// The far end of a tunnel, which answers for the whole internet.
struct Tunnel {
    far: Netns,
    _servers: Servers,
}

/// Makes the tunnel device in the router and what is behind it. What went through it is known by the
/// source that its far end saw, which is no provider's.
fn tunnel(rig: &Rig, name: &str, addresses: [&str; 4]) -> Result<Tunnel> {
    let lab = rig.lab();
    let far = Netns::new("vpn")?;
    far.set_sysctls(&[
        ("net.ipv6.conf.all.accept_dad", "0"),
        ("net.ipv6.conf.default.accept_dad", "0"),
        ("net.ipv6.conf.default.dad_transmits", "0"),
        // Its servers answer from addresses that are only routed to it.
        ("net.ipv6.ip_nonlocal_bind", "1"),
    ])?;
    let mut beyond = Plumber::new(&far)?;
    beyond.set_up("lo", true)?;
    connect(
        Plug {
            netns: lab.router(),
            name,
            index: 0,
        },
        Plug {
            netns: &far,
            name: "tun",
            index: 0,
        },
    )?;
    let [near4, near6, far4, far6] = addresses;
    Plumber::new(lab.router())?.add_addresses(name, &[near4.parse()?, near6.parse()?])?;
    beyond.add_addresses("tun", &[far4.parse()?, far6.parse()?])?;
    for (near, family) in [(near4, Family::V4), (near6, Family::V6)] {
        let near: ipnet::IpNet = near.parse()?;
        beyond.add_routes(
            "tun",
            &[LabRoute {
                destination: family.default_route(),
                gateway: near.addr(),
                metric: None,
                protocol: STATIC,
            }],
        )?;
        beyond.own_network(servers_network(family))?;
    }
    Ok(Tunnel {
        _servers: Servers::start(&far, PORT)?,
        far,
    })
}

const WIREGUARD: [&str; 4] = ["10.7.0.2/24", "fd00:7::2/64", "10.7.0.1/24", "fd00:7::1/64"];
/// The mark of the tunnel's own packets, and its table.
const WG: u32 = 51_820;

/// What `wg-quick up` does for `AllowedIPs = 0.0.0.0/0, ::/0`, in its order. The device has a cable,
/// so that neighbours are asked for, and a gateway stands in the routes.
fn wg_quick_up(router: &Netns) -> Result<()> {
    for (flag, pf, everything, own, far) in [
        ("-6", "ip6", "::/0", "fd00:7::2", "fd00:7::1"),
        ("-4", "ip", "0.0.0.0/0", "10.7.0.2", "10.7.0.1"),
    ] {
        ip(
            router,
            &format!("{flag} route add {everything} via {far} dev wg0 table {WG}"),
        )?;
        ip(
            router,
            &format!("{flag} rule add not fwmark {WG} table {WG}"),
        )?;
        ip(
            router,
            &format!("{flag} rule add table main suppress_prefixlength 0"),
        )?;
        router.nft(&format!(
            "add table {pf} wg-quick-wg0\n\
             add chain {pf} wg-quick-wg0 preraw {{ type filter hook prerouting priority -300; }}\n\
             add chain {pf} wg-quick-wg0 premangle {{ type filter hook prerouting priority -150; }}\n\
             add chain {pf} wg-quick-wg0 postmangle {{ type filter hook postrouting priority -150; }}\n\
             add rule {pf} wg-quick-wg0 preraw iifname != \"wg0\" {pf} daddr {own} \
             fib saddr type != local drop\n\
             add rule {pf} wg-quick-wg0 postmangle meta l4proto udp mark {WG} ct mark set mark\n\
             add rule {pf} wg-quick-wg0 premangle meta l4proto udp meta mark set ct mark\n"
        ))?;
    }
    router.set_sysctls(&[("net.ipv4.conf.all.src_valid_mark", "1")])
}

/// And what `wg-quick down` does. It deletes rules by what they look like until none is left that
/// looks so, whosever they are; it must come to an end all the same.
fn wg_quick_down(router: &Netns) -> Result<()> {
    for (flag, pf) in [("-4", "ip"), ("-6", "ip6")] {
        router.nft(&format!("delete table {pf} wg-quick-wg0\n"))?;
        for (look, delete) in [
            (format!("lookup {WG}"), format!("table {WG}")),
            (
                "from all lookup main suppress_prefixlength 0".to_owned(),
                "table main suppress_prefixlength 0".to_owned(),
            ),
        ] {
            let mut rounds = 0;
            while told(router, "ip", &format!("{flag} rule show"))?.contains(&look) {
                // Somebody else may be quicker; the script does not mind.
                let _ = ip(router, &format!("{flag} rule delete {delete}"));
                rounds += 1;
                ensure!(rounds <= 20, "`wg-quick down` loops for ever at `{look}`");
            }
        }
    }
    Plumber::new(router)?.remove_link("wg0")
}

/// Everything goes through the tunnel, but for what the tunnel itself sends.
fn ensure_tunnelled(rig: &Rig, when: &str) -> Result<()> {
    let lab = rig.lab();
    for family in FAMILIES {
        // The tunnel's far end answers for these only.
        let mut servers = servers_of(lab, family);
        servers.retain(|s| servers_network(family).contains(s));
        for from in [lab.client(), lab.router()] {
            let counted = shares(from, Transport::Udp, &servers, 60)?;
            ensure!(
                counted.elsewhere == 60,
                "{when}: {} {family} is not in the tunnel: {counted}",
                from.name()
            );
        }
    }
    ensure_tunnel_carried(rig, &[1, 2], when)
}

/// The tunnel's own packets leave by these lines, and are answered. Each socket stands for a tunnel.
fn ensure_tunnel_carried(rig: &Rig, lines: &[usize], when: &str) -> Result<()> {
    let lab = rig.lab();
    for family in FAMILIES {
        let servers = servers_of(lab, family);
        let asks = servers
            .iter()
            .take(40)
            .map(|to| Ask::new(Transport::Udp, *to).marked(WG));
        let mut held = open_all(lab.router(), asks.collect::<Vec<_>>())?;
        for again in ["first", "again"] {
            let answers = ask_all(&mut held);
            let used: BTreeSet<_> = answers.iter().map(|a| a.isp()).collect();
            let wanted: BTreeSet<_> = lines.iter().map(|n| Some(isp(*n))).collect();
            ensure!(
                used == wanted && answers.iter().all(|a| matches!(a, Answer::Seen(_))),
                "{when}: the tunnel's own packets, {family}, {again}: over {used:?}"
            );
        }
    }
    Ok(())
}

fn ensure_tunnel_fails_over(rig: &Rig) -> Result<()> {
    ensure_tunnelled(rig, "both lines up")?;
    let broken = Fault::Upstream.apply(rig.lab(), isp(1))?;
    rig.wait_out(isp(1))?;
    ensure_tunnel_carried(rig, &[2], "isp1 is out")?;
    broken.heal()?;
    rig.wait_settled()?;
    ensure_tunnelled(rig, "isp1 is back")
}

pub(crate) fn a_full_tunnel_that_comes_after_us() -> Result<()> {
    let rig = Rig::start(&config(&[1, 1]))?;
    let _tunnel = tunnel(&rig, "wg0", WIREGUARD)?;
    wg_quick_up(rig.lab().router())?;
    // Our table learns of the tunnel's mark.
    rig.wait_settled()?;
    ensure_tunnel_fails_over(&rig)?;
    ensure_no_drift(&rig)?;
    wg_quick_down(rig.lab().router())?;
    ensure_restored(&rig)
}

pub(crate) fn a_full_tunnel_that_was_there_before_us() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[1, 1]))?;
    let _tunnel = tunnel(&rig, "wg0", WIREGUARD)?;
    wg_quick_up(rig.lab().router())?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    ensure_tunnel_fails_over(&rig)?;
    ensure_no_drift(&rig)?;
    // It goes while we run: what stood in for its rules goes with it.
    wg_quick_down(rig.lab().router())?;
    ensure_restored(&rig)
}

/// What the script took of ours is back, and no copy of its rules is left.
fn ensure_restored(rig: &Rig) -> Result<()> {
    within("ours is back, and nothing else", EVENTUALLY, || {
        let rules = told(rig.lab().router(), "ip", "-N -4 rule")?;
        let first = "2000:\tfrom all lookup 254 suppress_prefixlength 0 proto 177";
        let is_back = rules.contains(first) || rules.contains(&first.replace("254", "main"));
        Ok(is_back && !rules.contains(&format!("lookup {WG}")))
    })?;
    rig.wait_settled()?;
    ensure_we_work(rig, "the tunnel is gone")
}

const TAILSCALE: [&str; 4] = [
    "100.99.0.2/24",
    "fd7a:115c:a1e0::2/64",
    "100.99.0.1/24",
    "fd7a:115c:a1e0::1/64",
];

/// What tailscaled makes: rules 5210 to 5270 with the mask 0xff0000, table 52, and its marks.
fn tailscale_up(router: &Netns) -> Result<()> {
    for (flag, network, far) in [
        ("-4", "100.96.0.0/11", "100.99.0.1"),
        ("-6", "fd7a:115c:a1e0::/48", "fd7a:115c:a1e0::1"),
    ] {
        ip(
            router,
            &format!("{flag} rule add pref 5210 fwmark 0x80000/0xff0000 table main"),
        )?;
        ip(
            router,
            &format!("{flag} rule add pref 5230 fwmark 0x80000/0xff0000 table default"),
        )?;
        ip(
            router,
            &format!("{flag} rule add pref 5250 fwmark 0x80000/0xff0000 unreachable"),
        )?;
        ip(router, &format!("{flag} rule add pref 5270 table 52"))?;
        ip(
            router,
            &format!("{flag} route add {network} via {far} dev tailscale0 table 52"),
        )?;
    }
    router.nft(
        "table inet ts {\n\
         chain forward { type filter hook forward priority filter; \
         iifname \"tailscale0\" meta mark set meta mark & 0xff00ffff | 0x40000 \n }\n\
         chain postrouting { type nat hook postrouting priority srcnat; \
         meta mark & 0xff0000 == 0x40000 masquerade; }\n }\n",
    )
}

pub(crate) fn a_mesh_with_its_own_rules_and_marks() -> Result<()> {
    for before in [true, false] {
        let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[1, 1]))?;
        if !before {
            rig.start_daemon()?;
            rig.wait_settled()?;
        }
        let mesh = tunnel(&rig, "tailscale0", TAILSCALE)?;
        let router = rig.lab().router().clone();
        tailscale_up(&router)?;
        Plumber::new(&mesh.far)?.add_addresses(
            "lo",
            &[
                "100.100.1.1/32".parse()?,
                "fd7a:115c:a1e0:9::1/128".parse()?,
            ],
        )?;
        if before {
            rig.start_daemon()?;
        }
        rig.wait_settled()?;
        let lab = rig.lab();
        let when = format!("mesh before us: {before}");
        // The mesh is reached from the LAN and from the router.
        for to in ["100.100.1.1", "fd7a:115c:a1e0:9::1"] {
            for from in [lab.client(), lab.router()] {
                let answer = Ask::new(Transport::Tcp, to.parse()?).once(from)?;
                ensure!(
                    answer.is_seen(),
                    "{when}: {to} from {}: {answer:?}",
                    from.name()
                );
            }
        }
        // A member of the mesh that uses this router as its way out is shared out where the file
        // says so; here it does not, and its own packets are answered all the same.
        for family in FAMILIES {
            let servers = servers_of(lab, family);
            let asks = servers
                .iter()
                .take(20)
                .map(|to| Ask::new(Transport::Udp, *to).marked(0x80000));
            let mut held = open_all(lab.router(), asks.collect::<Vec<_>>())?;
            for _ in 0..2 {
                let answers = ask_all(&mut held);
                ensure!(
                    answers.iter().all(|a| a.isp() == Some(isp(1))),
                    "{when}: its own packets by the main table, {family}: {answers:?}"
                );
            }
            ensure_over(&rig, lab.client(), family, &[isp(1), isp(2)], &when)?;
        }
        ensure_we_work(&rig, &when)?;
        ensure_no_drift(&rig)?;
        let rules = told(lab.router(), "ip", "-4 rule")?;
        for rule in ["5210:", "5230:", "5250:", "5270:"] {
            ensure!(rules.contains(rule), "{when}: {rule} is gone\n{rules}");
        }
    }
    Ok(())
}
