//! Connections by way of a load balancer: the header of the PROXY protocol says who the client is.

use std::process::{Command, Stdio};
use std::time::Duration;

use linkgate::config::ListenerTls;

use crate::rig::tls::Certificate;
use crate::rig::{Options, Rig};

const SHORT: Duration = Duration::from_millis(400);

/// Where this process is the load balancer, and clients of one network may use XFORWARD.
fn behind_proxy() -> Options {
    Options {
        trusted: false,
        proxy_from: vec!["127.0.0.1/32".parse().unwrap()],
        xforward_from: vec!["192.0.2.0/24".parse().unwrap()],
        ..Options::default()
    }
}

fn version_2(command: u8, address: [u8; 4], tlvs: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, 0x11, 0, u8::try_from(12 + tlvs.len()).unwrap()]);
    header.extend(address);
    header.extend([198, 51, 100, 1, 0xdc, 4, 0, 25]);
    header.extend(tlvs);
    header
}

#[test]
fn the_client_is_whom_the_header_names() {
    let trusted = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r\n".to_vec();
    let stranger = b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 25\r\n".to_vec();
    for (header, wanted) in [
        (trusted, true),
        (stranger, false),
        (version_2(1, [192, 0, 2, 7], &[]), true),
        (version_2(1, [192, 0, 2, 7], &[0x20, 0, 100].repeat(20)), true),
        (version_2(1, [203, 0, 113, 7], &[]), false),
        // Then it is the load balancer itself.
        (version_2(0, [192, 0, 2, 7], &[]), false),
        (b"PROXY UNKNOWN 192.0.2.7\r\n".to_vec(), false),
    ] {
        for how in ["together", "apart", "octet by octet"] {
            let rig = Rig::start(&behind_proxy());
            let mut client = rig.client();
            match how {
                "together" => client.send([&header[..], b"EHLO client.test\r\n"].concat()),
                "apart" => client.send(&header),
                _ => header.chunks(1).for_each(|octet| {
                    client.send(octet);
                    std::thread::sleep(Duration::from_micros(200));
                }),
            }
            let mut next_hop = rig.next_hop();
            next_hop.greet(&["XFORWARD ADDR"]);
            client.expect("220 us.test *");
            if how != "together" {
                client.send("EHLO client.test\r\n");
            }
            let mut offered = Vec::new();
            while offered.last().is_none_or(|line: &String| line.starts_with("250-")) {
                offered.push(client.line().unwrap());
            }
            let may = offered.iter().any(|line| line.contains("XFORWARD"));
            assert_eq!(may, wanted, "{how}: {}", header.escape_ascii());
        }
    }
}

#[test]
fn the_limit_of_a_client_counts_those_behind_the_proxy() {
    let rig = Rig::start(&Options {
        max_connections_per_client: 1,
        ..behind_proxy()
    });
    let begin = |address: &str| {
        let mut client = rig.client();
        client.send(format!("PROXY TCP4 {address} 198.51.100.1 1 2\r\n"));
        let next_hop = rig.next_hop();
        client.expect("220 us.test *");
        (client, next_hop)
    };
    let _first = begin("192.0.2.7");
    let _second = begin("192.0.2.8");
    let mut third = rig.client();
    third.send("PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n");
    third.expect("421 *");
    third.expect_end();
}

#[test]
fn swaks_speaks_both_versions() {
    for (version, family) in [("1", "TCP4"), ("2", "AF_INET")] {
        let rig = Rig::start(&behind_proxy());
        let mut swaks = Command::new("swaks");
        swaks.args([
            "--proxy-version",
            version,
            "--proxy-family",
            family,
            "--proxy-source",
            "192.0.2.7",
        ]);
        swaks.args([
            "--proxy-source-port",
            "56324",
            "--proxy-dest",
            "198.51.100.1",
            "--proxy-dest-port",
            "25",
        ]);
        if version == "2" {
            swaks.args(["--proxy-command", "PROXY", "--proxy-protocol", "STREAM"]);
        }
        swaks.args(["--quit-after", "EHLO", "--server", &rig.address().to_string()]);
        let child = swaks
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(child) = child else {
            println!("swaks is not here");
            return;
        };
        let mut next_hop = rig.next_hop();
        next_hop.greet(&["XFORWARD ADDR"]);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            said.contains("XFORWARD ADDR"),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn a_proxy_that_sends_no_header_is_cut_off_without_a_word() {
    let rig = Rig::start(&Options {
        timeout: SHORT,
        ..behind_proxy()
    });
    for said in [
        "EHLO client.test\r\n",
        "PROXY TCP4 nonsense\r\n",
        "PROXY TCP4 192.0.",
        "",
    ] {
        let mut client = rig.client();
        client.send(said);
        assert_eq!(client.rest(), b"", "{said}");
        rig.assert_nothing_left();
    }
    let mut client = rig.client();
    client.send("PROXY ");
    client.half_close();
    client.expect_end();
    assert!(!rig.has_unasked_connection());
}

#[test]
fn a_header_from_anybody_else_is_no_command() {
    let rig = Rig::start(&Options {
        proxy_from: vec!["192.0.2.1/32".parse().unwrap()],
        ..Options::default()
    });
    let mut client = rig.client();
    client.send("PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r\n");
    let mut next_hop = rig.next_hop();
    next_hop.greet(&[]);
    client.expect("220 us.test *");
    client.expect("500 5.5.2 *");
}

#[test]
fn a_header_may_stand_before_tls() {
    let ours = Certificate::new("us.test");
    let rig = Rig::start(&Options {
        tls: ListenerTls::Implicit(ours.identity()),
        ..behind_proxy()
    });
    for header in [
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n".to_vec(),
        version_2(1, [192, 0, 2, 7], &[]),
    ] {
        let mut client = rig.client();
        client.send(header);
        client.encrypt(&ours, "us.test").unwrap();
        let mut next_hop = rig.next_hop();
        next_hop.greet(&["XFORWARD ADDR"]);
        client.expect("220 us.test *");
        assert!(client.ehlo().iter().any(|line| line.contains("XFORWARD")));
    }
}
