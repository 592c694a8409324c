//! The program in the kernel: loaded once, attached to each interface, its counts read by number.

use std::time::Duration;

use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{MapData, PerCpuHashMap, PerCpuValues},
    programs::{
        LinkOrder, SchedClassifier, TcAttachType,
        tc::{SchedClassifierLink, TcAttachOptions},
    },
    util::nr_cpus,
};
use nix::{errno::Errno, net::if_::if_nametoindex};
use uplinkd_model::{FLOW_NUMBERS, Family, TcpCounters};

use crate::error::{FlowsError, errno};

/// Compiled by `cargo xtask bpf` from the source beside it.
static OBJECT: &[u8] = include_bytes_aligned!("../bpf/tcp.bpf.o");

/// `struct counts` of the program: how many were sent, acknowledged, the sum of round-trip times and
/// their number, then those sent again by the flow's number.
type Counts = [u64; 4 + FLOW_NUMBERS];

/// The two halves of the program, and where each belongs.
const HALVES: [(&str, TcAttachType); 2] = [
    ("leaves", TcAttachType::Egress),
    ("enters", TcAttachType::Ingress),
];

/// The loaded program and what it counts.
pub(crate) struct Program {
    loaded: Ebpf,
    counted: PerCpuHashMap<MapData, u64, Counts>,
    processors: usize,
}

/// Its presence on an interface, for as long as this lives.
pub(crate) struct Attached {
    _links: [SchedClassifierLink; 2],
}

impl Program {
    /// Loads it, which attaches nothing yet.
    pub(crate) fn load() -> Result<Self, FlowsError> {
        const WHAT: &str = "load the program that watches TCP connections";
        if cfg!(target_endian = "big") {
            return Err(FlowsError::OtherEndian);
        }
        let loaded = EbpfLoader::new().btf(None).load(OBJECT);
        let mut loaded = loaded.map_err(|e| FlowsError::of(WHAT, &e))?;
        // Older kernels could have it by a queueing discipline, which would stay behind after us.
        match SchedClassifier::query_tcx("lo", TcAttachType::Ingress) {
            Err(e) if errno(&e) == Some(Errno::EINVAL) => return Err(FlowsError::TooOld),
            Err(e) => return Err(FlowsError::of("ask for tcx hooks", &e)),
            Ok(_) => {}
        }
        for (name, _) in HALVES {
            let half = half(&mut loaded, name);
            half.load().map_err(|e| FlowsError::of(WHAT, &e))?;
        }
        let map = loaded.take_map("counted");
        let map = map.expect("the object has this map");
        let counted = PerCpuHashMap::try_from(map).map_err(|e| FlowsError::of(WHAT, &e))?;
        let processors = nr_cpus().map_err(|(_, e)| FlowsError::of("count the processors", &e))?;
        Ok(Self {
            loaded,
            counted,
            processors,
        })
    }

    /// Attaches it to an interface, and begins to count there from nothing.
    pub(crate) fn attach(&mut self, index: u32, name: &str) -> Result<Attached, FlowsError> {
        let what = || format!("watch TCP connections on {name}");
        for family in [Family::V4, Family::V6] {
            let nothing = PerCpuValues::try_from(vec![[0; 4 + FLOW_NUMBERS]; self.processors]);
            let nothing = nothing.map_err(|e| FlowsError::of(what(), &e))?;
            let begun = self.counted.insert(key(index, family), nothing, 0);
            begun.map_err(|e| FlowsError::of(what(), &e))?;
        }
        let mut attach = |(half_name, hook)| {
            let half = half(&mut self.loaded, half_name);
            // Before others, who may decide without asking those behind them. We never decide.
            let order = TcAttachOptions::TcxOrder(LinkOrder::first());
            let link = half.attach_with_options(name, hook, order);
            let link = link.and_then(|id| half.take_link(id));
            link.map_err(|e| FlowsError::of(what(), &e))
        };
        let [out, inward] = HALVES;
        let links = [attach(out)?, attach(inward)?];
        // The loader knows interfaces by their names, which may have changed hands meanwhile.
        if if_nametoindex(name) != Ok(index) {
            return Err(FlowsError::Refused {
                what: what(),
                why: "it was replaced at this moment".to_owned(),
            });
        }
        Ok(Attached { _links: links })
    }

    /// What was counted on an interface; none where it was never attached.
    pub(crate) fn read(&self, index: u32, family: Family) -> Option<TcpCounters> {
        let each = self.counted.get(&key(index, family), 0).ok()?;
        let mut sum: Counts = [0; 4 + FLOW_NUMBERS];
        for counts in each.iter() {
            for (sum, one) in sum.iter_mut().zip(counts) {
                *sum = sum.saturating_add(*one);
            }
        }
        let [sent, acked, rtt_ns, rtts, again @ ..] = sum;
        Some(TcpCounters {
            sent,
            acked,
            again,
            rtt_sum: Duration::from_nanos(rtt_ns),
            rtts,
        })
    }

    /// Forgets what was counted on an interface that is not watched any more.
    pub(crate) fn forget(&mut self, index: u32) {
        for family in [Family::V4, Family::V6] {
            // It may not be there, since it is made only when all goes well.
            let _ = self.counted.remove(&key(index, family));
        }
    }
}

fn half<'a>(loaded: &'a mut Ebpf, name: &str) -> &'a mut SchedClassifier {
    let half = loaded.program_mut(name).and_then(|p| p.try_into().ok());
    half.expect("the object has both halves, as classifiers")
}

/// As the program numbers lines.
fn key(index: u32, family: Family) -> u64 {
    u64::from(index) << 1 | u64::from(family == Family::V6)
}
