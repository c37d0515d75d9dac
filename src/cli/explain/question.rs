//! The question to the running proxy, as its window takes it.

use crate::consul::encode;
use crate::explanation::Description;

/// Path and query.
pub(super) fn written(description: &Description) -> String {
    let one = |key: &'static str, value: &Option<String>| value.clone().map(|value| (key, value));
    let singles = [
        Some(("host", description.host.clone())),
        one("path", &description.path),
        one("method", &description.method),
        one("client", &description.client),
        one("scheme", &description.scheme),
        one("server_name", &description.server_name),
        one("listener", &description.listener),
    ];
    let headers = description.headers.iter().map(|value| ("header", value.clone()));
    let identities = description.identities.iter().map(|value| ("identity", value.clone()));
    let all = singles.into_iter().flatten().chain(headers).chain(identities);
    let pair = |(key, value): (&str, String)| {
        let mut pair = format!("{key}=");
        encode(&mut pair, &value);
        pair
    };
    format!("/v1/explain?{}", all.map(pair).collect::<Vec<_>>().join("&"))
}
