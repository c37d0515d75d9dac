//! What there is as plain text: a line a cluster, and a line for each endpoint that is not eligible below it.

use super::Order;
use super::model::{Model, percent, rate, time};

pub(super) fn text(model: &Model, order: Order) -> String {
    let totals = &model.totals;
    let state = model.lictor.blocker.as_deref().unwrap_or("ready");
    let mut text = format!(
        "lictor {} {}  {state}  {}  table {}\n{} requests/s  {} errors  p50 {}  p99 {}  {} in flight  {} retries/s\n\n",
        model.lictor.version,
        model.lictor.name,
        model.sources().0,
        model.table.version,
        rate(totals.rate),
        percent(totals.errors),
        time(totals.p50),
        time(totals.p99),
        totals.in_flight,
        rate(totals.retries),
    );
    let clusters = model.clusters(order, "");
    let width = clusters.iter().map(|cluster| cluster.name.chars().count()).max().unwrap_or_default().max(7);
    text += &format!(
        "{:width$} {:>9} {:>9} {:>7} {:>8} {:>8} {:>9}\n",
        "CLUSTER", "ELIGIBLE", "REQ/S", "ERRORS", "P50", "P99", "IN FLIGHT"
    );
    for cluster in clusters {
        let figures = &cluster.figures;
        let line = format!(
            "{:width$} {:>9} {:>9} {:>7} {:>8} {:>8} {:>9}  {}",
            cluster.name,
            format!("{}/{}", cluster.eligible(), cluster.all()),
            rate(figures.rate),
            percent(figures.errors),
            time(figures.p50),
            time(figures.p99),
            figures.in_flight,
            cluster.wrong(),
        );
        text += line.trim_end();
        text += "\n";
        for endpoint in cluster.endpoints.iter().filter(|endpoint| endpoint.state != "eligible") {
            let line = format!("  {:21} {:12} {}", endpoint.address, endpoint.state, endpoint.because(model.now));
            text += line.trim_end();
            text += "\n";
        }
        if cluster.untold_out() > 0 {
            text += &format!("  and {} more\n", cluster.untold_out());
        }
    }
    text
}
