//! Finding out where we stand: the agent is asked for its node now and then, and for the coordinates of the datacenter's nodes
//! more often, each only while some cluster goes by it. What was known stays while there is no answer, and nobody waits for
//! one: until something is known, nobody is preferred.
//!
//! Not by `?near=` of a health query, which would sort for us: it takes streaming from the agent and says nothing of distances.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::coordinate::{self, RoundTrips};
use super::place::{self, Wanted};
use super::{Shared, Update};
use crate::config::Consistency;
use crate::consul::{Backoff, Failure, vary};
use crate::endpoint::{Locality, Vantage};

/// An agent may be started again with other metadata.
const PLACE: Duration = Duration::from_secs(300);
/// Agents write their coordinates every 15 s at most, and the network does not move.
const COORDINATES: Duration = Duration::from_secs(30);

pub(super) struct Survey {
    shared: Arc<Shared>,
    wanted: Receiver<Wanted>,
    vantage: Arc<Vantage>,
    told: Locality,
    place: Inquiry,
    coordinates: Inquiry,
}

impl Survey {
    /// Goes on from what is known.
    pub(super) fn new(shared: &Arc<Shared>, wanted: Receiver<Wanted>, known: &Arc<Vantage>) -> Self {
        Survey {
            shared: Arc::clone(shared),
            wanted,
            vantage: Arc::clone(known),
            told: Locality::default(),
            place: Inquiry::new(),
            coordinates: Inquiry::new(),
        }
    }

    /// Runs until nobody wants to know anything any more.
    pub(super) async fn run(mut self) {
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            let next = [self.look_around(&wanted).await, self.measure(&wanted).await];
            tokio::select! {
                changed = self.wanted.changed() => match changed {
                    Ok(()) => (self.place.due, self.coordinates.due) = (Instant::now(), Instant::now()),
                    Err(_) => return,
                },
                () = at(next.into_iter().flatten().min()) => {}
            }
        }
    }

    /// Asks the agent where it stands if that is due; when to do so again, unless nobody wants to know.
    async fn look_around(&mut self, wanted: &Wanted) -> Option<Instant> {
        if !wanted.asks_agent(&self.shared.place) {
            return None;
        }
        if self.place.is_due() {
            match self.ask_agent().await {
                Ok(told) => {
                    let is_first = self.place.concluded(PLACE);
                    self.stand(told, wanted, is_first).await;
                }
                Err(failure) => {
                    if self.place.failed(&failure) {
                        warn!(unknown = ?wanted.unknown(&self.vantage.here), error = %failure, "{}", unheard(&failure));
                    }
                    self.after(&failure);
                }
            }
        }
        Some(self.place.due)
    }

    async fn ask_agent(&self) -> Result<Locality, Failure> {
        let about = self.shared.agent.about().await?;
        let told = place::told(&about, &self.shared.place.zone_key);
        told.ok_or_else(|| Failure::Incomplete("the agent does not name its node and datacenter".to_owned()))
    }

    /// Takes over what the agent told.
    async fn stand(&mut self, told: Locality, wanted: &Wanted, is_news: bool) {
        let here = place::join(&self.shared.place, &told);
        if is_news || told != self.told {
            let unknown = wanted.unknown(&here);
            let name = |name: &Option<Box<str>>| name.as_deref().unwrap_or_default().to_owned();
            let (node, zone, datacenter) = (name(&here.node), name(&here.zone), name(&here.datacenter));
            if unknown.is_empty() {
                info!(node, zone, datacenter, "this is where we stand");
            } else {
                let key = &self.shared.place.zone_key;
                warn!(
                    ?unknown,
                    node,
                    datacenter,
                    "nobody can be preferred by what is not known of us: give it in [place], or the agent's node the metadata \
                     \"{key}\""
                );
            }
        }
        self.told = told;
        // Distances are those from another node.
        let is_elsewhere = (&here.node, &here.datacenter) != (&self.vantage.here.node, &self.vantage.here.datacenter);
        let round_trips = if is_elsewhere { RoundTrips::new() } else { self.vantage.round_trips.clone() };
        self.tell(Vantage { here, round_trips }).await;
    }

    /// Reads coordinates if they are due; when to do so again, unless nobody wants to know or they would be of no use.
    async fn measure(&mut self, wanted: &Wanted) -> Option<Instant> {
        let here = self.vantage.here.clone();
        let (Some(node), Some(datacenter)) = (&here.node, &here.datacenter) else { return None };
        if wanted.bounds.is_empty() {
            return None;
        }
        if self.coordinates.is_due() {
            match self.ask_coordinates(node, datacenter).await {
                Ok(new) => {
                    if self.coordinates.concluded(COORDINATES) {
                        info!(nodes = new.len(), "round trips are known");
                    }
                    let round_trips = coordinate::settle(&self.vantage.round_trips, new, &wanted.bounds);
                    self.tell(Vantage { here, round_trips }).await;
                }
                Err(failure) => {
                    if self.coordinates.failed(&failure) {
                        warn!(error = %failure, "round trips cannot be estimated; what was known stays");
                    }
                    self.after(&failure);
                }
            }
        }
        Some(self.coordinates.due)
    }

    async fn ask_coordinates(&self, node: &str, datacenter: &str) -> Result<RoundTrips, Failure> {
        // A server that reads its log again has lost nodes for a moment.
        let mode = self.shared.mode().await.unwrap_or(Consistency::Default);
        let document = self.shared.agent.coordinates(datacenter, mode).await?;
        coordinate::estimates(document, node).ok_or_else(|| {
            Failure::Incomplete(format!("node {node:?} has no coordinate yet, or the token no node:read for it"))
        })
    }

    /// Hands on what is new; an equal vantage would have clusters built anew for nothing.
    async fn tell(&mut self, vantage: Vantage) {
        if *self.vantage != vantage {
            self.vantage = Arc::new(vantage);
            // Fails only when discovery has ended, and this survey with it.
            let _ = self.shared.updates.send(Update::Vantage(Arc::clone(&self.vantage))).await;
        }
    }

    fn after(&self, failure: &Failure) {
        // Watches that are not refused do not look for another token.
        if matches!(failure, Failure::Denied { .. }) {
            self.shared.agent.refresh_token();
        }
    }
}

/// A question that is asked again and again.
struct Inquiry {
    due: Instant,
    backoff: Backoff,
    is_answered: bool,
}

impl Inquiry {
    fn new() -> Self {
        Inquiry { due: Instant::now(), backoff: Backoff::default(), is_answered: false }
    }

    fn is_due(&self) -> bool {
        self.due <= Instant::now()
    }

    /// Notes an answer; true if it is the first, or the first after a failure.
    fn concluded(&mut self, period: Duration) -> bool {
        self.due = Instant::now() + vary(period);
        let was_answered = std::mem::replace(&mut self.is_answered, true);
        self.backoff.reset() || !was_answered
    }

    /// Notes a failure; true if it is the first of a row.
    fn failed(&mut self, failure: &Failure) -> bool {
        self.due = Instant::now() + self.backoff.after(failure);
        self.backoff.is_first()
    }
}

/// What to do about an agent that does not say where it stands.
fn unheard(failure: &Failure) -> &'static str {
    match failure {
        Failure::Denied { .. } => {
            "the agent may not say where we stand: the token lacks agent:read; give it that, or what is unknown in [place]"
        }
        _ => "the agent does not say where we stand; what was known stays",
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
