//! One policy's run: events in the order of virtual time, and what became of each request.
//!
//! A request goes as `proxy::journey` lets it go: it counts towards the budget, and while it fails with nothing sent it is begun
//! again with the endpoints that it has tried, as often as the settings and the budget allow.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;

use lictor::cluster::{Attempt, Cluster, Handle, New, Own, Purpose, Request};
use lictor::config::{self, Environment, Policy};
use lictor::endpoint::{Address, Id, Ids, Listed};
use lictor::health::{self, Outcome, Reason};
use lictor::metrics::Metrics;

use crate::origin::{FAILS_AFTER, MEAN_WORK, Origin};
use crate::scenario::{ENDPOINTS, Ejection, Scenario};
use crate::{Failing, Options};

/// How long a client waits before it leaves. An endpoint that is given more than it can do has a queue without end; this is
/// what ends it in life. A hundred times what an answer should take.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Tally {
    /// How long each client waited. One that failed counts as if it had waited in vain: failing fast is no way to look fast.
    pub waited: Vec<Duration>,
    /// Requests that ended with an error.
    pub failed: u64,
    /// Requests whose client left.
    pub left: u64,
    /// Attempts at each endpoint, in the order of addresses.
    pub attempts: Vec<u64>,
}

/// Clients, lictor's cluster, and the origins behind its endpoints.
pub struct World {
    cluster: Handle,
    places: HashMap<Id, usize>,
    origins: Vec<Origin>,
    failing: Failing,
    /// The moment at which the virtual time is zero.
    base: Instant,
    now: Duration,
    events: BinaryHeap<Reverse<(Duration, u32, Event)>>,
    counted: u32,
    /// Requests that have not ended.
    open: HashMap<u32, Open>,
    to_come: u32,
    rate: f64,
    /// The clients', the same under each policy; and lictor's own.
    world: fastrand::Rng,
    rng: fastrand::Rng,
    tally: Tally,
}

/// What happens next; those of one moment in the order in which they were planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The next request comes.
    Arrives,
    /// A request's attempt has failed.
    Fails(u32),
    /// A worker of that origin is done with a request.
    Done(usize, u32),
    /// The client has lost its patience.
    Leaves(u32),
}

struct Open {
    arrived: Duration,
    work: Duration,
    key: u64,
    tried: Vec<Id>,
    attempt: Option<Attempt>,
}

impl World {
    /// Nothing has happened yet.
    pub fn new(scenario: &Scenario, policy: Policy, options: &Options) -> Result<Self, Box<dyn Error>> {
        // What the cluster draws by itself: where turns begin, and how much longer an ejection is.
        fastrand::seed(options.seed);
        let seed = options.seed;
        // A client that leaves is noted by the true clock, by which none of this has happened: as if nothing had been noted,
        // instead of something that differs from run to run.
        let base = Instant::now() + Duration::from_secs(86_400);
        let cluster = cluster(scenario, policy, base)?;
        let place = |(place, member): (usize, &lictor::cluster::Member)| (member.endpoint.id(), place);
        Ok(World {
            places: cluster.members().iter().enumerate().map(place).collect(),
            cluster,
            origins: scenario.endpoints.iter().map(|health| Origin::new(*health)).collect(),
            failing: options.failing,
            base,
            now: Duration::ZERO,
            events: BinaryHeap::new(),
            counted: 0,
            open: HashMap::new(),
            to_come: options.requests,
            rate: scenario.rate,
            world: fastrand::Rng::with_seed(seed),
            rng: fastrand::Rng::with_seed(!seed),
            tally: Tally::default(),
        })
    }

    /// Until the last request has ended.
    pub fn run(mut self) -> Tally {
        self.plan(Duration::ZERO, Event::Arrives);
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now = at;
            match event {
                Event::Arrives => self.arrive(),
                Event::Fails(request) => self.fail(request),
                Event::Done(place, request) => self.finish(place, request),
                Event::Leaves(request) => self.leave(request),
            }
        }
        self.tally.attempts = self.origins.iter().map(|origin| origin.attempts).collect();
        self.tally
    }

    fn plan(&mut self, after: Duration, event: Event) {
        self.counted += 1;
        self.events.push(Reverse((self.now + after, self.counted, event)));
    }

    fn time(&self) -> Instant {
        self.base + self.now
    }

    fn arrive(&mut self) {
        let work = exponential(&mut self.world, MEAN_WORK);
        let pause = exponential(&mut self.world, Duration::from_secs_f64(1.0 / self.rate));
        let key = self.world.u64(..);
        let request = self.to_come;
        self.open.insert(request, Open { arrived: self.now, work, key, tried: Vec::new(), attempt: None });
        self.cluster.request(0, self.time());
        self.plan(PATIENCE, Event::Leaves(request));
        self.send(request);
        self.to_come -= 1;
        if self.to_come > 0 {
            self.plan(pause, Event::Arrives);
        }
    }

    /// Begins an attempt.
    fn send(&mut self, request: u32) {
        let now = self.time();
        let Some(open) = self.open.get_mut(&request) else { return };
        let purpose = if open.tried.is_empty() { Purpose::First } else { Purpose::Retry };
        let key = Some(open.key);
        let asked = Request { now, worker: 0, tried: &open.tried, purpose, can_retry: true, key, session: None };
        let Some(attempt) = self.cluster.begin(&asked, &mut self.rng) else {
            return self.end_badly(request);
        };
        let place = self.places[&attempt.endpoint().id()];
        open.attempt = Some(attempt);
        let origin = &mut self.origins[place];
        origin.attempts += 1;
        if !origin.works() {
            self.plan(FAILS_AFTER, Event::Fails(request));
        } else if origin.takes(request) {
            self.work(place, request);
        }
    }

    /// A worker of the origin takes a request.
    fn work(&mut self, place: usize, request: u32) {
        let time = self.origins[place].time(self.open[&request].work);
        self.plan(time, Event::Done(place, request));
    }

    /// A worker of the origin is done, whether or not somebody waits for it: an origin does not notice in the middle.
    fn finish(&mut self, place: usize, request: u32) {
        let now = self.time();
        if let Some(mut open) = self.open.remove(&request) {
            if let Some(attempt) = &mut open.attempt {
                attempt.judge(health::judge(StatusCode::OK), now);
            }
            self.tally.waited.push(self.now - open.arrived);
        }
        let next = self.origins[place].next(|request| self.open.contains_key(request));
        if let Some(next) = next {
            self.work(place, next);
        }
    }

    /// The attempt has failed, and perhaps another one may follow.
    fn fail(&mut self, request: u32) {
        let now = self.time();
        let Some(open) = self.open.get_mut(&request) else { return };
        let Some(mut attempt) = open.attempt.take() else { return };
        let outcome = match self.failing {
            Failing::Refused => Outcome::Failure(Reason::Connect),
            Failing::Unavailable => health::judge(StatusCode::SERVICE_UNAVAILABLE),
        };
        attempt.judge(outcome, now);
        let retries = open.tried.len();
        open.tried.push(attempt.endpoint().id());
        drop(attempt);
        let settings = &self.cluster.settings().retry;
        let may_retry = retries < settings.attempts as usize && self.cluster.may_retry(now);
        if may_retry { self.send(request) } else { self.end_badly(request) }
    }

    fn end_badly(&mut self, request: u32) {
        self.open.remove(&request);
        self.tally.failed += 1;
        self.tally.waited.push(PATIENCE);
    }

    fn leave(&mut self, request: u32) {
        if self.open.remove(&request).is_some() {
            self.tally.left += 1;
            self.tally.waited.push(PATIENCE);
        }
    }
}

/// The cluster as lictor makes it of such a configuration.
fn cluster(scenario: &Scenario, policy: Policy, now: Instant) -> Result<Handle, Box<dyn Error>> {
    let ejection = match scenario.ejection {
        Ejection::Default => "",
        Ejection::Off => "ejection = { consecutive_failures = 0 }",
    };
    let text = format!(
        "[[listeners]]\nname = 'a'\nbind = '127.0.0.1:0'\n[clusters.web]\nendpoints = ['127.0.0.1:1']\npolicy = '{}'\n{ejection}",
        policy.name()
    );
    let config = config::parse(&text, &Environment::default())?;
    let listed = |place: usize| Listed::new(Address::from(([10, 0, 0, 1], 8_000 + place as u16)));
    let list = (0..ENDPOINTS).map(listed).collect();
    let (ids, vantage) = (Ids::default(), Arc::default());
    let own = Own { seed: 0, secret: [0; 32] };
    let metrics = &Metrics::new(1);
    let journal = &Arc::default();
    let new =
        New { workers: 1, now, ids: &ids, vantage: &vantage, own: &own, metrics, journal, mesh: None, measures: None };
    Ok(Handle::new(&Arc::new(Cluster::build(&config.clusters[0], Some(list), None, &new))))
}

/// Drawn from an exponential distribution.
fn exponential(rng: &mut fastrand::Rng, mean: Duration) -> Duration {
    // One minus, because the draw may be 0 but never 1.
    mean.mul_f64(-(1.0 - rng.f64()).ln())
}
