//! Every command, by running the real program.

mod operation;
mod serve;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use link::{ClickBase, KeyRing, MessageClaims, Style, Target, wrap_link};
use serde_json::Value;
use store::{ClickRow, EventId, Method, Outcome, ReferenceRow, Store};
use tempfile::TempDir;

const BASE: &str = "https://click.example.test";

/// A folder with a configuration.
pub(crate) struct Home {
    dir: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self::with_next_hop("127.0.0.1:9")
    }

    fn with_next_hop(next_hop: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        let text = format!(
            r#"[click]
public_url = "{BASE}"
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[store]
url = "sqlite:{at}/linkgate.db"
[keys]
file = "{at}/keys.toml"
[[listener]]
protocol = "smtp"
listen = "127.0.0.1:0"
next_hop = "smtp://{next_hop}"
[domain."on.test"]
rewrite = "all"
[domain."off.test"]
rewrite = "off"
"#
        );
        fs::write(dir.path().join("linkgate.toml"), text).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("linkgate.toml")
    }

    /// Replaces a piece of the configuration.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(self.config(), text.replace(from, to)).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = program(args);
        command.arg("--config").arg(self.config());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    fn run_with(&self, args: &[&str], input: &[u8]) -> Output {
        feed(&mut self.command(args), input)
    }

    /// Makes the key file and reads it.
    fn keys(&self) -> KeyRing {
        if !self.path("keys.toml").exists() {
            assert_eq!(code(&self.run(&["keys", "add"])), 0);
        }
        KeyRing::parse(&fs::read_to_string(self.path("keys.toml")).unwrap()).unwrap()
    }

    /// A click link for `target`, and the row behind it if it needs one.
    fn click_link(&self, target: &str) -> (String, Option<ReferenceRow>) {
        let keys = self.keys();
        let claims = MessageClaims {
            message_id: "0mail1".to_owned(),
            recipient: Some("user@on.test".to_owned()),
            sender: "sender@shop.test".to_owned(),
            issued_at: 1_795_262_400,
            domain: "on.test".to_owned(),
        };
        let base = ClickBase::new(BASE, Style::Readable).unwrap();
        let target = Target::parse(target).unwrap();
        let wrapped = wrap_link(&keys.sealer(&claims), &base, &target, None, 0);
        let row = wrapped.reference.map(|r| ReferenceRow {
            id: r.id,
            target: r.target,
            written: r.written,
            mail_id: claims.message_id.clone(),
            created_at_us: 0,
        });
        (wrapped.click_url, row)
    }
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linkgate"));
    command.args(args).env_remove("LINKGATE_LOG").env("COLUMNS", "100");
    command
}

fn feed(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|s| {
        // A program that does not read its input is no fault of this test.
        s.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    })
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// `fixtures/help/NAME.txt` is the help as people see it: a change of it is a change of the contract.
#[test]
fn the_help_is_as_it_was_agreed() {
    let pages: [(&str, &[&str]); 16] = [
        ("linkgate", &[]),
        ("serve", &["serve"]),
        ("demo", &["demo"]),
        ("check", &["check"]),
        ("rewrite", &["rewrite"]),
        ("restore", &["restore"]),
        ("reveal", &["reveal"]),
        ("explain", &["explain"]),
        ("clicks", &["clicks"]),
        ("clicks-relabel", &["clicks", "relabel"]),
        ("revoke", &["revoke"]),
        ("alerts", &["alerts"]),
        ("keys", &["keys"]),
        ("keys-list", &["keys", "list"]),
        ("keys-add", &["keys", "add"]),
        ("keys-retire", &["keys", "retire"]),
    ];
    let mut wrong = String::new();
    for (name, command) in pages {
        let output = program(command).arg("--help").output().unwrap();
        assert_eq!(code(&output), 0);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/help/{name}.txt"));
        let want = fs::read_to_string(&path).unwrap_or_default();
        if out(&output) != want {
            wrong += &format!("--- {}\n{}", path.display(), out(&output));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn each_command_shows_an_example() {
    for command in [
        &["serve"][..],
        &["demo"],
        &["check"],
        &["rewrite"],
        &["restore"],
        &["reveal"],
        &["explain"],
        &["clicks"],
        &["clicks", "relabel"],
        &["revoke"],
        &["alerts"],
        &["keys", "list"],
        &["keys", "add"],
        &["keys", "retire"],
    ] {
        let help = out(&program(command).arg("--help").output().unwrap());
        let (_, examples) = help
            .split_once("Example")
            .unwrap_or_else(|| panic!("{command:?}: {help}"));
        assert!(
            examples.contains(&format!("linkgate {}", command.join(" "))),
            "{examples}"
        );
    }
}

#[test]
fn exit_codes() {
    let home = Home::new();
    let file = home.config();
    let file = file.to_str().unwrap();
    let cases: &[(i32, &[&str])] = &[
        (0, &["--version"]),
        (0, &["--help"]),
        (64, &[]),
        (64, &["nonsense"]),
        (64, &["check", "--nonsense"]),
        (64, &["keys"]),
        (64, &["keys", "retire"]),
        (64, &["clicks", "--json", "--csv"]),
        (64, &["clicks", "--since", "whenever"]),
        (64, &["clicks", "--json", "relabel"]),
        (64, &["alerts", "--since", "whenever"]),
        (64, &["revoke"]),
        (64, &["rewrite", "--config", file, "a", "b"]),
        // Before there is a key file.
        (78, &["reveal", "--config", file, "https://click.example.test/c/x"]),
        (64, &["rewrite", "--config", file, "--out-dir", "/tmp", "x/a", "y/a"]),
        (
            64,
            &[
                "rewrite",
                "--config",
                file,
                "--to",
                "u@on.test",
                "--to",
                "u@off.test",
                file,
            ],
        ),
        (78, &["check", "--config", "/nonexistent/linkgate.toml"]),
        (78, &["serve", "--config", "/nonexistent/linkgate.toml"]),
        (0, &["--config", file, "check"]),
        (1, &["clicks", "--config", file]),
        (1, &["clicks", "relabel", "--config", file]),
        (1, &["alerts", "--config", file]),
        (
            1,
            &["rewrite", "--config", file, "--to", "u@off.test", "/nonexistent.eml"],
        ),
    ];
    for (want, args) in cases {
        let output = program(args).stdin(Stdio::null()).output().unwrap();
        assert_eq!(code(&output), *want, "{args:?}: {}", err(&output));
        if *want != 0 {
            assert_eq!(out(&output), "", "{args:?}");
            assert!(!output.stderr.is_empty(), "{args:?}");
        }
    }
}

#[test]
fn check_tells_what_the_configuration_means_and_makes_nothing() {
    let home = Home::new();
    let output = home.run(&["check"]);
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
    let text = out(&output);
    for piece in [
        ": no faults",
        "hands it on to smtp://127.0.0.1:9",
        BASE,
        "keys.toml (will be made)",
        "on.test: rewrite all",
    ] {
        assert!(text.contains(piece), "{piece} is not in {text}");
    }
    assert_eq!(fs::read_dir(home.dir.path()).unwrap().count(), 1);
}

#[test]
fn check_reports_every_fault_on_standard_error() {
    let home = Home::new();
    home.edit(
        "protocol = \"smtp\"",
        "protocol = \"smtp\"\non_error = \"pas\"\nmax_connections = 0",
    );
    let output = home.run(&["check"]);
    assert_eq!((code(&output), out(&output).as_str()), (78, ""));
    let file = home.config();
    let file = file.display();
    assert_eq!(
        err(&output),
        format!(
            "{file}:12:12: listener[1].on_error: found \"pas\", allowed: \"tempfail\", \"pass\" (did you mean \"pass\"?)\n\
             {file}:13:19: listener[1].max_connections: found 0, allowed: a whole number from 1 to 65536 (connections)\n"
        )
    );
}

#[test]
fn rewrite_leaves_mail_for_other_domains_byte_for_byte() {
    let home = Home::new();
    let odd = b"From: a\nSubject: \xff\n\nhttps://x.example/ \0\r bare\n.\nno line end".as_slice();
    for to in [&["--to", "u@off.test"][..], &["--to", "<u@unknown.test>"], &[]] {
        let args = [&["rewrite", "--from", "<s@x.test>"], to].concat();
        let output = home.run_with(&args, odd);
        assert_eq!(
            (code(&output), output.stdout.as_slice()),
            (0, odd),
            "{to:?} {}",
            err(&output)
        );
    }
}

#[test]
fn rewrite_makes_the_key_file() {
    let home = Home::new();
    assert_eq!(
        code(&home.run_with(&["rewrite", "--to", "u@on.test"], b"From: a\r\n\r\nhi\r\n")),
        0
    );
    let mode = fs::metadata(home.path("keys.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn rewrite_works_through_many_files_and_reports_in_their_order() {
    let home = Home::new();
    fs::create_dir(home.path("in")).unwrap();
    let mut args = vec!["rewrite".to_owned(), "--to".to_owned(), "u@off.test".to_owned()];
    let (report, out_dir) = (home.path("report.jsonl"), home.path("new/out"));
    fs::write(&report, "of an earlier run\n").unwrap();
    args.extend(["--report".to_owned(), report.display().to_string()]);
    args.extend(["--out-dir".to_owned(), out_dir.display().to_string()]);
    let files: Vec<_> = (0..120).map(|n| home.path(&format!("in/{n}.eml"))).collect();
    for (n, file) in files.iter().enumerate() {
        // The first is the largest, so that others overtake it; it is too large for memory.
        let size = if n == 0 { 5 << 20 } else { 10 * n };
        fs::write(file, format!("Subject: {n}\r\n\r\n{}", "x".repeat(size))).unwrap();
    }
    args.extend(files.iter().map(|f| f.display().to_string()));
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let output = home.run(&args);
    assert_eq!(
        (code(&output), out(&output).as_str(), err(&output).as_str()),
        (0, "", "")
    );
    let lines = json_lines(&fs::read_to_string(&report).unwrap());
    assert_eq!(lines.len(), files.len());
    for (file, line) in files.iter().zip(&lines) {
        assert_eq!(line["file"], file.display().to_string());
        assert_eq!(
            (&line["changed"], &line["quirks"]),
            (&Value::Bool(false), &Value::Array(Vec::new()))
        );
        let written = fs::read(out_dir.join(file.file_name().unwrap())).unwrap();
        assert!(written == fs::read(file).unwrap(), "{}", file.display());
    }
    assert_eq!(
        fs::read_dir(&out_dir).unwrap().count(),
        files.len(),
        "nothing else is left there"
    );
}

#[test]
fn rewrite_goes_on_after_a_file_that_cannot_be_read() {
    let home = Home::new();
    let (good, out_dir) = (home.path("good.eml"), home.path("out"));
    fs::write(&good, "Subject: x\r\n\r\n").unwrap();
    let output = home.run(&[
        "rewrite",
        "--to",
        "u@off.test",
        "--out-dir",
        out_dir.to_str().unwrap(),
        home.dir.path().to_str().unwrap(),
        home.path("missing\u{1b}.eml").to_str().unwrap(),
        good.to_str().unwrap(),
    ]);
    assert_eq!(code(&output), 1);
    assert_eq!(err(&output).lines().count(), 2, "{}", err(&output));
    assert!(!err(&output).contains('\u{1b}'));
    assert_eq!(fs::read(out_dir.join("good.eml")).unwrap(), fs::read(&good).unwrap());
}

#[test]
fn the_output_folder_may_be_that_of_the_input() {
    let home = Home::new();
    let file = home.path("mail.eml");
    let text = format!("Subject: x\r\n\r\n{}", "y".repeat(6 << 20));
    fs::write(&file, &text).unwrap();
    let folder = home.dir.path().to_str().unwrap();
    let output = home.run(&[
        "rewrite",
        "--to",
        "u@off.test",
        "--out-dir",
        folder,
        file.to_str().unwrap(),
    ]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(fs::read_to_string(&file).unwrap() == text);
}

#[test]
fn a_rewritten_mail_is_reported_revealed_and_restored() {
    let home = Home::new();
    let mail = "From: a@shop.test\r\nContent-Type: text/html\r\n\r\n\
                <a href=\"https://shop.example/x?a=1&amp;b=2#top\">x</a> <a href=\"mailto:a@shop.test\">y</a>\r\n";
    let (file, report) = (home.path("a.eml"), home.path("report.jsonl"));
    fs::write(&file, mail).unwrap();
    let (file, report) = (file.to_str().unwrap(), report.to_str().unwrap());
    let output = home.run(&[
        "rewrite",
        "--from",
        "s@shop.test",
        "--to",
        "u@on.test",
        "--report",
        report,
        file,
    ]);
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
    let rewritten = out(&output);
    let start = rewritten.find(BASE).unwrap_or_else(|| panic!("{rewritten}"));
    let link = rewritten[start..].split('"').next().unwrap();
    assert!(
        !rewritten.contains("a=1&amp;b=2") && rewritten.contains("mailto:a@shop.test"),
        "{rewritten}"
    );

    let lines = json_lines(&fs::read_to_string(report).unwrap());
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["file"], &lines[0]["changed"]), (&file.into(), &true.into()));
    let wrapped = &lines[0]["links"][0];
    assert_eq!(wrapped["url"], "https://shop.example/x?a=1&b=2#top");
    assert_eq!(wrapped["decision"], "wrapped");
    assert!(wrapped["reason"].is_string() && wrapped["place"].is_string() && wrapped["part"].is_string());

    let revealed = &json_lines(&out(&home.run(&["reveal", "--json", link])))[0];
    assert_eq!(revealed["url"], wrapped["url"]);
    assert_eq!(
        (&revealed["recipient"], &revealed["sender"]),
        (&"u@on.test".into(), &"s@shop.test".into())
    );
    assert_eq!(out(&home.run_with(&["restore"], rewritten.as_bytes())), mail);
}

#[test]
fn restore_leaves_what_holds_no_click_link() {
    let home = Home::new();
    home.keys();
    let text = format!("see {BASE}/c/x.example/forged and https://x.example/\n");
    let output = home.run_with(&["restore"], text.as_bytes());
    assert_eq!((code(&output), out(&output)), (0, text));
}

#[test]
fn reveal_opens_click_links_offline() {
    let home = Home::new();
    let (url, _) = home.click_link("https://shop.example/offer?id=7#top");
    let output = home.run(&["reveal", &url]);
    assert_eq!(
        (code(&output), out(&output).as_str()),
        (0, "https://shop.example/offer?id=7#top\n")
    );
    let followed = format!("{url}).");
    let output = home.run_with(&["reveal", "--json"], format!("{followed}\r\n\n").as_bytes());
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(
        out(&output),
        format!(
            "{{\"click_url\":\"{followed}\",\"url\":\"https://shop.example/offer?id=7#top\",\
             \"recipient\":\"user@on.test\",\"message_id\":\"0mail1\",\"issued_at\":\"2026-11-21T12:00:00Z\",\
             \"sender\":\"sender@shop.test\"}}\n"
        )
    );
    let path = url.strip_prefix(BASE).unwrap();
    assert_eq!(
        out(&home.run(&["reveal", path])),
        "https://shop.example/offer?id=7#top\n"
    );
    assert!(!home.path("linkgate.db").exists());
}

#[test]
fn reveal_tells_of_each_link_that_does_not_open() {
    let home = Home::new();
    let (good, _) = home.click_link("https://shop.example/");
    let forged = good.replace("shop.example", "bank.example");
    let input = format!("{forged}\nhttps://x.example/\u{1b}[2J\n{good}\n");
    let output = home.run_with(&["reveal"], input.as_bytes());
    assert_eq!((code(&output), out(&output).as_str()), (1, "https://shop.example/\n"));
    assert_eq!(err(&output).lines().count(), 2);
    assert!(!err(&output).contains('\u{1b}'));
    let output = home.run_with(&["reveal", "--json"], input.as_bytes());
    let lines = json_lines(&out(&output));
    assert_eq!((code(&output), err(&output).as_str(), lines.len()), (1, "", 3));
    assert_eq!(lines[0]["click_url"], forged);
    assert!(lines[0]["error"].is_string() && lines[1]["error"].is_string() && lines[2]["url"].is_string());
}

#[test]
fn reveal_takes_wrappers_of_other_vendors_apart() {
    const BARRACUDA: &str = "https://linkprotect.cudasvc.com/url?a=https%3A%2F%2Fshop.example%2Fx&c=E,1,a&typo=1";
    const MIMECAST: &str = "https://protect-eu.mimecast.com/s/AbC?domain=shop.example";
    let home = Home::new();
    let (ours, _) = home.click_link(BARRACUDA);
    let output = home.run(&["reveal", &ours]);
    let text = format!("{BARRACUDA}\n  barracuda: https://shop.example/x\n");
    assert_eq!((code(&output), out(&output)), (0, text));
    let line = &json_lines(&out(&home.run(&["reveal", "--json", &ours])))[0];
    assert_eq!(
        (&line["url"], &line["recipient"]),
        (&BARRACUDA.into(), &"user@on.test".into())
    );
    let inside = serde_json::json!([{"vendor": "barracuda", "url": "https://shop.example/x"}]);
    assert_eq!(line["inside"], inside);

    // Given instead of a click link, also as it stands in a mail.
    let output = home.run(&["reveal", "--json", BARRACUDA, &format!("<{BARRACUDA}>")]);
    let lines = json_lines(&out(&output));
    assert_eq!((code(&output), lines.len()), (0, 2), "{}", err(&output));
    for (line, given) in lines.iter().zip([BARRACUDA.to_owned(), format!("<{BARRACUDA}>")]) {
        let wanted = serde_json::json!({"click_url": given, "url": "https://shop.example/x", "inside": inside});
        assert_eq!(line, &wanted);
    }

    // Around a click link of ours, and around what only its vendor can open.
    let ours = ours.replace(':', "%3A").replace('/', "%2F");
    let around = format!("https://linklock.titanhq.com/analyse?url={ours}&data=x");
    let line = &json_lines(&out(&home.run(&["reveal", "--json", &around])))[0];
    let vendors: Vec<_> = line["inside"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| &i["vendor"])
        .collect();
    assert_eq!(vendors, ["titanhq", "linkgate", "barracuda"]);
    assert_eq!(line["url"], "https://shop.example/x");
    let (ours, _) = home.click_link(MIMECAST);
    let output = home.run(&["reveal", &ours]);
    let text = format!("{MIMECAST}\n  mimecast: target unknown, host shop.example\n");
    assert_eq!((code(&output), out(&output)), (0, text));

    // Neither: what only the vendor can open, and a link that merely holds a URL.
    for (url, why) in [
        (MIMECAST, "Mimecast"),
        ("https://social.example/?u=https://shop.example/", "no click link"),
    ] {
        let output = home.run(&["reveal", "--json", url]);
        let error = json_lines(&out(&output))[0]["error"].to_string();
        assert!(code(&output) == 1 && error.contains(why), "{error}");
    }
}

#[test]
fn reveal_needs_the_store_only_for_a_long_target() {
    let home = Home::new();
    let target = format!("https://shop.example/{}", "x".repeat(2000));
    let (url, row) = home.click_link(&target);
    let output = home.run(&["reveal", "--json", &url]);
    assert_eq!(code(&output), 1);
    let error = json_lines(&out(&output))[0]["error"].to_string();
    assert!(error.contains("store") && error.contains("linkgate.db"), "{error}");
    let store = Store::open(&home.path("linkgate.db")).unwrap();
    store.store_references(vec![row.unwrap()]).wait().unwrap();
    assert_eq!(out(&home.run(&["reveal", &url])), format!("{target}\n"));
}

#[test]
fn keys_are_listed_added_and_retired_without_their_secrets() {
    let home = Home::new();
    assert_eq!(code(&home.run(&["keys", "list"])), 78, "there are none yet");
    let first = out(&home.run(&["keys", "add"])).trim().to_owned();
    let second = out(&home.run(&["keys", "add"])).trim().to_owned();
    let list = |home: &Home| {
        let output = home.run(&["keys", "list", "--json"]);
        let keys = json_lines(&out(&output));
        let mut states: Vec<_> = keys
            .iter()
            .map(|k| {
                (
                    k["id"].as_str().unwrap().to_owned(),
                    k["state"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        // A new key may have any id; the states in their order are opening, retired, sealing.
        states.sort_by(|a, b| a.1.cmp(&b.1));
        states
    };
    let opening = (first.clone(), "opening".to_owned());
    let sealing = (second.clone(), "sealing".to_owned());
    assert_eq!(list(&home), [opening, sealing.clone()]);
    for (bad, why) in [(second.as_str(), "seals new links"), ("zz", "four hexadecimal digits")] {
        let output = home.run(&["keys", "retire", bad]);
        assert_eq!(code(&output), 1);
        assert!(err(&output).contains(why), "{}", err(&output));
    }
    assert_eq!(code(&home.run(&["keys", "retire", &first])), 0);
    assert_eq!(list(&home), [(first.clone(), "retired".to_owned()), sealing]);

    let file = fs::read_to_string(home.path("keys.toml")).unwrap();
    let table = out(&home.run(&["keys", "list"]));
    assert!(table.contains(&first) && table.contains("retired"), "{table}");
    for secret in file.lines().filter_map(|l| l.strip_prefix("secret = \"")) {
        let secret = secret.trim_end_matches('"');
        assert!(secret.len() > 20 && !table.contains(secret));
    }
}

#[test]
fn clicks_are_shown_as_asked_for() {
    let home = Home::new();
    let output = home.run(&["clicks"]);
    assert_eq!(code(&output), 1);
    assert!(
        err(&output).contains("store.url") && err(&output).contains("linkgate.db"),
        "{}",
        err(&output)
    );
    store_clicks(&home, 3);
    let urls = |args: &[&str]| {
        let output = home.run(args);
        assert_eq!(code(&output), 0, "{}", err(&output));
        json_lines(&out(&output))
            .iter()
            .map(|c| c["url"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let all = [
        "https://b\u{fc}cher.example/0",
        "https://b\u{fc}cher.example/1",
        "https://b\u{fc}cher.example/2",
    ];
    assert_eq!(urls(&["clicks", "--json"]), all);
    assert_eq!(urls(&["clicks", "--json", "--user", "u1@on.test"]), [all[1]]);
    assert_eq!(urls(&["clicks", "--json", "--host", "B\u{dc}CHER.example"]), all);
    assert_eq!(urls(&["clicks", "--json", "--domain", "off.test"]), [""; 0]);
    assert_eq!(urls(&["clicks", "--json", "--since", "2001-09-09T01:46:42Z"]), [all[2]]);
    assert_eq!(out(&home.run(&["clicks", "--csv"])).lines().count(), 4);
    assert!(out(&home.run(&["clicks"])).contains("u2@on.test"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = Home::new();
    store_clicks(&home, 3_000);
    let mut child = home
        .command(&["clicks", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut stdout = BufReader::with_capacity(64, child.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
    assert!(first.contains("u0@on.test"), "{first}");
}

fn store_clicks(home: &Home, n: u16) {
    let store = Store::open(&home.path("linkgate.db")).unwrap();
    let rows: Vec<_> = (0..n)
        .map(|n| {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&n.to_be_bytes());
            store.record_click(ClickRow {
                user: Some(format!("u{n}@on.test")),
                url: format!("https://b\u{fc}cher.example/{n}"),
                host: "xn--bcher-kva.example".to_owned(),
                mail_id: "0mail1".to_owned(),
                sender: "sender@shop.test".to_owned(),
                policy_domain: "on.test".to_owned(),
                user_agent: "test".to_owned(),
                client_ip: None,
                method: Method::Get,
                outcome: Outcome::Redirected,
                ..ClickRow::new(EventId(id), 1_000_000_000_000_000 + i64::from(n) * 1_000_000)
            })
        })
        .collect();
    for row in rows {
        row.wait().unwrap();
    }
}

#[test]
fn the_demo_shows_the_whole_way() {
    let output = program(&["demo", "--once"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!((code(&output), err(&output).as_str()), (0, ""), "{}", out(&output));
    let text = out(&output);
    for piece in [
        "Mail 3",
        "byte for byte",
        "302 to https://www.example.com/orders/4711",
        "click row",
        "answer     403",
        "https://parcel.example/pay?id=4711 block: demo-list (phishing)",
        "All of it worked.",
    ] {
        assert!(text.contains(piece), "{piece} is not in {text}");
    }
    assert!(!Path::new(demo_folder(&text)).exists());
}

#[test]
fn the_demo_tells_of_clicks_until_it_is_interrupted() {
    let mut child = program(&["demo"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("Ctrl-C") {
        assert_ne!(stdout.read_line(&mut text).unwrap(), 0, "{text}");
    }
    let link = text
        .lines()
        .find_map(|l| l.strip_prefix("  http://"))
        .unwrap()
        .to_owned();
    let (server, path) = link.split_once('/').unwrap();
    let mut browser = std::net::TcpStream::connect(server).unwrap();
    write!(
        browser,
        "GET /{path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    browser.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
    while !text.contains("reader@example.com clicked https://www.example.com/orders/4711?step=track#map: redirected") {
        assert_ne!(stdout.read_line(&mut text).unwrap(), 0, "{text}");
    }
    serve::signal(&child, "INT");
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(!Path::new(demo_folder(&text)).exists());
}

fn demo_folder(text: &str) -> &str {
    let (_, rest) = text.split_once("A linkgate of your own, in ").unwrap();
    rest.lines().next().unwrap()
}
