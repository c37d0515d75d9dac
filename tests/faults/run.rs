//! One scenario with one number of endpoints: load for twelve seconds, a fault from the third to the eighth, and a while more to see
//! who was ill come back.

use std::cell::RefCell;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};

use crate::behaviour::Behaviour;
use crate::fleet::{Member, Seen};
use crate::load::{End, Load, Sample};
use crate::process::cpu_seconds;
use crate::proxy::{Proxy, Window, configuration};
use crate::scenario::{CROWD, DESCRIPTORS, Fault, MIXED, Scenario};

/// Requests a second for each endpoint.
pub const RATE: u32 = 50;
/// From when on what lictor uses is taken for what it uses usually.
const WARM: Duration = Duration::from_secs(1);
/// When the fault begins and when it ends.
pub const FAULT: Duration = Duration::from_secs(3);
const HEALED: Duration = Duration::from_secs(8);
/// Requests that are due later are not counted.
const END: Duration = Duration::from_secs(12);
/// Whoever has not come back by then is left.
const LEFT: Duration = Duration::from_secs(26);
/// How often the endpoints' standing is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What was seen of it.
pub struct Observed {
    /// Of the requests that were due within the twelve seconds.
    pub samples: Vec<Sample>,
    pub fault: Instant,
    pub healed: Instant,
    /// From the fault until somebody who is ill was not eligible.
    pub ejected: Option<Duration>,
    /// From healing until everybody who was ill has answered a request that was due after it.
    pub back: Option<Duration>,
    /// Attempts that went to whom is ill, during the fault.
    pub attempts: f64,
    /// Seconds of CPU time that lictor used during the fault, above what it used for the same load before.
    pub cpu: f64,
    /// Whether the operator's window answered at the end of the fault.
    pub window: bool,
    pub lives: bool,
}

/// Changes of standing, in order.
type Changes = Rc<RefCell<Vec<(Instant, String, String)>>>;

/// All that takes part.
struct Stage {
    members: Vec<Member>,
    ill: usize,
    proxy: Proxy,
    crowd: Vec<TcpStream>,
}

/// Runs it.
pub async fn run(scenario: &Scenario, endpoints: usize) -> Observed {
    let mut stage = Stage::build(scenario, endpoints).await;
    let began = Instant::now();
    let load = Load::start(stage.proxy.address, RATE * endpoints as u32, began);
    let changes = Changes::default();
    let watching = tokio::task::spawn_local(watch(stage.proxy.admin, Rc::clone(&changes)));
    sleep_until((began + WARM).into()).await;
    let warm = cpu_seconds(stage.proxy.id());
    sleep_until((began + FAULT).into()).await;

    let usual = (cpu_seconds(stage.proxy.id()) - warm) / (FAULT - WARM).as_secs_f64();
    let before = (stage.attempts_at_the_ill().await, cpu_seconds(stage.proxy.id()));
    let fault = Instant::now();
    stage.begin(scenario.fault).await;
    sleep_until((began + HEALED).into()).await;
    let used = cpu_seconds(stage.proxy.id()) - before.1 - usual * fault.elapsed().as_secs_f64();
    let window = stage.proxy.has_window().await;
    // The figures are read a moment apart from each other.
    let attempts = (stage.attempts_at_the_ill().await - before.0).max(0.0);
    stage.heal(scenario.fault).await;
    let healed = Instant::now();

    let answers = stage.answers_again(healed).await;
    // A moment more, so that the last ones have begun.
    sleep_until((began + END + LOOK * 10).into()).await;
    let names: Vec<String> = stage.ill().iter().map(|member| member.name.clone()).collect();
    let back = returned(&load, &names, (healed, began + LEFT)).await;
    load.end().await;
    watching.abort();
    let ill: HashSet<String> = stage.ill().iter().map(|member| member.address.to_string()).collect();
    let out = |(when, who, standing): &&(Instant, String, String)| {
        *when >= fault && ill.contains(who) && standing != "eligible"
    };
    let ejected = changes.borrow().iter().find(out).map(|(when, ..)| *when - fault);
    let mut samples = load.samples();
    samples.retain(|sample| sample.due < began + END);
    let back = match scenario.fault {
        Fault::Crowd => answers,
        Fault::KillAll => Some(recovered(&samples, healed)),
        _ => back,
    };
    Observed {
        samples,
        fault,
        healed,
        ejected,
        back,
        attempts,
        cpu: used.max(0.0),
        window,
        lives: stage.proxy.is_running(),
    }
}

/// From healing until the last request that still failed.
fn recovered(samples: &[Sample], healed: Instant) -> Duration {
    let failed = samples.iter().filter(|sample| sample.due >= healed && !matches!(sample.end, End::Good(_)));
    failed.map(|sample| sample.due + sample.took - healed).max().unwrap_or_default()
}

/// From healing until the last of them has answered, if that is before the deadline.
async fn returned(load: &Load, names: &[String], (healed, deadline): (Instant, Instant)) -> Option<Duration> {
    loop {
        let first: Option<Vec<Instant>> = names.iter().map(|name| load.has_answered(name, healed)).collect();
        if let Some(first) = first {
            return first.into_iter().max().map(|last| last - healed);
        }
        if Instant::now() > deadline {
            return None;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Notes every change of standing.
async fn watch(admin: SocketAddr, changes: Changes) {
    let mut last = Vec::new();
    let mut window = None;
    loop {
        tokio::time::sleep(LOOK).await;
        if window.is_none() {
            window = timeout(LOOK * 10, Window::open(admin)).await.ok().and_then(Result::ok);
        }
        let Some(open) = &mut window else { continue };
        match timeout(LOOK * 100, open.standings()).await {
            Ok(Ok(now)) => {
                let changed = now.iter().filter(|one| !last.contains(*one));
                let noted = changed.map(|(who, standing)| (Instant::now(), who.clone(), standing.clone()));
                changes.borrow_mut().extend(noted);
                last = now;
            }
            _ => window = None,
        }
    }
}

impl Stage {
    async fn build(scenario: &Scenario, endpoints: usize) -> Stage {
        let seen = Seen::default();
        let mut members = Vec::new();
        for index in 0..endpoints {
            members.push(Member::start(&format!("origin-{index}"), &seen).await);
        }
        let addresses: Vec<SocketAddr> = members.iter().map(|member| member.address).collect();
        let descriptors = (scenario.fault == Fault::Crowd).then_some(DESCRIPTORS);
        let proxy = Proxy::start(&configuration(&addresses, scenario.keys), descriptors).await;
        Stage { members, ill: scenario.fault.ill(endpoints), proxy, crowd: Vec::new() }
    }

    /// Whom it hits: the first ones.
    fn ill(&mut self) -> &mut [Member] {
        &mut self.members[..self.ill]
    }

    /// Attempts so far, whatever came of them, less those that the others have seen.
    async fn attempts_at_the_ill(&mut self) -> f64 {
        let ended = self.proxy.metric("lictor_attempts_total").await.unwrap_or_default();
        let running = self.proxy.metric("lictor_cluster_in_flight").await.unwrap_or_default();
        let mut others = 0;
        for member in &mut self.members[self.ill..] {
            others += member.count().await;
        }
        ended + running - others as f64
    }

    async fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::Kill | Fault::KillAll => self.ill().iter_mut().for_each(Member::kill),
            Fault::Stop => self.ill()[0].stop(),
            Fault::One(behaviour) => self.ill()[0].tell(behaviour).await,
            Fault::Mixed => {
                self.members[0].kill();
                self.members[1].stop();
                let ill = Fault::Mixed.ill(self.members.len());
                for (member, behaviour) in self.members[2..ill].iter_mut().zip(MIXED) {
                    member.tell(behaviour).await;
                }
            }
            Fault::Crowd => {
                for _ in 0..CROWD {
                    // One that the kernel does not take at once is not needed.
                    let opened = timeout(LOOK, TcpStream::connect(self.proxy.address)).await;
                    self.crowd.extend(opened.ok().and_then(Result::ok));
                }
            }
        }
    }

    async fn heal(&mut self, fault: Fault) {
        match fault {
            Fault::Kill | Fault::KillAll => {
                for member in self.ill() {
                    member.restart().await;
                }
            }
            Fault::Stop => self.ill()[0].go_on(),
            Fault::One(_) => self.ill()[0].tell(Behaviour::Well).await,
            Fault::Mixed => {
                self.members[0].restart().await;
                self.members[1].go_on();
                let ill = Fault::Mixed.ill(self.members.len());
                for member in &mut self.members[2..ill] {
                    member.tell(Behaviour::Well).await;
                }
            }
            Fault::Crowd => self.crowd.clear(),
        }
    }

    /// From healing until somebody who comes anew is answered.
    async fn answers_again(&self, healed: Instant) -> Option<Duration> {
        let ask = async {
            let mut window = Window::open(self.proxy.address).await?;
            window.get("/").await
        };
        timeout(END, ask).await.ok()?.ok().map(|_| healed.elapsed())
    }
}
