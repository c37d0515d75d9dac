//! What `lictor top` shows, drawn into cells: totals, clusters, the endpoints of the one that is chosen, and what happens. Colours have a
//! word beside them, so that it can be read without.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table, TableState};

use super::Order;
use super::model::{Cluster, Endpoint, Model, percent, rate, time};

/// Below this there is no room for what happens.
const LOW: u16 = 20;
/// Below this only what is needed most has room.
const NARROW: u16 = 90;
/// The last requests of all clusters, one bar a second.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

/// What whoever looks has chosen.
#[derive(Debug)]
pub(super) struct Choice {
    /// The chosen cluster's name.
    pub(super) cluster: String,
    pub(super) order: Order,
    /// What is searched for.
    pub(super) search: String,
    pub(super) is_typing: bool,
    /// Why nothing comes, if nothing does.
    pub(super) lost: Option<String>,
}

impl Choice {
    pub(super) fn new(order: Order) -> Self {
        Choice { cluster: String::new(), order, search: String::new(), is_typing: false, lost: None }
    }

    /// Chooses the cluster so many further down.
    pub(super) fn step(&mut self, model: &Model, by: isize) {
        let clusters = model.clusters(self.order, &self.search);
        let Some(last) = clusters.len().checked_sub(1) else { return };
        let place = clusters.iter().position(|cluster| cluster.name == self.cluster).unwrap_or_default();
        self.cluster.clone_from(&clusters[place.saturating_add_signed(by).min(last)].name);
    }
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, choice: &Choice) {
    let area = frame.area();
    let clusters = model.clusters(choice.order, &choice.search);
    let chosen = clusters.iter().position(|cluster| cluster.name == choice.cluster).unwrap_or_default();
    let ends = clusters.get(chosen).map_or(0, |cluster| cluster.endpoints.len());
    let events = if area.height < LOW { 0 } else { 6 };
    let left = area.height.saturating_sub(4 + events);
    let below = u16::try_from(ends + 2).unwrap_or(u16::MAX).min(left / 2);
    let rows = [
        Constraint::Length(3),
        Constraint::Min(3),
        Constraint::Length(below),
        Constraint::Length(events),
        Constraint::Length(1),
    ];
    let [top, middle, lower, happened, bottom] = Layout::vertical(rows).areas(area);
    totals(frame, top, model, choice);
    table(frame, middle, &clusters, chosen);
    if let Some(cluster) = clusters.get(chosen) {
        endpoints(frame, lower, cluster, model.now);
    }
    self::events(frame, happened, model);
    frame.render_widget(Paragraph::new(keys(choice)), bottom);
}

fn totals(frame: &mut Frame<'_>, area: Rect, model: &Model, choice: &Choice) {
    let state = match (&choice.lost, &model.lictor.blocker) {
        (Some(why), _) => Span::styled(format!("connection lost: {why}"), colour(Color::Red)),
        (None, Some(blocker)) => Span::styled(blocker.clone(), colour(Color::Red)),
        (None, None) => Span::styled("ready", colour(Color::Green)),
    };
    let (sources, is_bad) = model.sources();
    let age = model.table.time.map(|time| format!(", {} s old", model.now.saturating_sub(time) / 1000));
    let first = Line::from(vec![
        Span::styled("lictor ", BOLD),
        Span::raw(format!("{} {}  ", model.lictor.name, model.lictor.version)),
        state,
        Span::raw("  "),
        Span::styled(sources, if is_bad { colour(Color::Red) } else { Style::new() }),
        Span::raw(format!("  table {}{}", model.table.version, age.unwrap_or_default())),
    ]);
    let totals = &model.totals;
    let has_errors = totals.errors.is_some_and(|errors| errors >= 0.05);
    let second = Line::from(vec![
        Span::styled(rate(totals.rate), BOLD),
        Span::raw(" requests/s  "),
        Span::styled(percent(totals.errors), if has_errors { colour(Color::Red) } else { BOLD }),
        Span::raw(" errors  p50 "),
        Span::styled(time(totals.p50), BOLD),
        Span::raw("  p99 "),
        Span::styled(time(totals.p99), BOLD),
        Span::raw(format!("  {} in flight  {} retries/s  ", totals.in_flight, rate(totals.retries))),
        Span::styled(bars(&model.past), colour(Color::Blue)),
    ]);
    frame.render_widget(Paragraph::new(vec![first, second]), area);
}

/// One a second; a second of which nothing is known has none.
fn bars(past: &VecDeque<Option<f64>>) -> String {
    let most = past.iter().flatten().copied().fold(1.0, f64::max);
    let bar = |rate: f64| BARS[((rate / most * 7.0) as usize).min(7)];
    past.iter().map(|rate| rate.map_or(' ', bar)).collect()
}

fn table(frame: &mut Frame<'_>, area: Rect, clusters: &[&Cluster], chosen: usize) {
    let is_narrow = area.width < NARROW;
    let line = |cluster: &&Cluster| {
        let figures = &cluster.figures;
        let wrong = cluster.wrong();
        let tone = match (cluster.panic || cluster.eligible() == 0, cluster.trouble()) {
            (true, _) => colour(Color::Red),
            (_, 0) => Style::new(),
            _ => colour(Color::Yellow),
        };
        let mut cells = vec![
            Cell::from(cluster.name.clone()),
            Cell::from(format!("{}/{}", cluster.eligible(), cluster.all())),
            Cell::from(rate(figures.rate)),
            Cell::from(percent(figures.errors)),
            Cell::from(time(figures.p99)),
        ];
        if !is_narrow {
            cells.insert(4, Cell::from(time(figures.p50)));
            cells.push(Cell::from(figures.in_flight.to_string()));
            cells.push(Cell::from(cluster.policy.replace('_', " ")));
        }
        cells.push(Cell::from(wrong));
        Row::new(cells).style(tone)
    };
    let rows: Vec<Row<'_>> = clusters.iter().map(line).collect();
    let (heads, widths): (Vec<&str>, Vec<Constraint>) = columns(is_narrow).into_iter().unzip();
    let head = Row::new(heads).style(DIM);
    let title = match clusters.len() {
        1 => " 1 cluster ".to_owned(),
        many => format!(" {many} clusters "),
    };
    let block = Block::new().borders(Borders::TOP).title(title);
    let marked = Style::new().add_modifier(Modifier::REVERSED);
    let table = Table::new(rows, widths).header(head).block(block).row_highlight_style(marked);
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(Some(chosen)));
}

fn columns(is_narrow: bool) -> Vec<(&'static str, Constraint)> {
    let figure = Constraint::Length(9);
    let mut columns = vec![
        ("CLUSTER", Constraint::Fill(2)),
        ("ELIGIBLE", figure),
        ("REQ/S", figure),
        ("ERRORS", figure),
        ("P99", figure),
    ];
    if !is_narrow {
        columns.insert(4, ("P50", figure));
        columns.push(("IN FLIGHT", figure));
        columns.push(("POLICY", Constraint::Length(17)));
    }
    columns.push(("WRONG", Constraint::Fill(2)));
    columns
}

fn endpoints(frame: &mut Frame<'_>, area: Rect, cluster: &Cluster, now: u64) {
    let mut all: Vec<&Endpoint> = cluster.endpoints.iter().collect();
    all.sort_by_key(|endpoint| endpoint.state == "eligible");
    let line = |endpoint: &&Endpoint| {
        let tone = match endpoint.state.as_str() {
            "eligible" => Color::Green,
            "probation" | "suspect" => Color::Yellow,
            "by hand" | "drained" | "maintenance" => Color::Gray,
            _ => Color::Red,
        };
        let weight = match endpoint.percent {
            100 => endpoint.weight.to_string(),
            percent => format!("{} at {percent}%", endpoint.weight),
        };
        Row::new(vec![
            Cell::from(Span::styled(endpoint.state.clone(), colour(tone))),
            Cell::from(endpoint.address.clone()),
            Cell::from(endpoint.id.clone().unwrap_or_default()),
            Cell::from(weight),
            Cell::from(endpoint.in_flight.to_string()),
            Cell::from(endpoint.connections.to_string()),
            Cell::from(time(endpoint.latency)),
            Cell::from(endpoint.because(now)),
        ])
    };
    let widths = [
        Constraint::Length(12),
        Constraint::Length(21),
        Constraint::Fill(1),
        Constraint::Length(10),
        Constraint::Length(9),
        Constraint::Length(11),
        Constraint::Length(9),
        Constraint::Fill(2),
    ];
    let heads = ["STANDING", "ENDPOINT", "ID", "WEIGHT", "IN FLIGHT", "CONNECTIONS", "EXPECTED", "WHY"];
    let untold = match cluster.untold() {
        0 => String::new(),
        more => format!("and {more} more endpoints "),
    };
    let block = Block::new().borders(Borders::TOP).title(format!(" {} {untold}", cluster.name));
    let table = Table::new(all.iter().map(line), widths).header(Row::new(heads).style(DIM)).block(block);
    frame.render_widget(table, area);
}

fn events(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let lines: Vec<Line<'_>> = model.events.iter().rev().map(line).collect();
    let block = Block::new().borders(Borders::TOP).title(" what happened ");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn line(event: &super::model::Event) -> Line<'_> {
    let tone = match event.kind.as_str() {
        "ejected" | "panic_began" | "reload_failed" => Color::Red,
        "returned" | "panic_ended" | "reloaded" => Color::Green,
        _ => Color::Yellow,
    };
    // The day is today's.
    let clock = event.time.get(11..19).unwrap_or(&event.time);
    Line::from(vec![Span::styled(format!("{clock} "), DIM), Span::styled(event.text.as_str(), colour(tone))])
}

fn keys(choice: &Choice) -> Line<'_> {
    if choice.is_typing {
        return Line::from(format!("search: {}_   Enter: keep   Esc: clear", choice.search));
    }
    let search = match choice.search.as_str() {
        "" => "/ search".to_owned(),
        search => format!("/ search: {search}"),
    };
    Line::styled(format!("↑↓ choose   s sort: {}   {search}   q quit", choice.order.word()), DIM)
}

fn colour(colour: Color) -> Style {
    Style::new().fg(colour)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::cli::top::model::{Event, Message};

    fn model() -> Model {
        let mut model = Model::default();
        let clusters = serde_json::json!([
            { "name": "calm", "listed": true, "rate": 900.0, "errors": 0.0, "p99": 0.004, "policy": "p2c",
              "endpoints": [{ "address": "10.0.0.1:80", "state": "eligible", "percent": 100, "weight": 1 }] },
            { "name": "web", "listed": true, "rate": 12.0, "errors": 0.25, "p99": 1.5, "policy": "ewma", "endpoints": [
                { "address": "10.0.0.2:80", "state": "eligible", "percent": 100, "weight": 1 },
                { "address": "10.0.0.3:80", "state": "ejected", "percent": 100, "weight": 1, "why": "connect", "until": 12_500 }] },
        ]);
        model.learn(Message {
            is_whole: true,
            now: 10_000,
            clusters: serde_json::from_value(clusters).unwrap(),
            events: vec![Event {
                time: "2026-11-23T10:20:30.123Z".to_owned(),
                text: "web: 10.0.0.3:80 ejected".to_owned(),
                kind: "ejected".to_owned(),
            }],
            ..Message::default()
        });
        model
    }

    fn drawn(width: u16, height: u16, choice: &Choice) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &model(), choice)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn trouble_comes_first_with_its_endpoints_and_their_reasons() {
        let screen = drawn(120, 30, &Choice::new(Order::Trouble));
        let at = |text: &str| screen.find(text).unwrap_or_else(|| panic!("no {text:?} in\n{screen}"));
        assert!(at("web") < at("calm"), "{screen}");
        for text in ["1/2", "25.0%", "1.50s", "1 ejected", "connect, for 3 s more", "10:20:30 web: 10.0.0.3:80 ejected"]
        {
            at(text);
        }
        assert!(at("ejected      10.0.0.3:80") < at("eligible     10.0.0.2:80"), "who is out comes first: {screen}");
    }

    #[test]
    fn another_order_a_search_and_a_small_window_show_what_they_should() {
        let by_rate = drawn(120, 30, &Choice::new(Order::Rate));
        assert!(by_rate.find("calm") < by_rate.find("web"), "{by_rate}");
        let searched = Choice { search: "10.0.0.1".to_owned(), ..Choice::new(Order::Trouble) };
        let found = drawn(120, 30, &searched);
        assert!(found.contains(" 1 cluster ") && !found.contains("1 ejected"), "{found}");
        let small = drawn(60, 12, &Choice::new(Order::Trouble));
        assert!(small.contains("web") && small.contains("q quit") && !small.contains("POLICY"), "{small}");
        for (width, height) in [(1, 1), (10, 3), (300, 100)] {
            drawn(width, height, &Choice::new(Order::Trouble));
        }
    }

    #[test]
    fn the_choice_goes_up_and_down_and_stays_with_its_cluster() {
        let model = model();
        let mut choice = Choice::new(Order::Trouble);
        choice.step(&model, 1);
        assert_eq!(choice.cluster, "calm");
        choice.order = Order::Rate;
        choice.step(&model, 1);
        assert_eq!(choice.cluster, "web", "which is below it now");
        choice.step(&model, 5);
        assert_eq!(choice.cluster, "web", "and there is nobody below");
        choice.step(&model, -9);
        assert_eq!(choice.cluster, "calm");
    }
}
