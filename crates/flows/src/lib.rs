//! What the kernel sees of TCP connections on an uplink: segments sent again, acknowledgements and
//! round-trip times, counted by a small program (`bpf/tcp.bpf.c`) where packets leave and enter.
//!
//! It is compiled in and needs no compiler; it changes no packet and keeps none. It is attached by
//! links that go with this process, so that nothing is left behind however that ends. Where the
//! kernel is too old (before 6.6) or forbids it, nothing is counted, and nothing else is different.
//!
//! Start reading at [`Flows::count`]. What the numbers mean is not decided here.

mod error;
mod program;

use std::{
    collections::BTreeMap,
    thread::{self, JoinHandle},
};

use nix::net::if_::if_indextoname;
use uplinkd_model::{Family, TcpCounters};

pub use crate::error::FlowsError;
use crate::program::{Attached, Program};

/// The counting, on whichever interfaces it is wanted.
#[derive(Default)]
pub struct Flows {
    state: State,
    /// By the interface's index; an error is remembered so that it is told, and tried, once.
    attached: BTreeMap<u32, Option<Attached>>,
}

#[derive(Default)]
enum State {
    /// Nobody has wanted it yet.
    #[default]
    Idle,
    /// On a thread of its own, since the kernel's proof that it does no harm takes its time.
    Loading(JoinHandle<Result<Program, FlowsError>>),
    Loaded(Box<Program>),
    /// It cannot be had here, which was told.
    Absent,
}

/// What was counted, and what stands in the way of more.
#[derive(Debug, Default)]
pub struct Reading {
    /// By interface and family.
    pub counters: BTreeMap<(u32, Family), TcpCounters>,
    /// What went wrong since the last reading; each is told once.
    pub news: Vec<FlowsError>,
}

impl Flows {
    /// Counts on these interfaces, by their indexes, and on no others from now on. Says what was
    /// counted since each of them was first named; nothing yet while the program is being loaded.
    pub fn count(&mut self, indexes: &[u32]) -> Reading {
        let mut reading = Reading::default();
        self.let_go(indexes);
        if indexes.is_empty() {
            return reading;
        }
        self.load(&mut reading);
        let State::Loaded(program) = &mut self.state else {
            return reading;
        };
        for index in indexes {
            let attached = self.attached.entry(*index).or_insert_with(|| {
                // Gone already: the next look at the kernel will say so.
                let name = if_indextoname(*index).ok()?.into_string().ok()?;
                if name.is_empty() {
                    return None;
                }
                let attached = program.attach(*index, &name);
                attached.map_err(|error| reading.news.push(error)).ok()
            });
            if attached.is_none() {
                continue;
            }
            for family in [Family::V4, Family::V6] {
                if let Some(counters) = program.read(*index, family) {
                    reading.counters.insert((*index, family), counters);
                }
            }
        }
        reading
    }

    /// A counting whose program is loaded already.
    ///
    /// # Errors
    /// Says why it cannot be.
    pub fn loaded() -> Result<Self, FlowsError> {
        Ok(Self {
            state: State::Loaded(Box::new(Program::load()?)),
            attached: BTreeMap::new(),
        })
    }

    /// Begins to load the program, or takes it once that is over.
    fn load(&mut self, reading: &mut Reading) {
        let loading = match std::mem::take(&mut self.state) {
            State::Idle => {
                let thread = thread::Builder::new().name("bpf".to_owned());
                match thread.spawn(Program::load) {
                    Ok(loading) => loading,
                    // For want of memory: it is tried again with the next reading.
                    Err(_) => return,
                }
            }
            State::Loading(loading) => loading,
            State::Loaded(program) => return self.state = State::Loaded(program),
            State::Absent => return self.state = State::Absent,
        };
        if !loading.is_finished() {
            self.state = State::Loading(loading);
            return;
        }
        self.state = match loading.join() {
            Ok(Ok(program)) => State::Loaded(Box::new(program)),
            Ok(Err(error)) => {
                reading.news.push(error);
                State::Absent
            }
            Err(_) => State::Absent,
        };
    }

    /// Detaches from all interfaces but these.
    fn let_go(&mut self, but: &[u32]) {
        let gone = self
            .attached
            .extract_if(.., |index, _| !but.contains(index));
        for (index, _) in gone {
            if let State::Loaded(program) = &mut self.state {
                program.forget(index);
            }
        }
    }

    /// Whether it could be had here. Loads the program and lets it go again; attaches nothing.
    ///
    /// # Errors
    /// Says why it cannot.
    pub fn check() -> Result<(), FlowsError> {
        Program::load().map(drop)
    }
}
