//! How it is drawn.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table, TableState, Wrap};
use wire::api::overview::{ModelNowRecord, OverviewRecord, PointRecord};
use wire::api::rollouts::ShareRecord;

use super::view::View;
use crate::output::{interval, moment_us, number, share, table};

/// How things are told apart, beside their words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    pub(super) colour: bool,
}

impl Palette {
    fn attention(self, attention: u8) -> Style {
        let style = match attention {
            0 | 1 => Style::new(),
            _ => Style::new().add_modifier(Modifier::BOLD),
        };
        self.of(style, attention)
    }

    fn of(self, style: Style, attention: u8) -> Style {
        let colour = match attention {
            3 => Color::Red,
            2 => Color::Yellow,
            1 => Color::Cyan,
            _ => return style,
        };
        if self.colour { style.fg(colour) } else { style }
    }
}

/// How much it needs attention, in words.
fn attention(model: &ModelNowRecord) -> &'static str {
    match model.attention {
        0 => "",
        1 => "know",
        2 => "look after",
        _ => "NOW",
    }
}

/// Who answers: `3`, or `4 5% + 3 95%`; what answers unheard is named last.
fn answers(model: &ModelNowRecord) -> String {
    if model.state != "ready" {
        return model.state.clone();
    }
    let shares = ShareRecord::by_version(&model.traffic);
    let unheard = model.traffic.iter().filter(|it| it.is_unheard());
    let unheard = unheard.map(|it| format!("{} unheard", it.version));
    let heard = shares.iter().map(|(version, percent)| match shares.len() {
        1 => version.to_string(),
        _ => format!("{version} {}%", (percent * 100.0).round() / 100.0),
    });
    heard.chain(unheard).collect::<Vec<_>>().join(" + ")
}

/// The newest of a model's points.
fn last(model: &ModelNowRecord) -> PointRecord {
    model.recent.points.last().copied().unwrap_or_default()
}

fn or_dash(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

fn quality(model: &ModelNowRecord) -> String {
    let Some(it) = &model.quality else {
        return "-".to_owned();
    };
    let estimated = if it.estimated { " estimated" } else { "" };
    let value = number(it.value.value);
    let verdict = said(&it.verdict, ", ");
    format!("{} {value}{estimated}{verdict}", it.metric)
}

/// A verdict behind what stands before it; nothing where there is none.
fn said(verdict: &Option<String>, before: &str) -> String {
    let verdict = verdict.as_ref();
    verdict.map_or_else(String::new, |it| format!("{before}{it}"))
}

fn drift(model: &ModelNowRecord) -> String {
    let Some(it) = &model.drift else {
        return "-".to_owned();
    };
    match it.drifted.len() {
        0 => it.verdict.clone(),
        drifted => format!("{drifted} of {} columns", it.columns),
    }
}

fn alerts(model: &ModelNowRecord) -> String {
    let count = |state: &str| model.alerts.iter().filter(|it| it.state == state).count();
    match (count("firing"), count("pending")) {
        (0, 0) => "-".to_owned(),
        (firing, 0) => format!("{firing} firing"),
        (0, pending) => format!("{pending} pending"),
        (firing, pending) => format!("{firing} firing, {pending} pending"),
    }
}

/// The newest values as bars between nothing and the greatest; a blank where there is no value.
fn bars(values: &[Option<f64>], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values = &values[values.len().saturating_sub(width)..];
    let most = values
        .iter()
        .flatten()
        .fold(0.0_f64, |most, it| most.max(*it));
    let bar = |value: &Option<f64>| match value {
        None => ' ',
        Some(value) if most <= 0.0 || *value <= 0.0 => BARS[0],
        Some(value) => BARS[((value / most * 8.0).ceil() as usize).clamp(1, 8) - 1],
    };
    values.iter().map(bar).collect()
}

/// A row of a model's values in time.
#[derive(Clone, Copy)]
struct Series {
    name: &'static str,
    unit: &'static str,
    of: fn(&PointRecord) -> Option<f64>,
}

const SERIES: [Series; 4] = [
    Series {
        name: "requests",
        unit: "/s",
        of: |it| Some(it.requests_per_s),
    },
    Series {
        name: "p50",
        unit: " ms",
        of: |it| it.p50_ms,
    },
    Series {
        name: "p99",
        unit: " ms",
        of: |it| it.p99_ms,
    },
    Series {
        name: "errors",
        unit: "%",
        of: |it| it.error_rate.map(|it| it * 100.0),
    },
];

fn values(model: &ModelNowRecord, series: Series) -> Vec<Option<f64>> {
    model.recent.points.iter().map(series.of).collect()
}

/// A column of the list: its head, its width, and what is in it. The last give way first where the screen is narrow.
struct Column {
    head: &'static str,
    width: u16,
    cell: fn(&ModelNowRecord) -> String,
}

/// Bars of one cell.
const BARS_WIDTH: u16 = 12;

const COLUMNS: [Column; 11] = [
    Column {
        head: "ATTENTION",
        width: 10,
        cell: |it| attention(it).to_owned(),
    },
    Column {
        head: "MODEL",
        width: 16,
        cell: |it| it.name.clone(),
    },
    Column {
        head: "ANSWERS",
        width: 14,
        cell: answers,
    },
    Column {
        head: "REQ/S",
        width: 7,
        cell: |it| number(last(it).requests_per_s),
    },
    Column {
        head: "P99 MS",
        width: 7,
        cell: |it| or_dash(last(it).p99_ms, number),
    },
    Column {
        head: "ERRORS",
        width: 7,
        cell: |it| or_dash(last(it).error_rate, share),
    },
    Column {
        head: "REQUESTS",
        width: BARS_WIDTH,
        cell: |it| bars(&values(it, SERIES[0]), BARS_WIDTH.into()),
    },
    Column {
        head: "P99",
        width: BARS_WIDTH,
        cell: |it| bars(&values(it, SERIES[2]), BARS_WIDTH.into()),
    },
    Column {
        head: "ALERTS",
        width: 19,
        cell: alerts,
    },
    Column {
        head: "DRIFT",
        width: 17,
        cell: drift,
    },
    Column {
        head: "QUALITY",
        width: 30,
        cell: quality,
    },
];

/// All of it as plain text.
pub(super) fn plain(overview: &OverviewRecord) -> String {
    let currency = overview.currency.as_deref();
    let mut heads = vec![
        "ATTENTION",
        "MODEL",
        "ANSWERS",
        "REQ/S",
        "P50 MS",
        "P99 MS",
        "ERRORS",
        "QUALITY",
        "DRIFT",
        "ALERTS",
    ];
    let cost = currency.map(|it| format!("{it}/1000"));
    heads.extend(cost.as_deref());
    heads.push("WHY");
    let row = |it: &ModelNowRecord| {
        let word = attention(it);
        let last = last(it);
        let mut cells = vec![
            if word.is_empty() { "-" } else { word }.to_owned(),
            it.name.clone(),
            answers(it),
            number(last.requests_per_s),
            or_dash(last.p50_ms, number),
            or_dash(last.p99_ms, number),
            or_dash(last.error_rate, share),
            quality(it),
            drift(it),
            alerts(it),
        ];
        cells.extend(currency.map(|_| or_dash(it.cost_per_1k, number)));
        cells.push(it.because.clone());
        cells
    };
    if overview.models.is_empty() {
        return NONE.to_owned();
    }
    table(&heads, overview.models.iter().map(row))
}

const NONE: &str = "no models; `windlass push` registers one";

/// One frame.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, palette: Palette) {
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Line::from(title(view, palette)), head);
    frame.render_widget(Line::from(KEYS), foot);
    let Some(chosen) = view.chosen() else {
        frame.render_widget(NONE, body);
        return;
    };
    if view.alone {
        one(frame, body, (view, chosen), palette);
        return;
    }
    // The list has the greater part, and what is known of the chosen one the rest.
    let below = (body.height / 3).clamp(3, 12);
    let [above, below] =
        Layout::vertical([Constraint::Min(2), Constraint::Length(below)]).areas(body);
    list(frame, above, view, palette);
    let block = Block::new()
        .borders(Borders::TOP)
        .title(format!(" {} ", chosen.name));
    let details = Paragraph::new(details(view, chosen, palette)).wrap(Wrap { trim: false });
    frame.render_widget(details.block(block), below);
}

const KEYS: &str = "up/down choose  enter alone  s order  q leave";

fn title(view: &View, palette: Palette) -> Vec<Span<'static>> {
    let models = &view.overview.models;
    let (now, ready) = (
        models.iter().filter(|it| it.attention == 3).count(),
        models.iter().filter(|it| it.state == "ready").count(),
    );
    let at = moment_us(view.overview.at_ms.saturating_mul(1000));
    let mut spans = vec![Span::raw(format!(
        "windlass {}  {ready} of {} ready  by {}  ",
        view.address,
        models.len(),
        view.order.name()
    ))];
    if now > 0 {
        let said = format!("{now} NOW  ");
        spans.push(Span::styled(said, palette.attention(3)));
    }
    spans.push(match &view.away {
        None => Span::raw(format!("{at} UTC")),
        Some(why) => Span::styled(format!("stale since {at} UTC: {why}"), palette.attention(3)),
    });
    spans
}

fn list(frame: &mut Frame<'_>, area: Rect, view: &View, palette: Palette) {
    let mut room = area.width;
    let mut shown: Vec<&Column> = Vec::new();
    for column in &COLUMNS {
        let needed = column.width + u16::from(!shown.is_empty());
        if needed > room && !shown.is_empty() {
            break;
        }
        room = room.saturating_sub(needed);
        shown.push(column);
    }
    let rows = view.overview.models.iter().map(|model| {
        let cells = shown.iter().map(|it| Cell::from((it.cell)(model)));
        Row::new(cells).style(palette.attention(model.attention))
    });
    let heads = shown.iter().map(|it| it.head);
    let widths = shown.iter().map(|it| Constraint::Length(it.width));
    let table = Table::new(rows, widths)
        .header(Row::new(heads))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(Some(view.place()));
    frame.render_stateful_widget(table, area, &mut state);
}

/// What is known of a model, in lines.
fn details(view: &View, model: &ModelNowRecord, palette: Palette) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let why = match model.attention {
        0 => Line::from("needs no attention"),
        _ => {
            let word = Span::styled(attention(model), palette.attention(model.attention));
            Line::from(vec![word, Span::raw(format!(": {}", model.because))])
        }
    };
    lines.push(why);
    if let Some(why) = &model.why {
        lines.push(Line::from(format!("{}: {why}", model.state)));
    }
    for it in &model.alerts {
        let weight = match (it.state.as_str(), it.severity.as_str()) {
            ("firing", "page") => 3,
            ("firing", "ticket") => 2,
            _ => 1,
        };
        let since = moment_us(it.since_ms.saturating_mul(1000));
        let word = format!("{} {}", it.severity, it.state);
        let muted = it.muted.as_ref();
        let muted = muted.map_or_else(String::new, |by| format!(" (muted by {by})"));
        lines.push(Line::from(vec![
            Span::raw("alert    "),
            Span::styled(word, palette.attention(weight)),
            Span::raw(format!(" since {since} {}{muted}: {}", it.name, it.summary)),
        ]));
    }
    let aliases = model.aliases.iter();
    let aliases = aliases.map(|it| format!("  @{} {}", it.alias, it.version));
    let aliases: String = aliases.collect();
    lines.push(Line::from(format!("answers  {}{aliases}", answers(model))));
    if let Some(it) = &model.rollout {
        let said = format!(
            "rollout  version {} {} ({})",
            it.candidate, it.status, it.id
        );
        lines.push(Line::from(said));
    }
    if let Some(it) = &model.quality {
        let estimated = if it.estimated { ", estimated" } else { "" };
        let coverage = it.coverage;
        let labels = coverage.map_or_else(String::new, |it| format!(", {} labelled", share(it)));
        let line = format!(
            "quality  {} {}{estimated}{labels}{}",
            it.metric,
            interval(&it.value),
            said(&it.verdict, ": ")
        );
        lines.push(Line::from(line));
    }
    if let Some(it) = &model.drift {
        let columns = match it.drifted.is_empty() {
            true => String::new(),
            false => format!(": {}", it.drifted.join(", ")),
        };
        let said = format!("drift    {} in {} columns{columns}", it.verdict, it.columns);
        lines.push(Line::from(said));
    }
    if let (Some(cost), Some(currency)) = (model.cost_per_1k, &view.overview.currency) {
        let said = format!("cost     {} {currency} for 1000 rows", number(cost));
        lines.push(Line::from(said));
    }
    lines
}

/// A model alone: its values in time above what is known of it.
fn one(
    frame: &mut Frame<'_>,
    area: Rect,
    (view, model): (&View, &ModelNowRecord),
    palette: Palette,
) {
    let height = SERIES.len() as u16 + 1;
    let [above, below] =
        Layout::vertical([Constraint::Length(height), Constraint::Min(1)]).areas(area);
    // A name, the newest value and the greatest stand before the bars.
    const BEFORE: usize = 44;
    let width = usize::from(above.width).saturating_sub(BEFORE).max(1);
    let line = |series: &Series| {
        let values = values(model, *series);
        let seen = &values[values.len().saturating_sub(width)..];
        let most = seen.iter().flatten().copied().reduce(f64::max);
        let show = |it: f64| format!("{}{}", number(it), series.unit);
        let now = or_dash(values.last().copied().flatten(), show);
        let most = or_dash(most, show);
        let before = format!("{:<9}{now:<14}at most {most:<13}", series.name);
        Line::from(format!("{before}{}", bars(&values, width)))
    };
    let block = Block::new()
        .borders(Borders::TOP)
        .title(format!(" {} ", model.name));
    let charts: Vec<Line<'_>> = SERIES.iter().map(line).collect();
    frame.render_widget(Paragraph::new(charts).block(block.clone()), above);
    let details = Paragraph::new(details(view, model, palette)).wrap(Wrap { trim: false });
    let block = Block::new().borders(Borders::TOP);
    frame.render_widget(details.block(block), below);
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;
    use crate::top::News;
    use crate::top::view::Key;

    /// Three models: one in trouble, one that waits for a person, one that nobody asks.
    pub(in crate::top) fn overview() -> OverviewRecord {
        let point = |rate: f64, errors: f64, ms: f64| json!({"requests_per_s": rate, "error_rate": errors, "p50_ms": ms / 4.0, "p99_ms": ms});
        let none: BTreeMap<String, String> = BTreeMap::new();
        let alert = json!({
            "id": "3f9a41c07be2d815", "name": "drift", "model": "credit", "state": "firing",
            "since_ms": 1_795_345_000_000_i64, "severity": "page", "summary": "`age` has drifted",
            "evidence": none, "labels": none, "annotations": none,
            "known_ms": 1_795_345_500_000_i64, "incident": 1,
        });
        let record = json!({
            "at_ms": 1_795_345_503_000_i64, "revision": 7, "currency": "EUR",
            "models": [
                {
                    "name": "credit", "state": "ready", "attention": 3,
                    "because": "alert `drift` fires: `age` has drifted",
                    "traffic": [{"arm": "traffic", "version": 3, "percent": 100.0}],
                    "aliases": [{"alias": "live", "version": 3}],
                    "recent": {"from_ms": 1_795_345_480_000_i64, "step_ms": 10_000, "points": [
                        point(20.0, 0.0, 8.0), point(40.0, 0.01, 12.0), point(42.5, 0.012, 16.0)]},
                    "cost_per_1k": 0.00125,
                    "quality": {"metric": "roc_auc", "value": 0.8123, "low": 0.78, "high": 0.84,
                        "estimated": false, "coverage": 0.25, "verdict": "fine", "at_ms": 1},
                    "drift": {"verdict": "drift", "drifted": ["age", "income"], "columns": 20, "at_ms": 1},
                    "alerts": [alert],
                },
                {
                    "name": "churn", "state": "ready", "attention": 2,
                    "because": "version 2 waits for approval: it is at step 1 of 3 (5%)",
                    "traffic": [
                        {"arm": "candidate", "version": 2, "percent": 5.0},
                        {"arm": "incumbent", "version": 1, "percent": 90.0},
                        {"arm": "control", "version": 1, "percent": 5.0}],
                    "aliases": [],
                    "rollout": {"id": "r-1", "candidate": 2, "status": "is at step 1 of 3 (5%)",
                        "awaits_approval": true},
                    "recent": {"from_ms": 1_795_345_480_000_i64, "step_ms": 10_000, "points": [
                        {"requests_per_s": 0.0}, point(100.0, 0.0, 2.0), point(120.0, 0.0, 2.0)]},
                    // Nothing is demanded of it.
                    "quality": {"metric": "accuracy", "value": 0.9, "low": 0.88, "high": 0.92,
                        "estimated": false, "coverage": 1.0, "at_ms": 1},
                    "alerts": [],
                },
                {
                    "name": "idle", "state": "unloaded", "attention": 0, "because": "",
                    "traffic": [{"arm": "traffic", "version": 1, "percent": 100.0}], "aliases": [],
                    "recent": {"from_ms": 1_795_345_480_000_i64, "step_ms": 10_000, "points": [
                        {"requests_per_s": 0.0}, {"requests_per_s": 0.0}, {"requests_per_s": 0.0}]},
                    "alerts": [],
                },
            ],
        });
        serde_json::from_value(record).expect("a record")
    }

    fn screen(view: &View, (width, height): (u16, u16)) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
        let palette = Palette { colour: true };
        terminal
            .draw(|frame| draw(frame, view, palette))
            .expect("drawn");
        terminal.backend().to_string()
    }

    fn view() -> View {
        View::new("http://127.0.0.1:8080".to_owned(), overview())
    }

    #[test]
    fn the_list_and_what_is_known_of_the_chosen_model() {
        insta::assert_snapshot!("list_wide", screen(&view(), (170, 18)));
        let mut view = view();
        view.press(Key::Down);
        insta::assert_snapshot!("list_undemanded", screen(&view, (170, 18)));
        insta::assert_snapshot!("list_narrow", screen(&view, (80, 14)));
        insta::assert_snapshot!("list_tiny", screen(&view, (12, 5)));
    }

    #[test]
    fn a_model_alone() {
        let mut view = view();
        view.press(Key::Enter);
        insta::assert_snapshot!("alone", screen(&view, (100, 18)));
    }

    #[test]
    fn what_is_old_is_said_to_be() {
        let mut view = view();
        view.hear(News::Away("the server does not answer".to_owned()));
        insta::assert_snapshot!("stale", screen(&view, (140, 8)));
        let mut none = overview();
        none.models.clear();
        view.hear(News::All(none));
        insta::assert_snapshot!("none", screen(&view, (80, 5)));
    }

    #[test]
    fn as_plain_text() {
        insta::assert_snapshot!("plain", plain(&overview()));
        let mut other = overview();
        other.models.clear();
        assert_eq!(plain(&other), NONE);
    }

    #[test]
    fn colour_is_left_out_where_nobody_wants_it() {
        for attention in 0..=3 {
            let without = Palette { colour: false }.attention(attention);
            assert_eq!(without.fg, None);
            let with = Palette { colour: true }.attention(attention);
            assert_eq!(with.fg.is_some(), attention > 0);
        }
    }

    #[test]
    fn bars_lie_between_nothing_and_the_greatest() {
        let values = [Some(0.0), None, Some(1.0), Some(8.0), Some(4.0)];
        assert_eq!(bars(&values, 9), "▁ ▁█▄");
        assert_eq!(bars(&values, 2), "█▄");
        assert_eq!(bars(&[Some(0.0); 3], 3), "▁▁▁");
        assert_eq!(bars(&[], 3), "");
    }
}
