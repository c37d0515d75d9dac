//! Which of several routes takes a request, what becomes of it there, and what is changed on its way.

use std::time::Duration;

use crate::support::app::{Proxy, parse};
use crate::support::client::{Client, Response, eventually, get};
use crate::support::origin::{Origin, Request, Script};
use crate::support::window::{counted, json, sum};

const SOON: Duration = Duration::from_secs(10);

/// A cluster of that name with this origin.
fn cluster(name: &str, origin: &Origin) -> String {
    format!("[clusters.{name}]\nendpoints = [\"{}\"]\n", origin.address())
}

/// One origin behind the cluster `web`, and a route to it with these keys.
async fn single(route: &str) -> (Origin, Proxy) {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&format!("[[routes]]\n{route}\n{}", cluster("web", &origin)));
    (origin, proxy)
}

async fn exchange(proxy: &Proxy, request: impl AsRef<[u8]>) -> Response {
    Client::connect(proxy.address()).await.exchange(request).await
}

/// What the origin receives by a route with these keys.
async fn received(route: &str, request: &str) -> Request {
    let (origin, proxy) = single(route).await;
    let response = exchange(&proxy, request).await;
    assert_eq!(response.status, 200, "{}", response.text());
    origin.requests().remove(0)
}

#[tokio::test]
async fn requests_go_by_method_header_query_and_client() {
    let respond = |name: &str, rule: &str| format!("[[routes]]\n{rule}\nrespond = {{ body = \"{name}\" }}\n");
    let text = [
        respond("rest", ""),
        respond("write", "methods = [\"POST\", \"PUT\"]"),
        respond("beta", "headers = [{ name = \"x-beta\", regex = \"yes|[1-9]\" }]"),
        respond("beta write", "methods = [\"POST\"]\nheaders = [{ name = \"x-beta\", present = true }]"),
        respond("debug", "query = [{ name = \"debug\", present = true }]"),
        respond("near", "path = \"/near\"\nclient_networks = [\"127.0.0.8/31\"]"),
    ];
    let proxy = Proxy::start(&text.concat());
    let ask = async |request: &str, lines: &str| {
        exchange(&proxy, format!("{request} HTTP/1.1\r\nhost: shop\r\n{lines}\r\n")).await.text()
    };
    assert_eq!(ask("GET /a", "").await, "rest");
    assert_eq!(ask("PUT /a", "content-length: 0\r\n").await, "write");
    assert_eq!(ask("GET /a", "x-beta: no\r\nX-Beta: 7\r\n").await, "beta");
    assert_eq!(ask("GET /a", "x-beta: 77\r\n").await, "rest", "a pattern is for the whole value");
    assert_eq!(ask("POST /a", "x-beta: 7\r\ncontent-length: 0\r\n").await, "beta write");
    assert_eq!(ask("GET /a?%64ebug", "").await, "debug");
    assert_eq!(ask("GET /near", "").await, "rest");
    let mut near = Client::connect_from([127, 0, 0, 9].into(), proxy.address()).await;
    assert_eq!(near.exchange("GET /near/x HTTP/1.1\r\nhost: shop\r\n\r\n").await.text(), "near");
}

#[tokio::test]
async fn a_fixed_answer_is_given_and_counted_under_its_route() {
    let proxy = Proxy::start(
        "[[routes]]\nname = \"gone\"\npath = \"/old\"\nresponse_headers = { set = { x-why = \"moved\" } }\n\
         [routes.respond]\nstatus = 410\nbody = \"gone\\n\"\n[[routes]]\nname = \"empty\"\nrespond = { status = 204 }\n",
    );
    let mut client = Client::connect(proxy.address()).await;
    let gone = client.exchange("POST /old/x HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc").await;
    assert_eq!((gone.status, gone.text().as_str(), gone.header("x-why")), (410, "gone\n", Some("moved")));
    assert_eq!(gone.header("content-type"), Some("text/plain; charset=utf-8"));
    let empty = exchange(&proxy, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((empty.status, empty.text().as_str(), empty.header("content-type")), (204, "", None));
    let mut client = Client::connect(proxy.address()).await;
    client.send("HEAD /old HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (head, _) = client.head().await;
    assert_eq!((head.status, head.header("content-length")), (410, Some("5")));
    let count = "lictor_requests_total{listener=\"edge\",route=\"gone\",cluster=\"\",code=\"410\"}";
    counted(proxy.admin(), count, 2.0).await;
}

#[tokio::test]
async fn a_redirect_names_where_to_go_and_loses_no_query() {
    // What strict paths keep out has to do no harm either.
    let proxy = Proxy::start(
        "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\npaths = \"off\"\n\
         [[routes]]\nname = \"https\"\nhost = \"shop\"\nredirect = { scheme = \"https\" }\n\
         [[routes]]\nhost = \"shop\"\npath = \"/old\"\nredirect = { prefix = \"/new\", status = 307 }\n\
         [[routes]]\nhost = \"shop\"\npath = \"/strip\"\nredirect = { prefix = \"/\", status = 302 }\n\
         [[routes]]\nhost = \"bare\"\nredirect = { host = \"www.bare\", port = 8443, status = 301 }\n",
    );
    let location = async |host: &str, target: &str| {
        let response = get(proxy.address(), host, target).await;
        (response.status, response.header("location").unwrap_or_default().to_owned())
    };
    let to = |status: u16, location: &str| (status, location.to_owned());
    assert_eq!(location("shop:8080", "/a%20b?c=d&e").await, to(308, "https://shop/a%20b?c=d&e"));
    assert_eq!(location("shop", "/old/x?y").await, to(307, "/new/x?y"));
    assert_eq!(location("shop", "/strip").await, to(302, "/"));
    assert_eq!(location("bare", "/a").await, to(301, "http://www.bare:8443/a"));
    for (target, expected) in [
        ("/strip//evil.test/", "/evil.test/"),
        ("/strip/\\evil.test\\..", "/evil.test%5C.."),
        ("/strip/%0d%0aset-cookie:a=b?c|d", "/%0d%0aset-cookie:a=b?c%7Cd"),
    ] {
        assert_eq!(location("shop", target).await, to(302, expected), "{target}");
    }
    let count = "lictor_requests_total{listener=\"edge\",route=\"https\",cluster=\"\",code=\"308\"}";
    counted(proxy.admin(), count, 1.0).await;
}

#[tokio::test]
async fn who_has_come_by_https_already_is_not_sent_there_again() {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&format!(
        "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\ntrusted_networks = [\"127.0.0.1\"]\n\
         [[routes]]\nredirect = {{ scheme = \"https\" }}\n[[routes]]\ncluster = \"web\"\n{}",
        cluster("web", &origin)
    ));
    assert_eq!(get(proxy.address(), "shop", "/").await.status, 308);
    let came = "GET / HTTP/1.1\r\nhost: shop\r\nx-forwarded-proto: https\r\n\r\n";
    assert_eq!(exchange(&proxy, came).await.text(), "one");
}

#[tokio::test]
async fn a_split_shares_requests_by_weight_and_keeps_cohorts_together() {
    let (canary, stable) = (Origin::start("canary").await, Origin::start("stable").await);
    let text = |weight: u32| {
        format!(
            "[[routes]]\nname = \"split\"\nsplit_by = \"cookie:visitor\"\nsplit = [{{ cluster = \"canary\", weight = {weight} }}, \
             {{ cluster = \"stable\", weight = 9 }}]\n{}{}",
            cluster("canary", &canary),
            cluster("stable", &stable)
        )
    };
    let (one, other) = (Proxy::start(&text(3)), Proxy::start(&text(3)));
    let ask = async |proxy: &Proxy, visitor: usize| {
        let mut client = Client::connect(proxy.address()).await;
        client.exchange(format!("GET / HTTP/1.1\r\nhost: shop\r\ncookie: visitor=v{visitor}\r\n\r\n")).await.text()
    };
    let mut before = Vec::new();
    for visitor in 0..80 {
        before.push(ask(&one, visitor).await);
        assert_eq!(ask(&one, visitor).await, before[visitor], "the same again");
        assert_eq!(ask(&other, visitor).await, before[visitor], "in every process");
    }
    let in_canary = |all: &[String]| all.iter().filter(|name| *name == "canary").count();
    assert!((8..36).contains(&in_canary(&before)), "a quarter of 80: {}", in_canary(&before));
    one.app().reload(parse(&text(27))).await.unwrap();
    let mut after = Vec::new();
    for visitor in 0..80 {
        after.push(ask(&one, visitor).await);
    }
    assert!(
        before.iter().zip(&after).all(|(before, after)| before == "stable" || after == "canary"),
        "nobody goes back"
    );
    assert!(in_canary(&after) > in_canary(&before));
    let count = async |cluster: &str| {
        sum(one.admin(), "lictor_requests_total", &format!("route=\"split\",cluster=\"{cluster}\"")).await
    };
    eventually("those since the reload are counted", SOON, async || {
        let (canary, stable) = (count("canary").await, count("stable").await);
        canary + stable == 80.0 && canary > 0.0 && stable > 0.0
    })
    .await;
}

#[tokio::test]
async fn a_member_of_a_split_that_has_nobody_is_made_up_for_by_the_others() {
    let (spare, listener) = (Origin::start("spare").await, tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
    let consul = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(lictor::registry::serve(listener, std::future::pending()));
    let proxy = Proxy::start(&format!(
        "[consul]\naddress = \"{consul}\"\n[[routes]]\n\
         split = [{{ cluster = \"empty\" }}, {{ cluster = \"spare\", weight = 0 }}]\n\
         [clusters.empty]\nconsul = {{ service = \"nobody\" }}\n{}",
        cluster("spare", &spare)
    ));
    for _ in 0..10 {
        assert_eq!(get(proxy.address(), "shop", "/").await.text(), "spare");
    }
}

#[tokio::test]
async fn a_prefix_is_replaced_or_stripped() {
    let target = async |keys: &str, target: &str| {
        let route = format!("path = \"/api\"\ncluster = \"web\"\n{keys}");
        received(&route, &format!("GET {target} HTTP/1.1\r\nhost: shop\r\n\r\n")).await.target().to_owned()
    };
    assert_eq!(target("replace_prefix = \"/v2\"", "/api/x%2Fy?z=//").await, "/v2/x%2Fy?z=//");
    assert_eq!(target("replace_prefix = \"/\"", "/api/x").await, "/x");
    assert_eq!(target("replace_prefix = \"/\"", "/api?x").await, "/?x");
    assert_eq!(target("", "/api/x").await, "/api/x");
}

#[tokio::test]
async fn endpoints_see_the_host_and_the_headers_that_the_route_gives_them() {
    let request = received(
        "cluster = \"web\"\nhost_header = \"api.internal:81\"\n[routes.request_headers]\n\
         set = { x-team = \"shop\" }\nadd = { x-tag = \"b\" }\nremove = [\"cookie\", \"x-none\"]",
        "GET / HTTP/1.1\r\nhost: shop.example.com\r\nx-team: evil\r\nX-Team: evil\r\nx-tag: a\r\ncookie: a=b\r\n\
         connection: x-tag\r\n\r\n",
    )
    .await;
    let header = |name: &str| request.header(name).unwrap_or_default();
    assert_eq!((header("host").as_str(), header("x-forwarded-host").as_str()), ("api.internal:81", "shop.example.com"));
    assert_eq!((header("x-team").as_str(), request.head.matches("x-team").count()), ("shop", 1));
    assert_eq!(
        (header("x-tag").as_str(), request.header("cookie")),
        ("b", None),
        "what Connection names is the client's only"
    );
}

#[tokio::test]
async fn clients_see_the_headers_that_the_route_gives_them() {
    let (origin, proxy) = single(
        "cluster = \"web\"\n[routes.response_headers]\nset = { x-frame-options = \"DENY\" }\nadd = { vary = \"x-team\" }\n\
         remove = [\"server\"]",
    )
    .await;
    let named = ["Server", "Vary", "X-Frame-Options"].map(|name| (name.to_owned(), "origin".to_owned()));
    let mut headers = named.to_vec();
    headers.push(("Connection".to_owned(), "X-Frame-Options".to_owned()));
    origin.once(Script::Answer { status: 200, headers, body: b"x".to_vec() });
    let response = get(proxy.address(), "shop", "/").await;
    assert_eq!(response.every("vary"), ["origin", "x-team"]);
    assert_eq!((response.every("x-frame-options"), response.header("server")), (vec!["DENY"], None));
}

#[tokio::test]
async fn a_routes_own_timeouts_and_retries_stand_over_those_of_its_cluster() {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&format!(
        "[[routes]]\npath = \"/short\"\ncluster = \"web\"\ntimeouts = {{ request = \"100ms\" }}\n\
         [[routes]]\npath = \"/once\"\ncluster = \"web\"\nretry = {{ attempts = 0 }}\n\
         [[routes]]\ncluster = \"web\"\n{}timeouts = {{ request = \"1h\" }}\nretry = {{ attempts = 1 }}\n",
        cluster("web", &origin)
    ));
    origin.once(Script::Hang);
    assert_eq!(get(proxy.address(), "shop", "/short").await.status, 504);
    origin.once(Script::ResetBeforeHead);
    assert_eq!(get(proxy.address(), "shop", "/once").await.status, 502);
    origin.once(Script::ResetBeforeHead);
    assert_eq!(get(proxy.address(), "shop", "/").await.status, 200);
}

#[tokio::test]
async fn routes_change_while_requests_run() {
    let (one, two) = (Origin::start("one").await, Origin::start("two").await);
    let clusters = cluster("one", &one) + &cluster("two", &two);
    let proxy = Proxy::start(&format!("[[routes]]\ncluster = \"one\"\n{clusters}"));
    let mut client = Client::connect(proxy.address()).await;
    let request = "GET / HTTP/1.1\r\nhost: shop\r\n\r\n";
    assert_eq!(client.exchange(request).await.text(), "one");
    for (route, expected) in [
        ("split = [{ cluster = \"two\" }]", "two"),
        ("respond = { body = \"own\" }", "own"),
        ("cluster = \"one\"\nresponse_headers = { set = { a = \"b\" } }", "one"),
        ("methods = [\"POST\"]\ncluster = \"one\"", "no route for this host and path\n"),
    ] {
        proxy.app().reload(parse(&format!("[[routes]]\n{route}\n{clusters}"))).await.unwrap();
        assert_eq!(client.exchange(request).await.text(), expected, "{route}");
    }
}

#[tokio::test]
async fn the_window_shows_what_routes_ask_for_and_do() {
    let proxy = Proxy::start(
        "[[routes]]\nmethods = [\"GET\", \"HEAD\"]\nclient_networks = [\"10.0.0.0/8\"]\nidentities = [\"spiffe://a/*\"]\n\
         headers = [{ name = \"X-Team\", value = \"shop\" }]\nsplit = [{ cluster = \"web\", weight = 3 }, { cluster = \"new\" }]\n\
         split_by = \"cookie:id\"\nmirror = { cluster = \"new\", percent = 2.5 }\n\
         [[routes]]\nredirect = { scheme = \"https\", port = 444 }\n[[routes]]\nrespond = { status = 503 }\n\
         [clusters.web]\nendpoints = [\"127.0.0.1:1\"]\n[clusters.new]\nendpoints = [\"127.0.0.1:2\"]\n",
    );
    eventually("the routes are there", SOON, async || json(proxy.admin(), "/v1/routes").await[2].is_object()).await;
    let expected = serde_json::json!([
        {
            "name": "*", "host": "*", "path": "/", "cluster": null,
            "action": { "split": {
                "clusters": [{ "cluster": "web", "weight": 3 }, { "cluster": "new", "weight": 1 }], "by": "cookie:id",
            } },
            "predicates": ["method GET or HEAD", "client in 10.0.0.0/8", "identity spiffe://a/*", "header x-team = <hidden>"],
            "mirror": { "cluster": "new", "percent": 2.5 },
        },
        {
            "name": "*#2", "host": "*", "path": "/", "cluster": null,
            "action": { "redirect": { "status": 308, "scheme": "https", "host": null, "port": 444, "path": null } },
            "predicates": ["scheme not https"],
        },
        { "name": "*#3", "host": "*", "path": "/", "cluster": null, "action": { "respond": { "status": 503 } } },
    ]);
    assert_eq!(json(proxy.admin(), "/v1/routes").await, expected);
}
