//! TLS towards clients: one [`Server`] for a listener, shared by its workers. A handshake goes by what was current when it began;
//! whatever changes, changes for the next one, and nobody is dropped for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, server};
use tracing::{info, warn};

use super::credentials::{Credentials, Current, News};
use super::handshake::{Handshake, Refused};
use super::stored::Values;
use super::{Error, Stream};
use crate::config::{Listener, ListenerTls};
use crate::metrics::{self, TlsSeries};

/// How long before its end a certificate is talked about: long enough to have somebody notice who is away for a week.
pub const NOTICE: Duration = Duration::from_secs(14 * DAY.as_secs());
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long whoever is told to go away may take to read it.
pub(super) const HANG_UP: Duration = Duration::from_secs(1);
/// To whoever speaks HTTP where TLS is spoken.
const PLAIN: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 25\r\n\
                     Connection: close\r\n\r\nThis port speaks TLS only";

/// A listener's side of TLS.
#[derive(Debug)]
pub struct Server {
    name: Arc<str>,
    handshake: Duration,
    alpn: &'static [&'static [u8]],
    series: Arc<TlsSeries>,
    current: ArcSwap<Current>,
    credentials: Mutex<Credentials>,
    warned: Mutex<Option<Instant>>,
    /// Whether all sources have been heard, which are its files and perhaps a store.
    is_stocked: watch::Sender<bool>,
}

/// What a server would go on with, complete and not yet in force.
#[derive(Debug)]
pub struct Renewal {
    credentials: Credentials,
    current: Current,
    news: News,
}

impl Server {
    /// Reads the files of a listener's settings; none if it has no TLS.
    pub fn new(listener: &Listener, series: Arc<TlsSeries>) -> Result<Option<Arc<Server>>, Error> {
        let Some(settings) = &listener.tls else { return Ok(None) };
        let alpn: &[&[u8]] = if listener.http.http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
        let named = |error| Error::Listener(Arc::clone(&listener.name), Box::new(error));
        let credentials = Credentials::read(settings).map_err(named)?;
        let current = credentials.current(alpn).map_err(named)?;
        series.expire(credentials.expiries());
        Ok(Some(Arc::new(Server {
            name: Arc::clone(&listener.name),
            handshake: listener.handshake,
            alpn,
            series,
            current: ArcSwap::from_pointee(current),
            credentials: Mutex::new(credentials),
            warned: Mutex::default(),
            is_stocked: watch::Sender::new(settings.kv.is_none()),
        })))
    }

    /// The handshake with a client that has connected, which takes no longer than it may.
    pub async fn accept(&self, stream: TcpStream) -> Result<(Stream, Handshake), Refused> {
        let result = timeout(self.handshake, self.secure(stream)).await.unwrap_or(Err(Refused::Timeout));
        self.series.handshake(result.as_ref().map_or_else(Refused::figure, |_| metrics::Handshake::Ok));
        result
    }

    async fn secure(&self, stream: TcpStream) -> Result<(Stream, Handshake), Refused> {
        let current = self.current.load_full();
        let stream = shake(stream, &current.config).await?;
        let connection = stream.get_ref().1;
        let handshake = Handshake::of(connection);
        if let Some(clients) = current.clients.as_ref().filter(|_| handshake.is_resumed) {
            clients.check_again(connection.peer_certificates()).map_err(Refused::ClientCertificate)?;
        }
        Ok((Stream::Tls(Box::new(stream.into())), handshake))
    }

    /// Looks whether files changed, and goes on with what is in them. To be called about once a second, by one thread.
    pub fn look(&self) {
        let mut credentials = self.credentials();
        match credentials.look() {
            Ok(news) => self.put_in_force(&credentials, news),
            Err(error) => warn!(listener = %self.name, %error, "certificates cannot be renewed"),
        }
        drop(credentials);
        self.warn_of_expiry();
    }

    /// Goes on with what stands in a store of keys and values. Returns why some of it cannot be used, which is in the log as well.
    pub fn store(&self, values: &Values) -> Vec<String> {
        let mut credentials = self.credentials();
        let news = credentials.store(values);
        let refused = news.refused.clone();
        self.put_in_force(&credentials, news);
        self.is_stocked.send_replace(true);
        refused
    }

    /// When its certificates, and those of the authorities that it goes by, end to be valid, by whose they are.
    pub fn expiries(&self) -> BTreeMap<String, SystemTime> {
        self.credentials().expiries()
    }

    /// Returns once it has every certificate that it will begin with.
    pub async fn stocked(&self) {
        // Fails only if the sender is gone, which is here.
        let _ = self.is_stocked.subscribe().wait_for(|is_stocked| *is_stocked).await;
    }

    /// What these settings come to, with all files read anew; nothing changes yet.
    pub fn renewal(&self, settings: &ListenerTls) -> Result<Renewal, Error> {
        let named = |error| Error::Listener(Arc::clone(&self.name), Box::new(error));
        let (credentials, news) = self.credentials().renewed(settings).map_err(named)?;
        Ok(Renewal { current: credentials.current(self.alpn).map_err(named)?, credentials, news })
    }

    /// Goes on with that.
    pub fn renew(&self, renewal: Renewal) {
        let Renewal { credentials, news, current } = renewal;
        let mut own = self.credentials();
        self.report(&news);
        *own = credentials.with_store_of(&own);
        self.series.expire(own.expiries());
        // The store may have changed in between.
        self.current.store(Arc::new(own.current(self.alpn).unwrap_or(current)));
    }

    fn put_in_force(&self, credentials: &Credentials, news: News) {
        self.report(&news);
        if news.taken.is_empty() {
            return;
        }
        match credentials.current(self.alpn) {
            Ok(current) => self.current.store(Arc::new(current)),
            Err(error) => warn!(listener = %self.name, %error, "certificates cannot be renewed"),
        }
        self.series.expire(credentials.expiries());
    }

    fn report(&self, news: &News) {
        for name in &news.taken {
            self.series.reloaded(true);
            info!(listener = %self.name, certificate = name, "certificate renewed");
        }
        for error in &news.refused {
            self.series.reloaded(false);
            warn!(listener = %self.name, %error, "a certificate cannot be used; what was before stays in force");
        }
    }

    /// Once a day, for two weeks.
    fn warn_of_expiry(&self) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_some_and(|last| last.elapsed() < DAY) {
            return;
        }
        let soon = SystemTime::now() + NOTICE;
        for (name, end) in self.expiries().into_iter().filter(|(_, end)| *end < soon) {
            *warned = Some(Instant::now());
            let until = humantime::format_rfc3339_seconds(end);
            warn!(listener = %self.name, certificate = name, %until, "a certificate ends to be valid soon, or has");
        }
    }

    fn credentials(&self) -> MutexGuard<'_, Credentials> {
        self.credentials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handshake with a client, which is told if it is about something else than TLS.
pub(super) async fn shake(
    mut stream: TcpStream,
    config: &Arc<ServerConfig>,
) -> Result<server::TlsStream<TcpStream>, Refused> {
    let mut first = [0];
    let count = stream.peek(&mut first).await?;
    if count > 0 && first[0].is_ascii_uppercase() {
        // A method, where TLS would have the type of a record. Whether the answer arrives is the client's luck.
        let _ = stream.write_all(PLAIN.as_bytes()).await;
        let _ = timeout(HANG_UP, hang_up(stream)).await;
        return Err(Refused::Plain);
    }
    let accepting = TlsAcceptor::from(Arc::clone(config)).accept(stream).into_fallible();
    match accepting.await {
        Ok(stream) => Ok(stream),
        Err((error, stream)) => {
            // The alert that says why has been written; a close on what the client still sends would take it back.
            let _ = timeout(HANG_UP, hang_up(stream)).await;
            Err(error.into())
        }
    }
}

/// Closes so that what was sent arrives: what the other side still sends is read and dropped.
async fn hang_up(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut rest = [0; 4096];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut rest) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}
