//! When things begin and end: draining and readiness as values that somebody holds, and what the system gives the process for its
//! life. Nothing here waits for a fixed time.

pub mod descriptors;
mod drain;
mod readiness;

pub use drain::{Drain, Draining, Withdrawal};
pub use readiness::Readiness;
