//! `cargo xtask vm`: the end-to-end tests under other kernels, in a virtual machine.
//!
//! The machine's processor is emulated, so that it needs nothing of the hardware and works in a
//! container. What is fetched and built for it stays in a cache below the target folder.

mod install;
mod machine;
mod suites;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::bench::{
    print::{line, talk},
    program::target_folder,
};

pub(crate) use install::Kernel;

/// What `cargo xtask vm` takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Vm {
    /// Which kernel; each of them, one after the other, when left out.
    #[arg(long)]
    kernel: Option<Kernel>,
    /// The few tests that CI runs, under one kernel.
    #[arg(long)]
    smoke: bool,
    /// How many times longer everything may take inside, and less often be asked.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    slowness: u32,
    /// How long one machine may take, boot included.
    #[arg(long, value_name = "MINUTES")]
    limit: Option<u64>,
    /// Where kernels and tools are kept.
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// Suites (lines, traffic, kernel, life, policies, coexistence, probes, shares, operate, history, told) and parts of their tests' names:
    /// `traffic`, `lines/pppoe`.
    suites: Vec<String>,
}

impl Vm {
    /// What CI asks for.
    pub(crate) fn smoke() -> Self {
        Self {
            kernel: None,
            smoke: true,
            slowness: 10,
            limit: None,
            cache: None,
            suites: Vec::new(),
        }
    }
}

/// How many minutes a smoke run may take: about four are usual on two cores of one's own, and more
/// where others work on them too. Beyond this it has failed.
const SMOKE_MAX: u64 = 15;
/// The same for everything.
const WHOLE_MAX: u64 = 180;

/// Runs it.
pub(crate) fn run(vm: &Vm) -> Result<()> {
    let wishes = suites::wishes(&vm.suites, vm.smoke)?;
    let cache = match &vm.cache {
        Some(cache) => cache.clone(),
        None => target_folder()?.join("vm"),
    };
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let cache = cache.canonicalize()?;
    // Two at once would take each other's files away, and have half a processor each.
    let lock = fs::File::create(cache.join("lock"))?;
    if lock.try_lock().is_err() {
        bail!("another `cargo xtask vm` is at work in {}", cache.display());
    }
    let begun = Instant::now();
    let busybox = install::programs()?;
    let vng = install::virtme_ng(&cache)?;
    let kernels = match (vm.kernel, vm.smoke) {
        (Some(kernel), _) => vec![kernel],
        (None, true) => vec![Kernel::V6_1],
        (None, false) => Kernel::ALL.to_vec(),
    };
    let unpacked = kernels.iter().map(|k| install::kernel(*k, &cache));
    let unpacked: Vec<_> = unpacked.collect::<Result<_>>()?;
    let bin = cache.join("bin");
    suites::build(&wishes, &bin)?;
    talk(&format!("ready after {} s", begun.elapsed().as_secs()));
    let minutes = vm
        .limit
        .unwrap_or(if vm.smoke { SMOKE_MAX } else { WHOLE_MAX });
    let mut reports = Vec::new();
    for kernel in &unpacked {
        talk(&format!("==> a machine with Linux {}", kernel.version));
        let report = machine::run(&machine::Order {
            kernel,
            vng: &vng,
            busybox: &busybox,
            bin: &bin,
            share: cache.join("share"),
            wishes: &wishes,
            slowness: vm.slowness,
            limit: Duration::from_secs(60 * minutes),
        })?;
        let booted = report
            .booted
            .map_or_else(|| "never".to_owned(), |s| format!("after {s:.0} s"));
        line(&format!(
            "Linux {}: ready {booted}, ended after {} s",
            kernel.version,
            report.whole.as_secs()
        ));
        for verdict in &report.verdicts {
            let seconds = verdict
                .seconds
                .map_or_else(|| "?".to_owned(), |s| s.to_string());
            let ending = match verdict.code {
                Some(0) => "held",
                Some(_) => "FAILED",
                None => "did not end",
            };
            line(&format!(
                "  {:12} {ending}, {seconds} s: {}",
                verdict.suite, verdict.summary
            ));
        }
        reports.push(report);
    }
    machine::ensure_good(&reports)
}
