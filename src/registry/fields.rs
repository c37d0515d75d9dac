//! Strict reading of JSON objects, the way Consul's decoder reads them.
//!
//! Not serde's derive, because the API's callers see the decoder's manners: field names match in any case and in snake
//! case, `null` means absent, one unknown name refuses the whole request, and the errors are Go's.

use super::duration::{self, Nanos};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The fields of one object that nobody has read yet.
pub struct Fields {
    kind: &'static str,
    left: Map<String, Value>,
}

impl Fields {
    /// Opens `value`, which the errors call `kind`.
    pub fn open(value: Value, kind: &'static str) -> Result<Self, String> {
        match value {
            Value::Object(left) => Ok(Self { kind, left }),
            Value::Null => Ok(Self { kind, left: Map::new() }),
            other => Err(format!("json: cannot unmarshal {} into Go value of type {kind}", type_of(&other))),
        }
    }

    /// Takes a field out whatever its type; none if it is absent or null.
    pub fn value(&mut self, name: &str) -> Option<Value> {
        let key = self.left.keys().find(|key| same(key, name)).cloned()?;
        self.left.remove(&key).filter(|value| !value.is_null())
    }

    /// Takes a string; empty if absent.
    pub fn text(&mut self, name: &str) -> Result<String, String> {
        match self.value(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.mismatch(name, &other, "string")),
        }
    }

    /// Takes an integer; zero if absent.
    pub fn number(&mut self, name: &str) -> Result<i64, String> {
        match self.value(name) {
            None => Ok(0),
            Some(value) => value.as_i64().ok_or_else(|| self.mismatch(name, &value, "int")),
        }
    }

    /// Takes a boolean; false if absent.
    pub fn flag(&mut self, name: &str) -> Result<bool, String> {
        match self.value(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(self.mismatch(name, &other, "bool")),
        }
    }

    /// Takes a duration: a Go duration string or a number of nanoseconds; zero if absent.
    pub fn duration(&mut self, name: &str) -> Result<Nanos, String> {
        match self.value(name) {
            Some(Value::String(text)) => duration::parse(&text),
            Some(Value::Number(number)) => Ok(number.as_i64().unwrap_or(0)),
            // Go's decoder reads these into an `interface{}` and passes over any other type.
            _ => Ok(0),
        }
    }

    /// Takes a list of strings; empty if absent.
    pub fn texts(&mut self, name: &str) -> Result<Vec<String>, String> {
        let items = self.list(name)?;
        let strings = items.into_iter().map(|item| match item {
            Value::String(text) => Ok(text),
            other => Err(self.mismatch(name, &other, "string")),
        });
        strings.collect()
    }

    /// Takes a list of anything; empty if absent.
    pub fn list(&mut self, name: &str) -> Result<Vec<Value>, String> {
        match self.value(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(self.mismatch(name, &other, "[]string")),
        }
    }

    /// Takes an object and reads each of its values with `read`; empty if absent.
    pub fn map<T>(&mut self, name: &str, read: impl Fn(Value) -> Option<T>) -> Result<BTreeMap<String, T>, String> {
        let object = match self.value(name) {
            None => return Ok(BTreeMap::new()),
            Some(Value::Object(object)) => object,
            Some(other) => return Err(self.mismatch(name, &other, "map[string]string")),
        };
        let pairs = object.into_iter().map(|(key, value)| {
            let kind = type_of(&value);
            let value = read(value).ok_or_else(|| {
                format!("json: cannot unmarshal {kind} into Go struct field {}.{name} of type string", self.kind)
            })?;
            Ok((key, value))
        });
        pairs.collect()
    }

    /// Takes a map of strings; empty if absent.
    pub fn text_map(&mut self, name: &str) -> Result<BTreeMap<String, String>, String> {
        self.map(name, |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })
    }

    /// Refuses whatever nobody took.
    pub fn end(self) -> Result<(), String> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("json: unknown field {name:?}")),
        }
    }

    fn mismatch(&self, name: &str, value: &Value, wanted: &str) -> String {
        format!("json: cannot unmarshal {} into Go struct field {}.{name} of type {wanted}", type_of(value), self.kind)
    }
}

/// Whether `key`, as sent, names the field `name`, which is written `LikeThisID`: in any case, or `like_this_id`.
fn same(key: &str, name: &str) -> bool {
    key.eq_ignore_ascii_case(name) || key.contains('_') && key.eq_ignore_ascii_case(&snake(name))
}

fn snake(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::with_capacity(name.len() + 4);
    for (at, letter) in letters.iter().enumerate() {
        let after_small = at > 0 && letters[at - 1].is_ascii_lowercase();
        let before_small = at > 0 && letters.get(at + 1).is_some_and(char::is_ascii_lowercase);
        if letter.is_ascii_uppercase() && (after_small || before_small) {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_match_in_any_case_and_null_is_absent() {
        let sent = json!({"name": "web", "enable_tag_override": true, "Tags": null});
        let mut fields = Fields::open(sent, "ServiceDefinition").unwrap();
        assert_eq!(fields.text("Name"), Ok("web".into()));
        assert_eq!(fields.flag("EnableTagOverride"), Ok(true));
        assert_eq!(fields.texts("Tags"), Ok(Vec::new()));
        assert_eq!(fields.end(), Ok(()));
        assert_eq!(snake("GRPCUseTLS"), "grpc_use_tls");
        assert_eq!(snake("DeregisterCriticalServiceAfter"), "deregister_critical_service_after");
        assert!(!same("na_me", "Name"));
    }

    #[test]
    fn an_unknown_field_and_a_wrong_type_are_named() {
        let mut fields = Fields::open(json!({"Port": "80", "SocketPath": ""}), "ServiceDefinition").unwrap();
        assert_eq!(
            fields.number("Port").unwrap_err(),
            "json: cannot unmarshal string into Go struct field ServiceDefinition.Port of type int"
        );
        assert_eq!(fields.end().unwrap_err(), r#"json: unknown field "SocketPath""#);
        assert!(Fields::open(json!([]), "X").is_err());
    }
}
