//! How long whoever sent a request will wait for its answer, as it says itself: `grpc-timeout` (gRPC over HTTP/2, section
//! "Requests") and `X-Request-Timeout`, in seconds or with a unit. Passed on with what is left of it.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};

const GRPC: HeaderName = HeaderName::from_static("grpc-timeout");
const PLAIN: HeaderName = HeaderName::from_static("x-request-timeout");
/// Digits of a `grpc-timeout`.
const MOST_DIGITS: usize = 8;
/// Nobody waits longer.
const MOST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The shorter of what the headers say; none if they say nothing that can be read.
pub(super) fn read(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let all = [text(GRPC).and_then(grpc), text(PLAIN).and_then(plain)];
    all.into_iter().flatten().min().map(|length| length.min(MOST))
}

/// Puts what is left in place of what came.
pub(super) fn write(headers: &mut HeaderMap, left: Duration) {
    let milliseconds = left.as_millis().min(99_999_999);
    for (name, text) in [(GRPC, format!("{milliseconds}m")), (PLAIN, format!("{milliseconds}ms"))] {
        // Digits and letters.
        if let (Some(value), Ok(left)) = (headers.get_mut(name), HeaderValue::from_str(&text)) {
            *value = left;
        }
    }
}

fn grpc(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=MOST_DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: u64 = digits.parse().ok().filter(|_| is_number)?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

fn plain(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, divisor) = match text.strip_suffix("ms") {
        Some(number) => (number, 1000.0),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds: f64 = number.parse().ok().filter(|_| is_number)?;
    Duration::try_from_secs_f64(seconds / divisor).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn what_can_be_read_is_read_and_the_shorter_counts() {
        let of = |name: &HeaderName, text: &str| read(&headers(&[(name.clone(), text)]));
        assert_eq!(of(&GRPC, "100m"), Some(Duration::from_millis(100)));
        assert_eq!(of(&GRPC, "99999999H"), Some(MOST));
        assert_eq!(of(&PLAIN, "1.5"), Some(Duration::from_millis(1500)));
        assert_eq!(of(&PLAIN, "250ms"), Some(Duration::from_millis(250)));
        assert_eq!(of(&PLAIN, " 2s "), Some(Duration::from_secs(2)));
        for bad in ["", "m", "100", "-1m", "123456789m", "1x", "1 m", "ümS"] {
            assert!(HeaderValue::from_str(bad).is_err() || of(&GRPC, bad).is_none(), "{bad}");
        }
        for bad in ["", "s", "-1", "1e400", "inf", "nan", "1m", "1,5"] {
            assert_eq!(of(&PLAIN, bad), None, "{bad}");
        }
        assert_eq!(read(&headers(&[(GRPC, "2S"), (PLAIN, "1")])), Some(Duration::from_secs(1)));
    }

    #[test]
    fn what_is_left_is_said_only_to_whom_it_was_said_before() {
        let mut both = headers(&[(GRPC, "2S")]);
        write(&mut both, Duration::from_millis(1_234));
        assert_eq!((both.get(GRPC).unwrap(), both.get(PLAIN)), (&HeaderValue::from_static("1234m"), None));
        assert_eq!(read(&both), Some(Duration::from_millis(1_234)));
    }
}
