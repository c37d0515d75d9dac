//! What casts doubt on the rounds, in words: nothing that makes an answer wrong, all that makes a comparison unfair.

use crate::findings::{Findings, Mode, Round};
use crate::peers::Peer;
use crate::tls::Sessions;
use crate::work::Work;

/// Share of a window that a proxy may have waited for its core before we doubt the round.
const WAITED_TOO_MUCH: f64 = 0.05;
/// With less than this of both cores used, neither side was the bottleneck: something else had the machine.
const USED_TOO_LITTLE: f64 = 0.9;
/// Connections that a proxy may open within a window, per thousand requests, before we doubt its keep-alive.
const RECONNECTED_TOO_MUCH: f64 = 1.0;
/// … and so many are not too many for anybody: pools settle.
const FEW: u64 = 100;
/// How far an origin's share of a window may be from an even one before we doubt that they were taken in turn.
const UNEVEN: f64 = 0.05;
/// Where the load has its core to itself and still uses this much of it, its own delays are in the latencies.
const LOAD_TOO_BUSY: f64 = 0.95;

/// Tickets that get lost for other reasons.
const RESUMED: f64 = 0.99;

/// A doubt in words, and whether a round deserves it.
type Doubt = (&'static str, fn(&Round) -> bool);

const DOUBTS: [Doubt; 7] = [
    ("the origins did not share the requests evenly", |round| round.unevenness() > UNEVEN),
    ("connections to origins were not kept alive", |round| {
        round.upstream_connections > FEW && round.reconnected() > RECONNECTED_TOO_MUCH
    }),
    ("waited for its core, which others used", |round| round.of_window(round.usage.waited_ns) > WAITED_TOO_MUCH),
    ("neither core was full: too few connections, or others used the machine", |round| {
        round.mode == Mode::Saturated && round.of_window(round.usage.cpu_ns.max(round.load_cpu_ns)) < USED_TOO_LITTLE
    }),
    ("the load was too busy for its schedule, and latencies are its own", |round| {
        round.mode != Mode::Saturated && round.of_window(round.load_cpu_ns) > LOAD_TOO_BUSY
    }),
    ("sessions were resumed where they should be new, or the other way round", |round| {
        round.work.sessions() == Sessions::Resumed
            && round.tally.resumed as f64 <= RESUMED * round.tally.requests as f64
            || round.work.sessions() == Sessions::New && round.tally.resumed > 0
    }),
    ("could not carry the rate, and requests were never sent", |round| round.tally.unsent > 0),
];

/// Those that this work item's rounds deserve.
pub fn find(findings: &Findings, work: Work, peers: &[Peer]) -> Vec<String> {
    let mut notes = Vec::new();
    for (doubt, applies) in DOUBTS {
        for peer in peers {
            let rounds = || findings.rounds.iter().filter(|round| round.work == work && round.peer == *peer);
            let doubtful = rounds().filter(|round| applies(round)).count();
            if doubtful > 0 {
                notes.push(format!(
                    "{}: {}, {doubtful} of {} windows: {doubt}",
                    work.name(),
                    peer.name(),
                    rounds().count()
                ));
            }
        }
    }
    notes
}
