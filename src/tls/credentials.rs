//! All that a listener shows to its clients and checks them by: what it is made of, kept new, and what handshakes go by.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use rustls::{ServerConfig, version};

use super::clients::Clients;
use super::material::Material;
use super::resolver::Resolver;
use super::stored::{Change, Stored, Values};
use super::watched::{Look, Watched};
use super::{Error, provider};
use crate::config::{CertificateFiles, ClientAuth, ListenerTls};

/// Sessions of TLS 1.2 clients without tickets that are kept at once: a few hundred bytes each.
const SESSIONS: usize = 4096;

/// What a listener's handshakes go by, and what that is made of.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    settings: ListenerTls,
    files: Vec<Watched<Material>>,
    clients: Option<Watched<Clients>>,
    stored: Stored,
    resumption: Resumption,
}

/// What lets clients go on with their sessions. Tickets are sealed with a key that changes every six hours.
#[derive(Debug, Clone)]
struct Resumption {
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

/// What handshakes go by.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) config: Arc<ServerConfig>,
    pub(super) clients: Option<Clients>,
}

/// What was found to be new, or not to be usable.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Names of what was taken over or removed.
    pub(super) taken: Vec<String>,
    /// Why something was not; what was before stays in force.
    pub(super) refused: Vec<String>,
}

impl Credentials {
    /// Reads everything for the first time.
    pub(super) fn read(settings: &ListenerTls) -> Result<Self, Error> {
        Ok(Credentials {
            files: settings.certificates.iter().map(certificate).collect::<Result<_, _>>()?,
            clients: settings.clients.as_ref().map(clients).transpose()?,
            settings: settings.clone(),
            stored: Stored::default(),
            resumption: Resumption::new()?,
        })
    }

    /// The same with other settings and everything read anew. What was known before and cannot be read now stays as it was; what
    /// was not known has to be readable.
    pub(super) fn renewed(&self, settings: &ListenerTls) -> Result<(Self, News), Error> {
        let mut news = News::default();
        let mut files = Vec::new();
        for told in &settings.certificates {
            let known = self.settings.certificates.iter().position(|known| known == told);
            files.push(match known.and_then(|place| self.files.get(place)) {
                Some(known) => {
                    let mut watched = known.clone();
                    let renewed = watched.renew(|| Material::of_files(told));
                    news.note(watched.value().name(), renewed);
                    watched
                }
                None => certificate(told)?,
            });
        }
        let mut next = Credentials { settings: settings.clone(), files, ..self.clone() };
        match (&settings.clients, &mut next.clients) {
            (Some(told), Some(watched)) if self.settings.clients.as_ref() == Some(told) => {
                let renewed = watched.renew(|| Clients::of_files(told));
                if matches!(renewed, Ok(true)) {
                    next.resumption = Resumption::new()?;
                }
                news.note(&told.ca, renewed);
            }
            (None, None) => {}
            (told, _) => {
                next.clients = told.as_ref().map(clients).transpose()?;
                next.resumption = Resumption::new()?;
            }
        }
        Ok((next, news))
    }

    /// Takes over what changed in the files.
    pub(super) fn look(&mut self) -> Result<News, Error> {
        let mut news = News::default();
        for (told, watched) in self.settings.certificates.iter().zip(&mut self.files) {
            let found = watched.look(|| Material::of_files(told));
            news.note(watched.value().name(), found.into());
        }
        if let (Some(told), Some(watched)) = (&self.settings.clients, &mut self.clients) {
            let found = watched.look(|| Clients::of_files(told));
            if matches!(found, Look::New) {
                // A session may have begun with a certificate that is not accepted any more.
                self.resumption = Resumption::new()?;
            }
            news.note(&told.ca, found.into());
        }
        Ok(news)
    }

    /// Takes over what a store of keys and values holds.
    pub(super) fn store(&mut self, values: &Values) -> News {
        let mut news = News::default();
        for (name, change) in self.stored.take(values) {
            match change {
                Change::Taken | Change::Removed => news.taken.push(name),
                Change::Refused(why) => news.refused.push(format!("{name}: {why}")),
            }
        }
        news
    }

    /// Keeps what the store of another holds.
    pub(super) fn with_store_of(self, other: &Credentials) -> Self {
        Credentials { stored: other.stored.clone(), ..self }
    }

    /// What handshakes are to go by.
    pub(super) fn current(&self, alpn: &[&[u8]]) -> Result<Current, Error> {
        let versions: &[_] = if self.settings.tls12 { &[&version::TLS13, &version::TLS12] } else { &[&version::TLS13] };
        let clients = self.clients.as_ref().map(|watched| watched.value().clone());
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
        let builder = match &clients {
            Some(clients) => builder.with_client_cert_verifier(Arc::clone(&clients.verifier)),
            None => builder.with_no_client_auth(),
        };
        let all: Vec<&Material> = self.materials().collect();
        let mut config = builder.with_cert_resolver(Arc::new(Resolver::new(&all, self.settings.strict_sni)));
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        // All suites are good; that somebody has an order is what scanners ask for, and what lets us change our mind.
        config.ignore_client_order = true;
        // One is what a client needs for its next connection, which brings another.
        config.send_tls13_tickets = 1;
        config.ticketer = Arc::clone(&self.resumption.tickets);
        config.session_storage = Arc::clone(&self.resumption.sessions);
        Ok(Current { config: Arc::new(config), clients })
    }

    /// Until when each certificate is valid, by its name; the first of those with the same name.
    pub(super) fn expiries(&self) -> BTreeMap<String, SystemTime> {
        let authorities = self.clients.iter().flat_map(|clients| &clients.value().authorities);
        let authorities = authorities.map(|facts| (facts.subject.as_str(), facts.not_after));
        let own = self.materials().map(|material| (material.name(), material.facts.not_after));
        let mut expiries = BTreeMap::new();
        for (name, end) in own.chain(authorities) {
            let known = expiries.entry(name.to_owned()).or_insert(end);
            *known = end.min(*known);
        }
        expiries
    }

    fn materials(&self) -> impl Iterator<Item = &Material> {
        self.files.iter().map(Watched::value).chain(self.stored.materials())
    }
}

impl Resumption {
    fn new() -> Result<Self, Error> {
        Ok(Resumption { tickets: Ticketer::new()?, sessions: ServerSessionMemoryCache::new(SESSIONS) })
    }
}

impl News {
    fn note(&mut self, name: &str, result: Result<bool, Error>) {
        match result {
            Ok(true) => self.taken.push(name.to_owned()),
            Ok(false) => {}
            Err(error) => self.refused.push(error.to_string()),
        }
    }
}

impl From<Look> for Result<bool, Error> {
    fn from(look: Look) -> Self {
        match look {
            Look::New => Ok(true),
            Look::Same => Ok(false),
            Look::Failed(error) => Err(error),
        }
    }
}

fn certificate(files: &CertificateFiles) -> Result<Watched<Material>, Error> {
    let paths = [&files.cert, &files.key].into_iter().chain(&files.ocsp).cloned().collect();
    Watched::new(paths, || Material::of_files(files))
}

fn clients(settings: &ClientAuth) -> Result<Watched<Clients>, Error> {
    let paths = std::iter::once(&settings.ca).chain(&settings.crl).cloned().collect();
    Watched::new(paths, || Clients::of_files(settings))
}
