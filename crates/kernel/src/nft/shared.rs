//! What a watch tells the kernel's user about our nft table, and the other way round.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many of our own `nft` processes are remembered. Their messages are read soon after they have
/// ended; the number of one may be given to a stranger's process later.
const CHILDREN_MAX: usize = 16;

/// The ports of our sockets and of our `nft` processes, and what a watch has seen of others in our
/// table. Clones share what they know.
#[derive(Clone, Debug, Default)]
pub struct OwnPorts {
    sockets: Vec<u32>,
    shared: Shared,
}

/// Sets and maps whose elements somebody else may have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Suspicion {
    /// Any of them: messages were lost.
    all: bool,
    /// Any of them, if anything at all has changed: nobody watched.
    unwatched: bool,
    /// These.
    sets: BTreeSet<String>,
    /// The process that was seen to change something in our table last, in words.
    pub(super) process: Option<String>,
}

impl Suspicion {
    /// Whether there is none as long as nothing has changed.
    pub(super) fn is_none(&self) -> bool {
        !self.all && self.sets.is_empty()
    }

    /// Whether a collection is suspected, where something in nft has changed or not.
    pub(super) fn is_of(&self, set: &str, has_changed: bool) -> bool {
        self.all || self.unwatched && has_changed || self.sets.contains(set)
    }
}

/// What both sides know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    children: VecDeque<u32>,
    watches: usize,
    /// Somebody has looked at everything since the watch began.
    has_looked: bool,
    suspicion: Suspicion,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held; if it did, what is known is still true.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An `nft` process of ours: the kernel takes its number as the port of its socket.
    pub(super) fn started(&self, child: u32) {
        let mut inner = self.lock();
        if inner.children.len() == CHILDREN_MAX {
            inner.children.pop_front();
        }
        inner.children.push_back(child);
    }

    /// What is suspected now.
    pub(super) fn suspicion(&self) -> Suspicion {
        let inner = self.lock();
        Suspicion {
            unwatched: inner.watches == 0 || !inner.has_looked,
            ..inner.suspicion.clone()
        }
    }

    /// What was suspected was looked at and is as it should be.
    pub(super) fn settle(&self, looked_at: &Suspicion) {
        let mut inner = self.lock();
        inner.has_looked = inner.watches > 0;
        let suspicion = &mut inner.suspicion;
        if looked_at.all {
            suspicion.all = false;
        }
        suspicion.sets.retain(|s| !looked_at.is_of(s, false));
        suspicion.process = None;
    }
}

impl OwnPorts {
    pub(crate) fn new(sockets: Vec<u32>, shared: Shared) -> Self {
        Self { sockets, shared }
    }

    /// Whether messages from this port are echoes of what we did.
    pub(crate) fn has(&self, port: u32) -> bool {
        // What the kernel does of its own accord has port zero.
        port != 0 && (self.sockets.contains(&port) || self.shared.lock().children.contains(&port))
    }

    /// Somebody begins to watch.
    pub(crate) fn watch(&self) {
        self.shared.lock().watches += 1;
    }

    /// Somebody no longer watches.
    pub(crate) fn unwatch(&self) {
        let mut inner = self.shared.lock();
        inner.watches = inner.watches.saturating_sub(1);
        inner.has_looked = false;
    }

    /// Somebody else changed elements of a set or map of ours.
    pub(crate) fn suspect(&self, set: String) {
        self.shared.lock().suspicion.sets.insert(set);
    }

    /// Messages were lost.
    pub(crate) fn suspect_all(&self) {
        self.shared.lock().suspicion.all = true;
    }

    /// The process that changed something in our table.
    pub(crate) fn blame(&self, process: String) {
        self.shared.lock().suspicion.process = Some(process);
    }
}
