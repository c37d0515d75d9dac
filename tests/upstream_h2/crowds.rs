//! What many do at once on one connection, and whom it touches.

use super::*;

#[tokio::test]
async fn what_still_comes_for_clients_that_left_together_breaks_off_nobody_elses_answer() {
    const LEAVE: usize = 90;
    let origin = FrameOrigin::start().await;
    let proxy = to(&[origin.address()], "");
    let mut stays = together(&proxy, 1).await;
    let mut frames = origin.accept().await;
    let kept = frames.request().await;
    let leaving = together(&proxy, LEAVE).await;
    let mut left = Vec::new();
    for _ in 0..LEAVE {
        let stream = frames.request().await;
        frames.head(stream, &[(":status", "200")], false).await;
        left.push(stream);
    }
    drop(leaving);
    for _ in 0..LEAVE {
        frames.next_of(RST_STREAM).await;
    }
    // Was on its way, or the endpoint is slow to notice.
    for stream in left {
        for _ in 0..100 {
            frames.data(stream, b"x", false).await;
        }
    }
    frames.answer(kept, "whole").await;
    assert_eq!(stays[0].response().await.text(), "whole");
}

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

#[tokio::test]
async fn many_small_pieces_at_once_are_as_good_as_one_large_one() {
    const PIECES: usize = 10_000;
    let origin = FrameOrigin::start().await;
    let proxy = to(&[origin.address()], "retry = { attempts = 0 }");
    let mut clients = together(&proxy, 2).await;
    let mut frames = origin.accept().await;
    frames.agree().await;
    let (one, other) = (frames.request().await, frames.request().await);
    for stream in [one, other] {
        frames.head(stream, &[(":status", "200")], false).await;
    }
    frames.pieces(one, b"0123456789", PIECES).await;
    frames.data(one, b"", true).await;
    frames.data(other, b"whole", true).await;
    assert_eq!(clients[0].response().await.body.len(), 10 * PIECES);
    assert_eq!(clients[1].response().await.text(), "whole");
}

#[tokio::test]
async fn small_pieces_that_a_client_does_not_read_stop_its_stream_and_nobody_elses() {
    const PIECE: [u8; 40] = [b'x'; 40];
    let origin = FrameOrigin::start().await;
    let proxy = to(&[origin.address()], "retry = { attempts = 0 }");
    let mut clients = together(&proxy, 1).await;
    let mut frames = origin.accept().await;
    frames.agree().await;
    let unread = frames.request().await;
    frames.head(unread, &[(":status", "200")], false).await;
    clients[0].head().await;
    // What its client's socket takes, and then as much as there is room for on the stream.
    let (mut window, mut taken) = (256 * 1024, 0);
    while window >= PIECE.len() && taken < 50_000_000 {
        let count = window / PIECE.len();
        frames.pieces(unread, &PIECE, count).await;
        window -= count * PIECE.len();
        taken += count * PIECE.len();
        while let Some(frame) = frames.soon().await {
            assert!(![GOAWAY, RST_STREAM].contains(&frame.kind), "{frame:?}");
            if frame.kind == WINDOW_UPDATE && frame.stream == unread {
                window += u32::from_be_bytes(frame.payload.try_into().unwrap()) as usize;
            }
        }
    }
    assert!(window < PIECE.len(), "the client takes everything");
    clients.extend(together(&proxy, 1).await);
    let other = frames.request().await;
    frames.answer(other, "whole").await;
    assert_eq!(clients[1].response().await.text(), "whole");
}
