//! Lists that serve in turn, and other ways to ask for one.

use super::*;

fn cluster(keys: &str) -> Result<Arc<Cluster>, Error> {
    let text = MINIMAL.replace("consul = { service = \"web\" }", keys);
    parse_file(&text).map(|config| Arc::clone(&config.clusters[0]))
}

fn lists(keys: &str) -> Vec<String> {
    cluster(keys).unwrap().source.draws().iter().map(|draw| draw.selection.to_string()).collect()
}

fn refusal(keys: &str) -> String {
    cluster(keys).expect_err("should be refused").to_string()
}

#[test]
fn what_a_failover_leaves_out_is_as_in_the_first_choice() {
    let keys = "consul = { service = \"web\", filter = \"x\", datacenter = \"dc1\" }\n\
                failover = [{ datacenter = \"dc2\" }, { filter = \"y\" }, { service = \"old\" }, { peer = \"east\" }, { query = \"q\" }]";
    assert_eq!(lists(keys), ["web@dc1[x]", "web@dc2[x]", "web@dc1[y]", "old@dc1", "web@peer:east[x]", "query:q@dc1"]);
    assert!(cluster(keys).unwrap().in_turn && !cluster("consul = { service = \"web\" }").unwrap().in_turn);
    let of_query = "consul = { query = \"q\" }\nfailover = [{ datacenter = \"dc2\" }, { service = \"web\" }]";
    assert_eq!(lists(of_query), ["query:q", "query:q@dc2", "web"]);
}

#[test]
fn when_it_happens_has_defaults_that_fit_each_other() {
    let when = |keys: &str| {
        let keys = format!("consul = {{ service = \"web\" }}\nfailover = [{{ datacenter = \"dc2\" }}]\n{keys}");
        cluster(&keys).map(|cluster| cluster.balancing.failover)
    };
    let (below_percent, return_percent, return_after) = (50, 75, Duration::from_secs(30));
    assert_eq!(when("").unwrap(), FailoverWhen { below_percent, return_percent, return_after });
    assert_eq!(when("failover_when = { below_percent = 90 }").unwrap().return_percent, 90);
    let problem = when("failover_when = { below_percent = 90, return_percent = 80 }").unwrap_err().to_string();
    assert!(problem.contains("clusters.web.failover_when.return_percent: 80 would return to what is left below 90"));
    let problem = when("failover_when = { below_percent = 0 }").unwrap_err().to_string();
    assert!(problem.contains("clusters.web.failover_when.below_percent: 0 is not a share; use 1 to 100"), "{problem}");
}

#[test]
fn lists_that_cannot_serve_in_turn_are_refused() {
    let web = "consul = { service = \"web\" }";
    let refused = |failover: &str| refusal(&format!("{web}\nfailover = {failover}"));
    let message = refusal("endpoints = [\"127.0.0.1:1\"]\nfailover = [{ service = \"web\" }]");
    assert!(message.contains("clusters.web.failover: needs a first choice"), "{message}");
    assert!(refused("[]").contains("clusters.web.failover: is 0 lists; use 1 to 7"));
    let many = format!("[{}]", (0..8).map(|place| format!("{{ service = \"s{place}\" }},")).collect::<String>());
    assert!(refused(&many).contains("is 8 lists"));
    assert!(refused("[{}]").contains("clusters.web.failover[0]: is a list that has failed by then"));
    assert!(refused("[{ service = \"b\" }, { service = \"b\" }]").contains("clusters.web.failover[1]: is a list"));
    assert!(refused("[{ datacenter = \" \" }]").contains("clusters.web.failover[0].datacenter: is empty"));
}

#[test]
fn a_service_a_query_and_a_peer_are_asked_for_one_at_a_time() {
    let message = |keys: &str| refusal(&format!("consul = {{ {keys} }}"));
    assert!(message("filter = \"x\"").contains("clusters.web.consul: names nobody; add service"));
    assert!(message("service = \"web\", query = \"q\"").contains("clusters.web.consul.query: stands beside service"));
    assert!(message("query = \"\"").contains("clusters.web.consul.query: the name of a query has 1 to 255"));
    let both = message("service = \"web\", datacenter = \"dc2\", peer = \"east\"");
    assert!(both.contains("clusters.web.consul.peer: is another cluster"), "{both}");
    assert!(message("query = \"q\", filter = \"x\"").contains("has a filter and a peer of its own"));
}
