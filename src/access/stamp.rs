//! When a request began, as text. The second is made once and not with each line.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::text;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// How long the clocks are taken to stand as they did to each other: the wall's may be set.
const LASTS: Duration = Duration::from_secs(1);

/// The texts of the second that was written last.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    clocks: Option<(Instant, SystemTime)>,
    second: Option<u64>,
    /// `2026-11-23T10:16:37`
    iso: String,
    /// `23/Nov/2026:10:16:37 +0000`
    common: String,
}

impl Stamp {
    /// When something began that has taken so long, by the wall's clock, which is not read for each line.
    pub(super) fn began(&mut self, started: Instant, took: Duration) -> SystemTime {
        let stands = |(then, _): &(Instant, SystemTime)| (started + took).saturating_duration_since(*then) < LASTS;
        let (then, wall) = match self.clocks.filter(stands) {
            Some(clocks) => clocks,
            None => *self.clocks.insert((Instant::now(), SystemTime::now())),
        };
        let began = match started.checked_duration_since(then) {
            Some(later) => wall.checked_add(later),
            None => wall.checked_sub(then.saturating_duration_since(started)),
        };
        began.unwrap_or(wall)
    }

    /// RFC 3339 in UTC, to the microsecond.
    pub(super) fn iso(&mut self, out: &mut Vec<u8>, at: SystemTime) {
        let micros = self.turn(at);
        out.extend_from_slice(self.iso.as_bytes());
        out.push(b'.');
        text::millionths(out, micros);
        out.push(b'Z');
    }

    /// As web servers have written it ever since NCSA's.
    pub(super) fn common(&mut self, out: &mut Vec<u8>, at: SystemTime) {
        self.turn(at);
        out.extend_from_slice(self.common.as_bytes());
    }

    /// Makes the second's texts if it is another; returns the microseconds within.
    fn turn(&mut self, at: SystemTime) -> u32 {
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
        since.subsec_micros()
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
    #[test]
    fn the_walls_clock_is_read_again_once_a_second() {
        let (mut stamp, now) = (Stamp::default(), Instant::now());
        let begun = stamp.began(now, Duration::ZERO);
        assert!(begun.elapsed().is_ok(), "it is no moment to come");
        assert_eq!(
            stamp.began(now - Duration::from_secs(3600), Duration::from_secs(3600)),
            begun - Duration::from_secs(3600)
        );
        let clocks = stamp.clocks;
        stamp.began(now + LASTS / 2, Duration::ZERO);
        assert_eq!(stamp.clocks, clocks);
        stamp.began(now, 2 * LASTS);
        assert_ne!(stamp.clocks, clocks);
    }
}
