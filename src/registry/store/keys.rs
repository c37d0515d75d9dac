//! The key-value store: keys, their values, and the indexes that watchers of a key or a prefix sleep on.
//!
//! Pure. One difference to Consul 1.8.7 on purpose: deleting a whole prefix leaves a trace at each deleted key and not at the
//! prefix, so watchers of a longer prefix wake, and no index ever goes back (Consul has a bug there).

use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Keys held at most.
pub const MAX_KEYS: usize = 10_000;
/// Bytes of all values together at most, so that 10,000 keys of half a MiB cannot eat the machine.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Deleted keys remembered at most; when there are more, all are forgotten at once and `floor` rises.
const MAX_TRACES: usize = 10_000;

/// A value with its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What was written.
    pub value: Bytes,
    /// A number for the writer's own use.
    pub flags: u64,
    /// The index at which the key appeared.
    pub create_index: u64,
    /// The index at which it last changed: what `cas` compares.
    pub modify_index: u64,
}

/// On what condition a write or a deletion happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    Always,
    /// If the key was last modified at this index; 0 means if there is no such key.
    IndexIs(u64),
}

/// How a write or a deletion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It changed something.
    Changed,
    /// It was right and changed nothing.
    Same,
    /// Its condition did not hold.
    Refused,
    /// There is no room.
    Full,
}

/// All keys.
#[derive(Debug, Default)]
pub struct Keys {
    entries: BTreeMap<String, Entry>,
    /// When each deleted key went.
    traces: BTreeMap<String, u64>,
    /// Deletions up to here are no longer remembered one by one.
    floor: u64,
    /// The last index at which anything changed.
    index: u64,
    bytes: usize,
}

impl Keys {
    /// Finds one key.
    pub fn find(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The keys that begin with `prefix`, in order.
    pub fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a Entry)> {
        self.entries
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// The index of one key: its own, or that of all keys while it is missing.
    pub fn index_of(&self, key: &str) -> u64 {
        self.find(key).map_or(self.index, |entry| entry.modify_index)
    }

    /// The index of a prefix: the last write or deletion under it, or that of all keys if it never held one.
    pub fn index_under(&self, prefix: &str) -> u64 {
        let written = self.under(prefix).map(|(_, entry)| entry.modify_index).max();
        let traces = self.traces.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let deleted = traces.take_while(|(key, _)| key.starts_with(prefix)).map(|(_, at)| *at).max();
        match written.max(deleted) {
            Some(index) => index.max(self.floor),
            None => self.index,
        }
    }

    /// Writes a key.
    pub fn put(&mut self, at: u64, key: &str, written: (Bytes, u64), on: Condition) -> Written {
        let (value, flags) = written;
        let known = self.entries.get(key);
        if !allows(on, known) {
            return Written::Refused;
        }
        if known.is_some_and(|entry| entry.value == value && entry.flags == flags) {
            return Written::Same;
        }
        let bytes = self.bytes - known.map_or(0, |entry| entry.value.len()) + value.len();
        if bytes > MAX_BYTES || known.is_none() && self.entries.len() >= MAX_KEYS {
            return Written::Full;
        }
        let create_index = known.map_or(at, |entry| entry.create_index);
        self.bytes = bytes;
        self.index = at;
        let entry = Entry { value, flags, create_index, modify_index: at };
        self.entries.insert(key.to_owned(), entry);
        Written::Changed
    }

    /// Deletes a key. A missing key is as good as deleted, whatever the condition.
    pub fn delete(&mut self, at: u64, key: &str, on: Condition) -> Written {
        match self.entries.get(key) {
            None => Written::Same,
            Some(known) if !allows(on, Some(known)) => Written::Refused,
            Some(_) => {
                self.drop_key(at, key);
                Written::Changed
            }
        }
    }

    /// Deletes every key that begins with `prefix`.
    pub fn delete_under(&mut self, at: u64, prefix: &str) -> Written {
        let keys: Vec<String> = self.under(prefix).map(|(key, _)| key.clone()).collect();
        for key in &keys {
            self.drop_key(at, key);
        }
        if keys.is_empty() { Written::Same } else { Written::Changed }
    }

    fn drop_key(&mut self, at: u64, key: &str) {
        let Some(entry) = self.entries.remove(key) else {
            return;
        };
        self.bytes -= entry.value.len();
        self.index = at;
        if self.traces.len() >= MAX_TRACES {
            // Raising the floor wakes every watcher of a prefix once for nothing, and none is ever sent back.
            self.traces.clear();
            self.floor = at;
        }
        self.traces.insert(key.to_owned(), at);
    }
}

fn allows(on: Condition, known: Option<&Entry>) -> bool {
    match (on, known) {
        (Condition::Always, _) => true,
        (Condition::IndexIs(index), Some(entry)) => entry.modify_index == index,
        (Condition::IndexIs(index), None) => index == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(keys: &mut Keys, at: u64, key: &str) -> Written {
        keys.put(at, key, (Bytes::from_static(b"v"), 0), Condition::Always)
    }

    #[test]
    fn a_write_happens_on_its_condition() {
        let mut keys = Keys::default();
        let mut write = |at, value: &'static str, on| keys.put(at, "k", (Bytes::from_static(value.as_bytes()), 0), on);
        assert_eq!(write(5, "v", Condition::IndexIs(3)), Written::Refused);
        assert_eq!(write(5, "v", Condition::IndexIs(0)), Written::Changed);
        assert_eq!(write(6, "w", Condition::IndexIs(0)), Written::Refused);
        assert_eq!(write(6, "w", Condition::IndexIs(5)), Written::Changed);
        assert_eq!(write(7, "w", Condition::Always), Written::Same);
        assert_eq!(keys.find("k").unwrap().modify_index, 6);
        assert_eq!(keys.find("k").unwrap().create_index, 5);
        assert_eq!(keys.delete(8, "k", Condition::IndexIs(5)), Written::Refused);
        assert_eq!(keys.delete(8, "k", Condition::IndexIs(6)), Written::Changed);
        assert_eq!(keys.delete(9, "k", Condition::IndexIs(6)), Written::Same);
    }

    #[test]
    fn a_prefix_moves_with_what_is_under_it_and_with_nothing_else() {
        let mut keys = Keys::default();
        assert_eq!(put(&mut keys, 1, "p/a"), Written::Changed);
        assert_eq!(put(&mut keys, 2, "q/a"), Written::Changed);
        assert_eq!(keys.index_under("p/"), 1);
        assert_eq!(put(&mut keys, 3, "p/b"), Written::Changed);
        assert_eq!(keys.index_under("p/"), 3);
        keys.delete(4, "p/b", Condition::Always);
        assert_eq!(keys.index_under("p/"), 4);
        // The parent's prefix, without the slash: Consul forgets to wake here.
        assert_eq!(keys.delete_under(5, "p"), Written::Changed);
        assert_eq!(keys.index_under("p/"), 5);
        assert_eq!(put(&mut keys, 6, "q/b"), Written::Changed);
        assert_eq!(keys.index_under("p/"), 5);
        assert_eq!(keys.index_under("never/"), 6);
    }

    #[test]
    fn forgetting_the_deleted_never_sends_an_index_back() {
        let mut keys = Keys::default();
        put(&mut keys, 1, "p/a");
        keys.delete(2, "p/a", Condition::Always);
        let mut at = 2;
        for n in 0..MAX_TRACES {
            at += 2;
            put(&mut keys, at - 1, &format!("q/{n}"));
            keys.delete(at, &format!("q/{n}"), Condition::Always);
        }
        put(&mut keys, at + 1, "p/a");
        assert!(keys.index_under("p/") > 2);
        assert!(keys.index_under("q/") >= at);
        assert!(keys.traces.len() <= MAX_TRACES);
    }

    #[test]
    fn there_is_room_for_so_many_keys_and_no_more() {
        let mut keys = Keys::default();
        for n in 0..MAX_KEYS {
            assert_eq!(put(&mut keys, 1, &n.to_string()), Written::Changed);
        }
        assert_eq!(put(&mut keys, 2, "one more"), Written::Full);
        assert_eq!(put(&mut keys, 2, "7"), Written::Same);
    }
}
