//! When things begin and end: draining and readiness as values that somebody holds. Nothing here waits for a fixed time.

mod drain;
mod readiness;

pub use drain::{Drain, Draining};
pub use readiness::Readiness;
