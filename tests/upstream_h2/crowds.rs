//! What many do at once on one connection, and whom it touches.

use super::*;

#[tokio::test]
async fn a_connection_beyond_the_limit_is_not_the_failure_of_the_one_that_is_being_opened() {
    // So many are expected to find a place on a connection of which nothing is known yet.
    const WAIT: usize = 100;
    let origin = FrameOrigin::start().await;
    let more = "limits = { connections = 1 }\nretry = { attempts = 0 }\ntimeouts = { connect = \"20s\" }";
    let proxy = to(&[origin.address()], more);
    let _clients = together(&proxy, WAIT + 1).await;
    let refused = async || sum(proxy.admin(), "lictor_requests_total", "code=\"503\"").await;
    eventually("whoever is one too many is told", SOON, async || refused().await >= 1.0).await;
    let mut frames = origin.accept().await;
    for _ in 0..WAIT {
        let stream = frames.request().await;
        frames.answer(stream, "fine").await;
    }
    assert_eq!(refused().await, 1.0);
}
