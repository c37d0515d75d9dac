//! Routes that go by what the handshake told: the name that was asked for, who the client is, and that there was one.

use super::Stage;
use crate::support::app::Proxy;
use crate::support::client::get;
use crate::support::tls::Caller;

#[tokio::test]
async fn routes_go_by_name_identity_and_scheme() {
    let stage = Stage::set().await;
    std::fs::write(stage.path().join("clients.pem"), stage.root.pem()).unwrap();
    let ca = stage.path().join("clients.pem").display().to_string();
    let asking = format!("client_auth = 'optional'\nclient_ca = '{ca}'\n");
    let certificate = stage.signer.leaf(&["a.example", "b.example"]);
    let respond = |rule: &str, body: &str| format!("[[routes]]\n{rule}\nrespond = {{ body = '{body}' }}\n");
    let routes = respond("identities = ['cart.*']", "for the cart")
        + &respond("server_names = ['b.example']", "by the name of b")
        + "[[routes]]\nname = 'https'\nhost = 'a.example'\nredirect = { scheme = 'https' }\n";
    let tls = Proxy::start(&(stage.text(&[("a", certificate)], &asking) + &routes));
    let ask = async |is, name: &str| {
        let answer = Caller { is, ..Caller::trusting(&stage.root) }.get(tls.address(), name).await.unwrap();
        answer.rsplit("\r\n").next().unwrap_or_default().to_owned()
    };
    let (cart, shop) = (stage.signer.leaf(&["cart.example"]), stage.signer.leaf(&["shop.example"]));
    assert_eq!(ask(Some(&cart), "a.example").await, "for the cart");
    assert_eq!(ask(Some(&cart), "b.example").await, "for the cart", "as many predicates, and first in the file");
    assert_eq!(ask(None, "b.example").await, "by the name of b");
    assert_eq!(ask(Some(&shop), "a.example").await, "a", "who came by TLS is not sent there again");

    let plain = Proxy::start(&(crate::support::app::to_endpoints(&[stage.origin.address()], "") + &routes));
    let sent = get(plain.address(), "a.example", "/x?y").await;
    assert_eq!((sent.status, sent.header("location")), (308, Some("https://a.example/x?y")));
    assert_eq!(get(plain.address(), "b.example", "/").await.text(), "a", "nobody has proved or named anything");
}
