//! A port for one service, for requests or for bytes; and tunnels to services.

use super::*;
use crate::support::raw::Raw;

#[tokio::test]
async fn a_listener_may_be_one_service() {
    let consul = consul().await;
    let origin = Origin::start("port").await;
    register(&consul, "port", &origin, &["v1"]).await;
    let proxy = Proxy::start(&format!(
        "[consul]\naddress = \"{}\"\n[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\nservice = \"v1.port.service.consul\"\n\
         [egress]\nidle = \"1s\"",
        consul.url()
    ));
    for host in ["anything.example.com", "localhost", "other"] {
        assert_eq!(ask(&proxy, host).await, "port", "{host}");
    }
    assert_eq!(demands(&proxy, "found").await, 0.0, "it is followed from the start on");
    consul.deregister("port-port").await;
    eventually("nobody is left", SOON, async || ask(&proxy, "x").await == "503 no endpoint is eligible").await;
    register(&consul, "port", &origin, &["v1"]).await;
    eventually("somebody is back", SOON, async || ask(&proxy, "x").await == "port").await;
}

#[tokio::test]
async fn a_listener_for_any_protocol_may_be_one_service() {
    let consul = consul().await;
    let origin = Raw::start().await;
    let (ip, port) = (origin.address().ip(), origin.address().port());
    consul.register(json!({ "Name": "bytes", "Address": ip, "Port": port })).await;
    let proxy = Proxy::start(&format!(
        "[consul]\naddress = \"{}\"\n[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\nservice = \"bytes\"",
        consul.url()
    ));
    let mut client = Client::connect(proxy.address()).await;
    client.send("\0ask").await;
    let mut served = origin.accept().await;
    assert_eq!(served.read(4).await, b"\0ask");
    served.send("\0say").await;
    assert_eq!(client.read(4).await, b"\0say");
    counted(proxy.admin(), "lictor_cluster_in_flight{cluster=\"bytes\"}", 1.0).await;
}

#[tokio::test]
async fn a_tunnel_leads_to_the_service_that_it_names_and_keeps_it() {
    let consul = consul().await;
    let origin = Raw::start().await;
    let (ip, port) = (origin.address().ip(), origin.address().port());
    consul.register(json!({ "Name": "tunnel", "Address": ip, "Port": port, "Tags": ["v1"] })).await;
    let proxy = start(&consul.url(), "[egress]\nidle = \"1s\"");
    let connect = |host: &str| format!("CONNECT {host} HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let mut client = Client::connect(proxy.address()).await;
    client.send(connect("v1.tunnel.service.consul:443")).await;
    let (answer, _) = client.head().await;
    assert_eq!(answer.status, 200);
    let mut served = origin.accept().await;
    client.send("tls").await;
    assert_eq!(served.read(3).await, b"tls");
    let other = Client::connect(proxy.address()).await.exchange(connect("tunnel-2.service.consul:443")).await;
    assert_eq!(said(other), "503 no service of this name is known");
    let other = Client::connect(proxy.address()).await.exchange(connect("example.com:443")).await;
    assert_eq!(other.status, 404, "it leads to services and to nowhere else");
    let brief = Origin::start("brief").await;
    register(&consul, "tunnel-brief", &brief, &[]).await;
    assert_eq!(ask(&proxy, "tunnel-brief").await, "brief");
    eventually("the other is forgotten", SOON, async || names(&proxy).await == ["v1.tunnel.service"]).await;
    served.send("still").await;
    assert_eq!(client.read(5).await, b"still");
}
