//! The crate against the running kernel, in private network namespaces, with `ip`, `nft` and
//! `conntrack` as oracles. Kernel quirks that the simulator imitates are asserted in `quirks`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "all of this is tests, which clippy sees only where a function says so"
)]

mod classify;
mod common;
mod direct;
mod execute;
mod moving;
mod nft;
mod observe;
mod packets;
mod policies;
mod prefixes;
mod quirks;
mod refusal;
mod scale;
mod watch;
