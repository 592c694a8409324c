//! Real WireGuard: a full tunnel by the real `wg-quick`, and a tunnel that is itself an uplink, whose
//! own packets go over the other uplinks and never into itself.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use uplinkd_lab::{
    Fault, LabSpec, Netns, lines,
    plumbing::Plumber,
    programs::{find, ip},
    stretched,
    traffic::Transport,
};
use uplinkd_model::Family;
use uplinkd_netns_tests::{Ask, EVENTUALLY, Rig, config, isp, within};

use crate::common::{FAMILIES, counted, ensure_inside, ensure_over, told};

/// Where the far end is reached: an address in the internet, by both lines.
const ENDPOINT: &str = "9.9.9.9";
const PORT: u16 = 51_820;
/// The far end's address inside of the tunnel, and the near one's.
const FAR: &str = "10.7.0.1";
/// See [`FAR`].
const NEAR: &str = "10.7.0.2";

/// A pair of keys.
struct Keys {
    secret: String,
    public: String,
}

impl Keys {
    fn new(netns: &Netns) -> Result<Self> {
        let secret = told(netns, "wg", "genkey")?.trim().to_owned();
        let mut command = Command::new("wg");
        command.arg("pubkey");
        let public = netns.output(command, &secret, Duration::from_secs(5))?;
        Ok(Self {
            public: public.stdout.trim().to_owned(),
            secret,
        })
    }
}

/// The far end of a tunnel, in the internet, for a router that has the given file.
struct Tunnel {
    file: PathBuf,
    router: Netns,
}

impl Tunnel {
    /// Makes the far end and writes the near one's file.
    fn new(rig: &Rig, near_lines: &str, allowed: &str) -> Result<Self> {
        find("wg")?;
        find("wg-quick")?;
        let lab = rig.lab();
        let (router, far) = (lab.router().clone(), lab.internet());
        let (near_keys, far_keys) = (Keys::new(&router)?, Keys::new(far)?);
        lines::add_link(far, "name wg0", "wireguard", "")?;
        let far_file = lab.folder().join("far.conf");
        write(
            &far_file,
            &format!(
                "[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n[Peer]\nPublicKey = {}\n\
                 AllowedIPs = 10.7.0.2/32, 10.0.0.0/16, fd00:7::2/128, fd00:10::/64\n",
                far_keys.secret, near_keys.public
            ),
        )?;
        told(far, "wg", &format!("setconf wg0 {}", far_file.display()))?;
        ip(far, "address add 10.7.0.1/24 dev wg0")?;
        ip(far, "address add fd00:7::1/64 dev wg0 nodad")?;
        Plumber::new(far)?.set_up("wg0", true)?;
        ip(far, "route add 10.0.0.0/16 dev wg0")?;
        ip(far, "route add fd00:10::/64 dev wg0")?;
        let file = lab.folder().join("wg0.conf");
        write(
            &file,
            &format!(
                "[Interface]\nPrivateKey = {}\nAddress = 10.7.0.2/24, fd00:7::2/64\n{near_lines}\
                 [Peer]\nPublicKey = {}\nEndpoint = {ENDPOINT}:{PORT}\nAllowedIPs = {allowed}\n\
                 PersistentKeepalive = 1\n",
                near_keys.secret, far_keys.public
            ),
        )?;
        Ok(Self { file, router })
    }

    fn quick(&self, verb: &str) -> Result<()> {
        let mut command = Command::new(find("wg-quick")?);
        command.arg(verb).arg(&self.file);
        let output = self.router.output(command, "", Duration::from_secs(20))?;
        ensure!(
            output.status.success(),
            "`wg-quick {verb}`: {}{}",
            output.stdout,
            output.stderr
        );
        Ok(())
    }

    /// Waits until the far end has shaken hands lately, over one of these lines.
    fn wait_carried(&self, rig: &Rig, lines: &[usize]) -> Result<()> {
        let own: Vec<String> = lines
            .iter()
            .map(|n| format!("{}:", isp(*n).router(Family::V4).addr()))
            .collect();
        within(
            &format!("the tunnel is carried by {lines:?}"),
            EVENTUALLY,
            || {
                let _ = Ask::new(Transport::Udp, FAR.parse()?).once(&self.router)?;
                let endpoints = told(rig.lab().internet(), "wg", "show wg0 endpoints")?;
                Ok(own.iter().any(|o| endpoints.contains(o.as_str())))
            },
        )
    }
}

fn write(file: &PathBuf, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    // wg-quick warns about keys that all may read.
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
    Ok(())
}

/// Everything is in the tunnel: the far end sees the tunnel's and the LAN's addresses, no line's.
fn ensure_tunnelled(rig: &Rig, when: &str) -> Result<()> {
    let lab = rig.lab();
    for family in FAMILIES {
        for from in [lab.client(), lab.router()] {
            let counted = counted(rig, from, Transport::Udp, family)?;
            let on_lines: usize = lab.isps().map(|i| counted.of(i)).sum();
            ensure!(
                counted.failed == 0 && on_lines == 0,
                "{when}: {} {family} is not in the tunnel: {counted}",
                from.name()
            );
        }
    }
    Ok(())
}

pub(crate) fn wg_quick_sends_everything_through_the_tunnel() -> Result<()> {
    let rig = Rig::start(&config(&[1, 1]))?;
    let tunnel = Tunnel::new(&rig, "", "0.0.0.0/0, ::/0")?;
    tunnel.quick("up")?;
    rig.wait_settled()?;
    tunnel.wait_carried(&rig, &[1, 2])?;
    ensure_tunnelled(&rig, "both lines up")?;
    for dead in [1, 2] {
        let broken = Fault::Upstream.apply(rig.lab(), isp(dead))?;
        rig.wait_out(isp(dead))?;
        tunnel.wait_carried(&rig, &[3 - dead])?;
        ensure_tunnelled(&rig, &format!("{} is out", isp(dead)))?;
        broken.heal()?;
        rig.wait_settled()?;
    }
    tunnel.quick("down")?;
    within("ours is back", EVENTUALLY, || {
        let rules = told(&tunnel.router, "ip", "-N -4 rule")?;
        Ok(rules
            .lines()
            .any(|l| l.starts_with("2000:") && l.contains("proto 177")))
    })?;
    rig.wait_settled()?;
    ensure_over(&rig, &FAMILIES, &[isp(1), isp(2)], "the tunnel is gone")
}

pub(crate) fn a_tunnel_is_an_uplink_for_a_policy() -> Result<()> {
    let file = format!(
        "{}[uplink.vpn]\ninterface = \"wg0\"\n\
         [uplink.vpn.ipv6]\nuse = false\n\
         [uplink.vpn.probe]\ntargets = [\"icmp:{FAR}\"]\n\
         [group.default]\ntiers = [[\"isp1\", \"isp2\"]]\n\
         [[policy]]\nname = \"inside\"\nmatch = {{ destination = \"198.18.0.77\" }}\nuse = \"vpn\"\n\
         otherwise = \"block\"\n",
        config(&[1, 1])
    );
    let mut rig = Rig::without_daemon(LabSpec::default(), &file)?;
    let tunnel = Tunnel::new(
        &rig,
        "Table = off\nPostUp = ip route add default dev %i metric 9000\n",
        "0.0.0.0/0",
    )?;
    ip(rig.lab().internet(), "address add 198.18.0.77/32 dev lo")?;
    rig.start_daemon()?;
    tunnel.quick("up")?;
    let is_up = |s: &uplinkd_api::Status| {
        s.settled && s.uplinks.iter().any(|u| u.name == "vpn" && u.in_service)
    };
    rig.wait_for("the tunnel serves", EVENTUALLY, is_up)?;
    ensure_inside(&rig, NEAR.parse()?, "both lines up")?;
    ensure_over(&rig, &[Family::V4], &[isp(1), isp(2)], "beside the tunnel")?;
    for dead in [1, 2] {
        let broken = Fault::Upstream.apply(rig.lab(), isp(dead))?;
        rig.wait_out(isp(dead))?;
        tunnel.wait_carried(&rig, &[3 - dead])?;
        rig.wait_for("the tunnel serves", EVENTUALLY, is_up)?;
        ensure_inside(&rig, NEAR.parse()?, &format!("{} is out", isp(dead)))?;
        broken.heal()?;
        rig.wait_settled()?;
    }
    // A tunnel whose packets went into itself would send far more than it was given.
    let before = sent(&tunnel.router)?;
    std::thread::sleep(stretched(Duration::from_secs(1)));
    let after = sent(&tunnel.router)?;
    ensure!(
        after - before < 200_000,
        "{} bytes in an idle second",
        after - before
    );
    tunnel.quick("down")?;
    rig.wait_for("the tunnel is out", EVENTUALLY, |s| s.settled && !is_up(s))?;
    let to = "198.18.0.77".parse()?;
    for from in [rig.lab().client(), rig.lab().router()] {
        let answer = Ask::new(Transport::Udp, to).once(from)?;
        ensure!(!answer.is_seen(), "it leaked: {answer:?}");
    }
    Ok(())
}

/// How many bytes the tunnel has sent.
fn sent(router: &Netns) -> Result<u64> {
    let transfer = told(router, "wg", "show wg0 transfer")?;
    let sent = transfer.split_whitespace().nth(2).context("no peer")?;
    Ok(sent.parse()?)
}
