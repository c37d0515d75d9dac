//! What a request and its answer look like on the other side.

use std::time::Duration;

use crate::support::app::{Proxy, to_endpoints};
use crate::support::client::{eventually, get};
use crate::support::origin::Origin;

#[tokio::test]
async fn a_request_reaches_an_origin_and_comes_back() {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], ""));
    let response = get(proxy.address(), "shop.example.com", "/a?b").await;
    assert_eq!((response.status, response.text().as_str()), (200, "one"));
    eventually("ready", Duration::from_secs(5), async || get(proxy.admin(), "x", "/readyz").await.status == 200).await;
    proxy.drain().await;
}
