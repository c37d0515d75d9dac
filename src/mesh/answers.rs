//! Asking Consul whether callers may call us (`/v1/agent/connect/authorize`): for those who wait at the gate, and from time to time for
//! those whose connections stand. Intentions change while connections last, and nobody tells us when.
//!
//! The agent knows nothing of trust domains when it answers: that a caller is of ours was seen in its handshake.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use crate::config;
use crate::consul::{Agent, Failure};
use crate::tls::{Caller, Gate, Pass, Questions};

/// How long an answer may take, which is a matter of a millisecond.
const PATIENCE: Duration = Duration::from_secs(2);
/// Questions under way at once; more wait.
const AT_ONCE: usize = 16;
/// Of them, those about connections that stand: whoever comes does not wait for all of these.
const ABOUT_STANDING: usize = AT_ONCE / 2;
/// An agent that answers some and not others is spoken of this often at most.
const QUIET: Duration = Duration::from_secs(60);
/// How many times in the time after which standing connections are asked about it is looked who is due: so they are not much later.
const LOOKS: u32 = 8;

/// Answers the gate's questions.
pub(super) struct Answers {
    asker: Arc<Asker>,
    recheck: Duration,
    gate: Arc<Gate>,
    questions: Questions,
    /// Whether it was said last that there are no answers.
    is_silent: bool,
    /// When that was.
    said: Option<Instant>,
}

struct Asker {
    agent: Arc<Agent>,
    service: String,
}

type Answered = (Arc<Pass>, Result<(bool, Arc<str>), Failure>);

impl Answers {
    pub(super) fn new(agent: &Arc<Agent>, settings: &config::Mesh, (gate, questions): (Arc<Gate>, Questions)) -> Self {
        let asker = Arc::new(Asker { agent: Arc::clone(agent), service: settings.service.clone() });
        Answers { asker, recheck: settings.recheck, gate, questions, is_silent: false, said: None }
    }

    /// Runs for as long as there is a gate.
    pub(super) async fn run(mut self) {
        let (mut asking, mut due) = (JoinSet::new(), VecDeque::new());
        let mut looks = interval(self.recheck / LOOKS);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(answered) = asking.join_next() => if let Ok(answered) = answered { self.tell(answered) },
                pass = self.questions.next(), if asking.len() < AT_ONCE => match pass {
                    Some(pass) => self.ask(&mut asking, pass),
                    None => return,
                },
                // Those of before are among them, unless they have left.
                _ = looks.tick() => due = self.gate.due(Instant::now(), self.recheck).into(),
            }
            self.recheck(&mut asking, &mut due);
        }
    }

    fn ask(&self, asking: &mut JoinSet<Answered>, pass: Arc<Pass>) {
        let asker = Arc::clone(&self.asker);
        asking.spawn_local(async move {
            let answer = asker.ask(pass.caller()).await;
            (pass, answer)
        });
    }

    /// Asks about those who are due, as far as there is room.
    fn recheck(&self, asking: &mut JoinSet<Answered>, due: &mut VecDeque<Weak<Pass>>) {
        while asking.len() < ABOUT_STANDING {
            let Some(pass) = due.pop_front() else { return };
            if let Some(pass) = pass.upgrade().filter(|pass| self.gate.claim(pass)) {
                self.ask(asking, pass);
            }
        }
    }

    /// Passes an answer on, and says when there begin to be none.
    fn tell(&mut self, (pass, answer): Answered) {
        let is_news = answer.is_ok() == self.is_silent
            && (answer.is_ok() || self.said.is_none_or(|said| said.elapsed() >= QUIET));
        if is_news {
            self.is_silent = answer.is_err();
            self.said = answer.is_err().then(Instant::now).or(self.said);
        }
        match &answer {
            Ok(_) if is_news => info!("it is known again who may call us"),
            Err(Failure::Denied { .. }) if is_news => {
                let needs = format!("service \"{}\" {{ policy = \"write\" }}", self.asker.service);
                warn!(
                    needs,
                    "it may not be asked who may call us; the last answers count for a while, and then nobody may"
                );
            }
            Err(error) if is_news => {
                warn!(%error, "nobody says who may call us; the last answers count for a while, and then nobody may");
            }
            _ => {}
        }
        self.gate.answered(&pass, answer.map_err(|failure| failure.to_string().into()));
    }
}

impl Asker {
    async fn ask(&self, caller: &Caller) -> Result<(bool, Arc<str>), Failure> {
        let question = json!({
            "Target": self.service,
            "ClientCertURI": caller.name.to_string(),
            "ClientCertSerial": caller.serial,
        });
        let asking = self.agent.post("/v1/agent/connect/authorize", &[], &question);
        let late = || Failure::Unreachable("no answer in time".to_owned());
        match timeout(PATIENCE, asking).await.unwrap_or_else(|_| Err(late())) {
            Ok(answer) => read(&answer),
            // Its word as well: such a caller cannot be allowed anything.
            Err(Failure::Refused { message, .. }) => Ok((false, message.into())),
            Err(failure) => {
                if matches!(failure, Failure::Denied { .. }) {
                    self.agent.refresh_token();
                }
                Err(failure)
            }
        }
    }
}

/// Whether the caller may call us, and why.
fn read(answer: &Value) -> Result<(bool, Arc<str>), Failure> {
    let allowed = answer["Authorized"].as_bool();
    let allowed =
        allowed.ok_or_else(|| Failure::Garbled("it does not say whether the caller is authorized".to_owned()))?;
    Ok((allowed, answer["Reason"].as_str().unwrap_or("no reason given").into()))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::HashMap;
    use std::rc::Rc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::tls::Spiffe;

    #[test]
    fn only_a_plain_yes_is_a_yes() {
        let (allowed, reason) = read(&json!({"Authorized": true, "Reason": "why not"})).unwrap();
        assert!(allowed && &*reason == "why not");
        assert!(!read(&json!({"Authorized": false})).unwrap().0);
        for other in [json!({}), json!(null), json!({"Authorized": "true"}), json!({"Authorized": 1}), json!([true])] {
            assert!(read(&other).is_err(), "{other}");
        }
    }

    /// Says yes to everybody, and notes whom it was asked about.
    async fn agent(listener: TcpListener, asked: Rc<RefCell<HashMap<String, usize>>>) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let asked = Rc::clone(&asked);
            tokio::task::spawn_local(async move {
                let mut read = Vec::new();
                loop {
                    if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                        return;
                    }
                    let text = String::from_utf8_lossy(&read);
                    let Some(question) = text.split_once("\r\n\r\n").filter(|(_, body)| body.ends_with('}')) else {
                        continue;
                    };
                    let question: Value = serde_json::from_str(question.1).unwrap();
                    let serial = question["ClientCertSerial"].as_str().unwrap().to_owned();
                    *asked.borrow_mut().entry(serial).or_default() += 1;
                    read.clear();
                    let body = r#"{"Authorized":true,"Reason":"why not"}"#;
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
                }
            });
        }
    }

    #[tokio::test]
    async fn nobody_is_asked_about_a_third_time_before_everybody_was_a_second_time_however_many_they_are() {
        const CALLERS: usize = 400;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = format!(
            "[consul]\naddress = \"{}\"\n[mesh]\nservice = \"edge\"\nrecheck = \"500ms\"\n[[listeners]]\nname = \"edge\"\n\
             bind = \"127.0.0.1:0\"\n[[routes]]\ncluster = \"web\"\n[clusters.web]\nendpoints = [\"127.0.0.1:1\"]\n",
            listener.local_addr().unwrap()
        );
        let config = config::parse(&config, &config::Environment::default()).unwrap();
        let (gate, questions) = Gate::new(Duration::from_secs(60), Arc::default());
        let agent = Arc::new(Agent::new(&config.consul).unwrap());
        let answers = Answers::new(&agent, config.mesh.as_ref().unwrap(), (Arc::clone(&gate), questions));
        let asked: Rc<RefCell<HashMap<String, usize>>> = Rc::default();
        let caller = |serial: usize| {
            let name = Spiffe::parse("spiffe://a.example/ns/default/dc/dc1/svc/web").unwrap();
            gate.admit(Caller { name, serial: serial.to_string() })
        };
        let work = async {
            let _serving = tokio::task::spawn_local(self::agent(listener, Rc::clone(&asked)));
            let _answering = tokio::task::spawn_local(answers.run());
            // As long as their connections stand.
            let _admitted = futures_util::future::try_join_all((0..CALLERS).map(caller)).await.unwrap();
            let times = |times| asked.borrow().values().filter(|asked| **asked >= times).count();
            while times(3) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            times(2)
        };
        let twice = tokio::task::LocalSet::new().run_until(timeout(Duration::from_secs(30), work)).await;
        assert_eq!(twice.expect("they are asked about again"), CALLERS);
    }
}
