//! Who makes the trouble: kills, stops and misleads origins, and has lictor read other settings, by chance.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::sleep;

use crate::behaviour::Behaviour;
use crate::fleet::Member;
use crate::proxy::{Proxy, configuration};

/// Between two troubles, in milliseconds.
const PAUSE: std::ops::Range<u64> = 50..1200;
/// Nothing may take for ever, so that the end of a request can be waited for.
pub const FIRST: &str = "timeouts = { request = \"20s\", idle = \"5s\" }\nejection = { base = \"1s\", max = \"5s\" }";
const POLICIES: [&str; 6] = ["p2c", "ewma", "least_connections", "round_robin", "random", "consistent_hash"];

/// Origins, and how they are.
pub struct Trouble {
    chance: fastrand::Rng,
    members: Vec<(Member, State)>,
    made: BTreeMap<String, u32>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Runs,
    Dead,
    Stopped,
}

impl Trouble {
    pub fn new(seed: u64, members: Vec<Member>) -> Trouble {
        let members = members.into_iter().map(|member| (member, State::Runs)).collect();
        Trouble { chance: fastrand::Rng::with_seed(seed), members, made: BTreeMap::new() }
    }

    /// One more, after a pause.
    pub async fn make(&mut self, proxy: &Proxy, endpoints: &[SocketAddr]) {
        sleep(Duration::from_millis(self.chance.u64(PAUSE))).await;
        if self.chance.u8(0..6) == 0 {
            self.note("reload");
            proxy.reload(&configuration(endpoints, &self.settings()));
            return;
        }
        let place = self.chance.usize(..self.members.len());
        let behaviour = self.behaviour();
        let choice = self.chance.u8(0..5);
        let (member, state) = &mut self.members[place];
        let what = match (*state, choice) {
            (State::Dead, _) => {
                member.restart().await;
                *state = State::Runs;
                "restart".to_owned()
            }
            (State::Stopped, _) => {
                member.go_on();
                *state = State::Runs;
                "go on".to_owned()
            }
            (State::Runs, 0) => {
                member.kill();
                *state = State::Dead;
                "kill".to_owned()
            }
            (State::Runs, 1) => {
                member.stop();
                *state = State::Stopped;
                "stop".to_owned()
            }
            (State::Runs, _) => {
                obey(member, behaviour).await;
                behaviour.to_string().split(' ').next().unwrap_or_default().to_owned()
            }
        };
        self.note(&what);
    }

    /// All is well again.
    pub async fn end(&mut self, proxy: &Proxy, endpoints: &[SocketAddr]) {
        for (member, state) in &mut self.members {
            match state {
                State::Dead => member.restart().await,
                State::Stopped => member.go_on(),
                State::Runs => {}
            }
            obey(member, Behaviour::Well).await;
        }
        proxy.reload(&configuration(endpoints, FIRST));
    }

    pub fn in_words(&self) -> String {
        let made: Vec<String> = self.made.iter().map(|(what, count)| format!("{what} {count}")).collect();
        format!("trouble: {}", made.join(", "))
    }

    fn note(&mut self, what: &str) {
        *self.made.entry(what.to_owned()).or_default() += 1;
    }

    fn behaviour(&mut self) -> Behaviour {
        match self.chance.u8(0..15) {
            0 => Behaviour::ResetInHead,
            1 => Behaviour::ResetInBody,
            2 => Behaviour::Status { code: 503, percent: 50 },
            3 => Behaviour::Mute,
            4 => Behaviour::Slow(Duration::from_millis(self.chance.u64(10..1500))),
            5 => Behaviour::BlackHole,
            6..=9 => Behaviour::Wild { percent: self.chance.u8(20..100) },
            _ => Behaviour::Well,
        }
    }

    /// Other settings of the cluster.
    fn settings(&mut self) -> String {
        let policy = self.chance.choice(POLICIES).unwrap_or("p2c");
        let failures = self.chance.u8(0..4);
        let attempts = self.chance.u8(0..4);
        let budget = self.chance.f64();
        let window = self.chance.u8(0..3);
        let idle = self.chance.u8(2..6);
        format!(
            "policy = \"{policy}\"\nejection = {{ consecutive_failures = {failures}, base = \"1s\", max = \"5s\" }}\n\
             retry = {{ attempts = {attempts}, budget = {budget:.2} }}\nslow_start = {{ window = \"{window}s\" }}\n\
             timeouts = {{ request = \"20s\", idle = \"{idle}s\" }}"
        )
    }
}

/// Tells an origin what to do. One that does not hear in the midst of what is done to it is killed and started again.
async fn obey(member: &mut Member, behaviour: Behaviour) {
    if !member.try_tell(behaviour).await {
        member.kill();
        member.restart().await;
        member.tell(behaviour).await;
    }
}
