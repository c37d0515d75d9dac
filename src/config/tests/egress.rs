//! Listeners that go by names of services, and what is written for those.

use super::*;

fn listener(rest: &str) -> String {
    format!("[[listeners]]\nname = 'a'\nbind = '127.0.0.1:0'\n{rest}\n")
}

fn name(host: &str) -> Name {
    Name::parse(host, "consul").unwrap()
}

#[test]
fn a_listener_goes_by_routes_by_names_or_by_one_name() {
    let serves = |rest: &str| parse_file(&listener(rest)).unwrap().listeners[0].serves.clone();
    assert_eq!(serves(""), Serves::Routes);
    assert_eq!(serves("egress = true"), Serves::Names);
    assert_eq!(serves("service = 'v2.Web.service.consul'"), Serves::Service(name("v2.web.service.consul")));
    assert_eq!(serves("service = 'web'"), Serves::Service(name("web")));
    let config = parse_file(&listener("protocol = 'tcp'\nservice = 'db.service.dc2.consul'")).unwrap();
    let cluster = Some(Arc::from("db.service.dc2"));
    assert_eq!(config.listeners[0].accepts, Accepts::Tcp(Forwarding { names: vec![], claimed: None, cluster }));
    let config = parse_file(&(listener("service = 'web.service.lab'") + "[egress]\ndomain = 'lab.'")).unwrap();
    assert_eq!(config.listeners[0].serves, Serves::Service(name("web")));
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (rest, expected) in [
        ("egress = true\nprotocol = 'tcp'", "listeners[0].egress: names come with requests"),
        ("egress = true\nservice = 'web'", "listeners[0].service: egress = true serves every service"),
        ("service = 'web.example.com'", "listeners[0].service: \"web.example.com\" is not the name of a service; use"),
        ("service = 'a b'", "is not the name of a service; use \"web\", \"v2.web.service.consul\""),
        (
            "protocol = 'tcp'\nservice = 'db'\ncluster = 'db'",
            "listeners[0].service: connections go to the cluster already",
        ),
        ("[egress]\ndomain = 'a..b'", "egress.domain: \"a..b\" is not a domain"),
        ("[egress]\nservices = ['a', '']", "egress.services[1]: a pattern has 1 to 255"),
        ("[egress]\nmax_services = 0", "egress.max_services: 0 is not a number of services"),
        ("[egress]\nwait = '0s'", "egress.wait: 0 would time out at once"),
        ("[egress]\nwait = '2m'", "egress.wait: nobody waits for so long"),
        ("[egress]\nidle = '10ms'", "egress.idle: services that are in use"),
        ("[egress]\nservice = ['a']", "egress.service: unknown key; did you mean \"services\"?"),
    ] {
        let rest = rest.to_owned() + "\n[clusters.db]\nendpoints = ['127.0.0.1:1']";
        let error = parse_file(&listener(&rest)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_cluster_may_leave_its_endpoints_to_those_who_ask_for_it_by_name() {
    let policy = "[clusters.web]\npolicy = 'random'\n";
    let config = parse_file(&(listener("egress = true") + policy)).unwrap();
    assert!(config.clusters.is_empty());
    let made = |host: &str| config.templates.named(&name(host), &Announced::default()).unwrap();
    assert_eq!(made("web").policy, Policy::Random);
    assert_eq!(made("v2.web.service.consul").policy, Policy::Random);
    assert_eq!(made("v2.web.service.consul").source.draws()[0].tag.as_deref(), Some("v2"));
    assert_eq!(made("db").policy, Policy::P2c);
    for (rest, expected) in [
        (listener(""), "clusters.web: has no endpoints; add consul"),
        (
            listener("egress = true") + "[[routes]]\ncluster = 'web'\n",
            "routes[0].cluster: cluster \"web\" has no endpoints of its own",
        ),
        (listener("egress = true\n[[listeners]]\nname='b'\nbind='127.0.0.1:0'\nprotocol='tcp'\ncluster='web'"), {
            "listeners[1].cluster: cluster \"web\" has no endpoints of its own"
        }),
        (listener("egress = true") + "[clusters.db]\npolicy = 'rendom'\n", "clusters.db.policy: no policy \"rendom\""),
    ] {
        let error = parse_file(&(rest + policy)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn who_serves_in_its_place_carries_the_same_tag() {
    let text = listener("egress = true") + "[clusters.web]\nfailover = [{ datacenter = 'dc2' }, { service = 'old' }]";
    let config = parse_file(&text).unwrap();
    let made = |host: &str| config.templates.named(&name(host), &Announced::default()).unwrap();
    let shown = |cluster: &Cluster| {
        let draw = |draw: &Draw| format!("{}+{}", draw.selection, draw.tag.as_deref().unwrap_or_default());
        cluster.source.draws().iter().map(draw).collect::<Vec<_>>()
    };
    let (plain, tagged) = (made("web"), made("v2.web.service.consul"));
    assert!(plain.in_turn && tagged.in_turn && !made("db").in_turn);
    assert_eq!(shown(&plain), ["web+", "web@dc2+", "old+"]);
    assert_eq!(shown(&tagged), ["web+v2", "web@dc2+v2", "old+v2"]);
    let same = text.replace("'dc2'", "'dc2', service = 'web'").replace("'old'", "'web'");
    assert!(
        message(&same).contains("clusters.web.failover[1]: is a list that has failed by then"),
        "{}",
        message(&same)
    );
}

#[test]
fn a_service_that_bytes_are_passed_on_to_cannot_have_tls() {
    let text = listener("protocol = 'tcp'\nservice = 'db'") + "[clusters.db]\ntls = {}\n";
    let error = parse_file(&text).unwrap_err().to_string();
    assert!(error.contains("listeners[0]: its cluster \"db\" has tls"), "{error}");
}
