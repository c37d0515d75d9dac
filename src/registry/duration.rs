//! Go's duration strings (`1h2m`, `1.5s`, `250ms`), because that is how Consul's API writes time.
//!
//! Not for lictor's own config, which has its own rules. The grammar and the wording of the errors are those of Go's
//! `time.ParseDuration`.

/// Nanoseconds, signed: Go's `time.Duration`.
pub type Nanos = i64;

/// Parses a Go duration; the error is the text that Go gives.
pub fn parse(text: &str) -> Result<Nanos, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (amount, scale, after) = number(rest).ok_or_else(invalid)?;
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let worth = nanos_in(unit).ok_or_else(|| format!("time: unknown unit {unit:?} in duration {text:?}"))?;
        total = amount
            .checked_mul(worth)
            .map(|product| product / scale)
            .and_then(|product| total.checked_add(product))
            .ok_or_else(invalid)?;
        rest = next;
    }
    let signed = if negative { -total } else { total };
    Nanos::try_from(signed).map_err(|_| invalid())
}

/// Splits a decimal number off the front: its digits as one integer, the power of ten to divide by, and what follows.
fn number(text: &str) -> Option<(i128, i128, &str)> {
    let mut amount: i128 = 0;
    let mut scale: i128 = 1;
    let mut digits = 0;
    let mut fraction = false;
    let mut end = 0;
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => {
                // More digits than this cannot matter to a nanosecond; dropping them keeps the product in range.
                if !fraction || scale < 1_000_000_000_000_000 {
                    amount = amount.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
                    scale *= if fraction { 10 } else { 1 };
                }
                digits += 1;
            }
            b'.' if !fraction => fraction = true,
            _ => break,
        }
        end += 1;
    }
    (digits > 0).then(|| (amount, scale, &text[end..]))
}

fn nanos_in(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        // Go takes the micro sign (U+00B5) and the Greek mu (U+03BC).
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_takes_is_taken() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("15s", 15_000_000_000),
            ("1h2m3s", 3_723_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5m", 30_000_000_000),
            ("250ms", 250_000_000),
            ("-2us", -2_000),
            ("3\u{b5}s", 3_000),
            ("+7ns", 7),
        ] {
            assert_eq!(parse(text), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused_in_its_words() {
        assert_eq!(parse("3"), Err(r#"time: missing unit in duration "3""#.into()));
        assert_eq!(parse("3d"), Err(r#"time: unknown unit "d" in duration "3d""#.into()));
        for text in ["", "-", "s", ".s", "99999999999999999999h", "1s 2s", "9223372037s"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(parse(&"9".repeat(500)).is_err());
        assert_eq!(parse(&format!("0.{}s", "1".repeat(500))), Ok(111_111_111));
    }
}
