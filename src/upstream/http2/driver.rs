//! The task of a connection: moves its bytes, and asks the other side whether it is still there when nothing has come for a while.
//!
//! Asking too often is taken for an attack: gRPC's servers end connections on which pings come more than once in five minutes
//! without anything in between (gRPC proposal A8, "Client-side keepalive"). One is enough to find out who is gone; whoever has
//! answered is asked again only after that time, unless something else has come.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::Connection;
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::debug;

use super::line::State;
use super::metered::Metered;

/// After this long without a byte while streams are open, or without a stream before another begins, the other side is asked.
pub(super) const SILENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether something has come: so much later silence may be noticed.
const LOOK: Duration = Duration::from_secs(5);
/// Silence for whoever has answered, and said nothing else since.
const LONG_SILENCE: Duration = Duration::from_secs(310);
/// How long an answer may take where streams hang on it.
const PATIENCE: Duration = Duration::from_secs(5);
/// And where a request waits that could as well open another connection, within the default of `timeouts.connect`.
const HASTE: Duration = Duration::from_millis(250);

/// Runs until the connection ends, by itself or for want of an answer.
pub(super) async fn drive<S>(mut connection: Connection<Metered<S>, Bytes>, state: Rc<State>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let pings = connection.ping_pong();
    let mut keeper = Keeper::new(pings, &state);
    let mut timer = pin!(sleep_until(Instant::now() + LOOK));
    let mut look = pin!(state.look.notified());
    let ended = poll_fn(|cx| {
        if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(ended.map_err(|error| error.to_string()));
        }
        while look.as_mut().poll(cx).is_ready() {
            look.set(state.look.notified());
            keeper.ask(&state, timer.as_mut());
        }
        match keeper.poll(cx, &state, timer.as_mut()) {
            Poll::Ready(()) => Poll::Ready(Err("it does not answer any more".to_owned())),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    if let Err(error) = ended {
        debug!(error, "a connection to an endpoint has broken");
    }
    // First the streams, so that nobody finds a place on what has ended.
    state.end();
    drop(connection);
}

/// Asks, and waits for the answer.
struct Keeper {
    pings: Option<PingPong>,
    /// By when the answer has to be there, or something else.
    asked: Option<Instant>,
    /// What had come when it was last looked.
    reads: u64,
    quiet_since: Instant,
    /// How long it may be quiet.
    silence: Duration,
}

impl Keeper {
    fn new(pings: Option<PingPong>, state: &State) -> Self {
        Keeper { pings, asked: None, reads: state.reads(), quiet_since: Instant::now(), silence: SILENCE }
    }

    /// Asks now, unless an answer is being waited for.
    fn ask(&mut self, state: &State, timer: Pin<&mut Sleep>) {
        let Some(pings) = self.pings.as_mut().filter(|_| self.asked.is_none()) else { return };
        // Where it cannot be sent, the connection ends by itself.
        if pings.send_ping(Ping::opaque()).is_ok() {
            let by = Instant::now() + if state.has_streams() { PATIENCE } else { HASTE };
            (self.asked, self.reads) = (Some(by), state.reads());
            timer.reset(by);
        }
    }

    /// Ready if there was no answer in time.
    fn poll(&mut self, cx: &mut Context<'_>, state: &State, mut timer: Pin<&mut Sleep>) -> Poll<()> {
        if self.asked.is_some()
            && let Some(pings) = &mut self.pings
            && let Poll::Ready(Ok(_)) = pings.poll_pong(cx)
        {
            state.trust();
            let now = Instant::now();
            (self.asked, self.reads, self.quiet_since, self.silence) = (None, state.reads(), now, LONG_SILENCE);
            timer.as_mut().reset(now + LOOK);
        }
        while timer.as_mut().poll(cx).is_ready() {
            let has_come = state.reads() != self.reads;
            self.reads = state.reads();
            let now = Instant::now();
            match self.asked {
                Some(_) if !has_come => return Poll::Ready(()),
                // The answer is behind much else.
                Some(_) => {
                    self.asked = Some(now + PATIENCE);
                    timer.as_mut().reset(now + PATIENCE);
                }
                None => {
                    timer.as_mut().reset(now + LOOK);
                    if has_come {
                        (self.quiet_since, self.silence) = (now, SILENCE);
                    } else if state.has_streams() && now - self.quiet_since >= self.silence {
                        self.ask(state, timer.as_mut());
                    }
                }
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use h2::client;
    use http::Request;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::LocalSet;

    use super::*;
    use crate::endpoint::{Address, Endpoint, Ids, Ledger};
    use crate::upstream::http2::hub::{Hub, Place};
    use crate::upstream::http2::line::{Line, Terms};

    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const PREFACE: usize = 24;
    const PING: u8 = 6;

    /// A connection that has been greeted, and the other side of it.
    struct Greeted {
        hub: Rc<Hub>,
        sender: client::SendRequest<Bytes>,
        connection: Connection<Metered<DuplexStream>, Bytes>,
        state: Rc<State>,
        far: DuplexStream,
    }

    async fn greeted() -> Greeted {
        let (near, mut far) = duplex(64 * 1024);
        let ledger = Ledger::new(std::time::Instant::now());
        let endpoint = Arc::new(Endpoint::new(Address::new("a", 1), &Ids::default(), &ledger));
        let hub = Rc::new(Hub::new(&endpoint));
        let state = Rc::new(State::new(&hub));
        let io = Metered::new(near, Rc::clone(&state));
        let (sender, connection) = client::Builder::new().handshake(io).await.unwrap();
        far.read_exact(&mut [0; PREFACE]).await.unwrap();
        far.write_all(&SETTINGS).await.unwrap();
        Greeted { hub, sender, connection, state, far }
    }

    /// Kind and payload of the next frame.
    async fn frame(far: &mut DuplexStream) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 9];
        far.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; usize::from(head[2])];
        far.read_exact(&mut payload).await.ok()?;
        Some((head[3], payload))
    }

    /// When pings came within ten minutes, answered or not.
    async fn pings(mut far: DuplexStream, answers: bool) -> Vec<u64> {
        let (began, mut pings) = (Instant::now(), Vec::new());
        let all = async {
            while let Some((kind, payload)) = frame(&mut far).await {
                if kind == PING {
                    pings.push(began.elapsed().as_secs());
                    if answers {
                        far.write_all(&[0, 0, 8, PING, 1, 0, 0, 0, 0]).await.unwrap();
                        far.write_all(&payload).await.unwrap();
                    }
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(600), all).await;
        pings
    }

    async fn with_a_stream(answers: bool) -> (Vec<u64>, bool) {
        let Greeted { mut sender, connection, state, far, .. } = greeted().await;
        let tasks = LocalSet::new();
        state.begin();
        tasks.spawn_local(drive(connection, Rc::clone(&state)));
        let told = async {
            let (answer, _) = sender.send_request(Request::new(()), true).unwrap();
            let answer = tasks.spawn_local(answer);
            let pings = pings(far, answers).await;
            (pings, answer.is_finished())
        };
        tasks.run_until(told).await
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_answer_is_left_after_a_while() {
        let (pings, broken) = with_a_stream(false).await;
        assert_eq!(pings.len(), 1);
        assert!((10..=15).contains(&pings[0]) && broken, "{pings:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_answers_is_not_asked_again_soon() {
        let (pings, broken) = with_a_stream(true).await;
        assert_eq!(pings.len(), 2, "{pings:?}");
        assert!(pings[1] - pings[0] >= 300 && !broken, "{pings:?}");
    }

    /// What there is on a connection that was idle for long, at once and later.
    async fn after_a_rest(answers: bool) -> (Place, Place) {
        let Greeted { hub, sender, connection, state, far } = greeted().await;
        let (terms, rested) = (Terms::default(), std::time::Instant::now() + 2 * SILENCE);
        drop(hub.add(Rc::new(Line::new(sender, Rc::clone(&state), terms.clone()))));
        let tasks = LocalSet::new();
        tasks.spawn_local(drive(connection, state));
        tasks.spawn_local(pings(far, answers));
        let asked = hub.place(&terms, None, rested);
        tasks.run_until(hub.wait()).await.unwrap();
        (asked, hub.place(&terms, None, std::time::Instant::now()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_idle_for_long_is_asked_before_a_request_depends_on_it() {
        let (asked, then) = after_a_rest(true).await;
        assert!(matches!(asked, Place::Wait) && matches!(then, Place::Seat(_)), "{asked:?}, {then:?}");
        let (asked, then) = after_a_rest(false).await;
        assert!(matches!(asked, Place::Wait) && matches!(then, Place::Dial(_)), "{asked:?}, {then:?}");
    }
}
