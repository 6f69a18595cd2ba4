//! Several next hops that stand in for each other.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use linkgate::config::{Dialect, NextHop, NextHopOrder, NextHops};
use linkgate::net::Endpoint;

use crate::rig::{Options, Peer, Rig, accept, hop_at};

const SHORT: Duration = Duration::from_millis(300);

fn listen() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

fn with(all: Vec<NextHop>, order: NextHopOrder) -> Options {
    Options {
        next_hops: Some(NextHops {
            all,
            trust: None,
            order,
        }),
        ..Options::default()
    }
}

/// A next hop that nobody listens at.
fn dead() -> NextHop {
    hop_at(&listen())
}

/// A session from greeting to EHLO with the next hop that is called.
fn begin(rig: &Rig, called: &TcpListener, keywords: &[&str]) -> (Peer, Peer) {
    let mut client = rig.client();
    let mut next_hop = accept(called);
    next_hop.greet(keywords);
    client.hello();
    (client, next_hop)
}

fn end(mut client: Peer, mut next_hop: Peer) {
    client.send("QUIT\r\n");
    client.expect("221 *");
    next_hop.expect("QUIT");
}

fn nobody_calls(socket: &TcpListener) {
    socket.set_nonblocking(true).unwrap();
    assert!(socket.accept().is_err(), "nobody should have called");
}

#[test]
fn the_next_one_is_tried_at_once_when_one_is_away_or_unwilling() {
    let (unwilling, garbled, good) = (listen(), listen(), listen());
    let hops = vec![dead(), hop_at(&unwilling), hop_at(&garbled), hop_at(&good)];
    let rig = Rig::start(&with(hops, NextHopOrder::InOrder));
    let mut client = rig.client();
    accept(&unwilling).send("421 4.3.2 full\r\n");
    let mut second = accept(&garbled);
    second.send("220 hop.test\r\n");
    second.expect("EHLO us.test");
    second.send("554 5.7.1 not you\r\n");
    let mut next_hop = accept(&good);
    next_hop.greet(&[]);
    client.hello();
    end(client, next_hop);
    // The others are left out now, and not asked first.
    let (client, next_hop) = begin(&rig, &good, &[]);
    end(client, next_hop);
    nobody_calls(&unwilling);
    nobody_calls(&garbled);
}

#[test]
fn a_silent_one_costs_no_more_than_the_connect_timeout() {
    let (silent, good) = (listen(), listen());
    let rig = Rig::start(&Options {
        connect_timeout: Some(SHORT),
        ..with(vec![hop_at(&silent), hop_at(&good)], NextHopOrder::InOrder)
    });
    let began = Instant::now();
    let (client, next_hop) = begin(&rig, &good, &[]);
    assert!(began.elapsed() >= SHORT);
    end(client, next_hop);
}

#[test]
fn all_attempts_together_stay_below_the_timeout_of_a_reply() {
    let silent = [listen(), listen(), listen(), listen()];
    let rig = Rig::start(&Options {
        connect_timeout: Some(SHORT),
        timeout: Duration::from_millis(700),
        ..with(silent.iter().map(hop_at).collect(), NextHopOrder::InOrder)
    });
    let mut client = rig.client();
    client.expect("220 us.test *");
    client.send("EHLO client.test\r\n");
    let began = Instant::now();
    client.expect("421 4.3.2 *");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn a_single_slow_one_may_take_longer_than_the_connect_timeout() {
    let slow = listen();
    let rig = Rig::start(&Options {
        connect_timeout: Some(SHORT / 3),
        ..with(vec![hop_at(&slow)], NextHopOrder::InOrder)
    });
    let mut client = rig.client();
    let mut next_hop = accept(&slow);
    std::thread::sleep(SHORT);
    next_hop.greet(&[]);
    client.hello();
    end(client, next_hop);
}

#[test]
fn when_all_are_away_the_client_hears_so_and_the_first_to_come_back_is_found() {
    let socket = listen();
    let address = socket.local_addr().unwrap();
    let hops = vec![hop_at(&socket), dead()];
    drop(socket);
    let rig = Rig::start(&with(hops, NextHopOrder::InOrder));
    let mut client = rig.client();
    client.expect("220 us.test *");
    client.send("EHLO client.test\r\n");
    client.expect("421 4.3.2 *");
    client.expect_end();
    let socket = TcpListener::bind(address).unwrap();
    socket.set_nonblocking(true).unwrap();
    // The other one's time may come first; once it has failed again, it does not.
    let found = (0..2).any(|_| {
        let _client = rig.client();
        std::thread::sleep(SHORT);
        socket.accept().is_ok()
    });
    assert!(found);
}

#[test]
fn a_refused_sender_is_no_failure_of_the_server() {
    let (first, second) = (listen(), listen());
    let rig = Rig::start(&with(vec![hop_at(&first), hop_at(&second)], NextHopOrder::InOrder));
    for reply in ["451 4.7.1 later", "421 4.3.2 closing"] {
        let (mut client, mut next_hop) = begin(&rig, &first, &[]);
        client.send("MAIL FROM:<a@x.test>\r\n");
        next_hop.expect("MAIL FROM:<a@x.test>");
        next_hop.send(format!("{reply}\r\n"));
        client.expect(reply);
    }
    let (client, next_hop) = begin(&rig, &first, &[]);
    end(client, next_hop);
    nobody_calls(&second);
}

#[test]
fn round_robin_calls_each_in_turn() {
    let sockets = [listen(), listen()];
    let rig = Rig::start(&with(sockets.iter().map(hop_at).collect(), NextHopOrder::RoundRobin));
    for socket in sockets.iter().cycle().take(4) {
        let (client, next_hop) = begin(&rig, socket, &[]);
        end(client, next_hop);
    }
}

#[test]
fn what_a_lesser_next_hop_lacks_is_refused_for_now_and_nothing_else() {
    let (first, second) = (listen(), listen());
    let rig = Rig::start(&with(vec![hop_at(&first), hop_at(&second)], NextHopOrder::InOrder));
    let offered = ["PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "SIZE 1000000"];
    let (mut client, next_hop) = begin(&rig, &first, &offered);
    drop((next_hop, first));
    // For the news to reach the listener.
    std::thread::sleep(Duration::from_millis(50));
    client.send("MAIL FROM:<a@x.test> SMTPUTF8\r\n");
    let mut next_hop = accept(&second);
    next_hop.greet(&["PIPELINING", "SIZE 1000"]);
    client.expect("451 4.4.1 *");
    for parameter in ["BODY=8BITMIME", "RET=HDRS", "ENVID=x", "SIZE=2000"] {
        client.send(format!("MAIL FROM:<a@x.test> {parameter}\r\n"));
        client.expect("451 4.4.1 *");
    }
    // What was never offered is for the next hop to judge, and so is the rest of a pipelined envelope.
    client.send(
        "MAIL FROM:<a@x.test> X-ODD=1\r\nRCPT TO:<b@on.test> NOTIFY=NEVER\r\nRCPT TO:<c@on.test>\r\n\
         RCPT TO:<d@on.test> ORCPT=rfc822;d@x.test\r\nDATA\r\n",
    );
    next_hop.expect("MAIL FROM:<a@x.test> X-ODD=1");
    next_hop.send("250 sender\r\n");
    client.expect("250 sender");
    client.expect("451 4.4.1 *");
    next_hop.expect("RCPT TO:<c@on.test>");
    next_hop.send("250 recipient\r\n");
    client.expect("250 recipient");
    client.expect("451 4.4.1 *");
    client.expect("354 *");
    client.send("fine\r\n.\r\n");
    next_hop.expect("DATA");
    next_hop.send("354 go\r\n");
    next_hop.expect("fine");
    next_hop.expect(".");
    next_hop.send("250 taken\r\n");
    client.expect("250 taken");
    // A client that says EHLO again is told anew, and may do as it likes.
    assert!(client.ehlo().iter().all(|line| !line.contains("SMTPUTF8")));
    client.send("MAIL FROM:<a@x.test> SMTPUTF8\r\n");
    next_hop.expect("MAIL FROM:<a@x.test> SMTPUTF8");
    next_hop.send("555 5.5.4 what?\r\n");
    client.expect("555 5.5.4 what?");
    end(client, next_hop);
    rig.assert_nothing_left();
}

#[test]
fn all_addresses_of_a_name_are_tried() {
    // `localhost` is ::1 as well on most machines, where nobody listens.
    let socket = listen();
    let port = socket.local_addr().unwrap().port();
    let host = "localhost".to_owned();
    let hop = NextHop::plain(Dialect::Smtp, Endpoint::Tcp { host, port });
    let rig = Rig::start(&with(vec![hop], NextHopOrder::InOrder));
    let (client, next_hop) = begin(&rig, &socket, &[]);
    end(client, next_hop);
}

#[test]
fn health_outlives_sessions_and_reloads() {
    let (first, second) = (listen(), listen());
    let options = with(vec![hop_at(&first), hop_at(&second)], NextHopOrder::InOrder);
    let rig = Rig::start(&options);
    let mut client = rig.client();
    accept(&first).send("421 4.3.2 full\r\n");
    let mut next_hop = accept(&second);
    next_hop.greet(&[]);
    client.hello();
    rig.reload(&options);
    end(client, next_hop);
    let (client, next_hop) = begin(&rig, &second, &[]);
    nobody_calls(&first);
    end(client, next_hop);
    // Its time comes after a second or so, and then it is the first again.
    std::thread::sleep(Duration::from_millis(1300));
    let (client, next_hop) = begin(&rig, &first, &[]);
    end(client, next_hop);
}
