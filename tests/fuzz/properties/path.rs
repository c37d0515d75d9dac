//! Paths: whatever stands there can be read, and what is normal is so once and for all.

use lictor::message::path::{Reading, normal, reading};

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let once = normal(text);
    assert_eq!(normal(&once), once, "{text:?}");
    assert!(once.starts_with('/') && !once.contains("//"), "{text:?} -> {once:?}");
    assert_ne!(reading(&once), Reading::Odd, "{text:?} -> {once:?}");
    match reading(text) {
        Reading::Wrong => {}
        // Nobody comes to something else by normalising it, but for dots, which are the same either way.
        Reading::Plain if text.starts_with('/') => {
            assert_eq!(
                (once.as_str(), reading(&once)),
                (&*text.replace("%2e", ".").replace("%2E", "."), Reading::Plain)
            );
        }
        Reading::Plain | Reading::Odd => assert_eq!(reading(&once), Reading::Plain, "{text:?} -> {once:?}"),
    }
}
