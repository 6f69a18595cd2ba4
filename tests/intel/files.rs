//! Lists in files, and what happens to look-ups while lists change.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use linkgate::metrics::{Refresh, SourceHealth};

use super::*;

#[test]
fn a_file_is_noticed_when_it_changes_and_may_shrink() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("domains.txt");
    let stand = Stand::new(vec![file("own", ListKind::Domains, &path)]);
    eventually("the lack of it to be told", || {
        stand.counts("own").is(SourceHealth::Failing)
    });
    assert!(matches!(
        &stand.local("http://a.example/")[0].finding,
        Finding::CouldNotAsk(_)
    ));
    fs::write(&path, "# mine\na.example\nb.example\nc.example\nd.example\n").unwrap();
    stand.until_listed("http://a.example/x");
    let wanted = listing(Category::Unspecified, Scope::Host, Weight::Block);
    assert_eq!(stand.local("https://a.example:8443/?q")[0].finding, wanted);
    fs::write(&path, "e.example\n").unwrap();
    stand.until_listed("http://e.example/");
    assert!(!stand.is_listed("http://a.example/"));
    // A slip of the administrator does not take the list out of force.
    fs::write(&path, "good.example\ne.example\n").unwrap();
    eventually("a refusal", || stand.counts("own").refreshes(Refresh::Refused) == 1);
    assert!(stand.is_listed("http://e.example/"));
    assert_eq!(stand.local("http://good.example/"), []);
    fs::remove_file(&path).unwrap();
    eventually("the loss to be told", || stand.counts("own").is(SourceHealth::Failing));
    assert!(stand.is_listed("http://e.example/"));
}

#[test]
fn weight_and_category_are_the_administrators_word() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("urls.txt");
    fs::write(&path, "http://a.example/x\n").unwrap();
    let source = Source {
        weight: Weight::Warn,
        category: Some(Category::Phishing),
        ..file("own", ListKind::Urls, &path)
    };
    let stand = Stand::new(vec![source]);
    stand.until_listed("http://a.example/x");
    let wanted = listing(Category::Phishing, Scope::Url, Weight::Warn);
    assert_eq!(stand.local("http://a.example/x")[0].finding, wanted);
}

#[test]
fn every_format_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let zone = "$TTL 60\n@ SOA localhost. root.localhost. 1 60 60 60 60\n  NS localhost.\n\
                bad.example CNAME .\n*.bad.example CNAME .\nfine.bad.example CNAME rpz-passthru.\n";
    let csv = "# id,dateadded,url,url_status,last_online,threat,tags,urlhaus_link,reporter\n\
               \"1\",\"2026-11-01 00:00:00\",\"http://bad.example/mal.exe\",\"online\",\"\",\"malware_download\",\"\",\"\",\"x\"\n";
    let json =
        "{\"1\":[{\"url\":\"http://bad.example/mal.exe\",\"threat\":\"malware_download\",\"url_status\":\"online\"}]}";
    let uuid = "11111111-2222-4333-8444-555555555555";
    let misp = dir.path().join("misp");
    fs::create_dir(&misp).unwrap();
    fs::write(
        misp.join("manifest.json"),
        format!("{{\"{uuid}\":{{\"timestamp\":\"1\"}}}}"),
    )
    .unwrap();
    let event =
        "{\"Event\":{\"Attribute\":[{\"type\":\"url\",\"value\":\"http://bad.example/mal.exe\",\"to_ids\":true}]}}";
    fs::write(misp.join(format!("{uuid}.json")), event).unwrap();
    for (kind, text) in [
        (ListKind::Hosts, "127.0.0.1 localhost\n0.0.0.0 bad.example\n"),
        (ListKind::Domains, "bad.example\n"),
        (ListKind::Urls, "http://bad.example/mal.exe\n"),
        (ListKind::Openphish, "http://bad.example/mal.exe\n"),
        (ListKind::UrlhausCsv, csv),
        (ListKind::Csv, csv),
        (ListKind::UrlhausJson, json),
        (ListKind::Adblock, "! x\n||bad.example^\n@@||fine.bad.example^\n"),
        (ListKind::Regex, "^http://bad\\.example/.*\\.exe$\n"),
        (ListKind::Rpz, zone),
        (ListKind::Dnset, ".bad.example\n"),
        (ListKind::Misp, ""),
    ] {
        let path = if kind == ListKind::Misp {
            misp.clone()
        } else {
            let path = dir.path().join("list");
            fs::write(&path, text).unwrap();
            path
        };
        let stand = Stand::new(vec![file("own", kind, &path)]);
        stand.until_listed("http://bad.example/mal.exe");
        assert!(!stand.is_listed("http://other.example/"), "{kind:?}");
        if matches!(kind, ListKind::Rpz | ListKind::Adblock) {
            assert!(stand.is_listed("http://x.bad.example/"), "{kind:?}");
            assert!(!stand.is_listed("http://fine.bad.example/"), "{kind:?}");
        }
    }
}

/// Lists are swapped as fast as files can be written, and sources come and go, while others look up: what all copies have in
/// common is never missing.
#[test]
fn look_ups_have_an_answer_at_every_moment_while_lists_change() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("urls.txt"), dir.path().join("other.txt"));
    let text = |n: usize| {
        let rest = (0..3_000).map(|i| format!("http://h{i}-{n}.example/\n"));
        format!("http://always.example/x\n{}", rest.collect::<String>())
    };
    fs::write(&path, text(0)).unwrap();
    fs::write(&other, "b.example\n").unwrap();
    let stand = Stand::new(vec![file("own", ListKind::Urls, &path)]);
    stand.until_listed("http://always.example/x");
    let (stop, looked_up) = (AtomicBool::new(false), AtomicU64::new(0));
    let swapped = stand.intel.generation();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let always = target("http://always.example/x");
                while !stop.load(Ordering::Relaxed) {
                    let said = stand.intel.local(&always);
                    let listed = said.iter().filter(|e| matches!(e.finding, Finding::Listed(_)));
                    assert_eq!(listed.count(), 1, "{said:?}");
                    looked_up.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for n in 1..=12 {
            let new = dir.path().join("new");
            fs::write(&new, text(n)).unwrap();
            fs::rename(&new, &path).unwrap();
            let mut sources = vec![file("own", ListKind::Urls, &path)];
            sources.extend((n % 2 == 0).then(|| file("other", ListKind::Domains, &other)));
            // Files are looked at as well.
            stand.reload(sources);
            let url = format!("http://h7-{n}.example/");
            eventually("the next copy", || stand.is_listed(&url));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let swaps = stand.intel.generation() - swapped;
    println!("{} look-ups, {swaps} swaps", looked_up.load(Ordering::Relaxed));
    assert!(swaps >= 20, "{swaps}");
}

#[test]
fn whoever_waits_for_changes_hears_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("domains.txt");
    fs::write(&path, "a.example\n").unwrap();
    let stand = Stand::new(vec![file("own", ListKind::Domains, &path)]);
    let mut changes = stand.intel.changes();
    stand.until_listed("http://a.example/");
    let heard = stand.runtime.block_on(async {
        let change = tokio::time::timeout(PATIENCE, changes.wait_for(|n| *n >= 2)).await;
        *change.unwrap().unwrap()
    });
    assert!(heard >= 2);
}

#[test]
fn looking_up_is_fast() {
    let dir = tempfile::tempdir().unwrap();
    let sources = (0..5).map(|n| {
        let path = dir.path().join(n.to_string());
        let text: String = (0..20_000)
            .map(|i| format!("http://h{i}.list{n}.example/x/{i}\n"))
            .collect();
        fs::write(&path, text).unwrap();
        file(&format!("l{n}"), ListKind::Urls, &path)
    });
    let stand = Stand::new(sources.collect());
    for n in 0..5 {
        stand.until_listed(&format!("http://h7.list{n}.example/x/7"));
    }
    let clean = target("https://www.shop.example/a/b/c.html?q=1");
    let start = Instant::now();
    for _ in 0..10_000 {
        assert_eq!(std::hint::black_box(stand.intel.local(&clean)), []);
    }
    let each = start.elapsed() / 10_000;
    println!("{each:?} for each of 10000 look-ups in five lists of 20000 (not optimised)");
    // A debug build on a machine that does other things; what it costs when optimised stands in docs/performance.md.
    assert!(each < Duration::from_micros(500), "{each:?}");
}
