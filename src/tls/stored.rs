//! Certificates that are kept in a store of keys and values under one prefix: `NAME` holds certificate and key as one PEM, or
//! `NAME/cert` the one and `NAME/key` the other. An entry that cannot be used leaves what it held before in force, and so does a
//! prefix under which there is nothing any more: that is rather a mistake, or a right that was lost, than a wish.

use std::collections::BTreeMap;

use super::material::Material;

/// What stands under a prefix: values by the rest of their keys. Not to be logged.
pub type Values = BTreeMap<String, Vec<u8>>;

/// Certificates by the name of their entry.
#[derive(Debug, Clone, Default)]
pub(super) struct Stored(BTreeMap<String, Entry>);

#[derive(Clone, Default)]
struct Entry {
    cert: Vec<u8>,
    key: Vec<u8>,
    material: Option<Material>,
}

/// What has become of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It holds another certificate.
    Taken,
    /// It cannot be used, for this reason.
    Refused(String),
    /// It is gone.
    Removed,
}

impl Stored {
    /// In the order of their entries' names.
    pub(super) fn materials(&self) -> impl Iterator<Item = &Material> {
        self.0.values().filter_map(|entry| entry.material.as_ref())
    }

    /// Takes over what stands there now, and says what changed by that.
    pub(super) fn take(&mut self, values: &Values) -> Vec<(String, Change)> {
        let found = entries(values);
        if found.is_empty() && !self.0.is_empty() {
            return vec![(String::new(), Change::Refused("nothing stands under the prefix any more".to_owned()))];
        }
        let mut changes = Vec::new();
        self.0.retain(|name, _| {
            let stays = found.contains_key(name);
            if !stays {
                changes.push((name.clone(), Change::Removed));
            }
            stays
        });
        for (name, (cert, key)) in found {
            let entry = self.0.entry(name.clone()).or_default();
            if entry.cert == cert && entry.key == key {
                continue;
            }
            (entry.cert, entry.key) = (cert.to_vec(), key.to_vec());
            let change = match Material::of_pem(cert, key) {
                Ok(material) => {
                    entry.material = Some(material);
                    Change::Taken
                }
                Err(why) => Change::Refused(why),
            };
            changes.push((name, change));
        }
        changes
    }
}

/// Certificate and key of each entry; what is missing is empty.
fn entries(values: &Values) -> BTreeMap<String, (&[u8], &[u8])> {
    let mut entries = BTreeMap::<String, (&[u8], &[u8])>::new();
    for (path, value) in values {
        match path.rsplit_once('/') {
            Some((name, "cert")) => entries.entry(name.to_owned()).or_default().0 = value,
            Some((name, "key")) => entries.entry(name.to_owned()).or_default().1 = value,
            None if !path.is_empty() => drop(entries.insert(path.clone(), (value, value))),
            _ => {}
        }
    }
    entries
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("material", &self.material).finish_non_exhaustive()
    }
}
