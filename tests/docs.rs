//! What the documentation lists is what the code has, and what it points at exists.
//!
//! Keys of the configuration are compared in `config.rs`, metrics in `metrics.rs`, the help in `cli.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use linkgate::config::keyfile::Absent;
use linkgate::config::{KEYS, Kind, Settings};

use crate::cli::{Home, code, err, out};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

type Words = BTreeSet<String>;

/// Folders that are made, and those of other programs.
const NOT_OURS: [&str; 3] = ["target", "node_modules", "corpus"];

/// The files below a folder of the project whose names end so, with their paths from the root.
fn files(folder: &str, ends: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(ROOT).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name.starts_with('.') || NOT_OURS.contains(&name.as_str()) {
            } else if path.is_dir() {
                folders.push(path);
            } else if ends.iter().any(|end| name.ends_with(end)) {
                found.push(path.strip_prefix(ROOT).unwrap().to_owned());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folder}: {ends:?}");
    found
}

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(ROOT).join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The Rust sources of the product, as one text. Tests at the end of a file are left out.
fn sources(folder: &str) -> String {
    let texts = files(folder, &[".rs"]).into_iter().map(read);
    texts
        .map(|text| text.split("#[cfg(test)]").next().unwrap_or_default().to_owned())
        .collect()
}

/// The words in backticks of a text.
fn ticked(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The part of a page under a heading.
fn under<'t>(page: &'t str, heading: &str) -> &'t str {
    let level = heading.split(' ').next().unwrap();
    let (_, rest) = page
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("no heading {heading:?}"));
    rest.split(&format!("\n{level} ")).next().unwrap()
}

/// The cells of a row.
fn cells(row: &str) -> Vec<&str> {
    row.trim().trim_matches('|').split(" | ").map(str::trim).collect()
}

/// The words in backticks in the first cells of the rows of a table.
fn first_column(part: &str) -> Words {
    let rows = part.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| ticked(cells(row)[0])).map(str::to_owned).collect()
}

/// The row of a table whose first cell holds a word.
fn row<'t>(part: &'t str, word: &str) -> &'t str {
    let start = format!("| `{word}` |");
    let found = part.lines().find(|line| line.starts_with(&start));
    found.unwrap_or_else(|| panic!("no row for {word}"))
}

/// The stable words of an enum of a crate: its variants in kebab-case, or as an attribute says.
fn variants(folder: &str, name: &str) -> Words {
    let text = sources(folder);
    let (_, rest) = text
        .split_once(&format!("pub enum {name} {{"))
        .unwrap_or_else(|| panic!("no enum {name} in {folder}"));
    let body = rest.split("\n}").next().unwrap();
    let (mut words, mut said) = (Words::new(), None);
    for line in body.lines().map(str::trim) {
        if let Some(word) = line.strip_prefix("#[strum(serialize = \"") {
            said = Some(word.split('"').next().unwrap().to_owned());
        } else if line.starts_with(char::is_uppercase) {
            let variant = line.split(|c: char| !c.is_alphanumeric()).next().unwrap();
            words.insert(said.take().unwrap_or_else(|| kebab(variant)));
        }
    }
    assert!(words.len() > 1, "{name}: {words:?}");
    words
}

fn kebab(variant: &str) -> String {
    let mut word = String::new();
    for c in variant.chars() {
        if c.is_uppercase() && !word.is_empty() {
            word.push('-');
        }
        word.extend(c.to_lowercase());
    }
    word
}

fn run(args: &[&str]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_linkgate"));
    let output = program.args(args).env("COLUMNS", "100").output().unwrap();
    assert_eq!(code(&output), 0, "{args:?}: {}", err(&output));
    out(&output)
}

/// The commands that a help lists.
fn commands(help: &str) -> Vec<String> {
    let Some((_, rest)) = help.split_once("\nCommands:\n") else {
        return Vec::new();
    };
    let lines = rest.lines().take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let pages = files(".", &[".md"]);
    assert!(pages.len() > 20);
    let mut wrong = Vec::new();
    for page in &pages {
        for link in links(&read(page)) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match path {
                "" => page.clone(),
                path => page.parent().unwrap().join(path),
            };
            let exists = Path::new(ROOT).join(&target).exists();
            if !exists || !anchor.is_empty() && !anchors(&read(&target)).contains(anchor) {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The targets of Markdown links that are no URL, outside code blocks.
fn links(page: &str) -> Vec<String> {
    let text: String = page.split("```").step_by(2).collect();
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    links.filter(|l| !l.contains("://")).map(str::to_owned).collect()
}

/// What a heading is linked to by.
fn anchors(page: &str) -> Words {
    let text: String = page.split("```").step_by(2).collect();
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    let titles = headings.map(|h| h.trim_start_matches('#').trim().to_lowercase());
    let kept = titles.map(|t| t.replace(|c: char| !c.is_alphanumeric() && !"-_ ".contains(c), ""));
    kept.map(|t| t.replace(' ', "-")).collect()
}

#[test]
fn every_page_that_a_comment_names_exists() {
    let mut texts = files("src", &[".rs"]);
    texts.extend(files("crates", &[".rs", ".toml", ".sql"]));
    texts.extend(files("tests", &[".rs"]));
    texts.extend(files("contrib", &[""]));
    texts.push("Cargo.toml".into());
    let mut seen = 0;
    for file in texts {
        let text = read(&file);
        for start in text.match_indices("docs/").map(|(at, _)| at) {
            let rest = &text[start..];
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "/-_.".contains(c)));
            let named = rest[..end.unwrap_or(rest.len())].trim_end_matches('.');
            if named.ends_with(".md") && !text[..start].ends_with(['.', '/']) {
                seen += 1;
                assert!(Path::new(ROOT).join(named).exists(), "{}: {named}", file.display());
            }
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn every_dependency_is_explained_and_nothing_else() {
    let mut used = Words::new();
    let mut manifests = files("crates", &["Cargo.toml"]);
    manifests.push("Cargo.toml".into());
    for manifest in manifests {
        let parsed: toml::Table = read(&manifest).parse().unwrap();
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let section = parsed.get(section).and_then(toml::Value::as_table);
            used.extend(section.into_iter().flat_map(|s| s.keys().cloned()));
        }
    }
    used.retain(|name| !name.starts_with("linkgate-"));
    let page = read("docs/dependencies.md");
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let named = rows
        .map(|row| cells(row)[0])
        .filter(|cell| !["crate", "---"].contains(cell));
    // "rusqlite (SQLite compiled in)" is one, "anyhow, thiserror" are two.
    let names = named.flat_map(|cell| cell.split(" (").next().unwrap().split(", "));
    let mut explained: Words = names.map(str::to_owned).collect();
    let tests = page
        .lines()
        .find(|line| line.starts_with("For tests and benches only: "));
    let tests = tests.unwrap().split_once(": ").unwrap().1;
    // "proptest (laws), criterion (functions)"
    explained.extend(tests.split("), ").map(|t| t.split(" (").next().unwrap().to_owned()));
    assert_eq!(explained, used, "left: docs/dependencies.md; right: the manifests");
}

/// A crate that the release profile builds quickly must not be installed so: `dist` takes its settings over, crate by crate.
#[test]
fn what_is_installed_is_optimised_where_the_release_build_is_not() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let packages = |profile: &str| manifest["profile"][profile]["package"].as_table().unwrap();
    let (installed, quick) = (packages("dist"), packages("release"));
    assert_eq!(
        installed.keys().collect::<Vec<_>>(),
        quick.keys().collect::<Vec<_>>(),
        "left: [profile.dist.package], right: [profile.release.package]"
    );
    for (name, settings) in installed {
        assert_ne!(settings["opt-level"], toml::Value::Integer(0), "{name}");
    }
}

#[test]
fn the_readme_and_the_fixtures_have_every_command() {
    let help = run(&["--help"]);
    let all: Words = commands(&help).into_iter().collect();
    assert!(all.len() > 8, "{help}");
    let page = read("README.md");
    let rows = under(&page, "## Commands")
        .lines()
        .filter(|line| line.starts_with("| `"));
    let named = rows.flat_map(|row| ticked(cells(row)[0]));
    let named: Words = named.map(|c| c.trim_start_matches("linkgate ").to_owned()).collect();
    assert_eq!(named, all, "left: README.md; right: linkgate --help");

    let mut pages: Words = ["linkgate".to_owned()].into();
    for command in &all {
        pages.insert(command.clone());
        let inner = commands(&run(&[command, "--help"]));
        pages.extend(inner.iter().map(|name| format!("{command}-{name}")));
    }
    let kept = files("fixtures/help", &[".txt"]);
    let kept = kept.iter().map(|path| path.file_stem().unwrap().to_str().unwrap());
    assert_eq!(kept.map(str::to_owned).collect::<Words>(), pages);
}

#[test]
fn every_word_that_the_help_lists_is_taken_and_no_other() {
    let help = run(&["clicks", "--help"]);
    for (option, says) in [("--label", "Clicks by: "), ("--verdict", "Clicks whose verdict was: ")] {
        let listed = help.lines().find_map(|line| line.trim().strip_prefix(says)).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_linkgate"));
        let output = program.args(["clicks", option, "nonsense"]).output().unwrap();
        let said = err(&output);
        let allowed = said.split_once("allowed: ").unwrap_or_else(|| panic!("{said}")).1;
        let words = |text: &str| -> Words { text.lines().next().unwrap().split(", ").map(str::to_owned).collect() };
        assert_eq!(words(listed), words(allowed), "{option}");
    }
}

#[test]
fn every_kind_of_alert_is_documented_and_nothing_else() {
    let page = read("docs/records.md");
    let alerts = under(&page, "## Alerts");
    let kinds = variants("crates/store/src", "AlertKind");
    assert_eq!(first_column(alerts), kinds, "left: docs/records.md; right: the store");
    for kind in &kinds {
        assert!(kind.parse::<store::AlertKind>().is_ok(), "{kind}");
    }
    let metrics = read("docs/metrics.md");
    let cell = cells(row(&metrics, "linkgate_alerts_total"))[3];
    let counted: Words = ticked(cell).into_iter().map(str::to_owned).collect();
    let said = kinds.iter().filter(|kind| row(alerts, kind).ends_with("| counts it |"));
    assert_eq!(said.cloned().collect::<Words>(), counted);
}

#[test]
fn every_column_of_the_click_log_is_documented_in_its_order() {
    let home = Home::new();
    drop(store::Store::open(&home.path("linkgate.db")).unwrap());
    let output = home.run(&["clicks", "--csv"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let csv = out(&output);
    let columns: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    let page = read("docs/records.md");
    let table = under(&page, "## What a row holds");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let named: Vec<&str> = rows.flat_map(|row| ticked(cells(row)[0])).collect();
    let sorted = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Words>();
    assert_eq!(
        sorted(&named),
        sorted(&columns),
        "left: docs/records.md; right: linkgate clicks --csv"
    );
}

#[test]
fn every_outcome_verdict_and_label_of_a_click_is_documented_and_nothing_else() {
    let page = read("docs/records.md");
    let table = under(&page, "## What a row holds");
    let words = |column: &str| -> Words {
        ticked(cells(row(table, column))[1])
            .into_iter()
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(words("outcome"), variants("crates/store/src", "Outcome"));
    assert_eq!(words("verdict"), variants("crates/link/src", "Verdict"));
    let labels = under(&page, "## People and machines");
    let labels = labels.split("| reason | points |").next().unwrap();
    assert_eq!(first_column(labels), variants("crates/store/src", "Label"));
}

#[test]
fn every_obstacle_of_a_target_is_documented_and_nothing_else() {
    let page = read("docs/contact.md");
    let table = first_column(under(&page, "## Could not inspect"));
    // These are compared with the code in `metrics.rs`.
    let metrics = read("docs/metrics.md");
    let counted = ticked(cells(row(&metrics, "linkgate_contact_obstacles_total"))[3]);
    assert_eq!(table, counted.into_iter().map(str::to_owned).collect::<Words>());
}

#[test]
fn every_type_of_source_is_documented_and_nothing_else() {
    let key = KEYS.iter().find(|k| (k.section, k.name) == ("source", "type")).unwrap();
    let Kind::Choice(types) = &key.kind else {
        panic!("{key:?}");
    };
    let page = read("docs/lists.md");
    let types: Words = types.iter().map(|t| (*t).to_owned()).collect();
    assert_eq!(first_column(under(&page, "## Types")), types);
}

/// A `[[source]]` with such a name could not be told from evidence of another kind.
#[test]
fn every_source_of_reasons_is_documented_and_reserved() {
    let page = read("docs/api.md");
    let documented = first_column(under(&page, "### Sources of reasons"));
    let code = sources("src") + &sources("crates/link/src");
    let starts = [
        "source: Cow::Borrowed(\"",
        "const SOURCE: &str = \"",
        "const SOURCE: &'static str = \"",
        "source: \"",
    ];
    let literals = starts.iter().flat_map(|start| code.split(start).skip(1));
    let mut known: Words = literals
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    known.extend(
        code.split("const CHECK: &str = \"")
            .skip(1)
            .map(|r| r.split('"').next().unwrap().to_owned()),
    );
    assert_eq!(documented, known, "left: docs/api.md; right: the code");

    let keys = read("docs/configuration.md");
    let name = row(under(&keys, "## `[[source]]`"), "name");
    let reserved = ticked(name.split_once("Reserved: ").unwrap().1);
    let reserved: Words = reserved.into_iter().map(str::to_owned).collect();
    assert_eq!(reserved, documented, "left: docs/configuration.md; right: docs/api.md");
    let least = read("fixtures/config/good/least.toml");
    let load = |name: &str| {
        let text = format!("{least}[[source]]\nname = {name:?}\ntype = \"domains\"\nfrom = \"/etc/hosts\"\n");
        Settings::from_toml(&text, Path::new("x"), Absent::Pretend)
    };
    assert!(load("ours").is_ok());
    let taken: Vec<_> = documented.iter().filter(|name| load(name).is_ok()).collect();
    assert!(taken.is_empty(), "a source can be called {taken:?}");
}

#[test]
fn every_path_of_the_admin_address_is_documented_and_nothing_else() {
    let code = sources("src");
    let routes = code
        .split(".route(\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap());
    let routes: Words = routes.map(str::to_owned).collect();
    assert!(routes.len() > 3, "{routes:?}");
    let metrics = read("docs/metrics.md");
    let table = metrics.split("\n## ").next().unwrap();
    assert_eq!(first_column(table), routes, "left: docs/metrics.md; right: the code");
    let keys = read("docs/configuration.md");
    let said = row(under(&keys, "## `[admin]`"), "listen");
    for path in &routes {
        assert!(said.contains(&format!("`{path}`")), "docs/configuration.md: {path}");
    }
}

#[test]
fn the_sample_has_no_key_that_does_not_exist() {
    let sample = read("contrib/linkgate.toml");
    let mut section = String::new();
    let mut seen = 0;
    for line in sample.lines() {
        if line.starts_with('[') {
            let name = line.trim_start_matches('[');
            section = name.split(['.', ']']).next().unwrap().to_owned();
            continue;
        }
        let Some((name, _)) = line.trim_start_matches("# ").split_once(" = ") else {
            continue;
        };
        if name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !line.starts_with("#  ") {
            seen += 1;
            let known = KEYS.iter().any(|k| (k.section, k.name) == (&*section, name));
            assert!(known, "[{section}] {name}");
        }
    }
    assert!(seen > 100, "{seen}");
}

/// Folders of the project that the page may name.
const NAMED: [&str; 7] = [
    "src/",
    "crates/",
    "tests/",
    "docs/",
    "contrib/",
    "fixtures/",
    "templates/",
];

/// Paths in backticks; `src/a/{b,c}.rs` are two.
fn paths(text: &str) -> Vec<String> {
    let named = ticked(text).into_iter();
    let named = named.filter(|word| NAMED.iter().any(|start| word.starts_with(start)) && !word.contains(' '));
    named
        .flat_map(|word| match word.split_once('{') {
            Some((start, rest)) => {
                let (middle, end) = rest.split_once('}').unwrap();
                middle.split(',').map(|m| format!("{start}{m}{end}")).collect()
            }
            None => vec![word.to_owned()],
        })
        .collect()
}

#[test]
fn every_path_of_the_architecture_exists_and_every_room_is_there() {
    let page = read("docs/architecture.md");
    // Fences would shift the pairs of backticks.
    let text: String = page.split("```").step_by(2).collect();
    let named = paths(&text);
    // A room is named without its ending.
    let root = Path::new(ROOT);
    let exists = |path: &str| root.join(path).exists() || root.join(format!("{path}.rs")).exists();
    let gone: Vec<_> = named.iter().filter(|path| !exists(path)).collect();
    assert!(gone.is_empty(), "{gone:#?}");
    assert!(named.len() > 100, "{}", named.len());

    let rooms = under(&page, "## Rooms");
    let described: Words = ticked(rooms)
        .into_iter()
        .map(|p| p.trim_end_matches('/').to_owned())
        .collect();
    for entry in fs::read_dir(Path::new(ROOT).join("src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let room = format!("src/{}", name.trim_end_matches(".rs"));
        assert!(described.contains(&room), "docs/architecture.md lacks {room}");
    }
    for entry in fs::read_dir(Path::new(ROOT).join("crates")).unwrap() {
        let room = format!("crates/{}", entry.unwrap().file_name().to_str().unwrap());
        assert!(described.contains(&room), "docs/architecture.md lacks {room}");
    }
}

#[test]
fn every_test_that_the_architecture_names_exists() {
    let tests: String = ["tests", "crates", "src"]
        .into_iter()
        .flat_map(|folder| files(folder, &[".rs"]))
        .map(read)
        .collect();
    let page = read("docs/architecture.md");
    let table = under(&page, "## Invariants");
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(2);
    let named: Vec<&str> = rows.flat_map(|row| ticked(cells(row)[1])).collect();
    assert!(named.len() > 30, "{named:?}");
    let gone: Vec<_> = named
        .iter()
        .filter(|name| !tests.contains(&format!("fn {name}(")))
        .collect();
    assert!(gone.is_empty(), "{gone:#?}");
}
