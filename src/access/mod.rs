//! The access log: a line for each request that is over, as operators' tools read it. Lines are made by the worker, behind the answer,
//! in a buffer of its own; a thread writes them, many at once. In between is a queue with an end: where the thread cannot keep up with
//! what comes, or is held up by a disk or a pipe, lines are dropped and counted, and no request waits.

mod combined;
mod json;
mod queue;
mod scribe;
mod stamp;
mod text;
mod writer;

pub use scribe::Scribe;
pub use writer::{Error, Reopening, Writer};
