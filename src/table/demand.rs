//! What is asked for and not in the table: the one way by which a request reaches discovery, and waits for it, within bounds.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::config::Name;
use crate::metrics::{Demanded, EgressSeries};

/// Questions that may wait for discovery to hear them, which it does at once; whoever comes on top is told that there are too many.
const WAITING: usize = 1024;

/// A way to ask for a name.
#[derive(Debug, Clone)]
pub struct Demand {
    sender: mpsc::Sender<Wanted>,
    series: Arc<EgressSeries>,
}

/// Where names are asked for.
#[derive(Debug)]
pub struct Demands(mpsc::Receiver<Wanted>);

/// A name that is asked for.
#[derive(Debug)]
pub struct Wanted {
    /// Whose.
    pub name: Name,
    /// To be told once a table is published that has it, or why none will.
    pub answer: Answer,
}

/// Who waits for a name.
pub type Answer = oneshot::Sender<Result<(), Absent>>;

/// Why a name is not in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Nobody has it.
    Unknown,
    /// If somebody has it, it is kept from us.
    Hidden,
    /// As many are followed as may be.
    Full,
    /// Too many are asked for at once.
    Busy,
    /// The source does not answer.
    Unheard,
    /// It is not to be asked for.
    Refused,
    /// No answer in time.
    Late,
}

/// A way to ask, and where that is heard.
pub fn demand(series: Arc<EgressSeries>) -> (Demand, Demands) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Demand { sender, series }, Demands(receiver))
}

impl Demand {
    /// Returns once a table is published that has the name; to be loaded anew.
    pub async fn ask(&self, name: &Name, within: Duration) -> Result<(), Absent> {
        let answer = self.hear(name, within).await;
        self.series.demanded(match answer {
            Ok(()) => Demanded::Found,
            Err(Absent::Unknown) => Demanded::Unknown,
            Err(Absent::Hidden) => Demanded::Hidden,
            Err(Absent::Full) => Demanded::Full,
            Err(Absent::Busy) => Demanded::Busy,
            Err(Absent::Unheard) => Demanded::Unheard,
            Err(Absent::Refused) => Demanded::Refused,
            Err(Absent::Late) => Demanded::Late,
        });
        answer
    }

    async fn hear(&self, name: &Name, within: Duration) -> Result<(), Absent> {
        let (answer, answered) = oneshot::channel();
        self.sender.try_send(Wanted { name: name.clone(), answer }).map_err(|_| Absent::Busy)?;
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

    /// The next name that waits already.
    pub fn try_next(&mut self) -> Option<Wanted> {
        self.0.try_recv().ok()
    }
}
