//! Enters the demo's origins into Consul or the small registry, each with a check that follows what it does.

use std::time::Duration;

use serde_json::json;

use super::Origin;
use crate::cli::Error;
use crate::tls;

pub(super) struct Catalog {
    url: String,
    client: reqwest::Client,
}

impl Catalog {
    pub(super) fn new(url: &str) -> Result<Self, Error> {
        let fail = |error: &dyn std::error::Error| Error::Other(error.to_string());
        let tls = tls::trust_nobody().map_err(|error| fail(&error))?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build()
            .map_err(|error| fail(&error))?;
        Ok(Catalog { url: url.trim_end_matches('/').to_owned(), client })
    }

    pub(super) async fn register(&self, origin: &Origin) -> Result<(), Error> {
        let service = json!({
            "ID": origin.name(),
            "Name": "web",
            "Address": origin.address().ip().to_string(),
            "Port": origin.address().port(),
            "Check": {
                "HTTP": format!("http://{}/health", origin.address()),
                "Interval": "2s",
                "Timeout": "1s",
                "Status": "passing",
            },
        });
        self.put("/v1/agent/service/register", service.to_string()).await
    }

    /// At the end, when nobody waits for it any more.
    pub(super) async fn deregister(&self, origin: &Origin) {
        let _ = self.put(&format!("/v1/agent/service/deregister/{}", origin.name()), String::new()).await;
    }

    async fn put(&self, path: &str, body: String) -> Result<(), Error> {
        let mut request = self.client.put(format!("{}{path}", self.url)).body(body);
        // As the consul command does; lictor itself has it from the same place.
        if let Ok(token) = std::env::var("CONSUL_HTTP_TOKEN") {
            request = request.header("X-Consul-Token", token);
        }
        let answer = request.send().await.and_then(reqwest::Response::error_for_status);
        answer.map(drop).map_err(|error| Error::Other(format!("{}: {error}", self.url)))
    }
}
