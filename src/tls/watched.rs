//! Something that is made of files, and made anew when they change. By looking at them, not by being told: a look sees through
//! the symbolic links that Kubernetes swaps and works on every file system, and once a second it costs nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::Error;

/// What tells a file from what it was: device, inode, length, and time of the last change in seconds and nanoseconds.
type Mark = (u64, u64, u64, i64, i64);

/// A value, and the files that it is made of.
#[derive(Debug, Clone)]
pub(super) struct Watched<T> {
    paths: Vec<String>,
    seen: Vec<Option<Mark>>,
    value: T,
    /// Why the last try failed, if it did, and whether that was said.
    failed: Option<(String, bool)>,
}

/// What a look found.
#[derive(Debug)]
pub(super) enum Look {
    /// Nothing new.
    Same,
    /// The value is another.
    New,
    /// The files changed and cannot be used; the value is the old one.
    Failed(Error),
}

impl<T: PartialEq> Watched<T> {
    /// Makes the value for the first time.
    pub(super) fn new(paths: Vec<String>, make: impl FnOnce() -> Result<T, Error>) -> Result<Self, Error> {
        // Before reading: what changes in between is seen at the next look.
        let seen = marks(&paths);
        Ok(Watched { value: make()?, paths, seen, failed: None })
    }

    /// The value.
    pub(super) fn value(&self) -> &T {
        &self.value
    }

    /// Makes the value anew if its files changed, or could not be used when they last did: a pair that is written one after the
    /// other fits together in the end. A failure is told once, and only if the next look finds it as well.
    pub(super) fn look(&mut self, make: impl FnOnce() -> Result<T, Error>) -> Look {
        let now = marks(&self.paths);
        if now == self.seen && self.failed.is_none() {
            return Look::Same;
        }
        match make() {
            // Somebody writes this very moment.
            Ok(_) if marks(&self.paths) != now => Look::Same,
            Ok(value) => {
                let is_new = value != self.value;
                (self.seen, self.value, self.failed) = (now, value, None);
                if is_new { Look::New } else { Look::Same }
            }
            Err(error) => {
                self.seen = now;
                let text = error.to_string();
                let again = self.failed.as_ref().filter(|(known, _)| *known == text);
                let (is_second, was_told) = (again.is_some(), again.is_some_and(|(_, told)| *told));
                self.failed = Some((text, is_second));
                if is_second && !was_told { Look::Failed(error) } else { Look::Same }
            }
        }
    }

    /// Makes the value anew whatever its files look like, because somebody asked for it, and says whether it is another; a
    /// failure is told at once.
    pub(super) fn renew(&mut self, make: impl FnOnce() -> Result<T, Error>) -> Result<bool, Error> {
        let now = marks(&self.paths);
        let made = make();
        self.seen = now;
        self.failed = made.as_ref().err().map(|error| (error.to_string(), true));
        let old = std::mem::replace(&mut self.value, made?);
        Ok(old != self.value)
    }
}

fn marks(paths: &[String]) -> Vec<Option<Mark>> {
    let mark = |path: &String| {
        let found = fs::metadata(path).ok()?;
        Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
    };
    paths.iter().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_made_anew_when_its_file_changes_and_kept_while_that_cannot_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value");
        let name = path.to_str().unwrap().to_owned();
        let read = || {
            let text = fs::read_to_string(&path).unwrap_or_default();
            text.parse::<u32>().map_err(|error| super::super::file_error("value", error))
        };
        fs::write(&path, "1").unwrap();
        let mut watched = Watched::new(vec![name], read).unwrap();
        assert!(matches!(watched.look(read), Look::Same));
        // Replaced, as those do it who know how.
        let replace = |text: &str| {
            fs::write(folder.path().join("new"), text).unwrap();
            fs::rename(folder.path().join("new"), &path).unwrap();
        };
        replace("2");
        assert!(matches!(watched.look(read), Look::New) && *watched.value() == 2);
        replace("x");
        assert!(matches!(watched.look(read), Look::Same), "it may be half written");
        assert!(matches!(watched.look(read), Look::Failed(_)) && *watched.value() == 2);
        assert!(matches!(watched.look(read), Look::Same), "and that is said once");
        replace("3");
        assert!(matches!(watched.look(read), Look::New) && *watched.value() == 3);
        fs::remove_file(&path).unwrap();
        watched.look(read);
        assert!(matches!(watched.look(read), Look::Failed(_)) && *watched.value() == 3);
    }
}
