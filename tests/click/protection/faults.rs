//! What fails while readers click: the store, its disk, a list's host, the resolver, the clock. Pages answer as the policy
//! says all the while, and no click is lost.

use std::fs::Permissions;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use link::{OnFailure, Page, PageUse, Verdict, Word};
use store::Outcome;
use strum::VariantArray;

use super::program::{Program, now_s};
use super::{LISTED, LISTS, eventually, reader};
use crate::click::server::Answer;
use crate::ledger::records::on_a_small_disk;
use crate::ledger::store::raw;

/// A domain for each word of `on_failure`.
const DOMAINS: &str = r#"
[domain."open.test"]
on_failure = "open"
[domain."warn.test"]
on_failure = "warn"
[domain."closed.test"]
on_failure = "closed"
"#;

/// Starts with these sections besides, and waits until the lists are in force.
fn start(more: &str) -> Program {
    let program = Program::start(&format!("{DOMAINS}{LISTS}{more}"), &LISTED);
    warm(&program);
    program
}

fn warm(program: &Program) {
    for host in ["bad.example", "odd.example"] {
        eventually(host, || {
            let path = program.path("warn.test", &format!("https://{host}/"));
            program.ask("GET", &path, &reader(99));
            matches!(program.row().outcome, Outcome::Blocked | Outcome::Warned)
        });
    }
}

/// Clicks as the page asks again by itself, until the check has ended.
fn patient(program: &Program, path: &str, fields: &str) -> Answer {
    let mut answer = program.ask("GET", path, fields);
    eventually("an end of the check", || {
        if answer.body.contains("http-equiv=\"refresh\"") {
            answer = program.ask("GET", path, fields);
            return false;
        }
        true
    });
    answer
}

/// What could not be asked is answered as each policy says; what is known to be bad is blocked at once all the same.
fn answers_as_policies_say(program: &Program, source: &str) {
    for (n, on_failure) in OnFailure::VARIANTS.iter().enumerate() {
        let word = on_failure.as_str();
        let domain = format!("{word}.test");
        let path = program.path(&domain, &format!("https://shop.example/{word}"));
        let answer = patient(program, &path, &reader(n));
        let row = program.row();
        let (status, outcome) = match on_failure {
            OnFailure::Open => (302, Outcome::Redirected),
            OnFailure::Warn | OnFailure::Closed => (200, Outcome::CouldNotCheck),
        };
        assert_eq!(
            (answer.status, row.outcome),
            (status, outcome),
            "{word}: {:?}",
            row.reasons
        );
        assert_eq!(
            answer.form("continue").is_some(),
            *on_failure == OnFailure::Warn,
            "{word}"
        );
        assert_eq!(row.verdict, Some(Verdict::Unchecked), "{word}");
        assert!(
            row.reasons
                .iter()
                .any(|r| r.source == source && r.code == "could-not-ask"),
            "{word}: {:?}",
            row.reasons
        );
        let began = Instant::now();
        let bad = program.ask("GET", &program.path(&domain, "https://bad.example/"), &reader(n));
        assert_eq!((bad.status, program.row().outcome), (403, Outcome::Blocked), "{word}");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
}

#[test]
fn a_resolver_that_says_nothing_is_answered_as_policies_say() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let program = start(&format!(
        "[checks]\ndns_servers = [\"{}\"]\nsilent_ms = 100\nhard_ms = 800\n\
         [[source]]\nname = \"asked\"\ntype = \"dns\"\nfrom = \"list.example\"\n",
        silent.local_addr().unwrap()
    ));
    answers_as_policies_say(&program, "asked");
    let outcomes: Vec<_> = program.rows().iter().map(|row| row.outcome).collect();
    assert!(outcomes.contains(&Outcome::Checking), "nobody saw the page that waits");
    // Left alone by now, it costs readers no time.
    let began = Instant::now();
    for n in 0..10 {
        let path = program.path("open.test", &format!("https://shop{n}.example/"));
        assert_eq!(patient(&program, &path, &reader(n)).status, 302);
    }
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn a_host_of_a_list_that_hangs_delays_nobody_and_is_answered_as_policies_say() {
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let program = start(&format!(
        "[[source]]\nname = \"feed\"\ntype = \"domains\"\nfrom = \"http://{}/list.txt\"\n",
        hangs.local_addr().unwrap()
    ));
    // It has been called, and says nothing.
    let called = hangs.accept().unwrap();
    answers_as_policies_say(&program, "feed");
    let began = Instant::now();
    for n in 0..20 {
        let path = program.path("open.test", &format!("https://shop.example/{n}"));
        assert_eq!(program.ask("GET", &path, &reader(n)).status, 302);
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    drop(called);
}

/// Clicks on a good, an odd and a bad target by turns.
fn clicks(program: &Program, from: usize, count: usize) {
    for n in from..from + count {
        let (host, status) = [("good.example", 302), ("odd.example", 200), ("bad.example", 403)][n % 3];
        let path = program.path("warn.test", &format!("https://{host}/{n}"));
        let answer = program.ask("GET", &path, &reader(n));
        assert_eq!(answer.status, status, "{host}");
        assert_eq!(answer.form("continue").is_some(), status == 200, "{host}");
    }
}

/// Numbers of clicks that are in the store as they were answered.
fn stored(program: &Program) -> Vec<usize> {
    let number = |url: &str| url.rsplit('/').next().and_then(|n| n.parse().ok());
    let rows = program.rows().into_iter();
    rows.filter_map(|row| {
        let n: usize = number(&row.url)?;
        let (outcome, verdict) = [
            (Outcome::Redirected, Verdict::Allow),
            (Outcome::Warned, Verdict::Warn),
            (Outcome::Blocked, Verdict::Block),
        ][n % 3];
        assert_eq!((row.outcome, row.verdict), (outcome, Some(verdict)), "{row:?}");
        assert_eq!(row.reasons.is_empty(), n.is_multiple_of(3), "{row:?}");
        Some(n)
    })
    .collect()
}

#[test]
fn a_store_that_takes_nothing_changes_no_answer_and_loses_no_click() {
    let program = start("");
    let other = raw(&program.store());
    other.run("BEGIN IMMEDIATE");
    clicks(&program, 0, 9);
    assert_eq!(stored(&program), [0; 0], "the lock did not hold");
    other.run("ROLLBACK");
    eventually("the clicks to be stored", || stored(&program).len() == 9);
    clicks(&program, 9, 3);
    let mut all = stored(&program);
    all.sort_unstable();
    assert_eq!(all, (0..12).collect::<Vec<_>>());
}

#[test]
fn a_full_disk_changes_no_answer_and_what_is_not_stored_is_in_the_log() {
    on_a_small_disk(
        "click::protection::faults::click_while_the_disk_is_full",
        "every click is in the store or in the log",
    );
}

/// The child of the test above: not a test by itself.
#[test]
#[ignore = "run by a_full_disk_changes_no_answer_and_what_is_not_stored_is_in_the_log"]
fn click_while_the_disk_is_full() {
    let Ok(disk) = std::env::var("LINKGATE_TEST_DISK") else {
        return;
    };
    let disk = Path::new(&disk);
    let program = Program::start_in(
        tempfile::tempdir_in(disk).unwrap(),
        &format!("{DOMAINS}{LISTS}"),
        &LISTED,
    );
    warm(&program);
    let filler = disk.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    // Some room is left: for some of the clicks, not for all.
    let full = file.metadata().unwrap().len();
    file.set_len(full - (64 << 10)).unwrap();
    drop(file);
    clicks(&program, 0, 30);
    let lost = program.logged("click not stored");
    assert!(!lost.is_empty(), "the disk was not full");
    std::fs::remove_file(&filler).unwrap();
    // The store may still write what it was given and could not write in time: such a click is in both places.
    let in_log = |n: &usize| lost.iter().any(|line| line.contains(&format!(".example/{n}\\\"")));
    eventually("what was kept to be stored", || {
        let stored = stored(&program);
        (0..30).all(|n| stored.contains(&n) || in_log(&n))
    });
    clicks(&program, 30, 3);
    eventually("later clicks to be stored", || {
        let stored = stored(&program);
        (30..33).all(|n| stored.contains(&n))
    });
    let mut all = stored(&program);
    let rows = all.len();
    assert!(rows > 3, "none of the clicks found room");
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), rows, "a click was stored twice");
    println!("every click is in the store or in the log ({} in the log)", lost.len());
}

#[test]
fn a_folder_that_takes_no_file_changes_no_answer_and_what_is_not_stored_is_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_owned();
    // Nothing is forbidden to root: then it is somebody else who runs it.
    let nobody = 65_534;
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    if is_root {
        chown(&folder, Some(nobody), Some(nobody)).unwrap();
        // Where the build lies may be closed to others, as below /root.
        std::fs::copy(env!("CARGO_BIN_EXE_linkgate"), folder.join("linkgate")).unwrap();
    }
    let program = Program::start_with(dir, &format!("{DOMAINS}{LISTS}"), &LISTED, move |command| {
        if is_root {
            command.uid(nobody).gid(nobody);
        }
    });
    warm(&program);
    let allow = |mode| std::fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
    allow(0o555);
    // The store itself is open, and goes on.
    clicks(&program, 0, 3);
    assert_eq!(stored(&program).len(), 3);
    let other = raw(&program.store());
    other.run("BEGIN IMMEDIATE");
    clicks(&program, 3, 6);
    other.run("ROLLBACK");
    allow(0o755);
    // What the store was too late for may still be written by it: nothing is in neither place.
    for n in 3..9 {
        eventually(&format!("click {n} in the log or in the store"), || {
            let lost = program.logged("click not stored");
            lost.iter().any(|line| line.contains(&format!(".example/{n}\\\""))) || stored(&program).contains(&n)
        });
    }
    let lost = program.logged("click not stored");
    assert!(!lost.is_empty(), "the clicks found another place");
    clicks(&program, 9, 3);
    eventually("later clicks to be stored", || {
        (9..12).all(|n| stored(&program).contains(&n))
    });
}

#[test]
fn a_clock_that_jumps_neither_closes_links_nor_lets_old_forms_count() {
    let program = start("");
    let now = now_s();
    let (hour, year) = (3_600, 365 * 86_400);
    // Mail that came before the clock was set back, or long ago by the clock of today.
    for issued_at in [now + year, now + 2 * hour, now, now - hour, 0] {
        let path = program.path_of("warn.test", "https://good.example/", issued_at);
        assert_eq!(program.ask("GET", &path, &reader(1)).status, 302, "{issued_at}");
        let row = program.row();
        assert_eq!(
            (row.verdict, row.facts.issued_at_s),
            (Some(Verdict::Allow), Some(i64::from(issued_at)))
        );
    }
    // A page that was shown before the clock jumped: its button counts within the hour, with a minute of grace for clocks
    // of other nodes; else the page is shown anew, and the new one's button counts.
    let path = program.path("warn.test", "https://odd.example/");
    for (at_s, counts) in [
        (now, true),
        (now - hour + 60, true),
        (now + 20, true),
        (now + 600, false),
        (now + 2 * hour, false),
        (now - 2 * hour, false),
        (now - year, false),
    ] {
        let facts = Page {
            at_s,
            verdict: Verdict::Warn,
            event_id: u128::from(at_s).to_be_bytes(),
        };
        let seal = program.keys().seal_page(PageUse::Continue, &path, &facts);
        let answer = program.post(&path, &format!("use=continue&seal={seal}"), &reader(1));
        let row = program.row();
        let wanted = if counts {
            Outcome::ClickedThrough
        } else {
            Outcome::Warned
        };
        assert_eq!((answer.status, row.outcome), (200, wanted), "{at_s} at {now}");
        if !counts {
            let again = program.post(&path, &answer.form("continue").unwrap(), &reader(1));
            assert_eq!((again.status, program.row().outcome), (200, Outcome::ClickedThrough));
        }
    }
}

#[test]
fn the_clock_of_a_running_server_is_set_back_and_forth() {
    let dir = tempfile::tempdir().unwrap();
    let (clock, library) = (dir.path().join("clock"), dir.path().join("clock.so"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/click/protection/clock.c");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(source)
        .status();
    if !made.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "there is no C compiler");
        println!("SKIPPED: there is no C compiler");
        return;
    }
    let set = |seconds: i64| std::fs::write(&clock, seconds.to_string()).unwrap();
    set(0);
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sources = format!(
        "{DOMAINS}{LISTS}[checks]\ndns_servers = [\"{}\"]\nsilent_ms = 100\nhard_ms = 500\n\
         [[source]]\nname = \"asked\"\ntype = \"dns\"\nfrom = \"list.example\"\n",
        silent.local_addr().unwrap()
    );
    let file = clock.clone();
    let program = Program::start_with(dir, &sources, &LISTED, move |command| {
        command.env("LD_PRELOAD", &library).env("LINKGATE_TEST_CLOCK", &file);
    });
    warm(&program);
    let path = program.path("open.test", "https://odd.example/");
    let mut form = program.ask("GET", &path, &reader(1)).form("continue").unwrap();
    let day = 86_400;
    for (n, jump) in [7_200, 400 * day, -7_200, -400 * day, 0].into_iter().enumerate() {
        set(jump);
        // The button of the page from before the jump does not count; the new page's does, once.
        let again = program.post(&path, &form, &reader(1)).form("continue").unwrap();
        program.post(&path, &again, &reader(1));
        let row = program.click_at(i64::from(now_s()) + jump);
        assert_eq!(row.outcome, Outcome::ClickedThrough, "{jump}");
        assert!(program.post(&path, &again, &reader(1)).form("continue").is_some());
        form = program.ask("GET", &path, &reader(1)).form("continue").unwrap();
        // Whoever could not be asked: as the policy says, and no longer than hard_ms.
        let began = Instant::now();
        let slow = program.path("closed.test", &format!("https://shop{n}.example/"));
        let answer = patient(&program, &slow, &reader(2));
        assert_eq!((answer.status, answer.form("continue")), (200, None), "{jump}");
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "{jump}: {:?}",
            began.elapsed()
        );
        let bad = program.path("open.test", "https://bad.example/");
        assert_eq!(program.ask("GET", &bad, &reader(3)).status, 403, "{jump}");
    }
    // A line is written after its row, and read a moment later.
    let made = program.rows().len();
    eventually("a line for each row", || program.logged("kept=stored").len() >= made);
    assert_eq!(made, program.logged("kept=stored").len(), "every click is stored");
}
