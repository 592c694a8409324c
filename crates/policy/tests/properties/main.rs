//! What holds for all policies and flows, tried on random ones.

mod agreement;
mod random;
mod shadows;
