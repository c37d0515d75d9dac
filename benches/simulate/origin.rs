//! The scripted server behind one endpoint: a few workers and a queue, first come, first served.

use std::collections::VecDeque;
use std::time::Duration;

/// Requests that an origin works on at once. A few, as in a process with a thread for each core: with one, queues would be
/// all there is to see, and with hundreds there would be none below saturation, which is where policies differ.
pub const WORKERS: u32 = 4;
/// What a request takes where all is well, on average; exponential, so that short and long ones are mixed, and so that there
/// is a formula to check the whole simulation against.
pub const MEAN_WORK: Duration = Duration::from_millis(10);
/// How soon one that fails says so: much sooner than anybody can answer.
pub const FAILS_AFTER: Duration = Duration::from_millis(1);
/// Of a cold or slow one's time to that of one that is well.
pub const COLD: u32 = 5;
pub const SLOW: u32 = 10;
/// Requests until one that is cold is warm: it fills a cache or compiles its code by working, not by waiting.
pub const WARM_AFTER: u32 = 1_000;

/// What is the matter with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Nothing.
    Well,
    /// Takes ten times as long, for ever, with as many workers as the others have: it can do a tenth.
    Slow,
    /// The same, but it waits for something elsewhere and has workers enough to do so: it can do as much as anybody.
    Waiting,
    /// Fails at once, for ever.
    Failing,
    /// Takes five times as long at first.
    Cold,
}

/// The server behind one endpoint.
#[derive(Debug)]
pub struct Origin {
    health: Health,
    idle: u32,
    queue: VecDeque<u32>,
    taken: u32,
    /// Attempts that came here.
    pub attempts: u64,
}

impl Origin {
    pub fn new(health: Health) -> Self {
        let idle = if health == Health::Waiting { WORKERS * SLOW } else { WORKERS };
        Origin { health, idle, queue: VecDeque::new(), taken: 0, attempts: 0 }
    }

    /// True if it works at all.
    pub fn works(&self) -> bool {
        self.health != Health::Failing
    }

    /// A request comes: true if a worker takes it, false if it waits.
    pub fn takes(&mut self, request: u32) -> bool {
        let Some(idle) = self.idle.checked_sub(1) else {
            self.queue.push_back(request);
            return false;
        };
        self.idle = idle;
        true
    }

    /// A worker has finished: the next request for it, of those whose clients are still there.
    pub fn next(&mut self, is_open: impl Fn(&u32) -> bool) -> Option<u32> {
        while let Some(request) = self.queue.pop_front() {
            if is_open(&request) {
                return Some(request);
            }
        }
        self.idle += 1;
        None
    }

    /// What a request that it takes now takes here.
    pub fn time(&mut self, work: Duration) -> Duration {
        self.taken += 1;
        match self.health {
            Health::Slow | Health::Waiting => work * SLOW,
            Health::Cold if self.taken <= WARM_AFTER => work * COLD,
            _ => work,
        }
    }
}
