//! `traceparent` and `tracestate` (W3C Trace Context): which trace a request belongs to, and names made by chance. lictor records
//! no spans of its own, so a trace that may go on is passed on as it is.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::trust::only;

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");
/// Of version 00: version, trace, parent and flags with dashes between them.
const LENGTH: usize = 55;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Sees to it that a request which names a trace names one that may go on: a valid one from somebody who is believed, else a new one.
/// That is recorded if the old one was; a request that names none gets none, so that whoever serves it decides.
pub(super) fn settle(headers: &mut HeaderMap, is_trusted: bool, rng: &mut fastrand::Rng) {
    let valid = only(headers, &PARENT).map(HeaderValue::as_bytes).filter(|parent| is_valid(parent));
    if valid.is_some() && is_trusted {
        return;
    }
    let is_recorded = valid.is_some_and(|parent| hex(parent[54]) & 1 == 1);
    headers.remove(STATE);
    if headers.contains_key(PARENT) {
        headers.insert(PARENT, new(is_recorded, rng));
    }
}

fn is_valid(parent: &[u8]) -> bool {
    let Some((known, more)) = parent.split_at_checked(LENGTH) else { return false };
    let is_hex = |part: &[u8]| part.iter().all(|byte| DIGITS.contains(byte));
    let is_some = |part: &[u8]| is_hex(part) && part.iter().any(|byte| *byte != b'0');
    let dashes = [2, 35, 52].iter().all(|place| known[*place] == b'-');
    let version = &known[..2];
    // Later versions may have more behind it.
    let fits = more.is_empty() || version != b"00" && more[0] == b'-';
    let parts = is_some(&known[3..35]) && is_some(&known[36..52]) && is_hex(&known[53..]);
    dashes && fits && is_hex(version) && version != b"ff" && parts
}

fn hex(digit: u8) -> usize {
    DIGITS.iter().position(|known| *known == digit).unwrap_or_default()
}

fn new(is_recorded: bool, rng: &mut fastrand::Rng) -> HeaderValue {
    let mut parent = *b"00-00000000000000000000000000000000-0000000000000000-00";
    // None of them may be zero altogether.
    write(&mut parent[3..35], rng.u128(1..));
    write(&mut parent[36..52], u128::from(rng.u64(1..)));
    parent[54] = if is_recorded { b'1' } else { b'0' };
    HeaderValue::from_bytes(&parent).unwrap_or(HeaderValue::from_static(""))
}

/// 128 random bits.
pub(super) fn new_id(rng: &mut fastrand::Rng) -> HeaderValue {
    let mut id = [0; 32];
    write(&mut id, rng.u128(..));
    // Hexadecimal digits are always a valid value.
    HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("0"))
}

fn write(digits: &mut [u8], mut bits: u128) {
    for digit in digits {
        *digit = DIGITS[(bits & 15) as usize];
        bits >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn settled(parents: &[&str], is_trusted: bool) -> (Option<String>, bool) {
        let mut headers = HeaderMap::new();
        headers.insert(STATE, HeaderValue::from_static("a=b"));
        for parent in parents {
            headers.append(PARENT, parent.parse().unwrap());
        }
        settle(&mut headers, is_trusted, &mut fastrand::Rng::with_seed(1));
        assert!(headers.get_all(PARENT).iter().count() <= 1);
        let parent = headers.get(PARENT).map(|parent| parent.to_str().unwrap().to_owned());
        (parent, headers.contains_key(STATE))
    }

    #[test]
    fn a_valid_trace_goes_on_where_its_sender_is_believed() {
        assert_eq!(settled(&[VALID], true), (Some(VALID.to_owned()), true));
        let later = format!("cc{}-what-ever", &VALID[2..]);
        assert_eq!(settled(&[&later], true), (Some(later), true));
    }

    #[test]
    fn any_other_is_replaced_by_a_new_one() {
        let (parent, has_state) = settled(&[VALID], false);
        let parent = parent.unwrap();
        assert!(is_valid(parent.as_bytes()) && parent[3..35] != VALID[3..35] && !has_state, "{parent}");
        assert!(parent.ends_with("-01"), "recorded, as the old one");
        let long = format!("{VALID}-x");
        let upper = VALID.to_uppercase();
        let zero = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let forbidden = format!("ff{}", &VALID[2..]);
        for bad in [&[""][..], &["x"], &[&long], &[&upper], &[&zero], &[&forbidden], &[VALID, VALID]] {
            let (parent, has_state) = settled(bad, true);
            let parent = parent.unwrap();
            assert!(is_valid(parent.as_bytes()) && parent != VALID && !has_state, "{bad:?}: {parent}");
        }
    }

    #[test]
    fn whoever_names_no_trace_gets_none() {
        assert_eq!(settled(&[], true), (None, false));
    }
}
