//! Whom a client's cookie names. The value is a keyed hash of the cluster and the address (HMAC-SHA-256, RFC 2104), so it says
//! nothing about either, is the same in every proxy that has the secret, and cannot be made up: naming and signing are one.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::hmac;

use super::Member;
use crate::endpoint::Id;

/// Half of the hash: 128 bits.
const BYTES: usize = 16;

/// The names of a cluster's members.
#[derive(Debug)]
pub(super) struct Sessions {
    places: HashMap<Arc<str>, usize>,
    tokens: HashMap<Id, Arc<str>>,
}

impl Sessions {
    pub(super) fn new(secret: &[u8], cluster: &str, members: &[Member]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let token = |member: &Member| -> Arc<str> {
            // A zero byte is in neither, so no two pairs look alike.
            let name = format!("{cluster}\0{}", member.endpoint.address());
            let tag = hmac::sign(&key, name.as_bytes());
            tag.as_ref()[..BYTES].iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
        };
        let tokens: Vec<Arc<str>> = members.iter().map(token).collect();
        let by_endpoint = members.iter().zip(&tokens).map(|(member, token)| (member.endpoint.id(), Arc::clone(token)));
        Sessions {
            tokens: by_endpoint.collect(),
            places: tokens.iter().enumerate().map(|(place, token)| (Arc::clone(token), place)).collect(),
        }
    }

    /// The place of the member of that name.
    pub(super) fn find(&self, token: &str) -> Option<usize> {
        self.places.get(token).copied()
    }

    /// The name of a member's endpoint.
    pub(super) fn token(&self, endpoint: Id) -> Option<&Arc<str>> {
        self.tokens.get(&endpoint)
    }
}
