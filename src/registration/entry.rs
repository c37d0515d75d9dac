//! The life of one instance in the catalogue: entered, kept, entered again where it was lost, taken out.
//!
//! A write that has begun is waited for, whatever comes: an agent may go on with one that was broken off, and a late entry after
//! the instance was taken out would stand there for nobody. So orders are looked at between writes.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};
use tracing::{info, warn};

use super::command::{self, Findings, Said, Status};
use super::definition::{Definition, Says, Voice};
use super::tell::{Seen, Tell};
use crate::consul::{Agent, Backoff, Bucket, Failure, vary};
use crate::lifecycle::Readiness;
use crate::metrics::RegistrationSeries;

/// How often it is entered again as it is, which changes nothing, unless somebody has changed something.
const AGAIN: Duration = Duration::from_secs(300);
/// Heartbeats for each time that an agent waits for one: two may be lost.
const BEATS: u32 = 3;
/// Who answers that nothing has changed sooner than this does not hold questions, and is asked this often instead.
const BRIEF: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_secs(5);
/// Somebody takes it out whenever it was entered: who stood for less than this is not entered again before as long has passed.
const CONTEST: Duration = Duration::from_secs(1);

/// What is wrong where a check's status does not reach the agent.
const UNSAID: &str = "the agent does not take a heartbeat";

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Order {
    /// It is to be there, like this.
    Stay(Arc<Definition>),
    /// It is to be taken out.
    Leave,
    /// It is to be left as it is, and nobody looks after it any more.
    Rest,
}

impl Order {
    /// As lictor ends.
    pub(super) fn end(&mut self) {
        let stays = matches!(self, Order::Stay(definition) if definition.keep);
        *self = if stays { Order::Rest } else { Order::Leave };
    }
}

/// One instance.
pub(super) struct Entry {
    agent: Arc<Agent>,
    readiness: Readiness,
    series: Arc<RegistrationSeries>,
    orders: watch::Receiver<Order>,
    entered: watch::Sender<bool>,
    backoff: Backoff,
    /// Its id, once the agent may have heard of it.
    told: Option<Arc<str>>,
}

impl Entry {
    /// One that has not begun.
    pub(super) fn new(
        agent: Arc<Agent>,
        readiness: Readiness,
        series: Arc<RegistrationSeries>,
        orders: watch::Receiver<Order>,
        entered: watch::Sender<bool>,
    ) -> Self {
        Entry { agent, readiness, series, orders, entered, backoff: Backoff::default(), told: None }
    }

    /// Lives until it was taken out, or is left as it is.
    pub(super) async fn run(mut self) {
        loop {
            let order = self.orders.borrow_and_update().clone();
            match order {
                Order::Stay(definition) => {
                    let mut programs = JoinSet::new();
                    let findings = begin(&definition, &mut programs);
                    self.be(&definition, &findings).await;
                }
                Order::Leave => {
                    let Some(id) = self.told.clone() else { return };
                    // Nobody else runs in between: whoever orders next finds either this or nobody.
                    if self.leave(&id).await && !self.orders.has_changed().unwrap_or(false) {
                        return;
                    }
                }
                Order::Rest => return,
            }
        }
    }

    /// Is there like this until there is another order.
    async fn be(&mut self, definition: &Definition, findings: &Findings) {
        let mut pause = Duration::ZERO;
        loop {
            if !self.pause(pause).await || !self.enter(definition).await {
                return;
            }
            let entered = Instant::now();
            match Keeping::new(self, definition, findings).run().await {
                Why::Ordered => return,
                Why::Lost => {
                    self.note(false);
                    warn!(id = %definition.id, "the agent does not know this instance any more; it is entered again");
                }
                Why::Again => {}
            }
            pause = if entered.elapsed() < CONTEST { vary(CONTEST) } else { Duration::ZERO };
        }
    }

    /// Enters it as soon as that can be done. False if there is another order first.
    async fn enter(&mut self, definition: &Definition) -> bool {
        loop {
            // What is there may be changed at any time.
            if definition.is_own && !*self.entered.borrow() {
                while let Some(blocker) = self.readiness.blocker() {
                    tokio::select! {
                        () = self.readiness.changes(Some(blocker)) => {}
                        _ = self.orders.changed() => return false,
                    }
                }
            }
            let agent = Arc::clone(&self.agent);
            let tell = Tell { agent: &agent, id: &definition.id };
            self.told = Some(Arc::clone(&definition.id));
            self.series.is(&definition.service, &definition.checks);
            let mut result = tell.enter(&definition.body).await;
            if result.is_ok() {
                result = tell.sweep(&definition.checks).await;
            }
            match result {
                Ok(()) => {
                    self.backoff.reset();
                    if self.note(true) {
                        info!(service = %definition.service, id = %definition.id, "entered in the catalogue");
                    }
                    return !self.is_ordered();
                }
                Err(failure) => {
                    if !self.failed(&failure, &definition.id, "cannot be entered in the catalogue").await {
                        return false;
                    }
                }
            }
        }
    }

    /// Takes it out, however often it takes. False if there is another order first.
    async fn leave(&mut self, id: &str) -> bool {
        let agent = Arc::clone(&self.agent);
        loop {
            match (Tell { agent: &agent, id }).leave().await {
                Ok(()) => {
                    self.backoff.reset();
                    self.note(false);
                    info!(%id, "taken out of the catalogue");
                    return true;
                }
                Err(failure) => {
                    if !self.failed(&failure, id, "cannot be taken out of the catalogue").await {
                        return false;
                    }
                }
            }
        }
    }

    /// Waits. False if there is another order first.
    async fn pause(&mut self, pause: Duration) -> bool {
        tokio::select! {
            () = sleep(pause) => true,
            _ = self.orders.changed() => false,
        }
    }

    /// Counts and reports a failure, and waits for as long as it asks for. False if there is another order first.
    async fn failed(&mut self, failure: &Failure, id: &str, what: &str) -> bool {
        let pause = self.report(failure, id, what);
        let (agent, version) = (Arc::clone(&self.agent), self.agent.token_version());
        let wait = async {
            match failure {
                Failure::Denied { .. } => agent.another_token(version, pause).await,
                _ => sleep(pause).await,
            }
        };
        tokio::select! {
            () = wait => true,
            // Where nobody orders any more, what was ordered last holds.
            Ok(()) = self.orders.changed() => false,
        }
    }

    /// Counts a failure, reports the first of a row, and says how long to leave the agent alone.
    fn report(&mut self, failure: &Failure, id: &str, what: &str) -> Duration {
        let pause = self.backoff.after(failure);
        self.series.failed(format!("{what}: {failure}"));
        if self.backoff.is_first() {
            warn!(%id, error = %failure, "{what}{}", hint(failure));
        }
        pause
    }

    /// Notes whether it is there; true if that is another thing than before.
    fn note(&self, is_there: bool) -> bool {
        self.entered.send_if_modified(|entered| std::mem::replace(entered, is_there) != is_there);
        self.series.entered(is_there) != is_there
    }

    fn is_ordered(&self) -> bool {
        // An error means that nobody orders any more, which is for the registrar to say.
        self.orders.has_changed().unwrap_or(true)
    }
}

/// What a person can do about it, where Consul does not say.
fn hint(failure: &Failure) -> &'static str {
    match failure {
        Failure::Denied { .. } => "; the token needs service:write for this service",
        _ => "",
    }
}

/// Starts the programs that are its checks.
fn begin(definition: &Definition, programs: &mut JoinSet<()>) -> Findings {
    let findings = Findings::new(vec![None; definition.voices.len()]);
    for (place, voice) in definition.voices.iter().enumerate() {
        if let Says::Command(check, command) = &voice.says {
            programs.spawn_local(command::repeat(check.clone(), command.clone(), place, findings.clone()));
        }
    }
    findings
}

/// Why an instance is not kept any more.
enum Why {
    /// There is another order.
    Ordered,
    /// It is not there.
    Lost,
    /// It is time to enter it once more.
    Again,
}

/// Keeps an instance that was entered.
struct Keeping<'a> {
    entry: &'a mut Entry,
    definition: &'a Definition,
    findings: &'a Findings,
    /// What was sent for each voice.
    sent: Vec<Option<Status>>,
    /// What kept us from being ready when it was last said.
    blocker: Option<&'static str>,
    /// Of what is said; the entry's is of what is asked.
    speaking: Backoff,
    /// When to speak next.
    beat: Instant,
}

impl<'a> Keeping<'a> {
    fn new(entry: &'a mut Entry, definition: &'a Definition, findings: &'a Findings) -> Self {
        let sent = vec![None; definition.voices.len()];
        // At once: an agent that has been away may have found it silent.
        let beat = Instant::now();
        Keeping { entry, definition, findings, sent, blocker: None, speaking: Backoff::default(), beat }
    }

    async fn run(mut self) -> Why {
        let again = Instant::now() + vary(AGAIN);
        let mut bucket = Bucket::new(Instant::now());
        let (agent, readiness) = (Arc::clone(&self.entry.agent), self.entry.readiness.clone());
        let id = &*self.definition.id;
        let look = |hash: String, after: Duration| {
            let tell = Tell { agent: &agent, id };
            async move {
                sleep(after).await;
                let began = Instant::now();
                (tell.look(&hash).await, hash, began.elapsed())
            }
        };
        let mut looking = pin!(look(String::new(), Duration::ZERO));
        let mut found = self.findings.subscribe();
        let own_readiness = self.speaks_of_readiness().then_some(&readiness);
        loop {
            let which = tokio::select! {
                biased;
                _ = self.entry.orders.changed() => return Why::Ordered,
                (seen, hash, took) = &mut looking => {
                    let next = match seen {
                        Ok(Seen::Missing) => return Why::Lost,
                        Ok(Seen::There(now)) => {
                            let was_held = now != hash || took > BRIEF;
                            let pause = self.answered(&mut bucket);
                            look(now, if was_held { pause } else { vary(POLL) })
                        }
                        Err(failure) => look(hash, self.unanswered(&failure)),
                    };
                    looking.set(next);
                    continue;
                }
                _ = found.changed() => Which::New,
                () = due(self.beat, own_readiness, self.blocker), if self.pulse().is_some() => Which::All,
                () = sleep_until(again.into()) => return Why::Again,
            };
            if !self.say(which).await {
                return Why::Lost;
            }
        }
    }

    /// The agent has said that it is there: how long to wait before it is asked again, for more than that.
    fn answered(&mut self, bucket: &mut Bucket) -> Duration {
        if self.entry.backoff.reset() {
            self.beat = Instant::now();
        }
        bucket.take(Instant::now())
    }

    /// The agent has not said whether it is there: how long to leave it alone.
    fn unanswered(&mut self, failure: &Failure) -> Duration {
        self.entry.agent.refresh_token();
        self.entry.report(failure, &self.definition.id, "the agent does not say whether this is entered")
    }

    /// How often to speak, if at all.
    fn pulse(&self) -> Option<Duration> {
        self.definition.voices.iter().map(|voice| voice.ttl / BEATS).min()
    }

    fn speaks_of_readiness(&self) -> bool {
        self.definition.voices.iter().any(|voice| voice.says == Says::Readiness)
    }

    /// Says how the checks are that lictor speaks for. False if the agent does not know one.
    async fn say(&mut self, which: Which) -> bool {
        let (definition, agent) = (self.definition, Arc::clone(&self.entry.agent));
        let tell = Tell { agent: &agent, id: &definition.id };
        for (place, voice) in definition.voices.iter().enumerate() {
            // Between writes, as everywhere.
            if self.entry.is_ordered() {
                return true;
            }
            let Some(said) = self.finding(place, voice) else { continue };
            if which == Which::New && self.sent[place] == Some(said.status) {
                continue;
            }
            match tell.update(&voice.check, &said).await {
                Ok(true) => {
                    self.sent[place] = Some(said.status);
                    self.entry.series.said(&voice.check, said.status.word(), &said.output);
                }
                Ok(false) => return false,
                Err(failure) => {
                    self.beat = Instant::now() + self.unsaid(&failure);
                    return true;
                }
            }
        }
        if which == Which::All {
            self.speaking.reset();
            self.beat = Instant::now() + vary(self.pulse().unwrap_or(AGAIN));
        }
        true
    }

    /// The agent has not taken what was said: how long to leave it alone.
    fn unsaid(&mut self, failure: &Failure) -> Duration {
        let pause = self.speaking.after(failure);
        self.entry.series.failed(format!("{UNSAID}: {failure}"));
        self.entry.agent.refresh_token();
        if self.speaking.is_first() {
            warn!(id = %self.definition.id, error = %failure, "{UNSAID}{}", hint(failure));
        }
        pause
    }

    /// What there is to say now, if there is.
    fn finding(&mut self, place: usize, voice: &Voice) -> Option<Said> {
        match voice.says {
            Says::Command(..) => self.findings.borrow()[place].clone(),
            Says::Readiness => {
                self.blocker = self.entry.readiness.blocker();
                let status = if self.blocker.is_some() { Status::Critical } else { Status::Passing };
                Some(Said { status, output: self.blocker.unwrap_or("ready").to_owned() })
            }
        }
    }
}

/// Returns when it is time to speak: then, or when something else keeps us from being ready than was said, if that is spoken of.
async fn due(beat: Instant, readiness: Option<&Readiness>, blocker: Option<&'static str>) {
    let changed = async {
        match readiness {
            Some(readiness) => readiness.changes(blocker).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = sleep_until(beat.into()) => {}
        () = changed => {}
    }
}

/// What is said.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// What is another status than before.
    New,
    /// All of it: silence would mean that we are dead.
    All,
}
