//! Lists that are asked by DNS: rbldnsd, unbound with a response policy zone, and a server that answers as a test says.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use linkgate::config::{DnsKind, Secret};
use linkgate::metrics::{SourceAnswer, SourceHealth};

use super::nameserver::{Answer, NameServer, ask};
use super::*;

/// A program that serves DNS, until the test ends.
struct Daemon {
    process: Child,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program, or `None` with a word on that; where `CI` is set, a missing program is a failure.
fn installed(program: &str) -> Option<PathBuf> {
    let path = PathBuf::from("/usr/sbin").join(program);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{program} is not installed");
    println!("SKIPPED: {program} is not installed");
    None
}

impl Daemon {
    /// Starts a program in a folder with these files; `arguments` gets the address to listen on and the folder.
    fn start(
        program: &str,
        files: &[(&str, String)],
        arguments: impl Fn(SocketAddr, &Path) -> Vec<String>,
    ) -> Option<Self> {
        let program = installed(program)?;
        let dir = tempfile::tempdir().unwrap();
        // Both give their rights up, and read their files as somebody else.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for (name, text) in files {
            let text = text.replace("@DIR@", dir.path().to_str().unwrap());
            fs::write(
                dir.path().join(name),
                text.replace("@PORT@", &address.port().to_string()),
            )
            .unwrap();
        }
        let process = Command::new(program)
            .args(arguments(address, dir.path()))
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self { process, address, dir };
        eventually("the name server to answer", || {
            ask(daemon.address, "any.test").is_some()
        });
        Some(daemon)
    }

    /// rbldnsd with one data set for each zone.
    fn rbldnsd(zones: &[(&str, &str)]) -> Option<Self> {
        let files: Vec<_> = zones.iter().map(|(zone, data)| (*zone, (*data).to_owned())).collect();
        let zones: Vec<String> = zones.iter().map(|(zone, _)| format!("{zone}:dnset:{zone}")).collect();
        Self::start("rbldnsd", &files, |address, _| {
            let bind = format!("{}/{}", address.ip(), address.port());
            let mut arguments = vec!["-n".to_owned(), "-b".into(), bind];
            // It refuses to run as root.
            if is_root() {
                arguments.extend(["-u".into(), "nobody".into()]);
            }
            arguments.extend(zones.clone());
            arguments
        })
    }
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0
}

fn zone(name: &str, kind: DnsKind, zone: &str) -> Source {
    Source::new(name, SourceKind::Dns(kind), Origin::Zone(zone.into()))
}

fn stand(server: SocketAddr, sources: Vec<Source>) -> Stand {
    Stand::with(sources, |checks| checks.dns_servers = vec![server])
}

fn findings(stand: &Stand, url: &str) -> Vec<Finding> {
    stand.remote(url).into_iter().map(|e| e.finding).collect()
}

#[test]
fn rbldnsd_wildcards_exact_names_exclusions_sums_and_refusals() {
    let dbl = ":127.0.1.4:phish\n.evil.example\n!fine.evil.example\nexact.example\n\
               hacked.example :127.0.1.104:\nrefused.example :127.255.255.254:\naddress.example :127.0.1.255:\n\
               busy.example :127.255.255.255:\n";
    let surbl = "sum.example :127.0.0.80:\nrefused.example :127.0.0.1:\n";
    let uribl = "black.example :127.0.0.2:\ngrey.example :127.0.0.4:\nrefused.example :127.0.0.1:\n";
    let own = ".own.example :127.0.0.2:\n";
    let Some(server) = Daemon::rbldnsd(&[
        ("dbl.test", dbl),
        ("surbl.test", surbl),
        ("uribl.test", uribl),
        ("own.test", own),
        ("zrd.test", "new.example :127.0.2.7:\n"),
    ]) else {
        return;
    };
    let stand = stand(server.address, vec![zone("dbl", DnsKind::SpamhausDbl, "dbl.test")]);
    assert!(stand.intel.has_remote());
    let phish = listing(Category::Phishing, Scope::Domain, Weight::Block);
    for (url, wanted) in [
        ("http://evil.example/x", &phish),
        ("http://a.b.evil.example/x", &phish),
        ("http://exact.example/", &phish),
        ("http://fine.evil.example/", &Finding::NotListed),
        ("http://clean.example/", &Finding::NotListed),
        (
            "http://hacked.example/blog",
            &listing(Category::Phishing, Scope::Url, Weight::Warn),
        ),
    ] {
        assert_eq!(findings(&stand, url), std::slice::from_ref(wanted), "{url}");
        // From memory.
        assert_eq!(findings(&stand, url), std::slice::from_ref(wanted), "{url}");
    }
    // Nothing is known about addresses, and nobody is asked.
    assert_eq!(findings(&stand, "http://192.0.2.1/"), []);
    assert_eq!(stand.counts("dbl").answers(SourceAnswer::Listed), 8);
    assert_eq!(stand.counts("dbl").answers(SourceAnswer::NotListed), 4);
    for host in ["refused", "address", "busy"] {
        let said = findings(&stand, &format!("http://{host}.example/"));
        assert!(
            matches!(&said[..], [Finding::CouldNotAsk(why)] if why.starts_with("refused")),
            "{said:?}"
        );
    }
    assert_eq!(stand.counts("dbl").answers(SourceAnswer::CouldNotAsk), 3);

    let others = self::stand(
        server.address,
        vec![
            zone("surbl", DnsKind::Surbl, "surbl.test"),
            zone("uribl", DnsKind::Uribl, "uribl.test"),
            zone("own", DnsKind::Generic, "own.test"),
            zone("zrd", DnsKind::SpamhausZrd, "zrd.test"),
        ],
    );
    let named = |url: &str| -> Vec<(String, Finding)> {
        let said = others.remote(url).into_iter();
        said.filter(|e| e.finding != Finding::NotListed)
            .map(|e| (e.source.into_owned(), e.finding))
            .collect()
    };
    // 80 is the sum of 16 and 64.
    let sum =
        [Category::Malware, Category::Abuse].map(|c| ("surbl".to_owned(), listing(c, Scope::Domain, Weight::Block)));
    assert_eq!(named("https://www.sum.example/"), sum);
    let black = listing(Category::Abuse, Scope::Domain, Weight::Block);
    assert_eq!(named("https://a.black.example/"), [("uribl".to_owned(), black)]);
    let grey = listing(Category::Abuse, Scope::Domain, Weight::Warn);
    assert_eq!(named("https://grey.example/"), [("uribl".to_owned(), grey)]);
    let own = listing(Category::Unspecified, Scope::Host, Weight::Block);
    assert_eq!(named("https://x.own.example/"), [("own".to_owned(), own)]);
    let new = listing(Category::NewDomain, Scope::Domain, Weight::Warn);
    assert_eq!(named("https://x.new.example/"), [("zrd".to_owned(), new)]);
    let refused = named("https://refused.example/");
    assert!(
        refused.iter().all(|(_, f)| matches!(f, Finding::CouldNotAsk(_))),
        "{refused:?}"
    );
    assert_eq!(refused.len(), 2);
}

#[test]
fn a_key_goes_into_the_zone_and_nowhere_else() {
    let server = NameServer::new(|name| {
        if name == "evil.example.s3cret.dbl.test" {
            Answer::Addresses(vec![[127, 0, 1, 5]])
        } else {
            Answer::ServFail
        }
    });
    let source = Source {
        key: Secret::new("s3cret"),
        ..zone("dbl", DnsKind::SpamhausDbl, "{key}.dbl.test")
    };
    let stand = stand(server.address, vec![source.clone()]);
    let wanted = listing(Category::Malware, Scope::Domain, Weight::Block);
    assert_eq!(findings(&stand, "http://evil.example/"), [wanted]);
    let said = format!(
        "{:?} {source:?} {:?}",
        stand.remote("http://other.example/"),
        stand.intel
    );
    assert!(said.contains("CouldNotAsk") && !said.contains("s3cret"), "{said}");
}

#[test]
fn what_is_no_answer_is_never_not_listed() {
    for answer in [Answer::ServFail, Answer::Refused, Answer::Garbage, Answer::Silence] {
        let server = NameServer::new({
            let answer = answer.clone();
            move |_| answer.clone()
        });
        let stand = stand(server.address, vec![zone("own", DnsKind::Generic, "own.test")]);
        let said = findings(&stand, "http://a.example/");
        assert!(matches!(&said[..], [Finding::CouldNotAsk(_)]), "{answer:?}: {said:?}");
        assert!(stand.counts("own").is(SourceHealth::Failing), "{answer:?}");
        let text = format!("{said:?}");
        assert!(!text.contains("own.test"), "{text}");
    }
}

#[test]
fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let server = NameServer::new(|_| Answer::Truncated(vec![[127, 0, 0, 2]]));
    let stand = stand(server.address, vec![zone("own", DnsKind::Generic, "own.test")]);
    let wanted = listing(Category::Unspecified, Scope::Host, Weight::Block);
    assert_eq!(findings(&stand, "http://a.example/"), [wanted]);
}

#[test]
fn answers_are_remembered_as_long_as_they_hold() {
    let server = NameServer::new(|name| match name {
        "a.example.own.test" => Answer::Addresses(vec![[127, 0, 0, 2]]),
        _ => Answer::NxDomain,
    });
    let stand = stand(server.address, vec![zone("own", DnsKind::Generic, "own.test")]);
    for _ in 0..5 {
        assert!(matches!(
            findings(&stand, "http://a.example/x")[..],
            [Finding::Listed(_)]
        ));
        assert_eq!(findings(&stand, "http://b.example/"), [Finding::NotListed]);
    }
    assert_eq!(server.asked(), ["a.example.own.test", "b.example.own.test"]);
}

/// The budget of a click is over before the list answers; the answer is there for the next one.
#[test]
fn who_is_late_could_not_be_asked_and_is_remembered_all_the_same() {
    let server = NameServer::new(|_| Answer::Late(Duration::from_millis(400), vec![[127, 0, 0, 2]]));
    let stand = stand(server.address, vec![zone("own", DnsKind::Generic, "own.test")]);
    let start = Instant::now();
    let said = stand.remote_within("http://a.example/", Duration::from_millis(50));
    assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
    assert!(matches!(&said[0].finding, Finding::CouldNotAsk(_)), "{said:?}");
    eventually("the answer", || {
        let said = stand.remote_within("http://a.example/", Duration::from_millis(1));
        matches!(said[0].finding, Finding::Listed(_))
    });
    // Clicks that came meanwhile asked no more; the resolver may have repeated its packet.
    assert!(server.asked().len() <= 2, "{:?}", server.asked());
}

#[test]
fn a_dead_list_delays_nobody_once_its_breaker_is_open_and_comes_back_by_itself() {
    let dead = NameServer::new(|_| Answer::Silence);
    let stand = stand(dead.address, vec![zone("own", DnsKind::Generic, "own.test")]);
    let open = || stand.counts("own").is(SourceHealth::Open);
    for n in 0..40 {
        let said = stand.remote_within(&format!("http://h{n}.example/"), Duration::from_millis(200));
        assert!(matches!(&said[0].finding, Finding::CouldNotAsk(_)), "{said:?}");
        if open() {
            break;
        }
    }
    eventually("the breaker to open", open);
    let asked = dead.asked().len();
    let mut times: Vec<Duration> = (0..200)
        .map(|n| {
            let start = Instant::now();
            let said = stand.remote_within(&format!("http://g{n}.example/"), Duration::from_secs(2));
            assert!(matches!(&said[0].finding, Finding::CouldNotAsk(_)), "{said:?}");
            start.elapsed()
        })
        .collect();
    times.sort();
    println!("median {:?}, worst {:?}", times[100], times[199]);
    assert!(times[100] < Duration::from_millis(1), "{times:?}");
    assert!(times[197] < Duration::from_millis(100), "nobody waits: {times:?}");
    assert!(dead.asked().len() <= asked + 1, "only a probe may ask");
    // It answers again: clicks find that out in the background.
    dead.now(|_| Answer::Addresses(vec![[127, 0, 0, 2]]));
    eventually("it to be asked again", || {
        let said = stand.remote_within("http://z.example/", Duration::from_secs(2));
        matches!(said[0].finding, Finding::Listed(_))
    });
    assert!(stand.counts("own").is(SourceHealth::Up));
}

#[test]
fn readers_of_one_link_do_not_wait_for_a_dead_list_again_and_again() {
    let dead = NameServer::new(|_| Answer::Silence);
    let stand = stand(dead.address, vec![zone("own", DnsKind::Generic, "own.test")]);
    let said = stand.remote_within("http://a.example/", Duration::from_millis(200));
    assert!(matches!(&said[0].finding, Finding::CouldNotAsk(_)), "{said:?}");
    // Nobody asks anything meanwhile: that it is dead is found out in the background.
    eventually("the breaker to open", || stand.counts("own").is(SourceHealth::Open));
    let start = Instant::now();
    let said = stand.remote_within("http://a.example/", Duration::from_secs(2));
    assert!(matches!(&said[0].finding, Finding::CouldNotAsk(_)), "{said:?}");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

/// The same zone file, read by unbound as a response policy zone and by us as a list.
#[test]
fn a_response_policy_zone_means_what_it_means_to_unbound() {
    let world = NameServer::new(|_| Answer::Addresses(vec![[192, 0, 2, 80]]));
    let rpz = "$TTL 60\n\
        @ IN SOA localhost. root.localhost. ( 1 3600 900 86400 60 )\n  IN NS localhost.\n\
        evil.example CNAME .\n\
        *.evil.example CNAME .\n\
        fine.evil.example CNAME rpz-passthru.\n\
        nodata.example CNAME *.\n\
        drop.example CNAME rpz-drop.\n\
        *.below.example CNAME .\n\
        walled.example A 203.0.113.1\n";
    let config = format!(
        "server:\n interface: 127.0.0.1@@PORT@\n port: @PORT@\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n \
         directory: \"@DIR@\"\n pidfile: \"@DIR@/pid\"\n use-syslog: no\n logfile: \"@DIR@/log\"\n \
         access-control: 127.0.0.0/8 allow\n module-config: \"respip iterator\"\n do-not-query-localhost: no\n \
         num-threads: 1\n\
         forward-zone:\n name: \".\"\n forward-addr: 127.0.0.1@{}\n\
         rpz:\n name: rpz.test\n zonefile: \"@DIR@/rpz.zone\"\n\
         remote-control:\n control-enable: no\n",
        world.address.port()
    );
    let files = [("unbound.conf", config), ("rpz.zone", rpz.to_owned())];
    let Some(unbound) = Daemon::start("unbound", &files, |_, dir| {
        vec!["-d".into(), "-c".into(), dir.join("unbound.conf").display().to_string()]
    }) else {
        return;
    };
    let path = unbound.dir.path().join("rpz.zone");
    let mut stand = Stand::with(vec![file("rpz", ListKind::Rpz, &path)], |_| ());
    stand.until_listed("http://evil.example/");
    let mut differ = Vec::new();
    for name in [
        "evil.example",
        "www.evil.example",
        "a.b.evil.example",
        "fine.evil.example",
        "x.fine.evil.example",
        "nodata.example",
        "www.nodata.example",
        "drop.example",
        "below.example",
        "x.below.example",
        "walled.example",
        "clean.example",
        "notevil.example",
        "evil.example.com",
    ] {
        // A policy in force is anything but the answer of the world.
        let blocked = ask(unbound.address, name) != Some(vec![[192, 0, 2, 80]]);
        if stand.is_listed(&format!("http://{name}/")) != blocked {
            differ.push((name, blocked));
        }
    }
    // In DNS an entry of its own ends the reach of a wildcard above it (RFC 4592); here an exception for one host is one
    // for that host.
    assert_eq!(differ, [("x.fine.evil.example", false)]);
    // A resolver with policies is good enough to ask DNS lists through. (It answers for all of .test itself.)
    world.now(|name| match name {
        "bad.example.own.example" => Answer::Addresses(vec![[127, 0, 0, 2]]),
        _ => Answer::NxDomain,
    });
    stand = self::stand(unbound.address, vec![zone("own", DnsKind::Generic, "own.example")]);
    assert!(matches!(
        findings(&stand, "http://bad.example/")[..],
        [Finding::Listed(_)]
    ));
    assert_eq!(findings(&stand, "http://good.example/"), [Finding::NotListed]);
}
