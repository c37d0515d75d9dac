//! Who is entered in Consul's catalogue: as JSON, whose field names are an interface.

use std::sync::Arc;

use serde::Serialize;

use crate::metrics::{Fare, Metrics};

#[derive(Serialize)]
pub(super) struct InstanceView {
    instance: String,
    service: String,
    /// Whether it is in the catalogue, as far as is known.
    entered: bool,
    checks: Vec<CheckView>,
    /// What the agent did not do last; none if it never failed.
    last_failure: Option<FailureView>,
}

#[derive(Serialize)]
struct CheckView {
    id: String,
    /// What lictor said of it last; none where the agent looks for itself, or the application speaks.
    status: Option<&'static str>,
    output: Option<String>,
}

#[derive(Serialize)]
struct FailureView {
    error: String,
    age_seconds: f64,
}

/// All that lictor enters, by id.
pub(super) fn instances(metrics: &Metrics) -> Vec<InstanceView> {
    metrics.entered().into_iter().map(|(id, fare)| of(id, fare)).collect()
}

fn of(instance: Arc<str>, fare: Fare) -> InstanceView {
    let check = |(id, said): (String, Option<(&'static str, String)>)| {
        let (status, output) = said.unzip();
        CheckView { id, status, output }
    };
    let failure =
        |(at, error): (std::time::Instant, String)| FailureView { error, age_seconds: at.elapsed().as_secs_f64() };
    InstanceView {
        instance: instance.to_string(),
        service: fare.service.to_string(),
        entered: fare.is_there,
        checks: fare.checks.into_iter().map(check).collect(),
        last_failure: fare.failure.map(failure),
    }
}
