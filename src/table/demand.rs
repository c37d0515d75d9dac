//! What is asked for and not in the table: the one way by which a request reaches discovery, and waits for it, within bounds.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Questions that may wait for discovery; whoever comes on top is told that there are too many.
const WAITING: usize = 1024;

/// A way to ask for a name.
#[derive(Debug, Clone)]
pub struct Demand(mpsc::Sender<Wanted>);

/// Where names are asked for.
#[derive(Debug)]
pub struct Demands(mpsc::Receiver<Wanted>);

/// A name that is asked for.
#[derive(Debug)]
pub struct Wanted {
    /// As a table has it.
    pub name: String,
    /// To be told once a table is published that has it, or why none will.
    pub answer: oneshot::Sender<Result<(), Absent>>,
}

/// Why a name is not in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absent {
    /// Nobody has it.
    Unknown,
    /// Too many are followed already, or asked for at once.
    Full,
    /// The source does not answer.
    Unheard,
    /// It is not to be asked for, and why.
    Refused(String),
    /// No answer in time.
    Late,
}

/// A way to ask, and where that is heard.
pub fn demand() -> (Demand, Demands) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Demand(sender), Demands(receiver))
}

impl Demand {
    /// Returns once a table is published that has the name; to be loaded anew.
    pub async fn ask(&self, name: &str, within: Duration) -> Result<(), Absent> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Wanted { name: name.to_owned(), answer }).map_err(|_| Absent::Full)?;
        match timeout(within, answered).await {
            Ok(Ok(answer)) => answer,
            // Discovery has ended, and the process is about to.
            Ok(Err(_)) => Err(Absent::Unheard),
            Err(_) => Err(Absent::Late),
        }
    }
}

impl Demands {
    /// The next name; none if nobody can ask any more.
    pub async fn next(&mut self) -> Option<Wanted> {
        self.0.recv().await
    }
}
