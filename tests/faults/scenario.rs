//! What goes wrong, where, and what is promised for it.

use std::time::Duration;

use crate::behaviour::Behaviour;

/// A fault with a name.
pub struct Scenario {
    pub name: &'static str,
    pub fault: Fault,
    /// Numbers of endpoints that it is run with.
    pub sizes: &'static [usize],
    /// Keys of the cluster that are not as shipped.
    pub keys: &'static str,
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    /// One endpoint's process is killed, and started again.
    Kill,
    /// All of them are.
    KillAll,
    /// One endpoint's process is stopped, and goes on.
    Stop,
    /// One endpoint does this.
    One(Behaviour),
    /// An endpoint for each of the faults above, all at once.
    Mixed,
    /// So many clients hold connections that lictor has no descriptors left.
    Crowd,
}

/// What is promised; each only if it is given. That no answer is wrong and lictor lives is promised in any case.
#[derive(Clone, Debug, Default)]
pub struct Promise {
    /// Requests that fail, at most.
    pub failed: Option<usize>,
    /// Of all requests.
    pub p99: Option<Duration>,
    /// Of those that were due during the fault, whatever their answer was.
    pub p99_during: Option<Duration>,
    /// From healing until every endpoint that was ill answers again.
    pub back: Option<Duration>,
    /// Seconds of CPU time that lictor uses during the fault, above what it uses for the load.
    pub cpu: Option<f64>,
}

const SIZES: &[usize] = &[1, 2, 3, 20];
const ONE_SECOND: Duration = Duration::from_secs(1);

/// Descriptors that lictor has in the scenario in which they run out, and the clients that use them up.
pub const DESCRIPTORS: u64 = 320;
pub const CROWD: usize = 700;

/// All of them.
pub fn all() -> Vec<Scenario> {
    let one = |name, behaviour| Scenario { name, fault: Fault::One(behaviour), sizes: SIZES, keys: "" };
    vec![
        Scenario { name: "killed", fault: Fault::Kill, sizes: SIZES, keys: "" },
        Scenario { name: "hung", fault: Fault::Stop, sizes: SIZES, keys: "" },
        one("black-hole", Behaviour::BlackHole),
        one("reset-in-head", Behaviour::ResetInHead),
        one("reset-in-body", Behaviour::ResetInBody),
        one("500-for-30-percent", Behaviour::Status { code: 500, percent: 30 }),
        one("503-for-30-percent", Behaviour::Status { code: 503, percent: 30 }),
        one("mute", Behaviour::Mute),
        one("slow-by-2s", Behaviour::Slow(Duration::from_secs(2))),
        Scenario { name: "all-down", fault: Fault::KillAll, sizes: SIZES, keys: "" },
        Scenario { name: "mixed", fault: Fault::Mixed, sizes: &[3, 20], keys: "" },
        Scenario { name: "descriptors", fault: Fault::Crowd, sizes: &[3], keys: "" },
    ]
}

/// What the endpoints of a mixed fault do, beside one that is killed and one that is stopped.
pub const MIXED: [Behaviour; 6] = [
    Behaviour::BlackHole,
    Behaviour::ResetInHead,
    Behaviour::ResetInBody,
    Behaviour::Status { code: 503, percent: 30 },
    Behaviour::Mute,
    Behaviour::Slow(Duration::from_secs(2)),
];

impl Fault {
    /// How many of so many endpoints are ill.
    pub fn ill(self, endpoints: usize) -> usize {
        match self {
            Fault::Kill | Fault::Stop | Fault::One(_) => 1,
            Fault::KillAll => endpoints,
            // Somebody has to be left.
            Fault::Mixed => (MIXED.len() + 2).min(endpoints - 1),
            Fault::Crowd => 0,
        }
    }
}

impl Scenario {
    pub fn promise(&self, endpoints: usize) -> Promise {
        let nobody_else = self.fault.ill(endpoints) == endpoints;
        let none = Promise { failed: Some(0), ..Promise::default() };
        let within = |milliseconds| Promise { p99: Some(Duration::from_millis(milliseconds)), ..none.clone() };
        match self.fault {
            Fault::KillAll => {
                Promise { p99_during: Some(Duration::from_millis(50)), back: Some(ONE_SECOND), ..Promise::default() }
            }
            Fault::One(Behaviour::Slow(_)) => none,
            // As much as 0.1 s in three.
            Fault::Crowd => Promise { back: Some(ONE_SECOND), cpu: Some(0.17), ..none },
            _ if nobody_else => Promise { back: Some(ONE_SECOND), ..Promise::default() },
            Fault::Kill | Fault::One(Behaviour::ResetInHead) => none,
            Fault::Stop | Fault::One(Behaviour::Mute) => within(1500),
            Fault::One(Behaviour::BlackHole) => within(600),
            Fault::One(Behaviour::ResetInBody) => Promise { failed: Some(20), ..none },
            Fault::One(_) => Promise { failed: Some(5), ..none },
            Fault::Mixed => Promise { failed: Some(25), ..none },
        }
    }
}
