//! What a caller may register as a check.

use super::take_unsupported;
use crate::registry::duration::Nanos;
use crate::registry::fields::Fields;
use crate::registry::model::Status;
use serde_json::Value;
use std::time::Duration;

/// The shortest interval that Consul runs a check at.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// How long a run may take where the registration does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// The shortest `DeregisterCriticalServiceAfter` that Consul honours.
const MIN_REAP: Duration = Duration::from_secs(60);

/// A check, valid.
#[derive(Clone, Debug, Default)]
pub struct CheckDefinition {
    /// Empty: named after the service, or after `name`.
    pub id: String,
    /// For people; may be empty.
    pub name: String,
    /// For people.
    pub notes: String,
    /// The instance it speaks for; read only where checks are registered alone.
    pub service_id: String,
    /// What to start with, if not critical.
    pub status: Option<Status>,
    /// How it is run; none only before validation.
    pub run: Option<Run>,
    /// After how long in the critical state its service is taken out.
    pub reap_after: Option<Duration>,
}

/// How a check learns its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// The service reports in; silence for so long is critical.
    Ttl(Duration),
    /// We ask.
    Probe(Probe),
}

/// A question asked again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub target: Target,
    /// From the end of one run to the start of the next.
    pub interval: Duration,
    /// How long one run may take.
    pub timeout: Duration,
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An HTTP request; its status code is the answer.
    Http {
        /// Absolute URL.
        url: String,
        /// GET where empty.
        method: String,
        /// Headers with their values, in order.
        headers: Vec<(String, String)>,
        /// Sent as is.
        body: String,
    },
    /// A connection to `host:port`; that it opens is the answer.
    Tcp(String),
}

impl Target {
    /// The word for it in a check's `Type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http { .. } => "http",
            Self::Tcp(_) => "tcp",
        }
    }
}

impl CheckDefinition {
    /// Reads what `PUT /v1/agent/check/register` takes. The error is the whole text for the caller.
    pub fn read(body: Value) -> Result<Self, String> {
        let raw = Raw::read(body, Form::Alone).map_err(|error| format!("Request decode failed: {error}"))?;
        if raw.check.name.is_empty() {
            return Err("Missing check name".into());
        }
        let mut check = raw.validate()?;
        if check.id.is_empty() {
            check.id.clone_from(&check.name);
        }
        Ok(check)
    }
}

/// Where a check is written, which decides what its ID is called.
#[derive(Clone, Copy)]
enum Form {
    /// Inside a service.
    OfService,
    /// By itself, with a token of its own.
    Alone,
}

impl Form {
    fn id(self) -> &'static str {
        match self {
            Self::OfService => "CheckID",
            Self::Alone => "ID",
        }
    }

    /// What Consul says of a status that is none.
    fn bad_status(self) -> &'static str {
        match self {
            Self::OfService => "Status for checks must 'passing', 'warning', 'critical'",
            Self::Alone => "Bad check status",
        }
    }
}

/// A check whose fields have been read and not judged.
pub struct Raw {
    form: Form,
    check: CheckDefinition,
    status: String,
    interval: Nanos,
    timeout: Nanos,
    ttl: Nanos,
    target: Option<Target>,
    unsupported: Option<&'static str>,
}

/// `Check` and `Checks` together; a `Check` that says nothing is none.
pub fn read_all(fields: &mut Fields) -> Result<Vec<Raw>, String> {
    let single = fields.value("Check").filter(|value| value.as_object().is_none_or(|object| !object.is_empty()));
    let many = fields.list("Checks")?;
    single.into_iter().chain(many).map(|value| Raw::read(value, Form::OfService)).collect()
}

impl Raw {
    fn read(value: Value, form: Form) -> Result<Self, String> {
        let mut fields = Fields::open(value, "CheckType")?;
        let mut check = CheckDefinition {
            id: fields.text(form.id())?,
            name: fields.text("Name")?,
            notes: fields.text("Notes")?,
            service_id: fields.text("ServiceID")?,
            ..CheckDefinition::default()
        };
        let reap = fields.duration("DeregisterCriticalServiceAfter")?;
        check.reap_after = positive(reap).map(|after| after.max(MIN_REAP));
        if let Form::Alone = form {
            fields.text("Token")?;
        }
        let raw = Self {
            form,
            check,
            status: fields.text("Status")?,
            interval: fields.duration("Interval")?,
            timeout: fields.duration("Timeout")?,
            ttl: fields.duration("TTL")?,
            target: read_target(&mut fields)?,
            unsupported: take_unsupported(
                &mut fields,
                &["ScriptArgs", "Args", "GRPC", "DockerContainerID", "AliasNode", "AliasService"],
            ),
        };
        // Known and without effect here: they tune what this registry does not do.
        for name in
            ["Shell", "GRPCUseTLS", "TLSSkipVerify", "SuccessBeforePassing", "FailuresBeforeCritical", "OutputMaxSize"]
        {
            let _ = fields.value(name);
        }
        fields.end()?;
        Ok(raw)
    }

    /// Judges in the order in which Consul does. The error is the whole text for the caller.
    pub fn validate(self) -> Result<CheckDefinition, String> {
        let refuse = |why: &str| Err(format!("Invalid check: {why}"));
        let Self { mut check, target, .. } = self;
        if let Some(name) = self.unsupported {
            return refuse(&format!("{name} is not supported by this registry"));
        }
        if self.interval > 0 && self.ttl > 0 {
            return refuse("Interval and TTL cannot both be specified");
        }
        if target.is_some() && self.interval <= 0 {
            return refuse("Interval must be > 0 for Script, HTTP, or TCP checks");
        }
        check.status = Status::parse(&self.status);
        if check.status.is_none() && !self.status.is_empty() {
            return Err(self.form.bad_status().into());
        }
        check.run = match (target, positive(self.ttl)) {
            (Some(target), _) => Some(Run::Probe(Probe {
                target,
                interval: positive(self.interval).unwrap_or(MIN_INTERVAL).max(MIN_INTERVAL),
                timeout: positive(self.timeout).unwrap_or(DEFAULT_TIMEOUT),
            })),
            (None, Some(ttl)) => Some(Run::Ttl(ttl)),
            (None, None) => return refuse("TTL must be > 0 for TTL checks"),
        };
        Ok(check)
    }
}

fn read_target(fields: &mut Fields) -> Result<Option<Target>, String> {
    let url = fields.text("HTTP")?;
    let tcp = fields.text("TCP")?;
    let method = fields.text("Method")?;
    let body = fields.text("Body")?;
    let headers = fields.map("Header", |value| match value {
        Value::Array(values) => {
            values.into_iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        }
        _ => None,
    })?;
    if !url.is_empty() {
        let pairs =
            headers.into_iter().flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), value)));
        return Ok(Some(Target::Http { url, method, headers: pairs.collect(), body }));
    }
    Ok((!tcp.is_empty()).then_some(Target::Tcp(tcp)))
}

fn positive(nanos: Nanos) -> Option<Duration> {
    let nanos = u64::try_from(nanos).ok().filter(|nanos| *nanos > 0)?;
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::definition::ServiceDefinition;
    use serde_json::json;

    #[test]
    fn a_check_keeps_what_it_was_told() {
        let body = json!({"Name": "a", "Checks": [
            {"TTL": "15s", "Status": "passing", "DeregisterCriticalServiceAfter": "5s"},
            {"http": "http://h/", "interval": "200ms", "Header": {"X": ["1", "2"]}, "timeout": "2s"},
            {"TCP": "h:1", "Interval": "3s"}
        ]});
        let checks = ServiceDefinition::read(body).unwrap().checks;
        assert_eq!(checks[0].run, Some(Run::Ttl(Duration::from_secs(15))));
        assert_eq!(checks[0].reap_after, Some(MIN_REAP));
        let Some(Run::Probe(http)) = &checks[1].run else { panic!("not a probe") };
        assert_eq!(http.interval, MIN_INTERVAL);
        assert_eq!(http.timeout, Duration::from_secs(2));
        let Some(Run::Probe(tcp)) = &checks[2].run else { panic!("not a probe") };
        assert_eq!(tcp.target, Target::Tcp("h:1".into()));
        assert_eq!(tcp.timeout, DEFAULT_TIMEOUT);
    }
}
