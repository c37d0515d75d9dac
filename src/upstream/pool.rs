//! Idle connections of one worker, a stack for each endpoint: the one that was used last is taken first, so that under little
//! load the others age and are closed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::connection::Connection;
use crate::endpoint::{Endpoint, Id};
use crate::message::{Pipe, Spare};

/// Connections that one worker keeps idle to one endpoint.
const MAX_IDLE: usize = 256;
/// Below the keep-alive time of most servers that have a generous one; those with a short one close first, and that is seen.
pub(super) const MAX_AGE: Duration = Duration::from_secs(55);

#[derive(Debug, Default)]
pub(super) struct Pool {
    stacks: RefCell<HashMap<Id, Stack, BuildHasherDefault<IdHasher>>>,
    /// What is read goes through it, and what is written through the other.
    pub(super) inbox: Rc<Spare>,
    pub(super) outbox: Spare,
    /// For long answers.
    pub(super) pipe: Pipe,
}

#[derive(Debug)]
struct Stack {
    // The pool does not keep an endpoint alive: one that neither a table nor an attempt holds has departed.
    endpoint: Weak<Endpoint>,
    #[expect(clippy::vec_box, reason = "a connection is handed over as it is, and its exchange holds it boxed")]
    idle: Vec<Box<Connection>>,
}

impl Pool {
    /// The connection to the endpoint that was used last.
    pub(super) fn take(&self, endpoint: Id) -> Option<Box<Connection>> {
        self.stacks.borrow_mut().get_mut(&endpoint)?.idle.pop()
    }

    /// Takes a connection back, unless there are enough.
    pub(super) fn give(&self, endpoint: &Arc<Endpoint>, connection: Box<Connection>) {
        let mut stacks = self.stacks.borrow_mut();
        let new = || Stack { endpoint: Arc::downgrade(endpoint), idle: Vec::new() };
        let stack = stacks.entry(endpoint.id()).or_insert_with(new);
        if stack.idle.len() < MAX_IDLE && !connection.is_unwanted() {
            stack.idle.push(connection);
        }
    }

    /// Closes everything; false if there is nothing to close.
    pub(super) fn clear(&self) -> bool {
        let stacks = std::mem::take(&mut *self.stacks.borrow_mut());
        stacks.values().any(|stack| !stack.idle.is_empty())
    }

    /// Closes what is old, and whatever leads to a departed endpoint.
    pub(super) fn sweep(&self, now: Instant) {
        self.stacks.borrow_mut().retain(|_, stack| {
            // The oldest are at the bottom.
            let age = |since: Instant| now.saturating_duration_since(since);
            let old = stack.idle.partition_point(|connection| age(connection.idle_since()) > MAX_AGE);
            stack.idle.drain(..old);
            // Somebody else was refused a connection while this one lies idle.
            if stack.idle.first().is_some_and(|connection| connection.is_unwanted()) {
                stack.idle.remove(0);
            }
            stack.endpoint.strong_count() > 0
        });
    }
}

/// Ids are counted up by ourselves: spread them over the table, without defence against an attacker.
#[derive(Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        // Fibonacci hashing: the golden ratio's fraction in 64 bits.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
