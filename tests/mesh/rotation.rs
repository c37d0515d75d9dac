//! Roots and certificates change while connections are made, and nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

use super::*;

/// Has Consul sign with a key of its own choice from now on.
async fn rotate(consul: &Catalog) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
    let config =
        json!({ "Provider": "consul", "Config": { "PrivateKey": key, "RootCert": "", "RotationPeriod": "2160h" } });
    consul.put("/v1/connect/ca/configuration", config.to_string()).await;
}

#[tokio::test]
async fn no_handshake_fails_while_the_root_is_rotated() {
    let (consul, origin) = (consul().await, Origin::start("web").await);
    let before = Party::of(&consul, "web").await;
    let native = Native::start(&before, origin.address()).await;
    native.register(&consul, "web").await;
    let listeners = "timeouts = { connection_age = \"1ms\" }\n[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\n\
                     [[listeners]]\nname = \"inside\"\nbind = \"127.0.0.1:0\"\nmesh = true\n";
    let proxy = Proxy::start(&to_web(&consul, listeners));
    let inside = proxy.app().address("inside").unwrap();
    let (over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    // Each request is a handshake of an old certificate with us, and one of ours with an old one.
    let load = tokio::spawn({
        let (over, served, config) = (Arc::clone(&over), Arc::clone(&served), before.calling(&before.name("edge")));
        async move {
            while !over.load(Ordering::Relaxed) {
                assert_eq!(ask(&config, inside).await.unwrap(), "web");
                served.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let roots = async || metric(proxy.admin(), "lictor_mesh_roots{service=\"edge\"}").await;
    eventually("there is load", SOON, async || served.load(Ordering::Relaxed) > 3).await;
    assert_eq!(roots().await, 1.0);
    rotate(&consul).await;
    eventually("both roots are trusted", SOON, async || roots().await == 2.0).await;
    // What is signed from now on is signed by the new one: those who call us, and those whom we call.
    let after = Party::of(&consul, "late").await;
    assert_eq!(ask(&after.calling(&after.name("edge")), inside).await.unwrap(), "web");
    let callees = served.load(Ordering::Relaxed);
    eventually("old certificates are as good as before", SOON, async || served.load(Ordering::Relaxed) > callees + 3)
        .await;
    over.store(true, Ordering::Relaxed);
    load.await.unwrap();
    assert!(native.callers().len() > 5, "each request had a connection of its own");
    let newer = Native::start(&Party::of(&consul, "api").await, origin.address()).await;
    newer.register(&consul, "api").await;
    let text = to_web(&consul, "").replace("service = \"web\"", "service = \"api\"");
    assert_eq!(status(&Proxy::start(&text)).await, 200, "a new root alone vouches for it");
}
