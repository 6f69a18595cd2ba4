//! Every metric is documented with its type and its labels, nothing is documented that is not there, and the example
//! alerts ask for nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use linkgate::admin::ScrapeInput;
use linkgate::config::Settings;
use linkgate::config::keyfile::Absent;
use linkgate::ledger::Ledger;
use linkgate::mail::budget::Budgets;
use linkgate::metrics::Metrics;

/// Type and label names of a metric.
type Shape = (String, BTreeSet<String>);

fn settings() -> Settings {
    let text = include_str!("../fixtures/config/good/least.toml");
    Settings::from_toml(text, Path::new("least.toml"), Absent::Pretend).unwrap()
}

/// What a server exposes that has one listener and one next hop.
fn exposed() -> (String, BTreeMap<String, Shape>) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&folder.path().join("linkgate.db")).unwrap();
    let metrics = Metrics::new();
    let _ = (
        metrics.listener("127.0.0.1:10025"),
        metrics.next_hop("smtp://127.0.0.1:10026"),
    );
    metrics.source("urlhaus").set_confirmed(std::time::SystemTime::now());
    let page = metrics.page(&ScrapeInput {
        ledger: &ledger,
        budgets: &Budgets::new(&settings().limits),
        limits: &settings().limits,
    });
    let mut shapes = BTreeMap::<String, Shape>::new();
    let mut last = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            last = match kind {
                "counter" => format!("{name}_total"),
                "info" => format!("{name}_info"),
                _ => name.to_owned(),
            };
            shapes.insert(last.clone(), (kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let labels = series
                .split_once('{')
                .map_or("", |(_, rest)| rest.trim_end_matches('}'));
            let names = labels.split("\",").filter_map(|pair| Some(pair.split_once("=\"")?.0));
            let shape = shapes.get_mut(&last).unwrap();
            shape.1.extend(names.filter(|name| *name != "le").map(str::to_owned));
        }
    }
    (page, shapes)
}

/// The tables of the page: name, type, labels.
fn documented() -> BTreeMap<String, Shape> {
    let page = include_str!("../docs/metrics.md");
    let mut shapes = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| `linkgate_")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, kind, labels, ..] = cells[..] else {
            panic!("too few cells: {line}");
        };
        let labels = labels.split(", ").filter(|l| !l.is_empty() && *l != "-");
        let labels = labels.map(|l| l.trim_matches('`').to_owned()).collect();
        let twice = shapes.insert(name.trim_matches('`').to_owned(), (kind.to_owned(), labels));
        assert_eq!(twice, None, "{name} stands there twice");
    }
    shapes
}

#[test]
fn every_metric_is_documented_and_nothing_else() {
    let (_, exposed) = exposed();
    assert!(exposed.len() > 40, "{exposed:?}");
    assert_eq!(
        documented(),
        exposed,
        "left: docs/metrics.md; right: what /metrics says"
    );
}

#[test]
fn the_example_alerts_ask_for_metrics_that_exist() {
    let (_, exposed) = exposed();
    let rules = include_str!("../contrib/prometheus/linkgate.rules.yml");
    let words = rules.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let asked: BTreeSet<&str> = words.filter(|word| word.starts_with("linkgate_")).collect();
    assert!(asked.len() > 8, "{asked:?}");
    for name in asked {
        let histogram = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        let is_histogram = histogram.is_some_and(|base| exposed.get(base).is_some_and(|s| s.0 == "histogram"));
        assert!(exposed.contains_key(name) || is_histogram, "{name} does not exist");
    }
}

#[test]
fn names_follow_the_conventions() {
    let (page, exposed) = exposed();
    assert!(page.ends_with("# EOF\n"));
    for (name, (kind, _)) in &exposed {
        assert!(name.starts_with("linkgate_"), "{name}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        assert!(kind != "histogram" || name.ends_with("_seconds"), "{name}");
    }
}

#[test]
fn one_name_has_one_set_of_counters() {
    let metrics = Metrics::new();
    let (first, again) = (metrics.listener("a:1"), metrics.listener("a:1"));
    let _open = first.session();
    let _second = again.session();
    drop(_second);
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&folder.path().join("linkgate.db")).unwrap();
    let page = metrics.page(&ScrapeInput {
        ledger: &ledger,
        budgets: &Budgets::new(&settings().limits),
        limits: &settings().limits,
    });
    for line in [
        "linkgate_connections{listener=\"a:1\"} 1",
        "linkgate_connections_accepted_total{listener=\"a:1\"} 2",
    ] {
        assert!(page.lines().any(|l| l == line), "{line} is not in {page}");
    }
}

/// Values that are words of the configuration, or are listed on a page of their own.
const OPEN_LABELS: [&str; 7] = ["le", "listener", "next_hop", "quirk", "source", "status", "version"];

#[test]
fn every_value_of_a_label_is_documented() {
    let (exposed, _) = exposed();
    let page = include_str!("../docs/metrics.md");
    let (mut seen, mut lacking) = (0, Vec::new());
    for line in exposed.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, rest)) = line.split_once('{') else {
            continue;
        };
        let row = |name: &str| page.lines().find(|row| row.starts_with(&format!("| `{name}` |")));
        let base = name.strip_suffix("_bucket").unwrap_or(name);
        let Some(row) = row(base).or_else(|| row(base.trim_end_matches("_count").trim_end_matches("_sum"))) else {
            panic!("docs/metrics.md lacks {name}");
        };
        // Said of values that are another's, such as phases in which a next hop has no part.
        let is_whole = !row.contains("the other values stay 0");
        for pair in rest.rsplit_once('}').unwrap().0.split("\",") {
            let (label, value) = pair.split_once("=\"").unwrap();
            if is_whole && !OPEN_LABELS.contains(&label) {
                seen += 1;
                let value = value.trim_end_matches('"');
                if !row.contains(&format!("`{value}`")) {
                    lacking.push(format!("{name}: {label} {value}"));
                }
            }
        }
    }
    assert!(lacking.is_empty(), "docs/metrics.md lacks {lacking:#?}");
    assert!(seen > 50, "{seen}");
}
