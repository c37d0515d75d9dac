//! Draining as ownership: whoever works holds a [`Draining`], which tells when to take nothing new; the drain is over when
//! the last one is dropped. Nothing can be forgotten, because there is nothing to call at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, watch};

/// Starts a drain and waits for its end.
#[derive(Debug)]
pub struct Drain {
    signal: watch::Sender<bool>,
    done: mpsc::Receiver<()>,
    seed: Draining,
}

/// Held by whatever must finish before the process may end.
#[derive(Debug, Clone)]
pub struct Draining {
    signal: watch::Receiver<bool>,
    begun: Arc<AtomicBool>,
    _done: mpsc::Sender<()>,
}

impl Drain {
    /// A drain that has not begun.
    pub fn new() -> Self {
        let (signal, watch) = watch::channel(false);
        let (sender, done) = mpsc::channel(1);
        Drain { signal, done, seed: Draining { signal: watch, begun: Arc::default(), _done: sender } }
    }

    /// A share of what must finish.
    pub fn watch(&self) -> Draining {
        self.seed.clone()
    }

    /// Tells every holder to finish, and returns when all have.
    pub async fn drain(self) {
        let Drain { signal, mut done, seed } = self;
        seed.begun.store(true, Ordering::Relaxed);
        signal.send_replace(true);
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
    /// True once the drain has begun: cheap enough to ask at every turn.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Returns when the drain begins, or began.
    pub async fn begun(&mut self) {
        if self.signal.wait_for(|draining| *draining).await.is_err() {
            // The drain was dropped without beginning: it never will.
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
