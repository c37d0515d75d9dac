//! Clients that show who they are.

use std::io;

use super::{SOON, Stage, handshakes, until_handshakes};
use crate::support::app::Proxy;
use crate::support::chain::{Authority, Leaf, Wish, replace};
use crate::support::client::eventually;
use crate::support::tls::{Caller, connect, get};

/// A listener that asks its clients, with a CA and perhaps a list of its own.
fn asking(stage: &Stage, mode: &str, revoked: Option<&str>) -> Proxy {
    std::fs::write(stage.path().join("clients.pem"), stage.root.pem()).unwrap();
    let mut keys = format!("client_auth = '{mode}'\nclient_ca = '{}'\n", stage.path().join("clients.pem").display());
    if let Some(lists) = revoked {
        std::fs::write(stage.path().join("clients.crl"), lists).unwrap();
        keys += &format!("client_crl = '{}'\n", stage.path().join("clients.crl").display());
    }
    stage.start(&[("a", stage.signer.leaf(&["a.example"]))], &keys)
}

async fn ask(stage: &Stage, proxy: &Proxy, is: Option<&Leaf>) -> io::Result<String> {
    Caller { is, ..Caller::trusting(&stage.root) }.get(proxy.address(), "a.example").await
}

#[tokio::test]
async fn a_certificate_is_needed_where_it_is_required_and_only_then() {
    let stage = Stage::set().await;
    let [required, optional] = ["required", "optional"].map(|mode| asking(&stage, mode, None));
    let good = stage.signer.leaf(&["client.example"]);
    let stranger = Authority::root("stranger").leaf(&["client.example"]);
    let expired = stage.signer.issue(&Wish { names: &["client.example"], days: Some(-1), ..Wish::default() });
    for proxy in [&required, &optional] {
        assert!(ask(&stage, proxy, Some(&good)).await.unwrap().contains("200 OK"));
        for bad in [&stranger, &expired] {
            assert!(ask(&stage, proxy, Some(bad)).await.is_err());
        }
    }
    assert!(ask(&stage, &optional, None).await.unwrap().contains("200 OK"));
    assert!(ask(&stage, &required, None).await.is_err());
    until_handshakes(&required, "client_certificate", 3.0).await;
    until_handshakes(&optional, "client_certificate", 2.0).await;
    assert_eq!(stage.origin.hits(), 3);
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_one_of_which_no_list_speaks_as_well() {
    let stage = Stage::set().await;
    let leaf = |serial| stage.signer.issue(&Wish { names: &["c.example"], serial: Some(serial), ..Wish::default() });
    let lists = stage.root.revoke(&[]) + &stage.signer.revoke(&[7]);
    let proxy = asking(&stage, "required", Some(&lists));
    assert!(ask(&stage, &proxy, Some(&leaf(6))).await.unwrap().contains("200 OK"));
    assert!(ask(&stage, &proxy, Some(&leaf(7))).await.is_err());
    let other = stage.root.intermediate("another signer").leaf(&["c.example"]);
    assert!(ask(&stage, &proxy, Some(&other)).await.is_err());
    until_handshakes(&proxy, "client_certificate", 2.0).await;
}

#[tokio::test]
async fn a_session_does_not_outlive_the_right_to_begin_one() {
    let stage = Stage::set().await;
    let lists = |revoked: &[u64]| stage.root.revoke(&[]) + &stage.signer.revoke(revoked);
    let proxy = asking(&stage, "required", Some(&lists(&[])));
    let leaf = stage.signer.issue(&Wish { names: &["c.example"], serial: Some(7), ..Wish::default() });
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        replace(&stage.path().join("clients.crl"), lists(&[]));
        let fresh = Caller { is: Some(&leaf), speaks: &[version], ..Caller::trusting(&stage.root) };
        eventually("it is accepted", SOON, async || fresh.get(proxy.address(), "a.example").await.is_ok()).await;
        let config = fresh.config();
        let again = async || {
            let mut stream = connect(&config, proxy.address(), "a.example").await?;
            let answer = get(&mut stream).await?;
            let is_resumed = stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
            io::Result::Ok((is_resumed, answer.contains("200 OK")))
        };
        assert_eq!(again().await.unwrap(), (false, true));
        assert_eq!(again().await.unwrap(), (true, true), "{version:?}");
        replace(&stage.path().join("clients.crl"), lists(&[7]));
        eventually("it is refused", SOON, async || fresh.get(proxy.address(), "a.example").await.is_err()).await;
        assert!(again().await.is_err(), "{version:?}: a session got past the list");
    }
}

#[tokio::test]
async fn other_authorities_are_taken_over_from_their_file() {
    let stage = Stage::set().await;
    let proxy = asking(&stage, "required", None);
    let (old, others) = (stage.signer.leaf(&["c.example"]), Authority::root("others"));
    let new = others.leaf(&["c.example"]);
    assert!(ask(&stage, &proxy, Some(&old)).await.is_ok() && ask(&stage, &proxy, Some(&new)).await.is_err());
    replace(&stage.path().join("clients.pem"), others.pem());
    eventually("the new is accepted", SOON, async || ask(&stage, &proxy, Some(&new)).await.is_ok()).await;
    assert!(ask(&stage, &proxy, Some(&old)).await.is_err());
    assert!(handshakes(&proxy, "client_certificate").await >= 2.0);
}
