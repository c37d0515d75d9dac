//! What an operator wants done by hand, on its way to discovery: the one way by which the operator's window reaches it. Discovery alone
//! publishes, so whatever is done counts once there is a table that has it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::endpoint::{Address, What};

/// Orders that may wait; an operator who has more than these at once is told to wait.
const WAITING: usize = 64;

/// A way to have something done.
#[derive(Debug, Clone)]
pub struct Hand(mpsc::Sender<Order>);

/// Where orders come in.
#[derive(Debug)]
pub struct Orders(mpsc::Receiver<Order>);

/// Something to be done about an endpoint.
#[derive(Debug)]
pub struct Order {
    /// The cluster's name.
    pub cluster: Arc<str>,
    /// The endpoint's address.
    pub endpoint: Address,
    /// What is to be done.
    pub deed: Deed,
    /// Who wants it.
    pub by: Arc<str>,
    /// Told once a table is published in which it is done, or why it was not.
    pub done: oneshot::Sender<Result<(), Refused>>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// This holds from now on, in place of what was like it.
    Take {
        /// What.
        what: What,
        /// For how long; until it is taken back if absent.
        length: Option<Duration>,
        /// What for, in the operator's words.
        note: Option<Arc<str>>,
    },
    /// What is like this holds no more. With an ejection, one of our own ends as well.
    TakeBack(What),
}

/// Why an order was not obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no cluster of that name.
    NoCluster,
    /// The cluster has no such endpoint.
    NoEndpoint,
    /// As much has been done by hand as may be at once: this many.
    Full(usize),
    /// Too many orders wait.
    Busy,
    /// Discovery has ended: the process is about to.
    Ending,
}

/// A way to have things done, and where that is heard.
pub fn hand() -> (Hand, Orders) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Hand(sender), Orders(receiver))
}

impl Hand {
    /// Returns once it is done, as of the table that is read then.
    pub async fn order(&self, target: (Arc<str>, Address), deed: Deed, by: Arc<str>) -> Result<(), Refused> {
        let ((cluster, endpoint), (done, answer)) = (target, oneshot::channel());
        let sent = self.0.try_send(Order { cluster, endpoint, deed, by, done });
        sent.map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refused::Busy,
            mpsc::error::TrySendError::Closed(_) => Refused::Ending,
        })?;
        answer.await.unwrap_or(Err(Refused::Ending))
    }
}

impl Orders {
    /// The next order; none if nobody can give any.
    pub async fn next(&mut self) -> Option<Order> {
        self.0.recv().await
    }
}
