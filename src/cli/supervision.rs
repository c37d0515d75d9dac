//! What the service manager hears of the proxy, where there is one (systemd's `Type=notify` and `notify-reload`): that it serves, how it
//! goes, reloads, the end, and, as long as every event loop turns, that it need not be killed.

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tracing::error;

use crate::app::App;
use crate::lifecycle::Supervisor;

/// A start is over once there is a truth to serve, and after this long in any case: by then clients are answered, be it by 503, and
/// whoever waits for us to be up should not give up because discovery is away.
const FIRST_TRUTH: Duration = Duration::from_secs(5);
/// How many words the watchdog hears in its time: one may be late, and the next as well.
const WORDS: u32 = 3;
/// The part of the watchdog's time that an event loop may stand still for.
const STILL: u32 = 2;
/// What an end may take beside the drain: leaving the catalogue, and joining threads.
const BESIDE_DRAIN: Duration = Duration::from_secs(10);

/// The proxy's side of it.
pub(super) struct Supervision {
    supervisor: Supervisor,
    /// Why the last reload was refused, if it was.
    refusal: RefCell<Option<String>>,
}

impl Supervision {
    pub(super) fn of_process() -> Self {
        Supervision { supervisor: Supervisor::of_process(), refusal: RefCell::default() }
    }

    /// Says that it serves once it does, from then on how it goes, and that it is alive. Does not return.
    pub(super) async fn follow(&self, app: &App) {
        tokio::join!(self.tell(app), self.keep_alive(app));
    }

    async fn tell(&self, app: &App) {
        let readiness = app.readiness();
        let waiting = readiness.blocker();
        if waiting.is_some() {
            self.supervisor.status(&self.status(app));
            // Too late is as good: it accepts by then.
            let _ = timeout(FIRST_TRUTH, async {
                while let Some(blocker) = readiness.blocker() {
                    readiness.changes(Some(blocker)).await;
                }
            })
            .await;
        }
        let mut told = readiness.blocker();
        self.supervisor.ready(&self.status(app));
        loop {
            readiness.changes(told).await;
            told = readiness.blocker();
            self.supervisor.status(&self.status(app));
        }
    }

    /// Says that it is alive as long as every thread turns.
    async fn keep_alive(&self, app: &App) {
        let Some(patience) = self.supervisor.watchdog() else { return std::future::pending().await };
        let mut words = words(patience);
        let mut silent = false;
        loop {
            words.tick().await;
            match app.stuck(patience / STILL) {
                None => {
                    silent = false;
                    self.supervisor.alive();
                }
                Some(stuck) if !std::mem::replace(&mut silent, true) => {
                    error!(%stuck, "an event loop does not turn; the watchdog is not told that we are well");
                }
                Some(_) => {}
            }
        }
    }

    /// A reload from its beginning to its end.
    pub(super) async fn reload(&self, app: &App, reload: impl Future<Output = Result<(), String>>) {
        self.supervisor.reloading();
        self.refusal.replace(reload.await.err());
        self.supervisor.ready(&self.status(app));
    }

    /// The drain begins.
    pub(super) fn stopping(&self, app: &App) {
        self.supervisor.stopping(app.patience() + BESIDE_DRAIN, "draining");
    }

    /// Says during the drain that it is alive, since threads that are done turn no more. Does not return.
    pub(super) async fn farewell(&self) {
        let Some(patience) = self.supervisor.watchdog() else { return std::future::pending().await };
        let mut words = words(patience);
        loop {
            words.tick().await;
            self.supervisor.alive();
        }
    }

    fn status(&self, app: &App) -> String {
        let readiness = match app.readiness().blocker() {
            None => "ready".to_owned(),
            Some(blocker) => format!("not ready: {blocker}"),
        };
        match &*self.refusal.borrow() {
            None => readiness,
            Some(refusal) => format!("{readiness}; the last reload was refused: {refusal}"),
        }
    }
}

fn words(patience: Duration) -> tokio::time::Interval {
    // Not at once: threads that have just been started have to come to their first turn.
    let every = patience / WORDS;
    let mut words = interval_at(Instant::now() + every, every);
    words.set_missed_tick_behavior(MissedTickBehavior::Delay);
    words
}
