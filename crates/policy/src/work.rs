//! A bound on how long the search for a better arrangement may take.

/// Comparisons that may still be made. Counted, not timed, so that the same policies compile to the
/// same stages on every machine.
#[derive(Debug)]
pub(crate) struct Work {
    left: usize,
}

impl Work {
    /// So many.
    pub(crate) fn new(comparisons: usize) -> Self {
        Self { left: comparisons }
    }

    /// Takes some away.
    pub(crate) fn spend(&mut self, comparisons: usize) {
        self.left = self.left.saturating_sub(comparisons);
    }

    /// Whether none are left.
    pub(crate) fn is_done(&self) -> bool {
        self.left == 0
    }
}
