//! Ways in which a line breaks, and how it is mended.
//!
//! | name | what the router sees |
//! |---|---|
//! | `carrier` | the cable is out: no carrier |
//! | `silent` | carrier, but nothing arrives and nothing answers, not even ARP |
//! | `upstream` | the gateway answers, nothing behind it does |
//! | `upstream-v4`, `upstream-v6` | the same for one family, the other works |
//! | `loss:N` | N percent of all frames are lost, each way |
//! | `oneway-out`, `oneway-in` | what it sends is lost; what is sent to it is lost |
//! | `flap:MS` | the carrier goes and comes every so many milliseconds |
//! | `address` | the lease is gone: no address, no default route |
//! | `address-v4`, `address-v6` | the same for one family |
//! | `interface` | the device is gone, as with a pulled USB modem |
//! | `slow:KBIT` | the line carries only so many kilobits per second, with a queue |
//!
//! All of it happens at the provider's end of the line, except `address` and `interface`, so that
//! nothing of the laboratory stands between a router daemon and its own kernel.

use std::{
    fmt,
    str::FromStr,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use uplinkd_model::Family;

use crate::{
    addresses::{Isp, link_local_gateway},
    netns::Netns,
    plumbing::Plumber,
    topology::{FAMILIES, Lab},
};

/// A flapping line rests, connected, after so long: nobody should be able to forget one.
const FLAPPING_MAX: Duration = Duration::from_secs(300);
/// The shortest flap; the kernel reports no more than a few hundred changes per second.
const FLAP_PERIOD_MIN_MS: u64 = 20;

/// A way to break a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The cable is out.
    Carrier,
    /// The far end is mute.
    Silent,
    /// Dead beyond the gateway.
    Upstream,
    /// One family is dead beyond the gateway.
    UpstreamOf(Family),
    /// So many percent of frames are lost, each way.
    Loss(u8),
    /// What the router sends is lost.
    OnewayOut,
    /// What is sent to the router is lost.
    OnewayIn,
    /// The carrier changes every so many milliseconds.
    Flap(u64),
    /// The router loses its addresses and default routes there.
    Address,
    /// It loses those of one family.
    AddressOf(Family),
    /// The router loses the device.
    Interface,
    /// The line carries only so many kilobits per second each way.
    Slow(u32),
}

impl Fault {
    /// The names of all faults, for help texts.
    pub const NAMES: &str = "carrier, silent, upstream, upstream-v4, upstream-v6, loss:PERCENT, \
                             oneway-out, oneway-in, flap:MILLISECONDS, address, address-v4, \
                             address-v6, interface, slow:KILOBITS";

    /// Breaks a line. It stays broken until [`Broken::heal`], or until the result is dropped.
    /// Different faults of one line can be there together.
    ///
    /// # Errors
    /// When this kernel, or the nft program, lacks what the fault is made of.
    pub fn apply(self, lab: &Lab, isp: Isp) -> Result<Broken<'_>> {
        let what = || format!("cannot break the line to {isp} ({self})");
        let flapping = self.inflict(lab, isp).with_context(what)?;
        Ok(Broken {
            lab,
            isp,
            fault: self,
            since: Instant::now(),
            flapping,
            is_healed: false,
        })
    }

    fn inflict(self, lab: &Lab, isp: Isp) -> Result<Option<Flapping>> {
        let far = lab.isp(isp);
        match self {
            Self::Carrier => Plumber::new(far)?.set_up("cust", false)?,
            Self::Silent => drop_frames(far, self, Some(100), Some(100))?,
            Self::Loss(percent) => drop_frames(far, self, Some(percent), Some(percent))?,
            Self::OnewayOut => drop_frames(far, self, Some(100), None)?,
            Self::OnewayIn => drop_frames(far, self, None, Some(100))?,
            Self::Upstream => far.nft(&format!(
                "table inet {} {{ chain forward {{ \
                 type filter hook forward priority 0; policy drop; }}; }}\n",
                self.table()
            ))?,
            Self::UpstreamOf(family) => far.nft(&format!(
                "table inet {} {{ chain forward {{ type filter hook forward priority 0; \
                 meta nfproto {} drop; }}; }}\n",
                self.table(),
                nfproto(family)
            ))?,
            Self::Flap(period_ms) => return Flapping::start(lab, isp, period_ms).map(Some),
            Self::Address => lab.revoke(isp, &FAMILIES)?,
            Self::AddressOf(family) => lab.revoke(isp, &[family])?,
            Self::Interface => Plumber::new(lab.router())?.remove_link(&isp.interface())?,
            Self::Slow(kilobits) => {
                Plumber::new(far)?.limit_rate("cust", kilobits)?;
                Plumber::new(far)?.limit_rate("core", kilobits)?;
            }
        }
        Ok(None)
    }

    fn mend(self, lab: &Lab, isp: Isp) -> Result<()> {
        let far = lab.isp(isp);
        match self {
            Self::Carrier | Self::Flap(_) => connect_cable(lab, isp),
            Self::Silent | Self::Loss(_) | Self::OnewayOut | Self::OnewayIn => {
                far.nft(&format!("delete table netdev {}\n", self.table()))
            }
            Self::Upstream | Self::UpstreamOf(_) => {
                far.nft(&format!("delete table inet {}\n", self.table()))
            }
            Self::Address => lab.lease(isp, &FAMILIES),
            Self::AddressOf(family) => lab.lease(isp, &[family]),
            Self::Interface => lab.plug_in(isp),
            Self::Slow(_) => {
                Plumber::new(far)?.unlimit_rate("cust")?;
                Plumber::new(far)?.unlimit_rate("core")
            }
        }
    }

    /// Whether it is the same but for its number. Two of a kind cannot be on one line at a time.
    pub fn is_same_kind(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    /// The nft table that makes it, of a name that no other fault has.
    fn table(self) -> String {
        let kind = self.to_string();
        let kind = kind.split(':').next().unwrap_or_default();
        format!("fault_{}", kind.replace('-', "_"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Carrier => f.write_str("carrier"),
            Self::Silent => f.write_str("silent"),
            Self::Upstream => f.write_str("upstream"),
            Self::UpstreamOf(family) => write!(f, "upstream-{}", short(*family)),
            Self::Loss(percent) => write!(f, "loss:{percent}"),
            Self::OnewayOut => f.write_str("oneway-out"),
            Self::OnewayIn => f.write_str("oneway-in"),
            Self::Flap(period) => write!(f, "flap:{period}"),
            Self::Address => f.write_str("address"),
            Self::AddressOf(family) => write!(f, "address-{}", short(*family)),
            Self::Interface => f.write_str("interface"),
            Self::Slow(kilobits) => write!(f, "slow:{kilobits}"),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let (name, number) = match word.split_once(':') {
            Some((name, digits)) => {
                let number = digits.parse::<u32>();
                let number = number.map_err(|_| format!("`{digits}` in `{word}` is no number"))?;
                (name, Some(number))
            }
            None => (word, None),
        };
        match (name, number) {
            ("carrier", None) => Ok(Self::Carrier),
            ("silent", None) => Ok(Self::Silent),
            ("upstream", None) => Ok(Self::Upstream),
            ("upstream-v4", None) => Ok(Self::UpstreamOf(Family::V4)),
            ("upstream-v6", None) => Ok(Self::UpstreamOf(Family::V6)),
            ("oneway-out", None) => Ok(Self::OnewayOut),
            ("oneway-in", None) => Ok(Self::OnewayIn),
            ("address", None) => Ok(Self::Address),
            ("address-v4", None) => Ok(Self::AddressOf(Family::V4)),
            ("address-v6", None) => Ok(Self::AddressOf(Family::V6)),
            ("interface", None) => Ok(Self::Interface),
            ("loss", Some(n)) => match u8::try_from(n) {
                Ok(percent @ 1..=100) => Ok(Self::Loss(percent)),
                _ => Err(format!("a loss of {n} %: it must be 1 to 100")),
            },
            ("flap", Some(n)) if u64::from(n) >= FLAP_PERIOD_MIN_MS => Ok(Self::Flap(n.into())),
            ("flap", Some(_)) => Err(format!("a flap takes {FLAP_PERIOD_MIN_MS} ms at least")),
            ("slow", Some(n)) if n > 0 => Ok(Self::Slow(n)),
            _ => Err(format!("`{word}` is no fault; there are: {}", Self::NAMES)),
        }
    }
}

/// A line that is broken. Dropping it mends the line.
#[derive(Debug)]
pub struct Broken<'a> {
    lab: &'a Lab,
    isp: Isp,
    fault: Fault,
    since: Instant,
    flapping: Option<Flapping>,
    is_healed: bool,
}

impl Broken<'_> {
    /// Whose line.
    pub fn isp(&self) -> Isp {
        self.isp
    }

    /// How it is broken.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// Since when: the instant after the break was complete.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Mends it and returns when that was complete.
    ///
    /// # Errors
    /// When somebody else changed what would have to be changed back.
    pub fn heal(mut self) -> Result<Instant> {
        self.is_healed = true;
        drop(self.flapping.take());
        let what = || format!("cannot mend the line to {} ({})", self.isp, self.fault);
        self.fault.mend(self.lab, self.isp).with_context(what)?;
        Ok(Instant::now())
    }
}

impl Drop for Broken<'_> {
    fn drop(&mut self) {
        if !self.is_healed {
            drop(self.flapping.take());
            // The laboratory may be half gone by now; then there is nothing left to mend.
            let _ = self.fault.mend(self.lab, self.isp);
        }
    }
}

/// Drops frames at the provider's end of a line: so many percent of what comes from the router, and
/// of what goes to it.
fn drop_frames(far: &Netns, fault: Fault, out: Option<u8>, r#in: Option<u8>) -> Result<()> {
    let rule = |percent: u8| match percent {
        100.. => "drop".to_owned(),
        n => format!("numgen random mod 100 < {n} drop"),
    };
    let chain = |name: &str, hook: &str, percent: Option<u8>| {
        percent.map_or_else(String::new, |p| {
            let rule = rule(p);
            format!(
                "chain {name} {{ type filter hook {hook} device \"cust\" priority 0; {rule}; }}; "
            )
        })
    };
    let (coming, going) = (
        chain("from_router", "ingress", out),
        chain("to_router", "egress", r#in),
    );
    let table = fault.table();
    let whole = format!("table netdev {table} {{ {coming}{going}}}\n");
    let Err(refusal) = far.nft(&whole) else {
        return Ok(());
    };
    // Kernels before 5.16 cannot drop on the way out. Dropping everything that comes in from the
    // internet is the same for all but what the gateway says itself.
    let coming_down = going.replace("egress device \"cust\"", "ingress device \"core\"");
    far.nft(&format!(
        "table netdev {table} {{ {coming}{coming_down}}}\n"
    ))
    .map_err(|_| refusal)
}

fn short(family: Family) -> &'static str {
    match family {
        Family::V4 => "v4",
        Family::V6 => "v6",
    }
}

/// The family's name in nft.
fn nfproto(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

/// The provider's end of the cable goes in again, with what went with it.
fn connect_cable(lab: &Lab, isp: Isp) -> Result<()> {
    let mut far = Plumber::new(lab.isp(isp))?;
    far.set_up("cust", true)?;
    far.wait_ready("cust")?;
    Plumber::new(lab.router())?.wait_ready(&isp.interface())?;
    lab.provide(isp)
}

/// A thread that pulls a cable and plugs it in again. It ends, connected or not, when dropped.
#[derive(Debug)]
struct Flapping {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Flapping {
    fn start(lab: &Lab, isp: Isp, period_ms: u64) -> Result<Self> {
        let mut far = Plumber::new(lab.isp(isp))?;
        far.set_up("cust", false)?;
        let period = Duration::from_millis(period_ms);
        let end = Instant::now() + FLAPPING_MAX;
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::Builder::new()
            .name(format!("lab-flap-{isp}"))
            .spawn(move || {
                let mut is_up = false;
                while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout)
                    && (Instant::now() < end || !is_up)
                {
                    is_up = !is_up;
                    if far.set_up("cust", is_up).is_err() {
                        return; // The device is gone, by another fault of the same line.
                    }
                    if is_up {
                        // It goes with the carrier; an error means that the line is down again.
                        let _ = far.add_addresses("cust", &[link_local_gateway()]);
                    }
                }
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Flapping {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_read_as_it_is_printed() {
        let all = [
            Fault::Carrier,
            Fault::Silent,
            Fault::Upstream,
            Fault::UpstreamOf(Family::V4),
            Fault::UpstreamOf(Family::V6),
            Fault::AddressOf(Family::V4),
            Fault::AddressOf(Family::V6),
            Fault::Loss(30),
            Fault::OnewayOut,
            Fault::OnewayIn,
            Fault::Flap(2000),
            Fault::Address,
            Fault::Interface,
            Fault::Slow(512),
        ];
        for fault in all {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
    }

    #[test]
    fn nonsense_is_no_fault() {
        for bad in [
            "",
            "cut",
            "loss",
            "loss:0",
            "loss:101",
            "loss:x",
            "loss:-1",
            "flap",
            "flap:19",
            "carrier:1",
            "slow:0",
            "silent ",
        ] {
            assert!(bad.parse::<Fault>().is_err(), "{bad:?}");
        }
    }
}
