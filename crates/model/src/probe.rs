//! What is asked of the world to learn whether an uplink works.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::target::Target;

/// How an uplink is probed.
///
/// Targets beyond the gateway decide; the gateway decides only where it is the one target, since a
/// gateway that answers proves nothing about the internet behind it, and many never answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeSpec {
    /// Who is asked. Empty: the link alone decides.
    pub targets: Vec<Target>,
    /// How many of the deciding targets must answer, at least 1.
    pub quorum: usize,
    /// Time between two questions to one target while all is well.
    pub interval: Duration,
    /// The same after a miss, or a sign that something is wrong, until it is clear what.
    pub burst: Duration,
    /// How long an answer may take. It is missed earlier, by the target's own round-trip times, but
    /// until then it still counts.
    pub timeout: Duration,
    /// Misses in a row that fail a target, at least 1; more where the line loses some anyway.
    pub fall: u32,
    /// Answers in a row that make a target of a dead line pass again, at least 1.
    pub rise: u32,
    /// Over how long loss and round-trip times are judged.
    pub window: Duration,
    /// From which part of lost answers on a line is degraded, and failed.
    pub loss: Limits<Permille>,
    /// From which round-trip time on, at the median, a line is degraded, and failed.
    pub rtt: Limits<Duration>,
    /// How long a state is kept at least before the line may be better again.
    pub hold: Duration,
    /// In which time the penalty of a line that fails again and again is halved; none: it always
    /// returns as soon as it works.
    pub damping: Option<Duration>,
    /// Whether forwarded TCP connections are watched for signs of trouble, where the kernel allows.
    #[serde(default = "yes")]
    pub tcp_sign: bool,
}

fn yes() -> bool {
    true
}

/// From where on something is not good any more, and from where on not good enough; none: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits<T> {
    /// Not good any more.
    pub degraded: Option<T>,
    /// Not good enough.
    pub fail: Option<T>,
}

/// A part in thousandths.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Permille(pub u16);

impl Permille {
    /// As a part of 1.
    pub fn of_one(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl fmt::Display for Permille {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 10.0)
    }
}

/// A named set of the numbers in [`ProbeSpec`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Finds failures as soon as probes alone can.
    Fast,
    /// A second where nothing moves, less under traffic.
    #[default]
    Balanced,
    /// Next to nothing on a quiet line.
    Metered,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fast, Self::Balanced, Self::Metered];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Balanced => "balanced",
            Self::Metered => "metered",
        }
    }

    /// Its numbers, without targets.
    pub fn spec(self) -> ProbeSpec {
        let ms = Duration::from_millis;
        let (interval, burst, window) = match self {
            Self::Fast => (ms(200), ms(50), ms(10_000)),
            Self::Balanced => (ms(1000), ms(70), ms(10_000)),
            Self::Metered => (ms(30_000), ms(100), ms(60_000)),
        };
        ProbeSpec {
            targets: Vec::new(),
            quorum: 1,
            interval,
            burst,
            timeout: ms(1000),
            fall: 3,
            rise: 5,
            window,
            loss: Limits {
                degraded: Some(Permille(100)),
                fail: None,
            },
            rtt: Limits {
                degraded: None,
                fail: None,
            },
            hold: Duration::ZERO,
            damping: Some(Duration::from_secs(60)),
            tcp_sign: true,
        }
    }
}

impl ProbeSpec {
    /// Whether this target's answers decide about health, rather than only explain it.
    pub fn decides(&self, target: &Target) -> bool {
        !target.is_local() || self.targets.iter().all(Target::is_local)
    }

    /// How many targets decide.
    pub fn deciding(&self) -> usize {
        self.targets.iter().filter(|t| self.decides(t)).count()
    }
}

impl Default for ProbeSpec {
    /// The default profile's, without targets.
    fn default() -> Self {
        Profile::default().spec()
    }
}

/// What an interface has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that came in.
    pub rx_packets: u64,
    /// Packets that left.
    pub tx_packets: u64,
    /// Bytes that came in, with link headers where the device counts them.
    pub rx_bytes: u64,
    /// Bytes that left.
    pub tx_bytes: u64,
}

impl Counters {
    /// What was counted since then; none where the counters have begun again.
    pub fn since(self, before: Self) -> Option<Self> {
        Some(Self {
            rx_packets: self.rx_packets.checked_sub(before.rx_packets)?,
            tx_packets: self.tx_packets.checked_sub(before.tx_packets)?,
            rx_bytes: self.rx_bytes.checked_sub(before.rx_bytes)?,
            tx_bytes: self.tx_bytes.checked_sub(before.tx_bytes)?,
        })
    }
}

/// How many numbers flows have in [`TcpCounters::again`].
pub const FLOW_NUMBERS: usize = 16;

/// What was seen of the TCP connections that leave by one family of an interface. It only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpCounters {
    /// Segments that left with anything to acknowledge.
    pub sent: u64,
    /// Segments that came in and acknowledged something new.
    pub acked: u64,
    /// Segments that left once more, by a number of their flow: those of two numbers are of two flows
    /// for certain. Flows to a host that has never answered share one.
    pub again: [u64; FLOW_NUMBERS],
    /// The sum of the round-trip times that were measured.
    pub rtt_sum: Duration,
    /// How many these are.
    pub rtts: u64,
}

impl TcpCounters {
    /// What was counted since then; none where the counters have begun again.
    pub fn since(self, before: Self) -> Option<Self> {
        let mut again = self.again;
        for (now, before) in again.iter_mut().zip(before.again) {
            *now = now.checked_sub(before)?;
        }
        Some(Self {
            sent: self.sent.checked_sub(before.sent)?,
            acked: self.acked.checked_sub(before.acked)?,
            again,
            rtt_sum: self.rtt_sum.checked_sub(before.rtt_sum)?,
            rtts: self.rtts.checked_sub(before.rtts)?,
        })
    }

    /// All segments that left once more.
    pub fn all_again(self) -> u64 {
        self.again.iter().sum()
    }
}

/// What a line can carry, in bytes a second; none: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// Towards us.
    pub down: Option<u64>,
    /// Away from us.
    pub up: Option<u64>,
}
