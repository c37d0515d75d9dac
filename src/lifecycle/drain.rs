//! Draining as ownership: whoever works holds a [`Draining`], which tells when to take nothing new; the drain is over when
//! the last one is dropped. Nothing can be forgotten, because there is nothing to call at the end.
//!
//! A [`Withdrawal`] is the half of it that can be taken back: connections are asked to end, as in a drain, and all that comes is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, watch};

/// Starts a drain and waits for its end.
#[derive(Debug)]
pub struct Drain {
    signal: watch::Sender<Phase>,
    done: mpsc::Receiver<()>,
    seed: Draining,
}

/// Held by whatever must finish before the process may end.
#[derive(Debug, Clone)]
pub struct Draining {
    signal: watch::Receiver<Phase>,
    urged: Arc<AtomicBool>,
    _done: mpsc::Sender<()>,
}

/// Asks clients to go elsewhere, for as long as somebody wants that.
#[derive(Debug, Clone)]
pub struct Withdrawal {
    signal: watch::Sender<Phase>,
    urged: Arc<AtomicBool>,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// All may stay.
    Open,
    /// All are asked to end what they have, and may begin anew.
    Withdrawn,
    /// The drain has begun, and ends with the process.
    Draining,
}

impl Drain {
    /// A drain that has not begun.
    pub fn new() -> Self {
        let (signal, watch) = watch::channel(Phase::Open);
        let (sender, done) = mpsc::channel(1);
        Drain { signal, done, seed: Draining { signal: watch, urged: Arc::default(), _done: sender } }
    }

    /// A share of what must finish.
    pub fn watch(&self) -> Draining {
        self.seed.clone()
    }

    /// What asks for less than a drain, as long as there is none.
    pub fn withdrawal(&self) -> Withdrawal {
        Withdrawal { signal: self.signal.clone(), urged: Arc::clone(&self.seed.urged) }
    }

    /// Tells every holder to finish, and returns when all have.
    pub async fn drain(self) {
        let Drain { signal, mut done, seed } = self;
        // Under the signal's lock, as in a withdrawal: so none that ends meanwhile can hide the drain.
        signal.send_modify(|phase| {
            seed.urged.store(true, Ordering::Relaxed);
            *phase = Phase::Draining;
        });
        drop(seed);
        // Nothing is ever sent: this ends when the last sender is gone.
        let _ = done.recv().await;
    }
}

impl Default for Drain {
    fn default() -> Self {
        Drain::new()
    }
}

impl Draining {
    /// True while connections are asked to end, for whatever reason: cheap enough to ask at every turn.
    pub fn is_urged(&self) -> bool {
        self.urged.load(Ordering::Relaxed)
    }

    /// True while connections are asked to end and others may begin.
    pub fn is_withdrawn(&self) -> bool {
        *self.signal.borrow() == Phase::Withdrawn
    }

    /// Returns when the drain begins, or began.
    pub async fn begun(&mut self) {
        self.reached(|phase| *phase == Phase::Draining).await;
    }

    /// Returns while connections are asked to end, for whatever reason.
    pub async fn urged(&mut self) {
        self.reached(|phase| *phase != Phase::Open).await;
    }

    async fn reached(&mut self, fits: impl FnMut(&Phase) -> bool) {
        if self.signal.wait_for(fits).await.is_err() {
            // The drain was dropped without beginning: it never will.
            std::future::pending().await
        }
    }
}

impl Withdrawal {
    /// Asks connections to end, or none any more. A drain that has begun is not undone by it.
    pub fn urge(&self, urged: bool) {
        self.signal.send_if_modified(|phase| {
            let next = if urged { Phase::Withdrawn } else { Phase::Open };
            if *phase == Phase::Draining || *phase == next {
                return false;
            }
            self.urged.store(urged, Ordering::Relaxed);
            *phase = next;
            true
        });
    }

    /// Returns when it is not so any more: whether connections are asked to end, be it for the drain, which is not undone.
    pub async fn changed(&self, from: bool) {
        let mut signal = self.signal.subscribe();
        // There is a sender: this one.
        let _ = signal.wait_for(|phase| (*phase != Phase::Open) != from).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_withdrawal_can_be_taken_back_and_a_drain_cannot() {
        let drain = Drain::new();
        let (withdrawal, mut held) = (drain.withdrawal(), drain.watch());
        withdrawal.urge(true);
        held.urged().await;
        assert!(held.is_urged());
        withdrawal.urge(false);
        withdrawal.changed(true).await;
        assert!(!held.is_urged());
        let ending = tokio::spawn(drain.drain());
        held.begun().await;
        withdrawal.urge(false);
        assert!(held.is_urged());
        held.urged().await;
        drop(held);
        ending.await.unwrap();
    }

    #[tokio::test]
    async fn a_drain_ends_when_the_last_holder_is_gone() {
        let drain = Drain::new();
        let mut held = drain.watch();
        let (finish, finished) = tokio::sync::oneshot::channel::<()>();
        let work = tokio::spawn(async move {
            held.begun().await;
            finished.await.unwrap();
            drop(held);
        });
        let ending = tokio::spawn(drain.drain());
        tokio::task::yield_now().await;
        assert!(!ending.is_finished());
        finish.send(()).unwrap();
        ending.await.unwrap();
        work.await.unwrap();
    }
}
