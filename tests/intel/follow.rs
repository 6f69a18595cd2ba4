//! Targets that are asked where they lead: what is reached, what is not, and what is made of the answers.

mod forbidden;
mod limits;
mod web;

use std::sync::Arc;
use std::time::{Duration, Instant};

use link::{Contact, Target};
use web::{Dns, Web, allowing, counted, follow, follower, found, full, page, paths, redirect};

/// Answers by path; `{n}` of `/chain/{n}` counts down.
fn site(path: &str) -> String {
    if let Some(n) = path.strip_prefix("/chain/").and_then(|n| n.parse::<u32>().ok()) {
        return match n {
            0 => page(200, "", "The end of it all, with a good many words to read."),
            _ => redirect(&format!("/chain/{}", n - 1)),
        };
    }
    let html = |body: &str| page(200, "", body);
    match path {
        "/end" | "/end?q" => html(&"Words to read. ".repeat(100)),
        "/301" => page(301, "Location: end\r\n", ""),
        "/303" => page(303, "Location: /end?q\r\n", ""),
        "/307" => page(307, "Location: ./end\r\n", ""),
        "/308" => page(308, "Location: //127.0.0.1:PORT/end\r\n", ""),
        "/300-without" => page(300, "", "Choose."),
        "/loop" => redirect("/loop2"),
        "/loop2" => redirect("/loop#x"),
        "/refresh" => page(200, "Refresh: 3; url=/end\r\n", ""),
        "/meta" => html("<meta http-equiv=refresh content='99;url=/end'>"),
        "/meta-base" => html("<base href='/sub/'><meta http-equiv=refresh content='0;url=../end'>"),
        "/meta-self" => html("<meta http-equiv=refresh content='60;url=/meta-self'> News. "),
        "/script" => html("<script>window.location.replace('\\/end')</script>"),
        "/script-open" => html("<script>window.open('/end', '_self')</script>"),
        "/script-built" => html("<script>location = atob('L2VuZA==')</script>"),
        "/frame" => html("<iframe src=/end width=100% height=100%></iframe>"),
        "/form" => html(
            "<form method=post action=/end><input type=hidden name=a value=b></form><script>document.forms[0].submit()</script>",
        ),
        "/error-page" => page(404, "", "<meta http-equiv=refresh content='0;url=/end'>"),
        "/utf-16" => "HTTP/1.1 200 X\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n".to_owned(),
        "/challenge" => page(403, "cf-mitigated: challenge\r\n", "Just a moment..."),
        "/turnstile" => page(
            503,
            "",
            "<script src=https://challenges.cloudflare.com/turnstile/v0/api.js></script>",
        ),
        "/turnstile-200" => html("<div class=cf-turnstile data-sitekey=x></div>"),
        "/401" => page(401, "WWW-Authenticate: Basic\r\n", ""),
        "/login" => html("<form action=/in><input name=u><input type=password name=p></form>"),
        "/403" => page(403, "", "No."),
        "/500" => page(500, "", "Sorry."),
        "/404" => page(404, "", "Not here."),
        "/to-app" => redirect("ms-word:ofe|u|https://a.example/x.docx"),
        "/to-data" => redirect("data:text/html,x"),
        "/to-mail" => html("<script>location = 'mailto:a@b.example'</script>"),
        "/open?next=http%3A%2F%2F127.0.0.2%3APORT%2Fend" => redirect("http://127.0.0.2:PORT/end"),
        "/pdf" => file("application/pdf", "%PDF-1.7\ntrailer << /Encrypt 5 0 R >>"),
        "/pdf-open" => file("application/pdf", "%PDF-1.7\ntrailer << /Root 5 0 R >>"),
        "/untyped-pdf" => {
            let body = "%PDF-1.7\ntrailer << /Encrypt 5 0 R >>";
            format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }
        "/zip" => file("application/zip", "PK\x03\x04\x14\0\x01\0\x08\0"),
        "/attached" => page(
            200,
            "Content-Disposition: attachment; filename=x.html\r\n",
            "<meta http-equiv=refresh content='0;url=/end'>",
        ),
        "/head-10k" => page(
            302,
            &format!("Location: /end\r\nX-Filler: {}\r\n", "x".repeat(10_000)),
            "",
        ),
        "/head-64k" => page(
            302,
            &format!("Location: /end\r\nX-Filler: {}\r\n", "x".repeat(64_000)),
            "",
        ),
        "/head-endless" => page(302, &format!("Location: /end\r\nX: {}\r\n", "x".repeat(2_000_000)), ""),
        "/fields" => page(302, &format!("Location: /end\r\n{}", "X: y\r\n".repeat(200)), ""),
        "/large" => html(&format!("<p>{}", "word ".repeat(500_000))),
        "/large-leads-on" => html(&format!("<script>location='/end'</script>{}", "word ".repeat(500_000))),
        "/garbage" => "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
        "/cut" => "HTTP/1.1 200 X\r\nContent-Type: text/html\r\nContent-Length: 999\r\n\r\n<p>".to_owned(),
        "/twenty" => html(
            &(0..60)
                .map(|n| format!("<script>function f(){{location='/{n}'}}</script>"))
                .collect::<String>(),
        ),
        other => page(404, "", &format!("no {other}")),
    }
}

fn file(kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 200 X\r\nContent-Type: {kind}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The site above.
fn start() -> Web {
    Web::serve("0.0.0.0:0", None, |request, stream| {
        let port = request
            .field("host")
            .and_then(|h| h.split_once(':'))
            .map_or("80", |(_, p)| p);
        let _ = stream.write_all(
            site(&request.path.replace(port, "PORT"))
                .replace("PORT", port)
                .as_bytes(),
        );
    })
}

/// A follower that may ask it under any address of loopback.
fn unguarded(web: &Web, more: &str) -> linkgate::intel::follow::Follower {
    follower(&format!("{}{more}", unguarded_lines(web)), None)
}

fn unguarded_lines(web: &Web) -> String {
    format!("ports = [\"{}\"]\nallow = [\"127.0.0.0/8\"]\n", web.port())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_lead_on_is_followed_to_its_end() {
    let web = start();
    let follower = unguarded(&web, "");
    let root = format!("http://127.0.0.1:{}", web.port());
    for (path, hops) in [
        ("/end", &[][..]),
        ("/301", &["end"]),
        ("/303", &["end?q"]),
        ("/307", &["end"]),
        ("/308", &["end"]),
        ("/refresh", &["end"]),
        ("/meta", &["end"]),
        ("/meta-base", &["end"]),
        ("/meta-self", &[]),
        ("/script", &["end"]),
        ("/script-open", &["end"]),
        ("/frame", &["end"]),
        ("/error-page", &["end"]),
        ("/404", &[]),
        ("/attached", &[]),
        ("/pdf-open", &[]),
        ("/head-10k", &["end"]),
        ("/large-leads-on", &["end"]),
        (
            "/chain/10",
            &[
                "chain/9", "chain/8", "chain/7", "chain/6", "chain/5", "chain/4", "chain/3", "chain/2", "chain/1",
                "chain/0",
            ],
        ),
        ("/to-mail", &[]),
    ] {
        let report = full(&follower, &format!("{root}{path}")).await;
        assert_eq!(paths(&report), hops, "{path}");
        assert_eq!(found(&report), [""; 0], "{path}");
        assert_eq!(report.skipped, None, "{path}");
        assert_eq!(report.fetched as usize, hops.len() + 1, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_looked_into_is_never_clean() {
    let web = start();
    let follower = unguarded(&web, "");
    let root = format!("http://127.0.0.1:{}", web.port());
    for (path, wanted, hops) in [
        ("/chain/11", &["too-many-hops"][..], 11),
        ("/loop", &["loop"], 2),
        ("/script-built", &["needs-script"], 0),
        ("/form", &["needs-script"], 1),
        ("/challenge", &["captcha"], 0),
        ("/turnstile", &["captcha"], 0),
        ("/turnstile-200", &["captcha"], 0),
        ("/401", &["login"], 0),
        ("/login", &["unencrypted-login", "login"], 0),
        ("/403", &["no-answer"], 0),
        ("/500", &["no-answer"], 0),
        ("/300-without", &["no-answer"], 0),
        ("/to-app", &["leaves-the-web", "forbidden-address"], 0),
        ("/to-data", &["leaves-the-web", "forbidden-address"], 0),
        (
            "/open?next=http%3A%2F%2F127.0.0.2%3APORT%2Fend",
            &["open-redirector"],
            1,
        ),
        ("/pdf", &["encrypted"], 0),
        ("/zip", &["encrypted"], 0),
        ("/untyped-pdf", &["encrypted"], 0),
        ("/head-64k", &["too-large"], 0),
        ("/head-endless", &["too-large"], 0),
        ("/fields", &["too-large"], 0),
        ("/large", &["too-large"], 0),
        ("/garbage", &["no-answer"], 0),
        ("/cut", &["no-answer"], 0),
    ] {
        let path = path.replace("PORT", &web.port().to_string());
        let report = full(&follower, &format!("{root}{path}")).await;
        assert_eq!(found(&report), wanted, "{path}");
        assert_eq!(report.hops.len(), hops, "{path}: {:?}", report.hops);
    }
    assert!(
        web.asked().iter().all(|asked| asked.starts_with("GET ")),
        "{:?}",
        web.asked()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_sees_who_asks_and_nothing_of_the_reader() {
    let web = Web::start("127.0.0.1:0", |request| match &*request.path {
        "/a?x" => page(302, "Location: /b\r\nSet-Cookie: seen=1; Path=/\r\n", ""),
        "/b" if request.field("cookie") == Some("seen=1") => page(200, "", "Words."),
        _ => redirect("/b"),
    });
    let follower = allowing(&[&web], "", None);
    let url = format!("http://reader:secret@127.0.0.1:{}/a?x#fragment", web.port());
    let report = full(&follower, &url).await;
    // A browser keeps it for what is relative.
    assert_eq!(found(&report), ["user-info", "user-info"]);
    // So does the fragment go on with the reader.
    assert_eq!(paths(&report), ["b#fragment"]);
    let [first, second] = &*web.requests() else {
        panic!("{:?}", web.asked())
    };
    for request in [first, second] {
        let agent = request.field("user-agent").unwrap();
        assert!(
            agent.starts_with("linkgate/") && agent.contains("+https://click.example.com"),
            "{agent}"
        );
        for name in ["authorization", "referer", "from", "x-forwarded-for", "accept-language"] {
            assert_eq!(request.field(name), None, "{}", request.head);
        }
        assert!(
            !request.head.contains("secret") && !request.head.contains("fragment"),
            "{}",
            request.head
        );
    }
    assert_eq!((first.field("cookie"), second.field("cookie")), (None, Some("seen=1")));
    // The next report knows nothing of this one.
    full(&follower, &url).await;
    assert_eq!(web.requests()[2].field("cookie"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_itself_with_a_new_cookie_is_no_loop() {
    let web = Web::start("127.0.0.1:0", |request| match request.field("cookie") {
        Some(_) => page(200, "", "Words."),
        None => page(302, "Location: /\r\nSet-Cookie: seen=1\r\n", ""),
    });
    let follower = allowing(&[&web], "", None);
    let report = full(&follower, &format!("http://127.0.0.1:{}/", web.port())).await;
    assert_eq!((found(&report), report.fetched), (vec![], 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_where_nothing_may_be() {
    let web = start();
    let dns = Dns::start(|_, _| vec!["127.0.0.1".parse().unwrap()]);
    let more = "never = [\"never.example\", \"re:/private/\"]";
    let lines = format!("ports = [\"{}\"]\nallow = [\"127.0.0.0/8\"]\n{more}", web.port());
    let follower = follower(&lines, Some(&dns));
    let url = |host: &str| format!("http://{host}:{}/301", web.port());
    let until = Instant::now() + Duration::from_secs(5);
    for level in [Contact::Shorteners, Contact::Full] {
        let target = Target::parse(&url("bit.ly")).unwrap();
        let report = follower.follow(&target, level, true, until).await;
        assert_eq!((report.skipped, report.fetched), (Some("looks-one-time"), 0));
    }
    for (host, level, skipped) in [
        ("bit.ly", Contact::Lists, "contact-lists"),
        ("target.example", Contact::Lists, "contact-lists"),
        ("target.example", Contact::Shorteners, "not-a-shortener"),
        ("never.example", Contact::Full, "never"),
        ("click.example.com", Contact::Full, "own-name"),
        ("CLICK.example.com.", Contact::Full, "own-name"),
    ] {
        let report = follow(&follower, &url(host), level).await;
        assert_eq!((report.skipped, report.fetched), (Some(skipped), 0), "{host}");
        assert_eq!(found(&report), [""; 0], "{host}");
    }
    let report = full(&follower, &format!("http://a.example:{}/private/x", web.port())).await;
    assert_eq!(report.skipped, Some("never"));
    assert_eq!((web.connections(), dns.asked()), (0, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shortener_is_asked_and_what_it_leads_to_is_not() {
    let web = Web::start("127.0.0.1:0", |request| {
        let head = request.method == "HEAD";
        match &*request.path {
            "/nested" => redirect("http://tinyurl.com:PORT/x").replace("PORT", port_of(request)),
            "/no-head" if head => page(405, "", ""),
            "/page" if head => page(200, "", ""),
            "/page" => page(
                200,
                "",
                "<meta http-equiv=refresh content='0;url=http://target.example/'>",
            ),
            "/silent" => page(200, "", &"This link does not say where it goes. ".repeat(40)),
            "/gone" => page(404, "", "Gone."),
            _ => redirect("http://target.example:PORT/secret").replace("PORT", port_of(request)),
        }
    });
    let dns = Dns::start(|_, _| vec!["127.0.0.1".parse().unwrap()]);
    let follower = allowing(&[&web], "", Some(&dns));
    let target = format!("http://target.example:{}/secret", web.port());
    let nested = format!("http://tinyurl.com:{}/x", web.port());
    let not_asked = Some("not-a-shortener");
    for (path, hops, skipped, asked) in [
        ("/x", &[&*target][..], not_asked, &["HEAD /x"][..]),
        ("/no-head", &[&*target], not_asked, &["HEAD /no-head", "GET /no-head"]),
        (
            "/nested",
            &[&*nested, &*target],
            not_asked,
            &["HEAD /nested", "HEAD /x"],
        ),
        (
            "/page",
            &["http://target.example/"],
            not_asked,
            &["HEAD /page", "GET /page"],
        ),
        ("/silent", &[], None, &["HEAD /silent", "GET /silent"]),
        ("/gone", &[], None, &["HEAD /gone", "GET /gone"]),
    ] {
        let before = web.asked().len();
        let url = format!("http://bit.ly:{}{path}", web.port());
        let report = follow(&follower, &url, Contact::Shorteners).await;
        let seen: Vec<&str> = report.hops.iter().map(Target::as_str).collect();
        assert_eq!(seen, hops, "{path}");
        assert_eq!(report.skipped, skipped, "{path}");
        assert_eq!(web.asked()[before..], *asked, "{path}");
        let unknown = path == "/silent";
        assert_eq!(
            found(&report).len(),
            usize::from(unknown),
            "{path}: {:?}",
            report.evidence
        );
        assert!(!unknown || found(&report)[0].contains("TargetUnknown"));
    }
    assert!(web.requests().iter().all(|r| !r.head.contains("target.example")));
}

fn port_of(request: &web::Request) -> &str {
    request.field("host").and_then(|h| h.split_once(':')).unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_to_a_click_link_of_ours_is_smuggling() {
    let web = Web::start("127.0.0.1:0", |_| redirect("https://click.example.com/c/x"));
    let follower = allowing(&[&web], "", None);
    let report = full(&follower, &format!("http://127.0.0.1:{}/", web.port())).await;
    assert_eq!((report.skipped, report.fetched), (Some("own-name"), 1));
    assert_eq!(found(&report), ["Smuggled(OwnLinkInside)"]);
    // Other pages may stand on that host.
    let web = Web::start("127.0.0.1:0", |_| redirect("https://click.example.com/about"));
    let follower = allowing(&[&web], "", None);
    let report = full(&follower, &format!("http://127.0.0.1:{}/", web.port())).await;
    assert_eq!((report.skipped, found(&report)), (Some("own-name"), vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_not_followed_into_a_link_that_looks_one_time() {
    let web = Web::start("127.0.0.1:0", |request| match &*request.path {
        "/a" => redirect("/account/confirm?token=Zk3v9QpLm2Xw8Rt5Yb7N"),
        _ => page(200, "", "You are confirmed."),
    });
    let follower = allowing(&[&web], "", None);
    let report = full(&follower, &format!("http://127.0.0.1:{}/a", web.port())).await;
    assert_eq!((report.skipped, report.hops.len()), (Some("looks-one-time"), 1));
    assert_eq!(web.asked(), ["GET /a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_a_hop_is_read_and_not_asked() {
    let target = "http://192.0.2.7/paper";
    let google = format!("https://www.google.com/url?q={target}");
    let wrapped = format!(
        "https://eur01.safelinks.protection.outlook.com/?url={}",
        google
            .replace(':', "%3A")
            .replace('/', "%2F")
            .replace('?', "%3F")
            .replace('=', "%3D")
    );
    let first = wrapped.clone();
    let web = Web::start("127.0.0.1:0", move |_| redirect(&first));
    let follower = allowing(&[&web], "", None);
    let report = full(&follower, &format!("http://127.0.0.1:{}/", web.port())).await;
    let hops: Vec<&str> = report.hops.iter().map(Target::as_str).collect();
    assert_eq!(hops, [&*wrapped, &*google, target]);
    assert_eq!(
        (found(&report), report.fetched),
        (vec!["forbidden-address".to_owned()], 1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_one_signs_in_is_not_asked() {
    let web = Web::start("127.0.0.1:0", |_| {
        redirect("https://login.microsoftonline.com/common/oauth2/authorize?x")
    });
    let follower = allowing(&[&web], "", None);
    let report = full(&follower, &format!("http://127.0.0.1:{}/", web.port())).await;
    assert_eq!(
        (found(&report), report.fetched, report.hops.len()),
        (vec!["login".to_owned()], 1, 1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_is_counted() {
    use linkgate::metrics::{ContactResult, Metrics};
    let web = start();
    let metrics = Metrics::new();
    let follower = counted(&unguarded_lines(&web), None, Arc::clone(&metrics.contact));
    full(&follower, &format!("http://127.0.0.1:{}/chain/2", web.port())).await;
    full(&follower, &format!("http://127.0.0.1:{}/404", web.port())).await;
    full(&follower, &format!("http://127.0.0.1:{}/garbage", web.port())).await;
    let count = |asked| metrics.contact.requests(asked);
    let all = [
        ContactResult::Redirect,
        ContactResult::Content,
        ContactResult::Refused,
        ContactResult::Failed,
    ]
    .map(count);
    assert_eq!(all, [2, 1, 1, 1]);
}
