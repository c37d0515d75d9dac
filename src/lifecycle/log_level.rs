//! What is logged, which an operator may have otherwise for a while. Who writes the log says how that is done; until somebody has, nothing
//! can be changed.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::time::sleep_until;
use tracing::info;

/// Shared by those who change it and those who ask.
#[derive(Clone, Default)]
pub struct LogLevel(Arc<Shared>);

#[derive(Default)]
struct Shared {
    log: OnceLock<Log>,
    /// In place of the usual one.
    other: Mutex<Option<Other>>,
    changes: Notify,
}

struct Log {
    usual: String,
    set: Set,
}

type Set = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// Another level than the usual one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// A filter such as `info` or `lictor=debug`.
    pub level: String,
    /// When the usual one is back.
    pub until: Instant,
}

impl LogLevel {
    /// Says what it is, and how it is made another. The first who says so is heard.
    pub fn is(&self, usual: &str, set: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) {
        // Whoever comes second writes no log of this process.
        let _ = self.0.log.set(Log { usual: usual.to_owned(), set: Box::new(set) });
    }

    /// The level that is in force unless somebody has asked for another; none if it cannot be changed.
    pub fn usual(&self) -> Option<&str> {
        self.0.log.get().map(|log| log.usual.as_str())
    }

    /// The one in its place, if there is one.
    pub fn other(&self) -> Option<Other> {
        self.lock().clone()
    }

    /// Another one, or none any more; or why that cannot be.
    pub fn set(&self, other: Option<Other>) -> Result<(), String> {
        let Some(log) = self.0.log.get() else { return Err("there is no log to change".to_owned()) };
        let mut current = self.lock();
        (log.set)(other.as_ref().map_or(&log.usual, |other| &other.level))?;
        *current = other;
        drop(current);
        self.0.changes.notify_one();
        Ok(())
    }

    /// Brings the usual one back when the other's time is over, and says so each time. For good.
    pub async fn keep(self, ended: impl Fn(&str)) {
        loop {
            let until = self.other().map(|other| other.until);
            let over = async {
                match until {
                    Some(until) => sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.0.changes.notified() => {}
                () = over => if self.end() {
                    ended(self.usual().unwrap_or_default());
                },
            }
        }
    }

    /// True if its time was over.
    fn end(&self) -> bool {
        let is_over = self.other().is_some_and(|other| other.until <= Instant::now()) && self.set(None).is_ok();
        if is_over {
            info!(level = self.usual(), "the log's level is the usual one again");
        }
        is_over
    }

    fn lock(&self) -> MutexGuard<'_, Option<Other>> {
        self.0.other.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogLevel").field("usual", &self.usual()).field("other", &self.other()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn another_level_ends_by_itself() {
        let level = LogLevel::default();
        let other = |seconds| Other {
            level: "debug".to_owned(),
            until: tokio::time::Instant::now().into_std() + Duration::from_secs(seconds),
        };
        assert!(level.set(Some(other(1))).is_err(), "nobody has said how");
        let (said, hear) = std::sync::mpsc::channel();
        level.is("info", move |level| said.send(level.to_owned()).map_err(|error| error.to_string()));
        let (note, noted) = std::sync::mpsc::channel();
        let keeping = tokio::spawn(level.clone().keep(move |usual| note.send(usual.to_owned()).unwrap()));
        // Of a time that is over when it begins.
        level.set(Some(other(0))).unwrap();
        while level.other().is_some() {
            tokio::task::yield_now().await;
        }
        assert_eq!(hear.try_iter().collect::<Vec<_>>(), ["debug", "info"]);
        tokio::task::yield_now().await;
        assert_eq!(noted.try_iter().collect::<Vec<_>>(), ["info"]);
        level.set(Some(other(3600))).unwrap();
        tokio::task::yield_now().await;
        assert!(level.other().is_some());
        level.set(None).unwrap();
        assert_eq!(hear.try_iter().collect::<Vec<_>>(), ["debug", "info"]);
        keeping.abort();
    }
}
