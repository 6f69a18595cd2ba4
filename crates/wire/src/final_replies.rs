//! Replies to the final dot.

use crate::{Answer, Reply};

/// Form of the replies to a final dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// One reply for all recipients (RFC 5321).
    #[default]
    One,
    /// One for each accepted recipient, in the order of their RCPTs (RFC 2033 4.2).
    Each,
    /// 353, one for each accepted recipient, and one for all; or a single one that holds for all of them
    /// (draft-hall-prdr).
    Prdr,
}

/// Orders the replies for the recipients of one message, which become known in any order.
///
/// [`Form::Each`]: a reply is written as soon as it and all before it are known. Else all must be known.
#[derive(Debug)]
pub struct FinalReplies {
    form: Form,
    known: Vec<Option<Vec<u8>>>,
    /// Number of replies written.
    said: usize,
    /// Whether a reply was 421.
    closing: bool,
}

impl FinalReplies {
    /// Replies for a message with so many accepted recipients.
    #[must_use]
    pub fn new(form: Form, recipients: usize) -> Self {
        Self {
            form,
            known: vec![None; recipients],
            said: 0,
            closing: false,
        }
    }

    /// The form of the replies.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// Sets the reply for a recipient, counted from 0, with its line end. A second one is ignored.
    pub fn set(&mut self, recipient: usize, reply: &[u8]) {
        if let Some(slot) = self.known.get_mut(recipient)
            && recipient >= self.said
            && slot.is_none()
        {
            self.closing |= reply.starts_with(b"421");
            *slot = Some(reply.to_vec());
        }
    }

    /// Appends the replies that are due.
    pub fn write(&mut self, out: &mut Vec<u8>) {
        if self.form != Form::Each {
            if self.said == 0 && self.known.iter().all(Option::is_some) {
                self.write_all(out);
            }
            return;
        }
        while let Some(reply) = self.known.get_mut(self.said).and_then(Option::take) {
            out.extend_from_slice(&reply);
            self.said += 1;
        }
    }

    /// Appends the remaining replies, with `instead` for recipients without one.
    pub fn finish(&mut self, instead: &[u8], out: &mut Vec<u8>) {
        for recipient in self.said..self.known.len() {
            self.set(recipient, instead);
        }
        self.write(out);
    }

    /// Number of replies written.
    #[must_use]
    pub fn said(&self) -> usize {
        self.said
    }

    /// Whether a reply announces the end of the session (421).
    #[must_use]
    pub fn closing(&self) -> bool {
        self.closing
    }

    fn write_all(&mut self, out: &mut Vec<u8>) {
        let replies: Vec<Vec<u8>> = self.known.iter_mut().filter_map(Option::take).collect();
        self.said = replies.len();
        let Some(first) = replies.first() else { return };
        if self.form == Form::One || replies.iter().all(|reply| reply == first) {
            return out.extend_from_slice(first);
        }
        Answer::EACH_RECIPIENT.write(out);
        let classes = |class: u16| {
            let of = move |reply: &Vec<u8>| matches!(Reply::read(reply), Ok(Some((_, r))) if r.class() == class);
            replies.iter().any(of)
        };
        let all = if classes(2) {
            Answer::TAKEN_FOR_SOME
        } else if classes(4) {
            Answer::TAKEN_FOR_NOBODY_YET
        } else {
            Answer::TAKEN_FOR_NOBODY
        };
        replies.iter().for_each(|reply| out.extend_from_slice(reply));
        all.write(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(out: &[u8]) -> Vec<String> {
        String::from_utf8_lossy(out).lines().map(str::to_owned).collect()
    }

    #[test]
    fn replies_go_out_in_the_order_of_recipients_as_soon_as_they_can() {
        let mut replies = FinalReplies::new(Form::Each, 3);
        let mut out = Vec::new();
        replies.set(1, b"250 b\r\n");
        replies.write(&mut out);
        assert_eq!(lines(&out), Vec::<String>::new());
        replies.set(0, b"452 a\r\n");
        replies.write(&mut out);
        assert_eq!(lines(&out), ["452 a", "250 b"]);
        replies.set(1, b"550 too late\r\n");
        replies.finish(b"451 none\r\n", &mut out);
        assert_eq!(lines(&out), ["452 a", "250 b", "451 none"]);
        assert_eq!((replies.said(), replies.closing()), (3, false));
    }

    #[test]
    fn with_prdr_one_result_is_one_reply_and_several_are_framed() {
        let said = |each: &[&[u8]]| {
            let mut replies = FinalReplies::new(Form::Prdr, each.len());
            let mut out = Vec::new();
            for (at, reply) in each.iter().enumerate() {
                replies.write(&mut out);
                assert_eq!(out, b"", "said before all was known");
                replies.set(at, reply);
            }
            replies.write(&mut out);
            replies.finish(b"451 never\r\n", &mut out);
            lines(&out)
        };
        assert_eq!(said(&[b"250 ok\r\n", b"250 ok\r\n"]), ["250 ok"]);
        let framed = said(&[b"250 ok\r\n", b"550 no\r\n"]);
        assert_eq!(framed[1..3], ["250 ok", "550 no"]);
        assert!(
            framed[0].starts_with("353") && framed[3].starts_with("250"),
            "{framed:?}"
        );
        assert!(said(&[b"451 a\r\n", b"550 no\r\n"])[3].starts_with("450"));
        assert!(said(&[b"551 a\r\n", b"550 no\r\n"])[3].starts_with("550"));
    }

    proptest! {
        #[test]
        fn there_is_one_reply_for_each_recipient_in_order(
            order in Just((0..12usize).collect::<Vec<_>>()).prop_shuffle(),
            recipients in 1..12usize,
            known in 0..12usize,
            write_every in 1..4usize,
        ) {
            let mut replies = FinalReplies::new(Form::Each, recipients);
            let mut out = Vec::new();
            for (n, at) in order.iter().take(known).enumerate() {
                replies.set(*at, format!("250 {at}\r\n").as_bytes());
                if n % write_every == 0 {
                    replies.write(&mut out);
                }
            }
            replies.finish(b"451 none\r\n", &mut out);
            let told = &order[..known];
            let wanted: Vec<String> = (0..recipients)
                .map(|at| if told.contains(&at) { format!("250 {at}") } else { "451 none".to_owned() })
                .collect();
            prop_assert_eq!(lines(&out), wanted);
        }
    }
}
