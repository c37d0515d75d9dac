//! Who of those that have proved who they are may call us. It is asked elsewhere ([`Questions`]); here is what was answered, for as
//! long as it counts, and who waits for an answer: one question at a time for one caller, however many connections it opens.
//!
//! Whoever was let in holds an [`Admission`], which tells when that is revoked. In doubt nobody is let in.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{debug, info};

use super::verdict::{Decision, Standing};
use crate::metrics::{Authorization, MeshRefusal, MeshSeries};
use crate::tls::Spiffe;

/// Callers that are remembered, a few hundred bytes each: certificates, not services. Beyond that the ones go whose connections are over.
const MOST: usize = 16 * 1024;
/// Questions that may wait to be asked.
const WAITING: usize = 1024;
/// Who was let in lately waits for so long to be let in again, and then by the last answer: an agent that hangs answers a few questions
/// every other second, and everybody's turn would come when they have left.
const PATIENCE: Duration = Duration::from_secs(1);

/// A caller, by the certificate that it has shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Who it is.
    pub name: Spiffe,
    /// Its certificate's serial number, in hexadecimal with colons.
    pub serial: String,
}

/// Lets callers in.
#[derive(Debug)]
pub struct Gate {
    /// How long the last answer counts if there is no other.
    grace: Duration,
    passes: Mutex<HashMap<Caller, Arc<Pass>>>,
    questions: mpsc::Sender<Arc<Pass>>,
    series: Arc<MeshSeries>,
}

/// Callers of whom somebody is to say whether they may call us.
#[derive(Debug)]
pub struct Questions(mpsc::Receiver<Arc<Pass>>);

/// What is known of a caller.
#[derive(Debug)]
pub struct Pass {
    caller: Caller,
    standing: watch::Sender<Standing>,
    is_asked: AtomicBool,
}

/// A connection's right to be here.
#[derive(Debug, Clone)]
pub struct Admission {
    pass: Arc<Pass>,
    series: Arc<MeshSeries>,
}

/// Why somebody was not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It may not call us.
    #[error("{0} may not call us: {1}")]
    Verdict(Spiffe, Arc<str>),
    /// Nobody says whether it may.
    #[error("nobody says whether {0} may call us: {1}")]
    Unanswered(Spiffe, Arc<str>),
    /// Too many callers at once.
    #[error("too many callers to say whether {0} may call us")]
    Crowded(Spiffe),
}

impl Gate {
    /// A gate, and where its questions are to be answered from.
    pub fn new(grace: Duration, series: Arc<MeshSeries>) -> (Arc<Self>, Questions) {
        let (questions, receiver) = mpsc::channel(WAITING);
        (Arc::new(Gate { grace, passes: Mutex::default(), questions, series }), Questions(receiver))
    }

    /// Lets a caller in who may call us. Waits for an answer where there is none: to be given up when the caller has waited too long.
    pub async fn admit(&self, caller: Caller) -> Result<Admission, Denied> {
        let name = caller.name.clone();
        let admitted = match self.pass(caller) {
            Some(pass) => self.judge(pass, name).await,
            None => Err(Denied::Crowded(name)),
        };
        if let Err(denied) = &admitted {
            self.series.refused(denied.figure());
        }
        admitted
    }

    async fn judge(&self, pass: Arc<Pass>, name: Spiffe) -> Result<Admission, Denied> {
        // Before anything is looked at: what comes afterwards is seen.
        let mut seen = pass.standing.subscribe();
        let (mut decision, turns) = {
            let standing = seen.borrow_and_update();
            (standing.decide(Instant::now(), self.grace), standing.turns)
        };
        if decision == Decision::Ask {
            self.ask(&pass);
            decision = self.answer(&pass, &mut seen, turns).await;
        }
        match decision {
            Decision::Admit => Ok(Admission { pass, series: Arc::clone(&self.series) }),
            Decision::Refuse(why) => Err(Denied::Verdict(name, why)),
            Decision::Unanswered(why) => Err(Denied::Unanswered(name, why)),
            Decision::Ask => Err(Denied::Unanswered(name, "nobody was asked".into())),
        }
    }

    /// What follows from the answer to a question: from the last one if this takes too long, and that one still counts.
    async fn answer(&self, pass: &Pass, seen: &mut watch::Receiver<Standing>, turns: u64) -> Decision {
        let conclude = |standing: &Standing| standing.conclude(Instant::now(), self.grace);
        let nobody = || Decision::Unanswered("nobody is asked any more".into());
        let is_answered = |standing: &Standing| standing.turns != turns;
        if let Ok(answered) = timeout(PATIENCE, seen.wait_for(is_answered)).await {
            return answered.map_or_else(|_| nobody(), |standing| conclude(&standing));
        }
        if let Some(last) = pass.standing.borrow().last(Instant::now(), self.grace) {
            return last;
        }
        seen.wait_for(is_answered).await.map_or_else(|_| nobody(), |standing| conclude(&standing))
    }

    /// What is known of a caller; none if there are too many.
    fn pass(&self, caller: Caller) -> Option<Arc<Pass>> {
        let mut passes = self.passes();
        if let Some(pass) = passes.get(&caller) {
            return Some(Arc::clone(pass));
        }
        if passes.len() >= MOST {
            // Rare, and then for many at once.
            passes.retain(|_, pass| is_held(pass));
        }
        if passes.len() >= MOST {
            return None;
        }
        let pass = Arc::new(Pass {
            caller: caller.clone(),
            standing: watch::Sender::default(),
            is_asked: AtomicBool::new(false),
        });
        passes.insert(caller, Arc::clone(&pass));
        Some(pass)
    }

    /// Has it asked, unless it is being asked.
    fn ask(&self, pass: &Arc<Pass>) {
        if self.claim(pass) && self.questions.try_send(Arc::clone(pass)).is_err() {
            self.answered(pass, Err("there are too many questions, or nobody to ask them".into()));
        }
    }

    /// Takes it on to ask about somebody, which has to end in an answer: others wait for that. False if it is being asked already.
    pub fn claim(&self, pass: &Pass) -> bool {
        !pass.is_asked.swap(true, Ordering::AcqRel)
    }

    /// Takes the answer to a question: whether the caller may call us, with a reason; or why there is no answer.
    pub fn answered(&self, pass: &Pass, answer: Result<(bool, Arc<str>), Arc<str>>) {
        self.series.authorization(match &answer {
            Ok((true, _)) => Authorization::Allowed,
            Ok((false, _)) => Authorization::Denied,
            Err(_) => Authorization::Unanswered,
        });
        if let Err(why) = &answer {
            debug!(caller = %pass.caller.name, %why, "no answer whether it may call us");
        }
        // Before the answer is to be seen: whoever sees it, and comes too late for it, has it asked again.
        pass.is_asked.store(false, Ordering::Release);
        let told = answer.clone().ok();
        pass.standing.send_if_modified(|standing| {
            let is_news = standing.hear(answer, Instant::now());
            match told.filter(|_| is_news) {
                Some((true, reason)) => debug!(caller = %pass.caller.name, %reason, "may call us"),
                Some((false, reason)) => info!(caller = %pass.caller.name, %reason, "may not call us"),
                None => {}
            }
            true
        });
    }

    /// Those who hold connections, were last asked about so long ago, or more, and are not being asked about. To be called now and then:
    /// what nobody needs any more is forgotten with it.
    pub fn due(&self, now: Instant, every: Duration) -> Vec<Weak<Pass>> {
        let mut passes = self.passes();
        let age = |pass: &Pass| pass.standing.borrow().asked().map(|asked| now.saturating_duration_since(asked));
        let grace = self.grace;
        passes.retain(|_, pass| is_held(pass) || age(pass).is_some_and(|age| age <= grace));
        let is_due = |pass: &&Arc<Pass>| {
            let is_old = age(pass).is_some_and(|age| age >= every);
            is_held(pass) && is_old && !pass.is_asked.load(Ordering::Acquire)
        };
        // Whoever has waited longest comes first, should there not be time for all of them.
        let mut due: Vec<_> = passes.values().filter(is_due).map(|pass| (age(pass), Arc::downgrade(pass))).collect();
        due.sort_by_key(|(age, _)| Reverse(*age));
        due.into_iter().map(|(_, pass)| pass).collect()
    }

    fn passes(&self) -> MutexGuard<'_, HashMap<Caller, Arc<Pass>>> {
        self.passes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Questions {
    /// The next caller; none if nobody can come any more.
    pub async fn next(&mut self) -> Option<Arc<Pass>> {
        self.0.recv().await
    }
}

impl Pass {
    /// Whose it is.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// True if somebody besides the gate has it: a connection, or who waits for an answer. Nobody gets hold of it but by the gate's lock,
/// or from such a one.
fn is_held(pass: &Arc<Pass>) -> bool {
    Arc::strong_count(pass) > 1
}

impl Admission {
    /// True once its caller may not call us any more.
    pub fn is_revoked(&self) -> bool {
        self.pass.standing.borrow().is_revoked()
    }

    /// Returns once its caller may not call us any more.
    pub fn revoked(&self) -> impl Future<Output = ()> + Send + 'static {
        let (mut standing, series) = (self.pass.standing.subscribe(), Arc::clone(&self.series));
        // As long as it is held somebody can say so.
        let held = self.clone();
        async move {
            if standing.wait_for(Standing::is_revoked).await.is_err() {
                std::future::pending::<()>().await;
            }
            series.revoked();
            drop(held);
        }
    }
}

impl Denied {
    fn figure(&self) -> MeshRefusal {
        match self {
            Denied::Verdict(..) => MeshRefusal::Denied,
            Denied::Unanswered(..) => MeshRefusal::Unanswered,
            Denied::Crowded(_) => MeshRefusal::Crowded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(60);

    fn caller(serial: usize) -> Caller {
        let name = Spiffe::parse("spiffe://a.example/ns/default/dc/dc1/svc/web").unwrap();
        Caller { name, serial: serial.to_string() }
    }

    fn yes() -> Result<(bool, Arc<str>), Arc<str>> {
        Ok((true, "yes".into()))
    }

    fn no() -> Result<(bool, Arc<str>), Arc<str>> {
        Ok((false, "no".into()))
    }

    #[tokio::test]
    async fn who_comes_while_another_waits_waits_for_the_same_answer() {
        let (gate, mut questions) = Gate::new(GRACE, Arc::default());
        let answer = async {
            let pass = questions.next().await.unwrap();
            // Both have come before it is answered.
            tokio::task::yield_now().await;
            gate.answered(&pass, yes());
        };
        let (one, two, ()) = tokio::join!(gate.admit(caller(1)), gate.admit(caller(1)), answer);
        assert!(one.is_ok() && two.is_ok());
        assert!(questions.0.try_recv().is_err(), "there was one question");
    }

    #[tokio::test]
    async fn a_no_ends_all_that_were_let_in_and_no_others() {
        let (gate, mut questions) = Gate::new(GRACE, Arc::default());
        let mut admitted = Vec::new();
        for serial in [1, 1, 2] {
            let answer = async {
                if let Ok(pass) = questions.0.try_recv() {
                    gate.answered(&pass, yes());
                }
            };
            let (admission, ()) = tokio::join!(gate.admit(caller(serial)), answer);
            admitted.push(admission.unwrap());
        }
        let due = gate.due(Instant::now() + GRACE, GRACE);
        let due: Vec<Arc<Pass>> = due.iter().filter_map(Weak::upgrade).filter(|pass| gate.claim(pass)).collect();
        assert_eq!(due.len(), 2, "a caller each");
        assert!(gate.due(Instant::now() + GRACE, GRACE).is_empty(), "they are being asked about");
        for pass in &due {
            gate.answered(pass, if pass.caller().serial == "1" { no() } else { yes() });
        }
        admitted[0].revoked().await;
        admitted[1].revoked().await;
        tokio::select! {
            biased;
            () = admitted[2].revoked() => panic!("it was not meant"),
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(gate.admit(caller(1)).await.unwrap_err(), Denied::Verdict(caller(1).name, "no".into()));
    }

    #[tokio::test]
    async fn who_has_left_is_asked_about_no_more_and_forgotten_after_a_while() {
        let (gate, mut questions) = Gate::new(GRACE, Arc::default());
        let answer = async { gate.answered(&questions.next().await.unwrap(), yes()) };
        let (admission, ()) = tokio::join!(gate.admit(caller(1)), answer);
        let later = Instant::now() + GRACE * 2;
        let due = gate.due(later, GRACE);
        assert_eq!(due.len(), 1);
        drop(admission);
        assert!(gate.due(Instant::now(), Duration::ZERO).is_empty());
        assert_eq!(gate.passes().len(), 1, "it may come again soon");
        gate.due(later, GRACE);
        assert!(gate.passes().is_empty());
    }

    #[tokio::test]
    async fn there_is_a_bound_to_what_is_remembered_and_those_who_are_here_come_first() {
        let (gate, _questions) = Gate::new(GRACE, Arc::default());
        let mut held: Vec<Arc<Pass>> = (0..MOST).map(|serial| gate.pass(caller(serial)).unwrap()).collect();
        assert_eq!(gate.admit(caller(MOST)).await.unwrap_err(), Denied::Crowded(caller(MOST).name));
        held.truncate(10);
        assert!(gate.pass(caller(MOST)).is_some());
        assert_eq!(gate.passes().len(), 11);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_hangs_keeps_nobody_out_who_was_let_in_lately() {
        let (gate, _questions) = Gate::new(GRACE, Arc::default());
        let earlier = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        gate.pass(caller(1)).unwrap().standing.send_modify(|standing| {
            standing.hear(yes(), earlier);
        });
        assert!(timeout(PATIENCE * 2, gate.admit(caller(1))).await.expect("it does not take long").is_ok());
        assert!(timeout(GRACE, gate.admit(caller(2))).await.is_err(), "who was never let in waits for an answer");
    }

    #[tokio::test]
    async fn nobody_is_let_in_where_nobody_can_be_asked() {
        let (gate, questions) = Gate::new(GRACE, Arc::default());
        drop(questions);
        assert!(matches!(gate.admit(caller(1)).await, Err(Denied::Unanswered(..))));
    }
}
