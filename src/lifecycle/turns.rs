//! Whether event loops turn. Each thread has a small task that notes the time now and then; a thread that is stuck does not come to
//! it. Somebody else looks at all of them: that is what makes a watchdog's word worth something, since the thread that gives it
//! may be well while no other is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// All threads that are looked at.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    began: Instant,
    every: Duration,
    threads: Mutex<Vec<(String, Arc<AtomicU64>)>>,
}

/// What one of them has to run beside its work.
#[derive(Debug)]
pub struct Turning {
    turns: Turns,
    /// When it turned last, in milliseconds since the beginning.
    last: Arc<AtomicU64>,
}

impl Turns {
    /// Threads that note the time this often.
    pub fn noted(every: Duration) -> Self {
        Turns(Arc::new(Watched { began: Instant::now(), every, threads: Mutex::default() }))
    }

    /// One thread more, which counts from now on.
    pub fn of(&self, thread: &str) -> Turning {
        let last = Arc::new(AtomicU64::new(self.now()));
        let mut threads = self.0.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.push((thread.to_owned(), Arc::clone(&last)));
        Turning { turns: self.clone(), last }
    }

    /// The first thread that has not turned for longer than this, and for how long. One that has ended is one of these.
    pub fn still(&self, longer: Duration) -> Option<(String, Duration)> {
        let now = self.now();
        let threads = self.0.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |last: &AtomicU64| Duration::from_millis(now.saturating_sub(last.load(Ordering::Relaxed)));
        threads
            .iter()
            .map(|(thread, last)| (thread, since(last)))
            .find(|(_, since)| *since > longer)
            .map(|(thread, since)| (thread.clone(), since))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Turning {
    /// Notes the time, for as long as the thread's event loop comes by.
    pub async fn run(self) {
        loop {
            self.last.store(self.turns.now(), Ordering::Relaxed);
            tokio::time::sleep(self.turns.0.every).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(200);

    fn thread(turns: &Turns, name: &str, stuck: mpsc::Receiver<()>) -> std::thread::JoinHandle<()> {
        let turning = turns.of(name);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                tokio::select! {
                    () = turning.run() => {}
                    // What no task may ever do: the event loop stands still in here.
                    () = async { tokio::task::yield_now().await; let _ = stuck.recv(); } => {}
                }
            });
        })
    }

    #[test]
    fn a_thread_that_is_stuck_is_named_while_others_turn() {
        let turns = Turns::noted(Duration::from_millis(5));
        let well = turns.of("control");
        let (end, stuck) = mpsc::channel();
        let worker = thread(&turns, "worker-0", stuck);
        let named = loop {
            well.last.store(turns.now(), Ordering::Relaxed);
            match turns.still(PATIENCE) {
                Some((thread, still)) => break (thread, still > PATIENCE),
                None => std::thread::yield_now(),
            }
        };
        assert_eq!(named, ("worker-0".to_owned(), true));
        end.send(()).unwrap();
        worker.join().unwrap();
    }
}
