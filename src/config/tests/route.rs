//! Routes: what they may ask for and do, and what is said of those that make no sense.

use super::*;

fn with(route: &str) -> String {
    format!(
        "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\n[clusters.api]\nendpoints = [\"127.0.0.1:1\"]\n\
         timeouts = {{ request = \"9s\", idle = \"8s\" }}\nretry = {{ attempts = 1, buffer = 7 }}\n\
         [clusters.web]\nendpoints = [\"127.0.0.1:2\"]\n[[routes]]\n{route}\n"
    )
}

fn route(text: &str) -> Route {
    parse_file(&with(text)).unwrap_or_else(|error| panic!("{text}: {error}")).routes[0].as_ref().clone()
}

fn forward(text: &str) -> Arc<Forward> {
    let Action::Forward(forward) = route(text).action else { panic!("{text}") };
    forward
}

#[test]
fn a_route_has_exactly_one_action() {
    assert!(message(&with("path = \"/\"")).contains("routes[0]: does nothing; add cluster"));
    let both = message(&with("cluster = \"api\"\nrespond = {}"));
    assert!(both.contains("routes[0].respond: stands beside cluster; keep one of them"), "{both}");
    let lost = message(&with("redirect = { scheme = \"https\" }\nreplace_prefix = \"/\"\ntimeouts = {}"));
    assert!(lost.contains("routes[0].replace_prefix: goes with cluster or split"), "{lost}");
    assert!(lost.contains("routes[0].timeouts: goes with cluster or split"), "{lost}");
}

#[test]
fn a_routes_timeouts_and_retry_stand_over_those_of_its_cluster_key_by_key() {
    let of = |text: &str| forward(text).targets[0].terms.clone();
    assert_eq!(of("cluster = \"api\""), None);
    let terms = of("cluster = \"api\"\ntimeouts = { request = \"1s\" }\nretry = { attempts = 5 }").unwrap();
    let (request, idle) = (terms.timeouts.request, terms.timeouts.idle);
    assert_eq!((request, idle), (Some(Duration::from_secs(1)), Duration::from_secs(8)));
    assert_eq!((terms.retry.attempts, terms.retry.buffer), (5, 7));
    let wrong = message(&with("cluster = \"api\"\nretry = { attempts = 99, budget = 1.0 }"));
    assert!(wrong.contains("routes[0].retry.attempts: 99 is too many"), "{wrong}");
    assert!(wrong.contains("routes[0].retry.budget: is the cluster's"), "{wrong}");
}

#[test]
fn routes_for_the_same_place_need_something_to_tell_them_apart() {
    let more = |first: &str, second: &str| {
        with(&format!("cluster = \"api\"\n{first}\n[[routes]]\ncluster = \"web\"\n{second}"))
    };
    let get = "methods = [\"GET\"]";
    let names: Vec<String> =
        parse_file(&more(get, "")).unwrap().routes.iter().map(|route| route.name.to_string()).collect();
    assert_eq!(names, ["*", "*#2"]);
    assert!(message(&more(get, get)).contains("routes[1]: takes the same requests as routes[0]; give it another host"));
    let pattern = |regex: &str| format!("headers = [{{ name = \"a\", regex = \"{regex}\" }}]");
    assert!(parse_file(&more(&pattern("a"), &pattern("b"))).is_ok());
    assert!(message(&more(&pattern("a"), &pattern("a"))).contains("takes the same requests"));
    let https = "[[routes]]\nredirect = { scheme = \"https\" }";
    assert!(
        parse_file(&with(&format!("cluster = \"api\"\n{https}"))).is_ok(),
        "one to send there, one for who is there"
    );
}

#[test]
fn a_split_is_checked_as_a_whole() {
    let split = forward("split = [{ cluster = \"web\", weight = 5 }, { cluster = \"api\" }]\nsplit_by = \"cookie:id\"");
    assert_eq!(
        split.targets.iter().map(|target| (&*target.cluster, target.weight)).collect::<Vec<_>>(),
        [("web", 5), ("api", 1)]
    );
    assert_eq!(split.split_by, Some(HashKey::Cookie("id".into())));
    for (text, wrong) in [
        ("split = []", "routes[0].split: has nobody with a weight"),
        ("split = [{ cluster = \"web\", weight = 0 }]", "routes[0].split: has nobody with a weight"),
        ("split = [{ cluster = \"wbe\" }]", "routes[0].split[0].cluster: no cluster \"wbe\"; did you mean \"web\"?"),
        (
            "split = [{ cluster = \"web\" }, { cluster = \"web\" }]",
            "routes[0].split[1].cluster: \"web\" stands here twice",
        ),
        (
            "split = [{ cluster = \"web\" }]\nsplit_by = \"cookies:a\"",
            "routes[0].split_by: \"cookies:a\" is nothing to go by",
        ),
        ("cluster = \"web\"\nsplit_by = \"client_address\"", "routes[0].split_by: goes with split"),
        ("cluster = \"web\"\nmirror = { cluster = \"a\" }", "routes[0].mirror.cluster: no cluster \"a\""),
        (
            "cluster = \"web\"\nmirror = { cluster = \"api\", percent = 0 }",
            "routes[0].mirror.percent: 0 is not a share",
        ),
    ] {
        assert!(message(&with(text)).contains(wrong), "{wrong}: {}", message(&with(text)));
    }
}

#[test]
fn predicates_that_could_never_hold_are_refused() {
    for (text, wrong) in [
        ("methods = []", "routes[0].methods: is empty, and would take nothing"),
        ("methods = [\"get\"]", "routes[0].methods[0]: \"get\" is no method; use \"GET\""),
        (
            "headers = [{ name = \"a b\", present = true }]",
            "routes[0].headers[0].name: \"a b\" is not the name of a header",
        ),
        ("headers = [{ name = \"host\", value = \"a\" }]", "routes[0].headers[0].name: the route's host"),
        ("headers = [{ name = \"a\" }]", "routes[0].headers[0]: needs exactly one of value, prefix, regex and present"),
        ("query = [{ name = \"a\", value = \"b\", present = true }]", "routes[0].query[0]: needs exactly one of"),
        (
            "query = [{ name = \"a\", regex = \"(\" }]",
            "routes[0].query[0].regex: \"(\" is not a regular expression: unclosed",
        ),
        (
            "query = [{ name = \"a\", regex = \"a)|(b\" }]",
            "routes[0].query[0].regex: \"a)|(b\" is not a regular expression",
        ),
        (
            "client_networks = [\"10.0.0.1/8\"]",
            "routes[0].client_networks[0]: \"10.0.0.1/8\" is not a network; did you mean \"10.0.0.0/8\"?",
        ),
        ("server_names = [\"a:1\"]", "routes[0].server_names[0]: \"a:1\" is not a host"),
        ("identities = [\"spiffe://*/a\"]", "routes[0].identities[0]: \"spiffe://*/a\" is not an identity"),
    ] {
        let text = with(&format!("cluster = \"api\"\n{text}"));
        assert!(message(&text).contains(wrong), "{wrong}: {}", message(&text));
    }
}

#[test]
fn headers_that_frame_a_message_are_not_a_routes_to_change() {
    for (text, wrong) in [
        (
            "request_headers = { set = { host = \"a\" } }",
            "routes[0].request_headers.set.host: \"host\" is changed by host_header",
        ),
        (
            "request_headers = { remove = [\"Content-Length\"] }",
            "routes[0].request_headers.remove[0]: \"content-length\" frames",
        ),
        (
            "response_headers = { add = { Connection = \"close\" } }",
            "routes[0].response_headers.add.Connection: \"connection\" frames",
        ),
        ("response_headers = { set = { transfer-encoding = \"a\" } }", "\"transfer-encoding\" frames the message"),
        ("request_headers = { set = { x-forwarded-for = \"a\" } }", "is lictor's own word on the request's way"),
        (
            "request_headers = { set = { a = \"b\\r\\nc: d\" } }",
            "routes[0].request_headers.set.a: \"b\\r\\nc: d\" is not a header's value",
        ),
        ("host_header = \"a/b\"", "routes[0].host_header: \"a/b\" is not a host"),
        ("replace_prefix = \"v2\"", "routes[0].replace_prefix: \"v2\" is not a path prefix"),
    ] {
        let text = with(&format!("cluster = \"api\"\n{text}"));
        assert!(message(&text).contains(wrong), "{wrong}: {}", message(&text));
    }
    assert!(
        !route("cluster = \"api\"\nresponse_headers = { remove = [\"x-forwarded-for\"] }")
            .response_headers
            .remove
            .is_empty()
    );
}

#[test]
fn redirects_lead_somewhere_and_answers_are_answers() {
    for (text, wrong) in [
        ("redirect = {}", "routes[0].redirect: leads back to itself"),
        ("redirect = { scheme = \"ftp\" }", "routes[0].redirect.scheme: \"ftp\" is not a scheme"),
        ("redirect = { host = \"a:1\" }", "routes[0].redirect.host: \"a:1\" is not a host"),
        ("redirect = { path = \"//evil\" }", "routes[0].redirect.path: \"//evil\" is not a path"),
        ("redirect = { path = \"/a\", prefix = \"/b\" }", "routes[0].redirect.prefix: stands beside path"),
        ("redirect = { host = \"a\", status = 200 }", "routes[0].redirect.status: 200 is no redirect"),
        ("respond = { status = 101 }", "routes[0].respond.status: 101 is no status of an answer"),
        ("respond = { status = 204, body = \"a\" }", "routes[0].respond.body: an answer of 204 has none"),
        ("respond = { content_type = \"a/b\" }", "routes[0].respond.content_type: goes with a body"),
    ] {
        assert!(message(&with(text)).contains(wrong), "{wrong}: {}", message(&with(text)));
    }
}

#[test]
fn trusted_networks_are_networks() {
    let text = MINIMAL.replace("bind =", "trusted_networks = [\"10.0.0.0/8\", \"::1\", \"10.0.0.0/33\"]\nbind =");
    assert!(message(&text).contains("listeners[0].trusted_networks[2]: \"10.0.0.0/33\" is not a network; use"));
    let networks = &parse_file(&text.replace(", \"10.0.0.0/33\"", "")).unwrap().listeners[0].trusted_networks;
    assert_eq!(networks.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "::1/128"]);
}
