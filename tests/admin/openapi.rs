//! The description of the window, held to what the window answers. That every page is described, and nothing else, is a test beside it.

use serde_json::{Value, json};

use super::{Events, SOON, ready, registry};
use crate::support::app::Proxy;
use crate::support::client::{Client, Response, eventually, get};
use crate::support::origin::{Origin, Script};
use crate::support::window::json as shown;

/// Holds a value to a schema, more strictly than JSON Schema would: what is not described is wrong.
struct Schemas<'a>(&'a Value);

impl Schemas<'_> {
    fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        if let Some(name) = schema["$ref"].as_str() {
            let pointer = name.strip_prefix('#').unwrap();
            return self.check(self.0.pointer(pointer).unwrap_or_else(|| panic!("no {name}")), value, at);
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let results: Vec<_> = choices.iter().map(|choice| self.check(choice, value, at)).collect();
            let fits = results.iter().filter(|result| result.is_ok()).count();
            let whys = || results.iter().filter_map(|result| result.as_ref().err().cloned()).collect::<Vec<_>>();
            return if fits == 1 {
                Ok(())
            } else {
                Err(format!("{at}: {fits} of {} fit: {:?}", results.len(), whys()))
            };
        }
        if let Some(constant) = schema.get("const") {
            return if constant == value { Ok(()) } else { Err(format!("{at}: {value} is not {constant}")) };
        }
        let is = |name: &Value| match name.as_str().unwrap() {
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "number" => value.is_number(),
            "integer" => value.is_u64(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "null" => value.is_null(),
            other => panic!("{at}: {other} is no type"),
        };
        let types = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
        if !types.iter().any(is) {
            return Err(format!("{at}: {value} is not {}", schema["type"]));
        }
        if let Some(words) = schema["enum"].as_array().filter(|words| !words.contains(value)) {
            return Err(format!("{at}: {value} is not among {words:?}"));
        }
        for (place, item) in value.as_array().into_iter().flatten().enumerate() {
            self.check(&schema["items"], item, &format!("{at}[{place}]"))?;
        }
        let Some((members, described)) = value.as_object().zip(schema["properties"].as_object()) else { return Ok(()) };
        for name in schema["required"].as_array().into_iter().flatten() {
            members.get(name.as_str().unwrap()).ok_or_else(|| format!("{at}: no {name}"))?;
        }
        for (name, member) in members {
            let schema = described.get(name).ok_or_else(|| format!("{at}.{name} is not described"))?;
            self.check(schema, member, &format!("{at}.{name}"))?;
        }
        Ok(())
    }

    /// Holds an answer to what is said of it.
    fn check_answer(&self, (method, path): (&str, &str), answer: &Response) {
        let responses = &self.0["paths"][path][method]["responses"];
        let said = responses.get(answer.status.to_string()).unwrap_or(&self.0["components"]["responses"]["Problem"]);
        let kind = answer.header("content-type").unwrap().split(';').next().unwrap();
        let schema = &said["content"][kind]["schema"];
        assert!(!schema.is_null(), "{method} {path}: {} is not said to be {kind}", answer.status);
        if kind.ends_with("json") {
            let value = serde_json::from_slice(&answer.body).unwrap();
            self.check(schema, &value, path).unwrap_or_else(|why| panic!("{method} {path}: {why}"));
        }
    }
}

async fn post(proxy: &Proxy, path: &str, body: &str) -> Response {
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length");
    Client::connect(proxy.admin()).await.exchange(format!("{head}: {}\r\n\r\n{body}", body.len())).await
}

/// A proxy about which there is something to say on every page.
async fn busy() -> (Proxy, Origin) {
    let (catalog, origin) = (registry().await, Origin::start("one").await);
    let proxy = Proxy::start(&format!(
        "[consul]\naddress = \"{}\"\n\
         [[routes]]\nname = \"old\"\npath = \"/old\"\nredirect = {{ path = \"/new\", status = 301 }}\n\
         [[routes]]\npath = \"/down\"\nrespond = {{ status = 503 }}\n\
         [[routes]]\npath = \"/split\"\nmirror = {{ cluster = \"files\", percent = 10 }}\n\
         split = [{{ cluster = \"web\", weight = 9 }}, {{ cluster = \"files\", weight = 1 }}]\n\
         [[routes]]\ncluster = \"web\"\nheaders = [{{ name = \"x-key\", value = \"hush\" }}]\n\
         [[routes]]\ncluster = \"files\"\n\
         [clusters.web]\nconsul = {{ service = \"web\" }}\nfailover = [{{ service = \"spare\" }}]\n\
         [clusters.files]\nendpoints = [\"{}\"]\nejection = {{ consecutive_failures = 1 }}\n\
         [registration]\nname = \"edge\"\n",
        catalog.url(),
        origin.address()
    ));
    ready(&proxy).await;
    catalog.register_service("web", "web1", "127.0.0.1:9".parse().unwrap()).await;
    origin.once(Script::ResetBeforeHead);
    get(proxy.address(), "shop", "/").await;
    eventually("it is entered", SOON, async || shown(proxy.admin(), "/v1/registration").await[0]["entered"] == true)
        .await;
    proxy.app().reload(proxy.app_config()).await.unwrap();
    (proxy, origin)
}

#[tokio::test]
async fn what_is_answered_is_what_is_described() {
    let (proxy, origin) = busy().await;
    let described = shown(proxy.admin(), "/v1/openapi.json").await;
    let schemas = Schemas(&described);
    let endpoint = format!("/v1/clusters/files/endpoints/{}", origin.address());
    for (deed, body) in [
        ("eject", "{\"for\": \"5m\", \"note\": \"a look\"}"),
        ("weight", "{\"weight\": 3, \"for\": \"forever\"}"),
        ("drain", ""),
        ("undrain", "{}"),
        ("eject", "{\"fro\": \"5m\"}"),
    ] {
        let answer = post(&proxy, &format!("{endpoint}/{deed}"), body).await;
        let path = format!("/v1/clusters/{{cluster}}/endpoints/{{address}}/{deed}");
        schemas.check_answer(("post", &path), &answer);
    }
    schemas.check_answer(("post", "/v1/drain"), &post(&proxy, "/v1/drain", "").await);
    schemas.check_answer(("post", "/v1/undrain"), &post(&proxy, "/v1/undrain", "").await);
    let looks = described["paths"].as_object().unwrap().iter().filter(|(_, operations)| operations["get"].is_object());
    for (path, _) in looks.filter(|(path, _)| *path != "/v1/live") {
        let query = match path.as_str() {
            "/v1/events" => "?once",
            "/v1/explain" => "?host=shop&path=/split&header=x-key:hush",
            _ => "",
        };
        let asked = path.replace("{cluster}", "web");
        let answer = get(proxy.admin(), "localhost", &format!("{asked}{query}")).await;
        assert!(answer.status == 200 || path == "/v1/log", "{path}: {} {}", answer.status, answer.text());
        schemas.check_answer(("get", path), &answer);
    }
    let kinds = shown(proxy.admin(), "/v1/events?once").await;
    let kinds: Vec<&str> = kinds.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert!(["table", "spared", "reloaded", "asked"].iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
}

#[tokio::test]
async fn what_the_feed_tells_is_what_is_described() {
    let (proxy, origin) = busy().await;
    let eject = format!("/v1/clusters/files/endpoints/{}/eject", origin.address());
    assert_eq!(post(&proxy, &eject, "{\"note\": \"a look\"}").await.status, 200);
    let described = shown(proxy.admin(), "/v1/openapi.json").await;
    let said = &described["paths"]["/v1/live"]["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"];
    let mut feed = Events::follow(proxy.admin(), "/v1/live HTTP/1.1\r\n").await;
    for expected in ["whole", "change", "change"] {
        let (_, name, told) = feed.next().await;
        assert_eq!(name, expected);
        assert_eq!(told["past"].is_object(), name == "whole");
        Schemas(&described).check(&said["contentSchema"], &told, &name).unwrap();
    }
}

#[test]
fn the_check_of_answers_notices_what_is_wrong() {
    let described = json!({ "components": { "schemas": { "A": { "type": "object", "required": ["a"],
        "properties": { "a": { "type": ["integer", "null"] } } } } } });
    let (schemas, a) = (Schemas(&described), json!({ "$ref": "#/components/schemas/A" }));
    assert!(schemas.check(&a, &json!({ "a": null }), "").is_ok());
    for wrong in [json!({}), json!({ "a": "1" }), json!({ "a": 1, "b": 2 }), json!([])] {
        assert!(schemas.check(&a, &wrong, "").is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn the_configuration_in_force_is_shown_without_its_secrets() {
    let text = "[defaults]\nsticky = { cookie = \"s\", secret = \"hush hush hush hush hush hush hush\" }\n\
                [[routes]]\ncluster = \"web\"\nheaders = [{ name = \"x-key\", value = \"hush\" }]\n\
                request_headers = { set = { authorization = \"Basic hush\" } }\n\
                [clusters.web]\nendpoints = [\"127.0.0.1:9\"]\n\
                [consul]\naddress = \"http://127.0.0.1:1\"\ntoken = \"hush\"\n";
    let proxy = Proxy::start(text);
    ready(&proxy).await;
    let json = shown(proxy.admin(), "/v1/config").await;
    assert_eq!(
        (&json["clusters"]["web"]["endpoints"][0], &json["consul"]["token"]),
        (&"127.0.0.1:9".into(), &"<hidden>".into())
    );
    let toml = get(proxy.admin(), "localhost", "/v1/config?format=toml").await;
    assert_eq!(toml.header("content-type"), Some("application/toml"));
    assert!(toml.text().contains("[clusters.web]"), "{}", toml.text());
    for path in
        ["/v1/config", "/v1/config?format=toml", "/v1/routes", "/v1/clusters", "/v1/explain?host=a", "/v1/events?once"]
    {
        let said = get(proxy.admin(), "localhost", path).await.text();
        assert!(!said.contains("hush"), "{path}: {said}");
    }
    let mut more = crate::support::app::parse(&format!("{text}[clusters.more]\nendpoints = [\"127.0.0.1:8\"]\n"));
    (more.admin, more.listeners) = (proxy.app_config().admin, proxy.app_config().listeners);
    proxy.app().reload(more).await.unwrap();
    let json = shown(proxy.admin(), "/v1/config").await;
    assert_eq!(json["clusters"]["more"]["endpoints"][0], "127.0.0.1:8", "a reload is seen");
    assert_eq!(get(proxy.admin(), "localhost", "/v1/config?format=xml").await.status, 400);
}
