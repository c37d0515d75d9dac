//! Documents beside the file: what a person sees who puts one under the prefix, right or wrong.

use super::*;

const FILE: &str = r#"
[kv]
prefix = "lictor/config"

[[listeners]]
name = "edge"
bind = "127.0.0.1:0"

[[routes]]
cluster = "web"

[clusters.web]
endpoints = ["127.0.0.1:1"]

[defaults]
retry = { attempts = 5 }
"#;

const SHOP: &str = r#"
[[routes]]
host = "shop.example.com"
split = [{ cluster = "shop.v2", weight = 1 }, { cluster = "web", weight = 9 }]

[clusters."shop.v2"]
consul = { service = "shop" }
timeouts = { request = "3s" }
"#;

fn documents(texts: &[(&str, &str)]) -> Documents {
    texts.iter().map(|(name, text)| (format!("lictor/config/{name}"), text.as_bytes().to_vec())).collect()
}

fn joined(texts: &[(&str, &str)]) -> Result<Config, Error> {
    parse_file(FILE).unwrap().with_documents(&documents(texts))
}

fn refusal(texts: &[(&str, &str)]) -> String {
    joined(texts).expect_err("should be refused").to_string()
}

#[test]
fn routes_splits_and_policies_of_documents_stand_behind_those_of_the_file() {
    let config = joined(&[("shop", SHOP), ("empty", "")]).unwrap();
    assert_eq!(config.kv, Some(Kv { prefix: "lictor/config/".into() }), "a prefix ends with a slash");
    let names: Vec<&str> = config.clusters.iter().map(|cluster| &*cluster.name).collect();
    assert_eq!(names, ["shop.v2", "web"]);
    let routes: Vec<&str> = config.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(routes, ["*", "shop.example.com"]);
    let shop = &config.clusters[0];
    assert_eq!(shop.timeouts.request, Some(Duration::from_secs(3)));
    assert_eq!(shop.retry.attempts, 5, "the file's defaults hold for all");
}

#[test]
fn documents_take_the_place_of_those_before() {
    let first = joined(&[("shop", SHOP)]).unwrap();
    let second =
        first.with_documents(&documents(&[("other", "[clusters.other]\nendpoints = ['127.0.0.1:2']")])).unwrap();
    let names: Vec<&str> = second.clusters.iter().map(|cluster| &*cluster.name).collect();
    assert_eq!(names, ["other", "web"]);
    assert_eq!(second.with_documents(&Documents::new()).unwrap().routes.len(), 1);
}

#[test]
fn without_a_prefix_there_are_no_documents() {
    let file = parse_file(MINIMAL).unwrap();
    assert_eq!(file.kv, None);
    let config = file.with_documents(&documents(&[("shop", SHOP)])).unwrap();
    assert_eq!(config.clusters.len(), 1);
}

#[test]
fn a_problem_is_named_with_the_key_of_its_document_and_the_line_in_it() {
    let wrong = SHOP.replace("\"web\"", "\"wbe\"").replace("3s", "0s");
    let message = refusal(&[("a", "\n\n"), ("shop", &wrong)]);
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines.len(), 2, "{message}");
    assert_eq!(
        lines[0],
        "kv lictor/config/shop:4: routes[0].split[1].cluster: no cluster \"wbe\"; did you mean \"web\"?"
    );
    assert!(lines[1].starts_with("kv lictor/config/shop:8: clusters.shop.v2.timeouts.request: 0"), "{message}");
}

#[test]
fn what_is_no_toml_or_has_an_unknown_key_is_named_in_every_document_at_once() {
    let message = refusal(&[("a", "[[routes]\n"), ("b", "[clusters.b]\npolcy = 'p2c'"), ("shop", SHOP)]);
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines.len(), 2, "{message}");
    assert!(lines[0].starts_with("kv lictor/config/a:1: "), "{message}");
    assert_eq!(lines[1], "kv lictor/config/b:2: clusters.b.polcy: unknown key; did you mean \"policy\"?");
}

#[test]
fn listeners_and_whatever_else_is_the_files_have_no_place_in_a_document() {
    for (text, key) in [
        ("[[listeners]]\nname = 'a'\nbind = '0.0.0.0:1'", "listeners"),
        ("[defaults]\npolicy = 'p2c'", "defaults"),
        ("[consul]\naddress = 'http://elsewhere'", "consul"),
        ("[kv]\nprefix = 'more'", "kv"),
        ("workers = 3", "workers"),
    ] {
        let message = refusal(&[("a", text)]);
        let place = format!("kv lictor/config/a:1: {key}: has no place in a document: ");
        assert!(message.starts_with(&place), "{message}");
    }
    assert_eq!(refusal(&[("a", "[[route]]")]), "kv lictor/config/a:1: route: unknown key; did you mean \"routes\"?");
}

#[test]
fn what_is_told_twice_is_a_problem_that_says_where_the_first_is() {
    let web = "[clusters.web]\nendpoints = ['127.0.0.1:2']";
    assert_eq!(
        refusal(&[("a", web)]),
        "kv lictor/config/a:1: clusters.web: \"web\" is a cluster of the file as well; keep one of them"
    );
    let other = "\n[clusters.other]\nendpoints = ['127.0.0.1:2']";
    assert_eq!(
        refusal(&[("a", other), ("b", other)]),
        "kv lictor/config/b:2: clusters.other: \"other\" is a cluster of lictor/config/a as well; keep one of them"
    );
    let advice = "; give it another host or path, or something else to go by, such as methods or headers";
    let route = "[[routes]]\ncluster = 'web'\nhost = 'x'";
    assert_eq!(
        refusal(&[("a", route), ("b", &format!("[[routes]]\ncluster = 'web'\npath = '/b'\n{route}"))]),
        format!("kv lictor/config/b:4: routes[1]: takes the same requests as routes[0] of lictor/config/a{advice}")
    );
    assert_eq!(
        refusal(&[("a", "[[routes]]\ncluster = 'web'")]),
        format!("kv lictor/config/a:1: routes[0]: takes the same requests as routes[0] of the file{advice}")
    );
    assert_eq!(
        refusal(&[("a", &format!("{route}\n{route}"))]),
        format!("kv lictor/config/a:4: routes[1]: takes the same requests as routes[0]{advice}")
    );
}

#[test]
fn a_document_may_lean_on_another_and_on_the_file_which_leans_on_none() {
    let cluster = "[clusters.api]\nendpoints = ['127.0.0.1:2']";
    joined(&[("routes", "[[routes]]\nhost = 'x'\ncluster = 'api'"), ("z", cluster)]).unwrap();
    let file = FILE.replace("cluster = \"web\"", "cluster = \"api\"");
    assert!(message(&file).contains("no cluster \"api\""), "{}", message(&file));
}

#[test]
fn a_document_that_is_no_text_and_more_than_is_bearable_are_refused() {
    let file = parse_file(FILE).unwrap();
    let binary = Documents::from([("lictor/config/a".to_owned(), vec![0xff, 0xfe])]);
    let message = file.with_documents(&binary).unwrap_err().to_string();
    assert_eq!(message, "kv lictor/config/a: is not text in UTF-8");
    let big = Documents::from([("lictor/config/a".to_owned(), vec![b'\n'; 5 << 20])]);
    assert!(file.with_documents(&big).unwrap_err().to_string().contains("4194304 are the most"));
}

#[test]
fn a_prefix_is_some_place_below_the_root() {
    for bad in ["", "/", "/lictor", "a\\tb"] {
        let text = FILE.replace("lictor/config", bad);
        assert!(message(&text).starts_with("3: kv.prefix: "), "{bad}: {}", message(&text));
    }
}

#[test]
fn secrets_of_the_file_are_not_in_what_is_printed_of_it() {
    let text = format!("{FILE}\n[consul]\ntoken = 'hush-hush'");
    let environment = Environment::from_iter([("CONSUL_HTTP_AUTH", "user:hush-hush")]);
    assert!(!format!("{:?}", parse(&text, &environment).unwrap()).contains("hush"));
}
