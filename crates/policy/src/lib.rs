//! From policies to the structure that the kernel asks, and answers read off that same structure.
//!
//! Pure: no clock, no I/O. [`compile`] makes a [`uplinkd_model::Classifier`] of the policies of a
//! configuration; [`evaluate`] asks it about a [`Flow`], as the kernel would, and
//! [`Evaluator`] about many. [`naive`] answers from
//! the policies themselves and is what the two are tested against. [`shadows`] finds policies that
//! can never be reached.

mod again;
mod behind;
mod boxes;
mod compile;
mod count;
mod evaluate;
mod fact;
mod fingerprint;
mod flow;
mod line;
mod naive;
mod normal;
mod relation;
mod shadow;
mod spans;
mod work;

pub use again::{Again, Before, compile_again};
pub use compile::compile;
pub use evaluate::{Evaluator, evaluate};
pub use fact::Fact;
pub use flow::{Answer, Flow, Origin};
pub use naive::{active, naive, why_not};
pub use shadow::{Shadow, shadows};
