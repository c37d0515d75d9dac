//! When things begin and end: draining and readiness as values that somebody holds, what the system gives the process for its
//! life, and whoever started it and watches over it. Nothing here waits for a fixed time.

pub mod descriptors;
mod drain;
mod log_level;
mod readiness;
mod sockets;
mod supervisor;

pub use drain::{Drain, Draining, Withdrawal};
pub use log_level::{LogLevel, Other};
pub use readiness::Readiness;
pub use sockets::{SocketError, Sockets};
pub use supervisor::Supervisor;
