//! The arrows between the crates and between the folders of `src/`, both as data.
//!
//! Those between crates are read from `cargo metadata`: `wire` and `suffix` know nobody, `message` and `link` may use
//! `suffix`, `lists` may use both of `link` and `suffix`, `store` may use `link`, and only the root knows all. The pure rooms pull in no runtime, socket or database, even at second hand, and
//! name no file, socket or clock in their sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Rooms without IO and without a clock.
const PURE: [&str; 5] = [
    "linkgate-message",
    "linkgate-link",
    "linkgate-lists",
    "linkgate-wire",
    "linkgate-suffix",
];

/// Which rooms a room may use.
const ARROWS: [(&str, &[&str]); 7] = [
    ("linkgate-message", &["linkgate-suffix"]),
    ("linkgate-link", &["linkgate-suffix"]),
    ("linkgate-lists", &["linkgate-link", "linkgate-suffix"]),
    ("linkgate-suffix", &[]),
    ("linkgate-wire", &[]),
    ("linkgate-store", &["linkgate-link"]),
    (
        "linkgate",
        &[
            "linkgate-message",
            "linkgate-link",
            "linkgate-lists",
            "linkgate-wire",
            "linkgate-store",
        ],
    ),
];

/// Which rooms of `src/` a room may use: a file with its folder is a room. `mail` and `click` never know each other.
const SRC_ARROWS: [(&str, &[&str]); 16] = [
    ("main", &["cli"]),
    (
        "cli",
        &["server", "mail", "click", "intel", "log", "config", "net", "clock"],
    ),
    (
        "server",
        &[
            "admin", "mail", "click", "intel", "http", "metrics", "log", "config", "ledger", "net", "clock",
        ],
    ),
    (
        "admin",
        &["click", "mail", "http", "metrics", "config", "ledger", "clock"],
    ),
    (
        "mail",
        &["intel", "metrics", "log", "config", "ledger", "net", "failure", "clock"],
    ),
    (
        "click",
        &["intel", "http", "metrics", "log", "pages", "config", "ledger", "clock"],
    ),
    ("intel", &["metrics", "log", "config", "net", "clock"]),
    ("http", &["metrics", "log"]),
    ("metrics", &["log", "failure", "clock"]),
    ("log", &["config", "clock"]),
    ("config", &["pages", "net", "clock"]),
    ("pages", &[]),
    ("ledger", &["clock"]),
    ("failure", &[]),
    ("net", &[]),
    ("clock", &[]),
];

/// Crates that touch the world: none of them may stand behind a pure room.
const WORLDLY: [&str; 18] = [
    "async-std",
    "axum",
    "clap",
    "deadpool",
    "hickory-resolver",
    "hyper",
    "lettre",
    "mio",
    "reqwest",
    "rusqlite",
    "rustls",
    "smol",
    "socket2",
    "tempfile",
    "tokio",
    "tokio-postgres",
    "tracing",
    "tracing-subscriber",
];

/// Names of the standard library that touch the world.
const WORLDLY_STD: [&str; 11] = [
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixListener",
    "UnixStream",
];

/// The line at the top of a library crate that keeps panics out of code that reads strangers' bytes.
const LINT_LINE: &str =
    "#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]";

#[test]
fn every_room_has_its_arrows_written_here() {
    let house = House::read();
    let written: BTreeSet<&str> = ARROWS.iter().map(|(room, _)| *room).collect();
    let found: BTreeSet<&str> = house.rooms.keys().map(String::as_str).collect();
    assert_eq!(
        found, written,
        "a room was added or renamed: say in ARROWS whom it may use"
    );
}

#[test]
fn rooms_use_only_the_rooms_they_may() {
    let house = House::read();
    for (room, allowed) in ARROWS {
        let used: BTreeSet<&str> = house.rooms[room]
            .direct
            .iter()
            .map(String::as_str)
            .filter(|name| house.rooms.contains_key(*name))
            .collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(
            used.is_subset(&allowed),
            "{room} uses {used:?}, but may use only {allowed:?}"
        );
    }
}

#[test]
fn pure_rooms_pull_in_nothing_that_touches_the_world() {
    let house = House::read();
    for room in PURE {
        let behind = house.behind(room);
        let worldly: Vec<&str> = WORLDLY.iter().copied().filter(|name| behind.contains(*name)).collect();
        assert!(worldly.is_empty(), "{room} depends on {worldly:?}");
    }
    // The store has its own thread and its own files, but no runtime and no network either.
    let behind_store = house.behind("linkgate-store");
    for name in WORLDLY.iter().filter(|name| !["rusqlite"].contains(*name)) {
        assert!(!behind_store.contains(*name), "linkgate-store depends on {name}");
    }
}

#[test]
fn pure_rooms_name_no_file_socket_or_clock() {
    let house = House::read();
    let mut seen = 0;
    for room in PURE {
        for file in rust_files(&house.rooms[room].folder.join("src")) {
            let text = std::fs::read_to_string(&file).expect("source file is readable");
            // Tests at the end of a file may read fixtures.
            for (number, line) in product(&text).lines().enumerate() {
                seen += 1;
                let code = line.split("//").next().unwrap_or_default();
                if let Some(name) = WORLDLY_STD.iter().find(|name| code.contains(**name)) {
                    panic!(
                        "{}:{}: {room} is a pure room, but names {name}",
                        file.display(),
                        number + 1
                    );
                }
            }
        }
    }
    assert!(seen > 0, "no source line was read");
}

#[test]
fn every_room_states_its_rust_version_its_licence_and_the_lints() {
    let house = House::read();
    for (name, room) in &house.rooms {
        assert_eq!(room.rust_version.as_deref(), Some("1.95"), "{name}: rust-version");
        assert_eq!(room.licence.as_deref(), Some("MIT OR Apache-2.0"), "{name}: license");
        assert!(!room.publishable, "{name}: publish = false is missing");
        let manifest = std::fs::read_to_string(room.folder.join("Cargo.toml")).expect("manifest is readable");
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{name}: does not take the workspace's lints"
        );
        if name != "linkgate" {
            let lib = std::fs::read_to_string(room.folder.join("src/lib.rs")).expect("lib.rs is readable");
            assert!(
                lib.lines().any(|line| line == LINT_LINE),
                "{name}: src/lib.rs lacks the line\n{LINT_LINE}"
            );
        }
    }
    let workspace = std::fs::read_to_string(house.root.join("Cargo.toml")).expect("workspace manifest is readable");
    assert!(
        workspace.contains("unsafe_code = \"forbid\""),
        "the workspace no longer forbids unsafe code"
    );
}

#[test]
fn the_licence_texts_lie_beside_the_manifest() {
    let root = House::read().root;
    for (file, words) in [
        ("LICENSE-MIT", "Permission is hereby granted"),
        ("LICENSE-APACHE", "Apache License"),
    ] {
        let text = std::fs::read_to_string(root.join(file)).unwrap_or_default();
        assert!(text.contains(words), "{file} is missing or is not what its name says");
    }
}

#[test]
fn every_room_of_src_has_its_arrows_written_here() {
    let written: BTreeSet<String> = SRC_ARROWS.iter().map(|(room, _)| (*room).to_owned()).collect();
    let found: BTreeSet<String> = product_sources().into_iter().map(|(room, ..)| room).collect();
    assert_eq!(
        found, written,
        "a room of src/ came or went: say in SRC_ARROWS whom it may use"
    );
}

#[test]
fn rooms_of_src_use_only_the_rooms_they_may() {
    let wrong: Vec<String> = product_sources()
        .into_iter()
        .flat_map(|(room, path, text)| {
            let forbidden = forbidden_uses(&room, &text).into_iter();
            forbidden.map(move |other| format!("{}: {room} uses {other}", path.display()))
        })
        .collect();
    assert!(wrong.is_empty(), "not among the arrows: {wrong:#?}");
}

#[test]
fn no_room_of_src_leads_back_to_itself() {
    for (start, _) in SRC_ARROWS {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(room) = open.pop() {
            for next in allowed_in_src(room) {
                assert_ne!(*next, start, "{start} is used by a room that it uses");
                if seen.insert(*next) {
                    open.push(next);
                }
            }
        }
    }
}

#[test]
fn a_use_planted_in_each_forbidden_direction_is_found() {
    for (room, _) in SRC_ARROWS {
        for (other, _) in SRC_ARROWS {
            let planted = [
                format!("use crate::{other}::Thing;\n"),
                format!("use crate::{other};\n"),
                format!("use crate::{{clock::now_us, {other}::{{Thing, Other}}}};\n"),
                format!("fn f() {{ let x = crate::{other}::thing(); }}\n"),
                format!("pub use crate::{{\n    {other} as another,\n}};\n"),
            ];
            let is_allowed = room == other || allowed_in_src(room).contains(&other);
            for text in planted {
                let found = forbidden_uses(room, &text).contains(other);
                assert_eq!(found, !is_allowed, "{room}: {text}");
            }
        }
    }
    let harmless = "pub(in crate::mail) fn f() {} // crate::click\n//! crate::click\n";
    assert!(forbidden_uses("intel", harmless).is_empty());
}

fn allowed_in_src(room: &str) -> &'static [&'static str] {
    let of_room = SRC_ARROWS.iter().find(|(name, _)| *name == room);
    of_room.map_or(&[], |(_, allowed)| allowed)
}

/// Rooms that the source of a room names and may not use.
fn forbidden_uses(room: &str, source: &str) -> BTreeSet<String> {
    let code: String = source
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n")
        .collect();
    let mut used = BTreeSet::new();
    for root in ["crate::", "linkgate::"] {
        for (at, _) in code.match_indices(root) {
            let (before, rest) = (&code[..at], &code[at + root.len()..]);
            let is_part = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
            // The targets of log lines are no paths.
            if is_part || before.ends_with("pub(in ") || before.ends_with('"') {
                continue;
            }
            match rest.strip_prefix('{') {
                Some(group) => used.extend(first_names(group)),
                None => used.extend(name_at(rest)),
            }
        }
    }
    let known = |name: &String| SRC_ARROWS.iter().any(|(room, _)| room == name);
    let allowed = |name: &String| name == room || allowed_in_src(room).contains(&name.as_str());
    used.into_iter().filter(|name| known(name) && !allowed(name)).collect()
}

fn name_at(text: &str) -> Option<String> {
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

/// The first name of each path in a group, up to the bracket that closes it.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut expected) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expected = true,
            c if c.is_whitespace() => {}
            _ if expected => {
                names.extend(name_at(&group[at..]));
                expected = false;
            }
            _ => {}
        }
    }
    names
}

/// Room, path and text of the sources of the root package, without the tests at their end.
fn product_sources() -> Vec<(String, PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    for path in rust_files(&src) {
        let below = path.strip_prefix(&src).expect("a file below src");
        let first = below.iter().next().expect("a name").to_string_lossy();
        let room = first.trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(&path).expect("source file is readable");
        let product = product(&text).to_owned();
        if room != "lib" {
            sources.push((room, path, product));
        }
    }
    assert!(!sources.is_empty());
    sources
}

/// A source without the tests at its end.
fn product(source: &str) -> &str {
    let end = source.find("#[cfg(test)]\nmod tests {");
    &source[..end.unwrap_or(source.len())]
}

/// The workspace as cargo sees it.
struct House {
    root: PathBuf,
    rooms: BTreeMap<String, Room>,
    /// Package id to its name and the ids of its normal and build dependencies.
    graph: BTreeMap<String, (String, Vec<String>)>,
}

/// One crate of the workspace.
struct Room {
    id: String,
    folder: PathBuf,
    rust_version: Option<String>,
    licence: Option<String>,
    publishable: bool,
    /// Names of normal and build dependencies.
    direct: Vec<String>,
}

impl House {
    fn read() -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--offline", "--locked"])
            // Crates of other platforms are nowhere on a machine that has only built this.
            .args(["--filter-platform", &host()])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        assert!(
            output.status.success(),
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");

        let packages: BTreeMap<&str, &Value> = items(&metadata["packages"])
            .map(|package| (text(&package["id"]), package))
            .collect();
        let graph: BTreeMap<String, (String, Vec<String>)> = items(&metadata["resolve"]["nodes"])
            .map(|node| {
                let id = text(&node["id"]);
                let uses = items(&node["deps"])
                    .filter(|dep| items(&dep["dep_kinds"]).any(|kind| kind["kind"].as_str() != Some("dev")))
                    .map(|dep| text(&dep["pkg"]).to_owned())
                    .collect();
                (id.to_owned(), (text(&packages[id]["name"]).to_owned(), uses))
            })
            .collect();
        let rooms = items(&metadata["workspace_members"])
            .map(|id| {
                let id = text(id);
                let package = packages[id];
                let manifest = Path::new(text(&package["manifest_path"]));
                let room = Room {
                    id: id.to_owned(),
                    folder: manifest.parent().expect("a manifest lies in a folder").to_owned(),
                    rust_version: package["rust_version"].as_str().map(str::to_owned),
                    licence: package["license"].as_str().map(str::to_owned),
                    publishable: package["publish"]
                        .as_array()
                        .is_none_or(|registries| !registries.is_empty()),
                    direct: graph[id].1.iter().map(|used| graph[used].0.clone()).collect(),
                };
                (text(&package["name"]).to_owned(), room)
            })
            .collect();
        Self {
            root: Path::new(text(&metadata["workspace_root"])).to_owned(),
            rooms,
            graph,
        }
    }

    /// Names of all crates that `room` needs to run, at any distance.
    fn behind(&self, room: &str) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut open = vec![self.rooms[room].id.as_str()];
        while let Some(id) = open.pop() {
            for used in &self.graph[id].1 {
                if seen.insert(used.as_str()) {
                    open.push(used);
                }
            }
        }
        seen.into_iter().map(|id| self.graph[id].0.as_str()).collect()
    }
}

/// The platform of the compiler: `x86_64-unknown-linux-gnu`, say.
fn host() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().expect("rustc runs");
    let version = String::from_utf8_lossy(&output.stdout);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc -vV names its host").to_owned()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().expect("a list").iter()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

/// All `.rs` files under `folder` but those that hold only tests.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("source folder is readable") {
        let path = entry.expect("folder entry is readable").path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if stem == "tests" || stem.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
