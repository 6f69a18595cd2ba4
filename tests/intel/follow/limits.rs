//! What an answer may take: time, octets, hosts, places; and whom it has to be from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use link::{Contact, Target};

use super::web::{Dns, Web, allowing, follower, found, full, page, redirect};
use crate::rig::tls::Certificate;

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_takes_longer_than_it_may() {
    let slow = |first: &'static str, then: &'static str| {
        Web::serve("127.0.0.1:0", None, move |_, stream| {
            let _ = stream.write_all(first.as_bytes());
            for _ in 0..200 {
                if stream.write_all(then.as_bytes()).and_then(|()| stream.flush()).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        })
    };
    const HTML: &str = "HTTP/1.1 200 X\r\nContent-Type: text/html\r\n\r\n";
    const LEADS_ON: &str =
        "HTTP/1.1 200 X\r\nContent-Type: text/html\r\n\r\n<meta http-equiv=refresh content='0;url=http://192.0.2.1/'>";
    for (what, web, wanted) in [
        ("no head", slow("", ""), &["no-answer"][..]),
        (
            "a head that drips",
            slow("HTTP/1.1 200 X\r\n", "X: y\r\n"),
            &["no-answer"],
        ),
        ("a page that drips", slow(HTML, " "), &["no-answer"]),
        (
            "a page that has said enough",
            slow(LEADS_ON, " "),
            &["forbidden-address"],
        ),
        (
            "a file that drips",
            slow("HTTP/1.1 200 X\r\nContent-Type: image/png\r\n\r\n", "x"),
            &["no-answer"],
        ),
    ] {
        let follower = allowing(&[&web], "hop_timeout_ms = 400", None);
        let started = Instant::now();
        let report = full(&follower, &format!("http://127.0.0.1:{}/", web.port())).await;
        assert_eq!(found(&report), wanted, "{what}");
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{what}: {:?}",
            started.elapsed()
        );
    }
    // A resolver that is silent, and one that is not there.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for server in [silent.local_addr().unwrap(), nobody] {
        let follower = follower(
            &format!("hop_timeout_ms = 400\n[checks]\ndns_servers = [\"{server}\"]"),
            None,
        );
        let started = Instant::now();
        let report = full(&follower, "http://a.example/").await;
        assert_eq!((found(&report), report.fetched), (vec!["no-answer".to_owned()], 0));
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
    // All in all it takes no longer than the caller has.
    let web = slow("", "");
    let follower = allowing(&[&web], "", None);
    let target = Target::parse(&format!("http://127.0.0.1:{}/", web.port())).unwrap();
    let started = Instant::now();
    let report = follower
        .follow(&target, Contact::Full, false, started + Duration::from_millis(300))
        .await;
    assert_eq!(found(&report), ["no-answer"]);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_counted_as_it_is_unpacked() {
    // 64 MiB of zeros, in blocks of deflate that say "258 times the last octet".
    let bomb = gzip_of_zeros(64 << 20);
    assert!(bomb.len() < 1 << 20);
    let web = Web::serve("127.0.0.1:0", None, move |request, stream| {
        let endless = request.path == "/endless";
        let coding = if endless { "" } else { "Content-Encoding: gzip\r\n" };
        let _ = write!(
            stream,
            "HTTP/1.1 200 X\r\nContent-Type: text/html\r\n{coding}Connection: close\r\n\r\n"
        );
        if endless {
            while stream.write_all(&[b'x'; 65_536]).is_ok() {}
        } else {
            let _ = stream.write_all(&bomb);
        }
    });
    let follower = allowing(&[&web], "hop_timeout_ms = 20000", None);
    for path in ["bomb", "endless"] {
        let report = full(&follower, &format!("http://127.0.0.1:{}/{path}", web.port())).await;
        assert_eq!(found(&report), ["too-large"], "{path}");
    }
}

/// A gzip file of one block with fixed codes (RFC 1951, 3.2.6, and RFC 1952).
fn gzip_of_zeros(octets: usize) -> Vec<u8> {
    let mut bits: Vec<bool> = vec![true, true, false];
    let huffman =
        |bits: &mut Vec<bool>, code: u16, length: u8| bits.extend((0..length).rev().map(|n| code >> n & 1 == 1));
    huffman(&mut bits, 0b0011_0000, 8);
    for _ in 0..octets / 258 {
        // Length 258 is code 285, distance 1 is code 0.
        huffman(&mut bits, 0b1100_0101, 8);
        huffman(&mut bits, 0, 5);
    }
    huffman(&mut bits, 0, 7);
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let octet = |bits: &[bool]| {
        bits.iter()
            .enumerate()
            .fold(0_u8, |sum, (n, bit)| sum | u8::from(*bit) << n)
    };
    out.extend(bits.chunks(8).map(octet));
    // The sum of a bomb nobody comes to check.
    out.extend([0; 8]);
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_does_not_hold_is_no_answer_to_trust() {
    let right = Certificate::new("a.example");
    let web = Web::serve("127.0.0.1:0", Some(right.identity().config()), |_, stream| {
        let _ = stream.write_all(page(200, "", "Words to read, and some more.").as_bytes());
    });
    let dns = Dns::start(|_, _| vec!["127.0.0.1".parse().unwrap()]);
    let trusting = format!("ca_file = {:?}", right.certificate());
    let url = |host: &str| format!("https://{host}:{}/", web.port());
    let known = allowing(&[&web], &trusting, Some(&dns));
    assert_eq!(found(&full(&known, &url("a.example")).await), [""; 0]);
    assert_eq!(web.requests().len(), 1);
    // Another name, and an authority that nobody trusts.
    let other = Certificate::new("authority.example");
    let unknown = allowing(&[&web], &format!("ca_file = {:?}", other.certificate()), Some(&dns));
    for (follower, host) in [(&known, "b.example"), (&unknown, "a.example")] {
        let report = full(follower, &url(host)).await;
        assert_eq!(found(&report), ["bad-certificate", "certificate"], "{host}");
    }
    assert_eq!(web.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_at_once_are_told_so() {
    let web = Web::serve("127.0.0.1:0", None, |_, stream| {
        std::thread::sleep(Duration::from_millis(700));
        let _ = stream.write_all(page(200, "", "Words.").as_bytes());
    });
    let follower = Arc::new(allowing(&[&web], "max_concurrent = 1", None));
    let url = format!("http://127.0.0.1:{}/", web.port());
    let one = || {
        let (follower, url) = (Arc::clone(&follower), url.clone());
        tokio::spawn(async move { found(&full(&follower, &url).await) })
    };
    let mut all = [one(), one(), one(), one()];
    let mut busy = 0;
    for one in &mut all {
        let found = one.await.unwrap();
        assert!(found.is_empty() || found == ["busy"], "{found:?}");
        busy += found.len();
    }
    // One runs, one waits.
    assert_eq!((busy, web.requests().len()), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_over_many_hosts_ends() {
    let web = Web::start("127.0.0.1:0", |request| {
        let (host, port) = request.field("host").and_then(|h| h.split_once(':')).unwrap();
        let n: u32 = host.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
        redirect(&format!("http://h{}.example:{port}/", n + 1))
    });
    let dns = Dns::start(|_, _| vec!["127.0.0.1".parse().unwrap()]);
    let follower = allowing(&[&web], "max_hops = 50", Some(&dns));
    let report = full(&follower, &format!("http://h1.example:{}/", web.port())).await;
    assert_eq!(found(&report), ["too-many-hops"]);
    // The ninth is known, and not asked.
    assert_eq!((report.fetched, report.hops.len(), web.connections()), (8, 8, 8));
}
