//! When things begin and end: draining and readiness as values that somebody holds, what the system gives the process for its
//! life, and whoever started it and watches over it. Nothing here waits for a fixed time.

pub mod descriptors;
mod drain;
mod readiness;
mod sockets;
mod supervisor;
mod turns;

pub use drain::{Drain, Draining, Withdrawal};
pub use readiness::Readiness;
pub use sockets::{SocketError, Sockets};
pub use supervisor::Supervisor;
pub use turns::{Turning, Turns};
