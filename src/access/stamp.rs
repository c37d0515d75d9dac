//! When a request began, as text. The second is made once and not with each line.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The texts of the second that was written last.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    second: Option<u64>,
    /// `2026-11-23T10:16:37`
    iso: String,
    /// `23/Nov/2026:10:16:37 +0000`
    common: String,
}

impl Stamp {
    /// RFC 3339 in UTC, to the microsecond.
    pub(super) fn iso(&mut self, out: &mut Vec<u8>, at: SystemTime) {
        let micros = self.turn(at);
        out.extend_from_slice(self.iso.as_bytes());
        out.push(b'.');
        digits(out, micros, 6);
        out.push(b'Z');
    }

    /// As web servers have written it ever since NCSA's.
    pub(super) fn common(&mut self, out: &mut Vec<u8>, at: SystemTime) {
        self.turn(at);
        out.extend_from_slice(self.common.as_bytes());
    }

    /// Makes the second's texts if it is another; returns the microseconds within.
    fn turn(&mut self, at: SystemTime) -> u64 {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since.as_secs();
        if self.second != Some(second) {
            self.second = Some(second);
            let [year, month, day] = date(second / 86_400);
            let (hour, minute, left) = (second / 3600 % 24, second / 60 % 60, second % 60);
            let name = MONTHS[(month as usize + 11) % 12];
            self.iso = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{left:02}");
            self.common = format!("{day:02}/{name}/{year:04}:{hour:02}:{minute:02}:{left:02} +0000");
        }
        u64::from(since.subsec_micros())
    }
}

/// Year, month and day of the Gregorian calendar, so many days after 1970-01-01: counted in years that begin in March, so that the day
/// that comes and goes is the last.
fn date(days: u64) -> [u64; 3] {
    // Days since 0000-03-01, in eras of 400 years.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    [era * 400 + year + u64::from(month <= 2), month, day]
}

/// A number with so many digits at least.
pub(super) fn digits(out: &mut Vec<u8>, mut number: u64, least: usize) {
    let mut text = [b'0'; 20];
    let mut begin = text.len();
    while number > 0 || text.len() - begin < least {
        begin -= 1;
        text[begin] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&text[begin..]);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_moment_is_written_as_others_write_it() {
        let mut stamp = Stamp::default();
        let moments = [0, 951_782_399, 951_782_400, 951_868_800, 1_709_251_199, 1_795_429_000, 4_107_542_400];
        for seconds in moments {
            let at = UNIX_EPOCH + Duration::new(seconds, 4_056_789);
            let (mut iso, mut common) = (Vec::new(), Vec::new());
            stamp.iso(&mut iso, at);
            stamp.common(&mut common, at);
            let known = humantime::format_rfc3339_micros(at).to_string();
            assert_eq!(String::from_utf8(iso).unwrap(), known);
            let common = String::from_utf8(common).unwrap();
            let (day, time) = known.split_once('T').unwrap();
            let month = MONTHS.iter().position(|name| *name == &common[3..6]).unwrap() + 1;
            assert_eq!(day, format!("{}-{month:02}-{}", &common[7..11], &common[..2]));
            assert_eq!(&time[..8], &common[12..20]);
        }
    }
}
