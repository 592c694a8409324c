//! Namespaces, and short words for what the tests do again and again.

use std::{
    io::Write,
    panic,
    process::{Command, Stdio},
    sync::mpsc::{self, Sender},
    thread::{self, JoinHandle},
};

use nix::sched::{CloneFlags, unshare};
use uplinkd_kernel::{Kernel, Look};
use uplinkd_model::{
    Family, Nexthop, NexthopId, NexthopKind, Observed, Outcome, Plan, Reserve, Route, RouteVia,
    Step, TableId, ids::Proto, kernel_state::Device,
};

/// Our protocol number.
pub(crate) const OURS: Proto = Proto(177);

/// Runs a test in a network namespace of its own, on a thread of its own.
///
/// Without the right to make one the test is skipped and says so; under `CI` it fails.
pub(crate) fn in_netns(test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(|| {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            assert!(std::env::var_os("CI").is_none(), "no namespace: {error}");
            println!("SKIPPED: cannot make a network namespace: {error}");
            return;
        }
        prepare();
        test();
    });
    if let Err(panicked) = thread.join() {
        panic::resume_unwind(panicked);
    }
}

/// Loopback, and IPv6 addresses that can be used at once instead of after a second or two.
fn prepare() {
    sh("ip link set lo up");
    for of in ["all", "default"] {
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{of}/accept_dad"), "0").unwrap();
    }
}

/// A further namespace, on a thread that waits for work.
pub(crate) struct Neighbour {
    /// What `ip link set … netns` takes for it.
    pub(crate) id: i32,
    work: Option<Sender<Box<dyn FnOnce() + Send>>>,
    thread: Option<JoinHandle<()>>,
}

impl Neighbour {
    pub(crate) fn new() -> Self {
        let (work, todo) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (tell, id) = mpsc::channel();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            prepare();
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            for job in todo {
                job();
            }
        });
        Self {
            id: id.recv().unwrap(),
            work: Some(work),
            thread: Some(thread),
        }
    }

    /// Does something there and returns what came of it.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, result) = mpsc::channel();
        let job = Box::new(move || tell.send(job()).unwrap());
        self.work.as_ref().unwrap().send(job).unwrap();
        result.recv().expect("the job there panicked")
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        drop(self.work.take());
        // A panic there was seen by `run`.
        let _ = self.thread.take().unwrap().join();
    }
}

/// Runs a command line of plain words and returns what it printed; it must succeed.
pub(crate) fn sh(line: &str) -> String {
    let (succeeded, text) = try_sh(line);
    assert!(succeeded, "{line}: {text}");
    text
}

/// Runs a command line of plain words; whether it succeeded, and everything it printed.
pub(crate) fn try_sh(line: &str) -> (bool, String) {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// Feeds text to `nft -f -`.
pub(crate) fn nft(text: &str) {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
}

/// A pair of interfaces that are each other's far end, the first with addresses; its device.
pub(crate) fn veth(name: &str, addresses: &[&str]) -> Device {
    sh(&format!(
        "ip link add {name} type veth peer name {name}-far"
    ));
    for address in addresses {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        sh(&format!("ip addr add {address} dev {name} {nodad}"));
    }
    sh(&format!("ip link set {name} up"));
    sh(&format!("ip link set {name}-far up"));
    device(name)
}

/// The device of a name.
pub(crate) fn device(name: &str) -> Device {
    let index = nix::net::if_::if_nametoindex(name).unwrap();
    Device {
        index,
        name: name.to_owned(),
    }
}

/// Looks with the default reserve.
pub(crate) fn observe(kernel: &mut Kernel) -> Observed {
    kernel.observe(&look()).unwrap()
}

/// The default reserve and nothing special.
pub(crate) fn look() -> Look {
    Look {
        reserve: vec![Reserve::default()],
        ..Look::default()
    }
}

/// Carries out steps.
pub(crate) fn execute(kernel: &mut Kernel, steps: impl IntoIterator<Item = Step>) -> Vec<Outcome> {
    let mut plan = Plan::default();
    for step in steps {
        plan.push(step, "a test");
    }
    kernel.execute(&plan)
}

/// Carries out steps that must all be done.
pub(crate) fn done(kernel: &mut Kernel, steps: impl IntoIterator<Item = Step>) {
    let steps: Vec<Step> = steps.into_iter().collect();
    let outcomes = execute(kernel, steps.clone());
    for (step, outcome) in steps.iter().zip(outcomes) {
        assert_eq!(outcome, Outcome::Done, "{step}");
    }
}

/// A nexthop of ours.
pub(crate) fn single(id: u32, device: &Device, gateway: &str) -> Nexthop {
    let gateway: std::net::IpAddr = gateway.parse().unwrap();
    Nexthop {
        id: NexthopId(id),
        proto: OURS,
        kind: NexthopKind::Single {
            on_link: false,
            family: Family::of(gateway),
            device: device.clone(),
            gateway: Some(gateway),
        },
    }
}

/// A nexthop group of ours.
pub(crate) fn group(id: u32, members: &[(u32, u16)]) -> Nexthop {
    Nexthop {
        id: NexthopId(id),
        proto: OURS,
        kind: NexthopKind::Group(members.iter().map(|(i, w)| (NexthopId(*i), *w)).collect()),
    }
}

/// A default route of ours.
pub(crate) fn default_route(family: Family, table: u32, metric: u32, via: RouteVia) -> Route {
    Route {
        table: TableId(table),
        destination: family.default_route(),
        metric,
        via,
        source: None,
        proto: OURS,
    }
}

/// The error number of a refusal and its words.
pub(crate) fn refusal(outcome: &Outcome) -> (i32, &str) {
    match outcome {
        Outcome::Refused { errno, text } => (*errno, text),
        Outcome::Done | Outcome::AlreadySo | Outcome::Skipped => panic!("{outcome:?}"),
    }
}
