//! No spelling, name or redirect gets a request to an address that is not of the public network.

use std::net::IpAddr;

use link::Target;

use super::web::{Dns, Web, follower, found, full, page, redirect};

/// Spellings of places that must not be reached; `PORT` is one that is asked otherwise.
const SPELLINGS: &[&str] = &[
    // This machine.
    "http://127.0.0.1:PORT/",
    "http://127.0.0.2:PORT/",
    "http://127.255.255.254:PORT/",
    "http://127.1:PORT/",
    "http://127.0.1:PORT/",
    "http://0:PORT/",
    "http://0.0.0.0:PORT/",
    "http://00000000:PORT/",
    "http://2130706433:PORT/",
    "http://0x7f000001:PORT/",
    "http://0x7f.1:PORT/",
    "http://0x7F.0x0.0x0.0x1:PORT/",
    "http://017700000001:PORT/",
    "http://0177.0.0.1:PORT/",
    "http://0177.0.0.01:PORT/",
    "http://0x7f.0.0.01:PORT/",
    "http://127.0.0.1.:PORT/",
    "http://127.0.0.1%2e:PORT/",
    "http://%31%32%37.0.0.1:PORT/",
    "http://127%2e0%2e0%2e1:PORT/",
    "http://１２７.０.０.１:PORT/",
    "http://①②⑦.⓪.⓪.①:PORT/",
    "http://127。0。0。1:PORT/",
    "http://127\u{ad}.0.0.1:PORT/",
    "http:\\\\127.0.0.1:PORT\\",
    "http:127.0.0.1:PORT/",
    "http:////127.0.0.1:PORT/",
    "http://localhost:PORT/",
    "http://LOCALHOST:PORT/",
    "http://localhost.:PORT/",
    "http://a.localhost:PORT/",
    "http://a.b.localhost.:PORT/",
    "http://ｌocalhost:PORT/",
    "http://printer.local:PORT/",
    // Who is asked stands behind the last @.
    "http://good.example@127.0.0.1:PORT/",
    "http://good.example:80@127.0.0.1:PORT/",
    "http://good.example%40@127.0.0.1:PORT/",
    "http://good.example\t@127.0.0.1:PORT/",
    // IPv6.
    "http://[::1]:PORT/",
    "http://[0:0:0:0:0:0:0:1]:PORT/",
    "http://[::]:PORT/",
    "http://[::127.0.0.1]:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://[::ffff:7f00:1]:PORT/",
    "http://[0:0:0:0:0:ffff:7f00:0001]:PORT/",
    "http://[::ffff:0:127.0.0.1]:PORT/",
    "http://[64:ff9b::127.0.0.1]:PORT/",
    "http://[64:ff9b::7f00:1]:PORT/",
    "http://[64:ff9b:1::127.0.0.1]:PORT/",
    "http://[2002:7f00:1::]:PORT/",
    "http://[2002:7f00:1::1]:PORT/",
    "http://[2001:0:7f00:1:0:0:80ff:fffe]:PORT/",
    "http://[2001:4860::5efe:127.0.0.1]:PORT/",
    "http://[2001:4860::200:5efe:7f00:1]:PORT/",
    "http://[fe80::1]:PORT/",
    "http://[fec0::1]:PORT/",
    "http://[fd00::1]:PORT/",
    "http://[ff02::1]:PORT/",
    "http://[2001:db8::1]:PORT/",
    // Networks of one's own, and where clouds keep secrets.
    "http://10.0.0.1:PORT/",
    "http://012.0.0.1:PORT/",
    "http://172.16.0.1:PORT/",
    "http://192.168.1.1:PORT/",
    "http://3232235777:PORT/",
    "http://100.64.0.1:PORT/",
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://[::ffff:169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::]/",
    "http://[fd00:ec2::254]/",
    "http://100.100.100.200/",
    "http://192.0.0.192/",
    "http://168.63.129.16/",
    "http://255.255.255.255:PORT/",
    "http://224.0.0.1:PORT/",
    "http://198.18.0.1:PORT/",
    // Names that say so.
    "http://private.example:PORT/",
    "http://private.example.:PORT/",
    "http://mapped.example:PORT/",
    "http://six.example:PORT/",
    "http://mixed.example:PORT/",
    "http://mixed-six.example:PORT/",
    "http://metadata.google.internal/",
    "http://zero.example:PORT/",
    "http://127.0.0.1.rebind.example:PORT/",
    // Other ports, other schemes.
    "http://public.example:22/",
    "http://public.example:25/",
    "http://8.8.8.8:6379/",
    "ftp://127.0.0.1:PORT/",
];

/// A resolver with names for all of it.
fn dns() -> Dns {
    Dns::start(|name, _| {
        let addresses: &[&str] = match name {
            "private.example" | "127.0.0.1.rebind.example" => &["127.0.0.1"],
            "mapped.example" => &["::ffff:127.0.0.1"],
            "six.example" => &["::1"],
            // One of them would do.
            "mixed.example" => &["127.0.0.5", "127.0.0.1"],
            "mixed-six.example" => &["127.0.0.5", "::1"],
            "metadata.google.internal" => &["169.254.169.254"],
            "zero.example" => &["0.0.0.0"],
            "public.example" => &["8.8.8.8"],
            "start.example" => &["127.0.0.5"],
            _ => &[],
        };
        addresses.iter().map(|ip| ip.parse().unwrap()).collect()
    })
}

/// Counts who comes, under every address of this machine.
fn trap() -> Web {
    Web::start("[::]:0", |_| page(200, "", "You should not be here."))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_reaches_what_is_not_public() {
    assert!(SPELLINGS.len() >= 60);
    let (trap, dns) = (trap(), dns());
    let port = trap.port().to_string();
    let follower = follower(&format!("ports = [{port:?}]\nhop_timeout_ms = 2000"), Some(&dns));
    for spelling in SPELLINGS {
        let url = spelling.replace("PORT", &port);
        // What is no URL to a browser either cannot be clicked.
        let Ok(target) = Target::parse(&url) else {
            panic!("{url} is no URL");
        };
        let report = full(&follower, target.as_str()).await;
        let found = found(&report);
        assert!(
            found.contains(&"forbidden-address".to_owned()),
            "{url} ({}): {found:?}",
            target.as_str()
        );
        assert_eq!((trap.connections(), report.fetched), (0, 0), "{url}");
    }
    // The trap is where it should be.
    std::net::TcpStream::connect(("127.0.0.1", trap.port())).unwrap();
    std::net::TcpStream::connect(("::1", trap.port())).unwrap();
    while trap.connections() < 2 {
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_redirect_reaches_what_is_not_public() {
    let (trap, dns) = (trap(), dns());
    let port = trap.port().to_string();
    let server = {
        let port = port.clone();
        Web::start("127.0.0.5:0", move |request| {
            let (way, number) = request.path[1..].split_once('/').unwrap();
            let to = SPELLINGS[number.parse::<usize>().unwrap()].replace("PORT", &port);
            // Fields of HTTP hold no line ends and no tabs at will; addresses are sent as they are written otherwise.
            match way {
                "location" => redirect(&to),
                "refresh" => page(200, &format!("Refresh: 0; url={to}\r\n"), ""),
                "meta" => page(
                    200,
                    "",
                    &format!("<meta charset=utf-8><meta http-equiv=refresh content='0;url={to}'>"),
                ),
                "script" => page(200, "", &format!("<script>location.href = {to:?}</script>")),
                _ => page(200, "", &format!("<iframe width=100% height=100% src='{to}'></iframe>")),
            }
        })
    };
    let lines = format!(
        "ports = [{port:?}]\nhop_timeout_ms = 2000\nallow = [\"{}\"]",
        server.address
    );
    let follower = follower(&lines, Some(&dns));
    for way in ["location", "refresh", "meta", "script", "frame"] {
        for (number, spelling) in SPELLINGS.iter().enumerate() {
            let url = format!("http://start.example:{}/{way}/{number}", server.port());
            let report = full(&follower, &url).await;
            let found = found(&report);
            // `http:host` is a path of the page it stands in.
            let relative = *spelling == "http:127.0.0.1:PORT/";
            let stopped = found.contains(&"forbidden-address".to_owned());
            assert!(stopped || relative, "{spelling} by {way}: {found:?} {:?}", report.hops);
            assert_eq!(trap.connections(), 0, "{spelling} by {way}");
        }
    }
    assert!(server.requests().len() >= 5 * SPELLINGS.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_changes_its_mind_is_asked_once_and_judged_each_time() {
    // Where it may be reached the first time; then, this machine.
    let dns = Dns::start(|name, nth| {
        let ip: IpAddr = match (name, nth) {
            ("rebind.example", 0) | ("stable.example", _) => "127.0.0.5".parse().unwrap(),
            ("mixed.example", _) => return ["127.0.0.5", "127.0.0.1"].map(|ip| ip.parse().unwrap()).into(),
            _ => "127.0.0.1".parse().unwrap(),
        };
        vec![ip]
    });
    let server = Web::start("127.0.0.5:0", |request| match &*request.path {
        "/again" => page(200, "", "Words."),
        _ => redirect("/again"),
    });
    let trap = Web::start(&format!("127.0.0.1:{}", server.port()), |_| page(200, "", "No."));
    // The port is asked anywhere; the address decides.
    let lines = format!("allow = [\"127.0.0.5\"]\nports = [\"{}\"]", server.port());
    let follower = follower(&lines, Some(&dns));
    let report = full(&follower, &format!("http://stable.example:{}/", server.port())).await;
    assert_eq!((found(&report), report.fetched), (vec![], 2));
    let report = full(&follower, &format!("http://rebind.example:{}/", server.port())).await;
    assert_eq!(
        (found(&report), report.fetched),
        (vec!["forbidden-address".to_owned()], 1)
    );
    assert_eq!(trap.connections(), 0);
    // One that would do does not help the other.
    let report = full(&follower, &format!("http://mixed.example:{}/", server.port())).await;
    assert_eq!(
        (found(&report), report.fetched),
        (vec!["forbidden-address".to_owned()], 0)
    );
    assert_eq!((trap.connections(), server.connections()), (0, 3));
    // One question for each hop: what was judged is what is connected to.
    let asked = |name: &str| dns.asked().iter().filter(|n| *n == name).count();
    assert_eq!((asked("stable.example"), asked("rebind.example")), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_addresses_are_not_asked_even_where_they_are_allowed() {
    let settings = include_str!("../../../fixtures/config/good/least.toml");
    let admin = settings.lines().skip_while(|l| *l != "[admin]").nth(1).unwrap();
    let address = admin.split('"').nth(1).unwrap();
    let port = address.rsplit_once(':').unwrap().1;
    let follower = follower(&format!("allow = [\"127.0.0.0/8\"]\nports = [{port:?}]"), None);
    let report = full(&follower, &format!("http://{address}/metrics")).await;
    assert_eq!((report.skipped, report.fetched), (Some("own-name"), 0));
}
