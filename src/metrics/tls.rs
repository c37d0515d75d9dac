//! TLS towards clients: how handshakes end, and how certificates are kept new.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::proto::MetricFamily;

use super::family::{counter, gauge};

/// How a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Handshake {
    /// With a connection.
    Ok,
    /// Not in time.
    Timeout,
    /// There is no certificate for the name that the client asked for.
    NoCertificate,
    /// The client has no certificate, or none that is accepted.
    ClientCertificate,
    /// The client may not call us, whoever it is.
    Denied,
    /// What came is not TLS, or none that both speak.
    Protocol,
    /// The client left, or ended it.
    Other,
}

const HANDSHAKES: [&str; 7] = ["ok", "timeout", "no_certificate", "client_certificate", "denied", "protocol", "other"];

/// What a listener with TLS counts.
#[derive(Debug, Default)]
pub struct TlsSeries {
    handshakes: [AtomicU64; HANDSHAKES.len()],
    reloads: [AtomicU64; 2],
    expiries: Mutex<BTreeMap<String, SystemTime>>,
}

impl TlsSeries {
    /// Counts a handshake.
    pub fn handshake(&self, end: Handshake) {
        self.handshakes[end as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a certificate or a bundle of them that changed, and could be taken or not.
    pub fn reloaded(&self, succeeded: bool) {
        self.reloads[usize::from(succeeded)].fetch_add(1, Ordering::Relaxed);
    }

    /// Notes until when the certificates of each name are valid.
    pub fn expire(&self, expiries: BTreeMap<String, SystemTime>) {
        *self.expiries.lock().unwrap_or_else(PoisonError::into_inner) = expiries;
    }
}

pub(super) fn families(all: &[(Arc<str>, Arc<TlsSeries>)]) -> Vec<MetricFamily> {
    let (mut handshakes, mut reloads, mut expiries) = (Vec::new(), Vec::new(), Vec::new());
    for (listener, series) in all {
        let labels = |name, word: &str| vec![("listener", listener.to_string()), (name, word.to_owned())];
        for (word, count) in HANDSHAKES.iter().zip(&series.handshakes) {
            handshakes.push((labels("result", word), count.load(Ordering::Relaxed) as f64));
        }
        for (word, count) in ["failure", "success"].iter().zip(&series.reloads) {
            reloads.push((labels("result", word), count.load(Ordering::Relaxed) as f64));
        }
        for (name, time) in series.expiries.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let unix = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            expiries.push((labels("name", name), unix.as_secs_f64()));
        }
    }
    vec![
        counter("lictor_tls_handshakes_total", "TLS handshakes of clients, by how they ended.", handshakes),
        counter(
            "lictor_certificate_reloads_total",
            "Certificates and bundles that changed while lictor ran, by whether they could be taken.",
            reloads,
        ),
        gauge(
            "lictor_certificate_expiry_timestamp_seconds",
            "When a listener's certificate ceases to be valid, the first of those with the same name.",
            expiries,
        ),
    ]
}
