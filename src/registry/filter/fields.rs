//! Which fields a filter may speak of, and what each of them is.

/// What a field is, which decides how it may be compared.
#[derive(Clone, Copy, Debug)]
pub enum Field {
    /// A string.
    Text,
    /// A number.
    Number,
    /// True or false.
    Flag,
    /// A list of strings.
    Texts,
    /// Pairs of strings.
    Pairs,
    /// Named records with the same fields.
    Records(Fields),
    /// One record.
    Record(Fields),
    /// A list of records, of which any may match.
    List(Fields),
}

/// Fields by name.
pub type Fields = &'static [(&'static str, Field)];

use Field::{Flag, List, Number, Pairs, Record, Records, Text, Texts};

const WEIGHTS: Fields = &[("Passing", Number), ("Warning", Number)];
const ADDRESS: Fields = &[("Address", Text), ("Port", Number)];

const NODE: Fields = &[
    ("ID", Text),
    ("Node", Text),
    ("Address", Text),
    ("Datacenter", Text),
    ("TaggedAddresses", Pairs),
    ("Meta", Pairs),
];

/// An instance.
pub const SERVICE: Fields = &[
    ("ID", Text),
    ("Service", Text),
    ("Tags", Texts),
    ("Address", Text),
    ("TaggedAddresses", Records(ADDRESS)),
    ("Meta", Pairs),
    ("Port", Number),
    ("Weights", Record(WEIGHTS)),
    ("EnableTagOverride", Flag),
];

/// A check.
pub const CHECK: Fields = &[
    ("Node", Text),
    ("CheckID", Text),
    ("Name", Text),
    ("Status", Text),
    ("Notes", Text),
    ("Output", Text),
    ("ServiceID", Text),
    ("ServiceName", Text),
    ("ServiceTags", Texts),
    ("Type", Text),
];

/// What `/v1/health/service` shows.
pub const HEALTH: Fields = &[("Node", Record(NODE)), ("Service", Record(SERVICE)), ("Checks", List(CHECK))];

/// What `/v1/catalog/service` shows.
pub const CATALOG: Fields = &[
    ("ID", Text),
    ("Node", Text),
    ("Address", Text),
    ("Datacenter", Text),
    ("TaggedAddresses", Pairs),
    ("NodeMeta", Pairs),
    ("ServiceID", Text),
    ("ServiceName", Text),
    ("ServiceTags", Texts),
    ("ServiceAddress", Text),
    ("ServiceTaggedAddresses", Records(ADDRESS)),
    ("ServiceWeights", Record(WEIGHTS)),
    ("ServiceMeta", Pairs),
    ("ServicePort", Number),
    ("ServiceEnableTagOverride", Flag),
];

/// Finds what a path leads to; if it leads nowhere, the error is how many of its steps were wrong to take.
pub fn find(mut fields: Fields, path: &[String]) -> Result<Field, usize> {
    let mut at = 0;
    loop {
        let step = path.get(at).ok_or(at)?;
        at += 1;
        let (_, field) = fields.iter().find(|(name, _)| *name == step.as_str()).ok_or(at)?;
        if at == path.len() {
            return Ok(*field);
        }
        match field {
            Record(inner) | List(inner) => fields = inner,
            Records(inner) => {
                at += 1;
                if at == path.len() {
                    return Ok(Record(inner));
                }
                fields = inner;
            }
            Pairs if at + 1 == path.len() => return Ok(Text),
            Pairs => return Err(at + 2),
            Text | Number | Flag | Texts => return Err(at + 1),
        }
    }
}
