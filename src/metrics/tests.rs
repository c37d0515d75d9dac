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
    let (first_byte, received, sent) = (Duration::from_millis(40), 10, 4_000);
    let answered = Answered { first_byte, received, sent, ..answered(503, Duration::from_secs(60)) };
    series.record(1, &answered);
    let text = metrics.gather().write(Format::Text);
    for line in [
        r#"lictor_requests_total{listener="edge",route="all",cluster="web",code="200"} 2"#,
        r#"lictor_requests_total{listener="edge",route="all",cluster="web",code="503"} 1"#,
        r#"lictor_request_duration_seconds_bucket{listener="edge",route="all",cluster="web",code_class="2xx",le="0.0025"} 1"#,
        r#"lictor_request_duration_seconds_bucket{listener="edge",route="all",cluster="web",code_class="2xx",le="1"} 2"#,
        r#"lictor_request_duration_seconds_count{listener="edge",route="all",cluster="web",code_class="5xx"} 1"#,
        r#"lictor_request_duration_seconds_sum{listener="edge",route="all",cluster="web",code_class="2xx"} 0.702"#,
        r#"lictor_request_first_byte_seconds_bucket{listener="edge",route="all",cluster="web",code_class="5xx",le="0.05"} 1"#,
        r#"lictor_request_first_byte_seconds_bucket{listener="edge",route="all",cluster="web",code_class="5xx",le="0.025"} 0"#,
        r#"lictor_body_bytes_total{listener="edge",route="all",cluster="web",direction="received"} 10"#,
        r#"lictor_body_bytes_total{listener="edge",route="all",cluster="web",direction="sent"} 4000"#,
    ] {
        assert!(text.lines().any(|have| have == line), "{line}\nis not in\n{text}");
    }
}

#[test]
fn series_of_departed_objects_disappear() {
    let metrics = Metrics::new(1);
    let series = metrics.request(labels());
    series.record(0, &answered(200, Duration::ZERO));
    assert!(metrics.gather().write(Format::Text).contains("lictor_requests_total"));
    assert!(Arc::ptr_eq(&series, &metrics.request(labels())));
    drop(series);
    assert!(!metrics.gather().write(Format::Text).contains("lictor_requests_total"));
}

#[test]
fn an_origin_that_invents_status_codes_does_not_grow_memory() {
    let metrics = Metrics::new(1);
    let series = metrics.request(labels());
    (200..=299).for_each(|code| series.record(0, &answered(code, Duration::ZERO)));
    let text = metrics.gather().write(Format::Text);
    assert!(text.contains(r#"code="0"} 76"#), "{text}");
}

#[test]
fn what_people_are_called_for_is_shown_before_it_happens() {
    let metrics = Metrics::new(1);
    let series = metrics.cluster(&"web".into());
    let lines = |count: u64| {
        [
            format!("lictor_no_endpoint_total{{cluster=\"web\"}} {count}\n"),
            format!("lictor_overload_total{{cluster=\"web\",reason=\"queue_full\"}} {count}\n"),
            format!("lictor_retries_refused_total{{cluster=\"web\",reason=\"budget\"}} {count}\n"),
        ]
    };
    let text = metrics.gather().write(Format::Text);
    assert!(lines(0).iter().all(|line| text.contains(line)), "{text}");
    series.no_endpoint();
    series.no_retry("budget");
    series.overload("queue_full");
    let text = metrics.gather().write(Format::Text);
    assert!(lines(1).iter().all(|line| text.contains(line)), "{text}");
}

#[test]
fn ejections_say_whether_they_were_enforced_and_why_not() {
    let metrics = Metrics::new(1);
    let series = metrics.cluster(&"web".into());
    series.ejection("connect", None);
    series.ejection("reset", Some("max_percent"));
    let text = metrics.gather().write(Format::Text);
    assert!(text.contains(r#"{cluster="web",reason="connect",enforced="true",unenforced_reason=""} 1"#), "{text}");
    assert!(
        text.contains(r#"{cluster="web",reason="reset",enforced="false",unenforced_reason="max_percent"} 1"#),
        "{text}"
    );
}

#[test]
fn the_latest_of_those_whose_trace_is_kept_stands_by_its_bucket() {
    let metrics = Metrics::new(2);
    let series = metrics.request(labels());
    let traced = |trace, took| Answered { trace: Some(trace), ..answered(200, Duration::from_millis(took)) };
    series.record(0, &traced(1, 3));
    series.record(1, &traced(2, 4));
    series.record(1, &traced(3, 20_000));
    series.record(0, &answered(200, Duration::from_millis(20)));
    let text = metrics.gather().write(Format::OpenMetrics);
    let line = |bound: &str| {
        let line = format!(
            "lictor_request_duration_seconds_bucket{{listener=\"edge\",route=\"all\",cluster=\"web\",code_class=\"2xx\",le=\"{bound}\"}} "
        );
        text.lines().find_map(|have| have.strip_prefix(&line)).unwrap_or_else(|| panic!("{bound} in {text}")).to_owned()
    };
    let begins = |bound: &str, with: &str| assert!(line(bound).starts_with(with), "{bound}: {}", line(bound));
    begins("0.005", "2 # {trace_id=\"00000000000000000000000000000002\"} 0.004 ");
    begins("+Inf", "4 # {trace_id=\"00000000000000000000000000000003\"} 20 ");
    assert_eq!((line("0.025").as_str(), line("0.0025").as_str()), ("3", "0"));
    assert!(!metrics.gather().write(Format::Text).contains("trace_id"), "for which that format has no place");
}
