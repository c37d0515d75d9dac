//! What a scrape says.

use std::time::Duration;

use super::*;

fn labels() -> RequestLabels {
    RequestLabels { listener: "edge".into(), route: "all".into(), cluster: "web".into() }
}

fn answered(code: u16, took: Duration) -> Answered {
    Answered { code, took, ..Answered::default() }
}

#[test]
fn a_scrape_adds_up_what_the_workers_counted() {
    let metrics = Metrics::new(2);
    let series = metrics.request(labels());
    series.record(0, &answered(200, Duration::from_millis(2)));
    series.record(1, &answered(200, Duration::from_millis(700)));
    series.record(1, &answered(503, Duration::from_secs(60)));
    let text = text(metrics.gather());
    for line in [
        r#"lictor_requests_total{listener="edge",route="all",cluster="web",code="200"} 2"#,
        r#"lictor_requests_total{listener="edge",route="all",cluster="web",code="503"} 1"#,
        r#"lictor_request_duration_seconds_bucket{listener="edge",route="all",cluster="web",code_class="2xx",le="0.0025"} 1"#,
        r#"lictor_request_duration_seconds_bucket{listener="edge",route="all",cluster="web",code_class="2xx",le="1"} 2"#,
        r#"lictor_request_duration_seconds_count{listener="edge",route="all",cluster="web",code_class="5xx"} 1"#,
        r#"lictor_request_duration_seconds_sum{listener="edge",route="all",cluster="web",code_class="2xx"} 0.702"#,
    ] {
        assert!(text.lines().any(|have| have == line), "{line}\nis not in\n{text}");
    }
}

#[test]
fn series_of_departed_objects_disappear() {
    let metrics = Metrics::new(1);
    let series = metrics.request(labels());
    series.record(0, &answered(200, Duration::ZERO));
    assert!(text(metrics.gather()).contains("lictor_requests_total"));
    assert!(Arc::ptr_eq(&series, &metrics.request(labels())));
    drop(series);
    assert!(!text(metrics.gather()).contains("lictor_requests_total"));
}

#[test]
fn an_origin_that_invents_status_codes_does_not_grow_memory() {
    let metrics = Metrics::new(1);
    let series = metrics.request(labels());
    (200..=299).for_each(|code| series.record(0, &answered(code, Duration::ZERO)));
    let text = text(metrics.gather());
    assert!(text.contains(r#"code="0"} 76"#), "{text}");
}

#[test]
fn ejections_say_whether_they_were_enforced_and_why_not() {
    let metrics = Metrics::new(1);
    let series = metrics.cluster(&"web".into());
    series.ejection("connect", None);
    series.ejection("reset", Some("max_percent"));
    let text = text(metrics.gather());
    assert!(text.contains(r#"{cluster="web",reason="connect",enforced="true",unenforced_reason=""} 1"#), "{text}");
    assert!(
        text.contains(r#"{cluster="web",reason="reset",enforced="false",unenforced_reason="max_percent"} 1"#),
        "{text}"
    );
}
