//! Nothing that some mail server takes for the end of a message is one for an Exim behind linkgate, set up from
//! `contrib/exim/smtp`: neither when linkgate hands it on, nor when it comes there past linkgate.

use super::exim_recipes::Chain;
use super::place::eventually;
use super::session::Session;
use super::{ALICE, BOB, DAVE, ODD_ENDS, SENDER};

/// The true end of data (RFC 5321 4.1.1.4). In a chunk (RFC 3030) it is content like any other.
const TRUE_END: &str = "\r\n.\r\n";

/// So much more than what linkgate keeps of a message that nobody wants changed that the next hop has some of it by the
/// time of the odd end.
const LARGE: usize = 100 << 10;

/// Recipient, size of the text before the odd end, and end of the first header line of what goes through linkgate: all
/// that it does in different ways. Where that line ends in LF alone, Exim is less strict about all that follows.
const THROUGH: [(&str, usize, &str); 6] = [
    (ALICE, 0, "\r\n"),
    (ALICE, LARGE, "\r\n"),
    (DAVE, 0, "\r\n"),
    (DAVE, LARGE, "\r\n"),
    (ALICE, 0, "\n"),
    (DAVE, LARGE, "\n"),
];

/// How a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Data,
    Chunks,
}

/// A message with an odd end of data in it, and behind that a transaction of its own, for [`BOB`].
struct Smuggling {
    /// The name of it, which is in its subject.
    name: String,
    to: &'static str,
    way: Way,
    end: &'static str,
    /// Size of the text before the odd end.
    padding: usize,
    /// End of the first header line.
    first_line: &'static str,
}

impl Smuggling {
    /// What is before the odd end, itself included up to its middle, and what is behind that.
    fn halves(&self) -> (Vec<u8>, Vec<u8>) {
        let padding = "0123456789 ".repeat(6) + "\r\n";
        let head = format!(
            "Subject: {}.{}\r\nsee https://www.example.org/ there\r\n{}x",
            self.name,
            self.first_line,
            padding.repeat(self.padding / padding.len()),
        );
        // With BDAT, so that a server that takes the bait need not be waited for: it comes to a transaction at once.
        let whole = format!(
            "{head}{}MAIL FROM:<{SENDER}>\r\nRCPT TO:<{BOB}>\r\nBDAT {} LAST\r\n{EVIL}",
            self.end,
            EVIL.len(),
        );
        let (first, second) = whole.as_bytes().split_at(head.len() + self.end.len() / 2);
        (first.to_vec(), second.to_vec())
    }

    /// Sends it in a session that is open already; the reply to its end.
    fn send(&self, client: &mut Session) -> String {
        client.envelope(&format!("MAIL FROM:<{SENDER}>"), [format!("RCPT TO:<{}>", self.to)]);
        let (first, second) = self.halves();
        match self.way {
            Way::Data => client.raw_data(&[first, second].concat()),
            Way::Chunks => {
                let reply = client.chunk(&first, false);
                assert!(reply.starts_with("250 "), "{self}: {reply}");
                client.chunk(&second, true)
            }
        }
    }

    /// linkgate sees a CR or an LF that stands alone.
    fn is_stray(&self) -> bool {
        let ends = [self.first_line, "x", self.end].concat();
        ends.replace("\r\n", "").contains(['\r', '\n'])
    }
}

impl std::fmt::Display for Smuggling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} to {} by {:?} behind {} octets, first line ending in {:?}",
            self.end, self.to, self.way, self.padding, self.first_line
        )
    }
}

/// The message that is smuggled in.
const EVIL: &str = "Subject: evil\r\n\r\nevil\r\n";

/// Every odd end in every way to send it, for each recipient, padding and end of the first line.
fn all(kinds: &[(&'static str, usize, &'static str)]) -> Vec<Smuggling> {
    let mut all = Vec::new();
    for &(to, padding, first_line) in kinds {
        let odd = ODD_ENDS
            .into_iter()
            .flat_map(|end| [(end, Way::Data), (end, Way::Chunks)]);
        for (end, way) in odd.chain([(TRUE_END, Way::Chunks)]) {
            let name = format!("outer-{}", all.len());
            all.push(Smuggling {
                name,
                to,
                way,
                end,
                padding,
                first_line,
            });
        }
    }
    all
}

/// Sends all of them, some in a session; `check` sees the reply to each.
fn send_all<'a>(all: &'a [Smuggling], connect: impl Fn() -> Session, mut check: impl FnMut(&'a Smuggling, &str)) {
    // Exim ends a session with more than ten RSET commands that no message came before (smtp_accept_max_nonmail), and
    // linkgate sends one for each message that it refuses.
    for few in all.chunks(4) {
        let mut client = connect();
        for sent in few {
            check(sent, &sent.send(&mut client));
        }
        // In step: the reply to the next command is the next reply.
        let reply = client.command("QUIT");
        assert!(
            reply.starts_with("221 "),
            "one of {:?}: {reply}",
            few.iter().map(Smuggling::to_string).collect::<Vec<_>>()
        );
    }
}

/// Waits until Exim has delivered; each of `taken` must be there once and whole, and nothing else. For [`ALICE`] the link
/// is a click link if they came `through_linkgate`.
fn assert_delivered(chain: &Chain, taken: &[&Smuggling], through_linkgate: bool) {
    chain.nothing_waits();
    for to in [ALICE, DAVE] {
        let wanted: Vec<_> = taken.iter().filter(|sent| sent.to == to).collect();
        let delivered: Vec<String> = chain
            .mailbox(to, wanted.len())
            .iter()
            .map(|message| String::from_utf8_lossy(message).into_owned())
            .collect();
        for sent in wanted {
            let subject = format!("Subject: {}.\r\n", sent.name);
            let found: Vec<_> = delivered.iter().filter(|message| message.contains(&subject)).collect();
            assert_eq!(found.len(), 1, "{sent}");
            assert!(
                found[0].contains("evil"),
                "{sent}: cut off:\n{}",
                found[0].escape_debug()
            );
            assert!(found[0].len() >= sent.padding, "{sent}: cut off");
            let wrapped = found[0].contains("https://click.example.com/c/");
            assert_eq!(wrapped, through_linkgate && to == ALICE, "{sent}");
        }
    }
    assert_nothing_more_was_taken(chain, taken.len());
}

/// Nothing is there for [`BOB`], and Exim took `count` messages in all.
fn assert_nothing_more_was_taken(chain: &Chain, count: usize) {
    chain.nothing_waits();
    chain.mailbox(BOB, 0);
    let log = chain.exim.log();
    assert_eq!(log.matches(" <= ").count(), count, "{log}");
}

fn through_linkgate(bare_line_ends: &str) -> Option<Chain> {
    Chain::smtp_with(
        |transport| transport,
        |linkgate| {
            let direction = "direction  = \"inbound\"\n";
            assert!(linkgate.contains(direction), "{linkgate}");
            linkgate.replace(
                direction,
                &format!("{direction}bare_line_ends = \"{bare_line_ends}\"\n"),
            )
        },
    )
}

#[test]
fn exim_behind_linkgate_gets_nothing_of_what_is_refused() {
    let Some(chain) = through_linkgate("refuse") else {
        return;
    };
    let all = all(&THROUGH);
    let mut taken = Vec::new();
    send_all(
        &all,
        || chain.linkgate_client(),
        |sent, reply| {
            if sent.is_stray() {
                assert!(reply.starts_with("550 5.5.2 "), "{sent}: {reply}");
            } else {
                assert!(reply.starts_with("250 "), "{sent}: {reply}");
                taken.push(sent);
            }
        },
    );
    assert!(!taken.is_empty() && taken.len() < all.len() / 2);
    assert_delivered(&chain, &taken, true);
    // Of what was on its way already, Exim has half a message, which it throws away.
    let begun = all
        .iter()
        .filter(|sent| sent.is_stray() && sent.to == DAVE && sent.padding == LARGE && sent.first_line == "\r\n");
    let begun = begun.count();
    eventually("Exim misses the rest of what was on its way", || {
        let log = chain.exim.log();
        (log.matches(" lost while reading message data\n").count() == begun).then_some(())
    });
}

#[test]
fn exim_behind_linkgate_gets_one_message_of_what_is_normalised() {
    let Some(chain) = through_linkgate("normalise") else {
        return;
    };
    let all = all(&THROUGH);
    send_all(
        &all,
        || chain.linkgate_client(),
        |sent, reply| {
            assert!(reply.starts_with("250 "), "{sent}: {reply}");
        },
    );
    assert_delivered(&chain, &all.iter().collect::<Vec<_>>(), true);
}

#[test]
fn exim_past_linkgate_takes_no_odd_end_of_data() {
    let Some(chain) = Chain::smtp() else { return };
    let all = all(&[(ALICE, 0, "\r\n")]);
    send_all(
        &all,
        || chain.return_client(),
        |sent, reply| {
            assert!(reply.starts_with("250 "), "{sent}: {reply}");
        },
    );
    assert_delivered(&chain, &all.iter().collect::<Vec<_>>(), false);
}

/// Exim 4.96 takes LF . LF and its like for the end of such a message. What the recipe does about it: no PIPELINING on the
/// way back.
#[test]
fn exim_past_linkgate_takes_nothing_that_is_pipelined_behind_a_message_with_a_bare_lf_in_its_header() {
    let Some(chain) = Chain::smtp() else { return };
    let mut taken = 0;
    let by_data = all(&[(ALICE, 0, "\n")])
        .into_iter()
        .filter(|sent| sent.way == Way::Data);
    for sent in by_data {
        let mut client = chain.return_client();
        let reply = sent.send(&mut client);
        taken += usize::from(reply.starts_with("250 "));
        // Out of step, but only to hear that this is the end of the session.
        let reply = client.command("QUIT");
        assert!(
            reply.starts_with("221 ") || reply.starts_with("554 "),
            "{sent}: {reply}"
        );
    }
    chain.mailbox(ALICE, taken);
    assert_nothing_more_was_taken(&chain, taken);
}

/// The other tests would notice: with an end that is one, the message for [`BOB`] is taken and delivered.
#[test]
fn exim_takes_what_is_pipelined_behind_the_true_end_of_data() {
    let Some(chain) = Chain::smtp() else { return };
    let sent = Smuggling {
        name: "outer".to_owned(),
        to: ALICE,
        way: Way::Data,
        end: TRUE_END,
        padding: 0,
        first_line: "\r\n",
    };
    // In front, where Exim offers PIPELINING.
    let mut client = chain.client();
    let reply = sent.send(&mut client);
    assert!(reply.starts_with("250 "), "{reply}");
    for step in ["MAIL", "RCPT", "BDAT"] {
        let reply = client.reply();
        assert!(reply.starts_with("250 "), "{step}: {reply}");
    }
    chain.mailbox(ALICE, 1);
    chain.mailbox(BOB, 1);
}
