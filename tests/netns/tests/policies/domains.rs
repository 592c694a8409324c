//! Policies that speak of names, with a real resolver that fills their sets.

use std::{net::IpAddr, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use uplinkd_lab::{
    addresses,
    programs::Dnsmasq,
    traffic::{Packet, dns::resolve},
};
use uplinkd_model::Family;
use uplinkd_netns_tests::isp;

use crate::stage::{
    FAMILIES, ISP1_BY_DEFAULT, Sender,
    Sender::{Client, Guest, Router},
    Stage, ensure_over, policies,
};

/// What stands in the resolver's file, as our documentation has it.
const FILLS: &str = "\
nftset=/zoom.us/netflix.com/4#inet#uplinkd#dns4_streaming,6#inet#uplinkd#dns6_streaming";

/// The names of the internet: those of the policy, one below, and another.
fn names() -> Result<Vec<(&'static str, IpAddr)>> {
    [
        ("zoom.us", "198.18.50.1"),
        ("zoom.us", "2001:db8:ffff:50::1"),
        ("video.netflix.com", "198.18.50.2"),
        ("video.netflix.com", "2001:db8:ffff:50::2"),
        ("example.org", "198.18.50.3"),
        ("example.org", "2001:db8:ffff:50::3"),
    ]
    .map(|(name, address)| Ok((name, address.parse()?)))
    .into_iter()
    .collect()
}

fn file(more: &str) -> String {
    let what = "domain = [\"zoom.us\", \"*.netflix.com\"]";
    let list = format!("[[policy]]\nname = \"streaming\"\nmatch = {{ {what} }}\nuse = \"isp2\"\n");
    format!("{ISP1_BY_DEFAULT}{list}{more}")
}

/// Where a host that has asked for a name then goes.
fn ask_and_go(
    stage: &Stage,
    sender: Sender,
    name: &str,
    family: Family,
    line: usize,
) -> Result<()> {
    let server = addresses::lan_router(Family::V4).addr();
    let found = resolve(stage.place(sender)?, server, name, family)?;
    ensure!(found.len() == 1, "{name}: {found:?}");
    let fates = stage.fates_of(
        sender,
        &[Packet::tcp(found[0], 443), Packet::udp(found[0], 443)],
    )?;
    ensure_over(
        &fates,
        isp(line),
        &format!("{sender:?} to {name}, {family}"),
    )
}

pub(crate) fn names_lead_where_their_policy_says() -> Result<()> {
    let stage = Stage::set(&file(""))?;
    let lab = stage.rig.lab();
    let _authority = Dnsmasq::authority(lab, &names()?, Duration::from_secs(60))?;
    let resolver = Dnsmasq::resolver(lab, FILLS)?;
    // Nobody has asked yet: an address is only an address.
    for (_, address) in names()? {
        let fates = stage.fates_of(Client, &[Packet::udp(address, 443)])?;
        ensure_over(&fates, isp(1), "before anybody has asked")?;
    }
    for sender in [Client, Guest, Router] {
        for family in FAMILIES {
            ask_and_go(&stage, sender, "zoom.us", family, 2).with_context(|| resolver.log())?;
            ask_and_go(&stage, sender, "video.netflix.com", family, 2)?;
            ask_and_go(&stage, sender, "example.org", family, 1)?;
        }
    }
    // What was found survives a reload and other policies.
    stage.reload(&file(&policies([("dport = 9", "use = \"block\"")])))?;
    for (name, address) in names()? {
        let line = if name == "example.org" { 1 } else { 2 };
        let fates = stage.fates_of(Client, &[Packet::udp(address, 443)])?;
        ensure_over(&fates, isp(line), &format!("{name} after a reload"))?;
    }
    ensure_use_refreshes(&stage)
}

/// An address that is in use does not expire; what is left of its time is set back.
fn ensure_use_refreshes(stage: &Stage) -> Result<()> {
    let address: IpAddr = "198.18.50.1".parse()?;
    std::thread::sleep(Duration::from_millis(2100));
    let before = left(stage, address)?;
    stage.fates_of(Client, &[Packet::udp(address, 443)])?;
    let after = left(stage, address)?;
    ensure!(
        after > before + 1000,
        "{before} ms were left, and after use {after} ms"
    );
    // Nobody uses this one, so it grows older.
    let unused: IpAddr = "198.18.50.2".parse()?;
    ensure!(
        left(stage, unused)? < after,
        "an unused address stays young"
    );
    Ok(())
}

/// How many milliseconds an address has left in its set.
fn left(stage: &Stage, address: IpAddr) -> Result<u64> {
    let mut command = Command::new("nft");
    command.args(["-j", "list", "set", "inet", "uplinkd", "dns4_streaming"]);
    let router = stage.rig.lab().router();
    let output = router.output(command, "", Duration::from_secs(5))?;
    // `-j` has whole seconds, which is too coarse; the text has `23h59m57s892ms`.
    ensure!(output.status.success(), "{}", output.stderr);
    let mut command = Command::new("nft");
    command.args(["list", "set", "inet", "uplinkd", "dns4_streaming"]);
    let output = router.output(command, "", Duration::from_secs(5))?;
    let text = output.stdout;
    let at = text
        .find(&address.to_string())
        .with_context(|| format!("{address} is not in {text}"))?;
    let rest = text[at..]
        .split_once("expires ")
        .context("it never expires")?
        .1;
    let word: String = rest
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    let mut total = 0;
    let mut number = 0;
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        if let Some(digit) = c.to_digit(10) {
            number = number * 10 + u64::from(digit);
            continue;
        }
        let unit = match (c, chars.peek()) {
            ('m', Some('s')) => {
                chars.next();
                1
            }
            ('d', _) => 86_400_000,
            ('h', _) => 3_600_000,
            ('m', _) => 60_000,
            _ => 1000,
        };
        total += number * unit;
        number = 0;
    }
    Ok(total)
}
