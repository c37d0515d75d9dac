//! Which certificate a client is shown.

use super::{Stage, listener, until_handshakes};
use crate::support::app::{Proxy, to_endpoints};
use crate::support::chain::{Leaf, Wish};
use crate::support::tls::{Caller, shown};

#[tokio::test]
async fn each_name_has_its_certificate_and_the_first_is_for_all_others() {
    let stage = Stage::set().await;
    let leaf = |names: &[&str]| stage.signer.leaf(names);
    let all = [
        ("first", leaf(&["first.example"])),
        ("exact", leaf(&["shop.b.example", "other.example"])),
        ("wild", leaf(&["*.b.example"])),
    ];
    let proxy = stage.start(&all, "");
    let caller = Caller::trusting(&stage.root);
    let mut names = Vec::new();
    for name in ["first.example", "shop.b.example", "SHOP.B.example", "other.example", "cart.b.example"] {
        let stream = caller.connect(proxy.address(), name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        names.push(shown(&stream).dns[0].clone());
    }
    assert_eq!(names, ["first.example", "shop.b.example", "shop.b.example", "shop.b.example", "*.b.example"]);
    // Not for two labels, nor for the domain itself, nor for a name that nobody has: the first is shown, which does not fit.
    for name in ["a.cart.b.example", "b.example", "nobody.example"] {
        let error = caller.connect(proxy.address(), name).await.unwrap_err().to_string();
        assert!(error.contains("first.example"), "{error}");
    }
    // Without a name: by the address, for which a client does not ask.
    let error = caller.connect(proxy.address(), "127.0.0.1").await.unwrap_err().to_string();
    assert!(error.contains("first.example"), "{error}");
}

#[tokio::test]
async fn a_name_without_a_certificate_ends_the_handshake_where_that_is_wanted() {
    let stage = Stage::set().await;
    let leaf = stage.signer.leaf(&["a.example", "127.0.0.1"]);
    let proxy = stage.start(&[("a", leaf)], "strict_sni = true");
    let caller = Caller::trusting(&stage.root);
    assert!(caller.get(proxy.address(), "a.example").await.is_ok());
    assert!(caller.get(proxy.address(), "127.0.0.1").await.is_ok(), "no name is asked for");
    assert!(caller.get(proxy.address(), "b.example").await.is_err());
    until_handshakes(&proxy, "no_certificate", 1.0).await;
}

#[tokio::test]
async fn names_that_are_written_down_count_instead_of_those_in_the_certificate() {
    let stage = Stage::set().await;
    let line = |leaf: Leaf, name: &str, names: &str| format!("{{ {}{names} }}", leaf.write(stage.path(), name));
    let first = line(stage.signer.leaf(&["a.example"]), "first", "");
    let second = line(stage.signer.leaf(&["b.example", "c.example"]), "second", ", names = ['C.example']");
    let tls = format!("[listeners.tls]\ncertificates = [{first}, {second}]\n");
    let proxy = Proxy::start(&(to_endpoints(&[stage.origin.address()], "") + &listener(&tls)));
    let caller = Caller::trusting(&stage.root);
    let stream = caller.connect(proxy.address(), "c.example").await.unwrap();
    assert_eq!(shown(&stream).dns, ["b.example", "c.example"]);
    let error = caller.connect(proxy.address(), "b.example").await.unwrap_err().to_string();
    assert!(error.contains("a.example"), "{error}");
}

#[tokio::test]
async fn a_client_that_cannot_check_ecdsa_is_shown_rsa() {
    let stage = Stage::set().await;
    let rsa = stage.signer.issue(&Wish { names: &["a.example"], is_rsa: true, ..Wish::default() });
    let other = stage.signer.issue(&Wish { names: &["b.example"], is_rsa: true, ..Wish::default() });
    let proxy = stage.start(&[("rsa", rsa), ("ecdsa", stage.signer.leaf(&["a.example"])), ("b", other)], "");
    let size = async |knows_only_rsa: bool, name: &str| {
        let caller = Caller { knows_only_rsa, ..Caller::trusting(&stage.root) };
        let stream = caller.connect(proxy.address(), name).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].len()
    };
    // An RSA key makes a certificate larger by 200 bytes; a signature of the CA's varies by one or two.
    let is_rsa = async |knows_only_rsa: bool, name: &str| size(knows_only_rsa, name).await > 550;
    assert!(is_rsa(false, "b.example").await && !is_rsa(false, "a.example").await);
    assert!(is_rsa(true, "a.example").await);
}
