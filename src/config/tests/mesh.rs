//! Tests of the mesh's keys.

use super::*;

const LISTENER: &str = "[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n";

fn problem(text: &str) -> String {
    parse_file(&format!("{LISTENER}{text}")).unwrap_err().to_string()
}

#[test]
fn who_needs_a_part_in_the_mesh_says_so() {
    let connect = "[clusters.web]\nconsul={service='web',connect=true}";
    assert!(problem(connect).contains("clusters.web.consul.connect: needs [mesh]"));
    assert!(problem("mesh=true").contains("listeners[0].mesh: needs [mesh]"));
    let config = parse_file(&format!("{LISTENER}mesh=true\n[mesh]\nservice='edge'\n{connect}")).unwrap();
    assert!(config.listeners[0].mesh && config.clusters[0].source.is_in_mesh());
    assert_eq!(config.mesh.unwrap().service, "edge");
}

#[test]
fn what_the_mesh_brings_with_it_is_not_told_beside_it() {
    let mesh = "[mesh]\nservice='edge'\n[clusters.web]\nconsul={service='web',connect=true}\n";
    assert!(problem(&format!("{mesh}tls={{}}")).contains("clusters.web.tls: is what connect = true brings with it"));
    assert!(problem(&format!("{mesh}proxy_protocol='v2'")).contains("clusters.web.proxy_protocol: goes before TLS"));
    let inherited = format!("{LISTENER}{mesh}[defaults]\ntls={{}}");
    assert!(parse_file(&inherited).unwrap().clusters[0].tls.is_none(), "what others have is not meant for it");
    assert!(problem("mesh=true\ntls={kv='x'}\n[mesh]\nservice='edge'").contains("listeners[0].mesh: brings its own"));
    let sni = "mesh=true\nprotocol='tcp'\n[[listeners.sni]]\nnames=['a']\ncluster='a'\n[clusters.a]\nendpoints=['a:1']\n\
               [mesh]\nservice='edge'";
    assert!(problem(sni).contains("listeners[0].sni: is for TLS that clients speak with endpoints"));
}

#[test]
fn only_services_of_our_own_mesh_are_called_in_it() {
    let with =
        |consul: &str| problem(&format!("[mesh]\nservice='edge'\n[clusters.web]\nconsul={{connect=true,{consul}}}"));
    assert!(with("query='web'").contains("clusters.web.consul.connect: is for services of our own mesh"));
    assert!(with("service='web',peer='east'").contains("clusters.web.consul.connect: is for services of our own mesh"));
    let failover =
        "[mesh]\nservice='edge'\n[clusters.web]\nconsul={service='web',connect=true}\nfailover=[{datacenter='dc2'}]";
    let config = parse_file(&format!("{LISTENER}{failover}")).unwrap();
    assert!(config.clusters[0].source.draws().iter().all(|draw| draw.selection.lookup == Lookup::Connect));
}

#[test]
fn who_is_found_in_the_mesh_shows_there_the_name_that_it_is_found_by() {
    let native = |listener: &str, mesh: &str| {
        parse_file(&format!("{LISTENER}{listener}\n{mesh}\n[registration]\nname='edge'\nconnect_native=true\n"))
    };
    let wrong = |listener: &str, mesh: &str| native(listener, mesh).unwrap_err().to_string();
    assert!(wrong("", "").contains("registration.connect_native: needs [mesh]"));
    let other = wrong("mesh=true", "[mesh]\nservice='Edge'");
    assert!(other.contains("registration.connect_native: those who look up \"edge\" refuse"), "{other}");
    let plain = wrong("", "[mesh]\nservice='edge'");
    assert!(plain.contains("registration.connect_native: the listener \"a\" that is entered is not of the"), "{plain}");
    native("mesh=true", "[mesh]\nservice='edge'").unwrap();
}

#[test]
fn our_name_is_one_segment_and_looks_are_not_all_the_time() {
    for service in ["", "a/b", "..", "a\\u0007"] {
        let text = format!("[mesh]\nservice=\"{service}\"");
        assert!(problem(&text).contains("mesh.service: "), "{service}");
    }
    assert!(problem("[mesh]\nservice='a'\nrecheck='10ms'").contains("mesh.recheck: is too often"));
}
