//! Message data from the client: the end of data, dot transparency, and line ends that stand alone.

use memchr::memchr2;

use crate::slice::part;

/// Treatment of a CR or LF that stands alone in message data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum BareLineEnds {
    /// The message is refused at its true end; no more content is handed out.
    #[default]
    Refuse,
    /// A lone LF becomes CRLF, a lone CR a space.
    Normalise,
}

/// Lone line ends between DATA and the final dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DataEnd {
    /// A CR without LF was found.
    pub bare_cr: bool,
    /// An LF without CR was found.
    pub bare_lf: bool,
    /// The message must be refused for that.
    pub refuse: bool,
}

/// The front of the decoder's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Message content; may be empty.
    Content(&'a [u8]),
    /// CRLF . CRLF: the message is complete, commands follow.
    End(DataEnd),
    /// More octets are needed.
    NeedMore,
}

/// Decodes message data (RFC 5321 4.1.1.4 and 4.5.2).
///
/// The end of data is exactly CRLF . CRLF, where the first CRLF may be the one that ended the DATA command. No other
/// sequence ends data, and a leading dot is removed after a true CRLF only: a server that takes a lone LF for a line end
/// lets a sender smuggle a second message past the peer that delivered the first.
#[derive(Debug, Clone)]
pub struct DataDecoder {
    policy: BareLineEnds,
    /// The last octets consumed were CRLF, or nothing was consumed.
    line_start: bool,
    seen: DataEnd,
}

impl DataDecoder {
    /// A decoder at the start of a message.
    #[must_use]
    pub fn new(policy: BareLineEnds) -> Self {
        Self {
            policy,
            line_start: true,
            seen: DataEnd::default(),
        }
    }

    /// Reads the front of `input`: octets consumed, and what they were.
    ///
    /// A CR at the end of the input and an undecided dot are not consumed: pass them again with the octets behind them.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> (usize, Piece<'a>) {
        let mut from = 0;
        if self.line_start {
            match input {
                [b'.', b'\r', b'\n', ..] => return (3, Piece::End(self.seen)),
                [] | [b'.'] | [b'.', b'\r'] => return (0, Piece::NeedMore),
                [b'.', ..] => from = 1,
                _ => {}
            }
            self.line_start = false;
        }
        let mut to = from;
        loop {
            let rest = part(input, to..);
            let Some(hit) = memchr2(b'\r', b'\n', rest) else {
                return self.content(input, from, input.len());
            };
            let at = to + hit;
            match part(rest, hit..) {
                [b'\r', b'\n'] | [b'\r', b'\n', b'.', ..] => {
                    self.line_start = true;
                    return self.content(input, from, at + 2);
                }
                [b'\r', b'\n', ..] => to = at + 2,
                // Whether this CR is half a line end is not known yet.
                [b'\r'] => return self.content(input, from, at),
                lone => {
                    let is_cr = lone.first() == Some(&b'\r');
                    match self.policy {
                        BareLineEnds::Refuse => {
                            self.saw(is_cr);
                            to = at + 1;
                        }
                        BareLineEnds::Normalise if at > from => return self.content(input, from, at),
                        BareLineEnds::Normalise => {
                            self.saw(is_cr);
                            return (at + 1, Piece::Content(if is_cr { b" " } else { b"\r\n" }));
                        }
                    }
                }
            }
        }
    }

    fn saw(&mut self, is_cr: bool) {
        self.seen.bare_cr |= is_cr;
        self.seen.bare_lf |= !is_cr;
        self.seen.refuse = self.policy == BareLineEnds::Refuse;
    }

    fn content<'a>(&self, input: &'a [u8], from: usize, to: usize) -> (usize, Piece<'a>) {
        match part(input, from..to) {
            run if !run.is_empty() && !self.seen.refuse => (to, Piece::Content(run)),
            _ if to == 0 => (0, Piece::NeedMore),
            // A lone CR is left behind a removed dot, or the content is dropped: done with, but nothing to show.
            _ => (to, Piece::Content(b"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stuffer;
    use proptest::prelude::*;

    /// Feeds `input` in the given chunks; gives the content, the end, and what is left behind it.
    fn decode(policy: BareLineEnds, chunks: &[&[u8]]) -> (Vec<u8>, Option<DataEnd>, Vec<u8>) {
        let mut decoder = DataDecoder::new(policy);
        let (mut buffer, mut content, mut end) = (Vec::new(), Vec::new(), None);
        for chunk in chunks {
            buffer.extend_from_slice(chunk);
            while end.is_none() {
                let (used, piece) = decoder.next(&buffer);
                let piece = match piece {
                    Piece::Content(c) => {
                        content.extend_from_slice(c);
                        assert!(used > 0, "content without progress");
                        true
                    }
                    Piece::End(e) => {
                        end = Some(e);
                        true
                    }
                    Piece::NeedMore => false,
                };
                buffer.drain(..used);
                if !piece {
                    assert!(buffer.len() <= 2, "holds back {buffer:?}");
                    break;
                }
            }
        }
        // Content that came before a refusal is never used, however much of it there was.
        if policy == BareLineEnds::Refuse && end.is_none_or(|e| e.refuse) {
            content.clear();
        }
        (content, end, buffer)
    }

    fn split_everywhere(policy: BareLineEnds, input: &[u8]) -> (Vec<u8>, Option<DataEnd>, Vec<u8>) {
        let whole = decode(policy, &[input]);
        for at in 0..=input.len() {
            let (a, b) = input.split_at(at);
            assert_eq!(
                decode(policy, &[a, b]),
                whole,
                "split at {at} of {:?}",
                input.escape_ascii().to_string()
            );
        }
        let single: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(decode(policy, &single), whole);
        whole
    }

    #[test]
    fn only_crlf_dot_crlf_ends_data() {
        // Each of these was taken for the end of data by some mail server.
        let odd_ends: &[&[u8]] = &[
            b"\n.\n",
            b"\n.\r\n",
            b"\r\n.\n",
            b"\r\n.\r\r\n",
            b"\r.\r",
            b"\r.\r\n",
            b"\r\n.\r",
            b"\n.\r",
            b"\r.\n",
            b"\n\n.\r\n",
            b"\n.\n\n",
            b"\r\n\0.\r\n",
            b"\r\n.\0\r\n",
            b"\r\n.\r\0\n",
            b"\0\r\n.\n",
            b"\r\r\n.\r\r\n",
            b"\r\n\r.\r\n",
            b"\r\n .\r\n",
            b"\r\n. \r\n",
            b"\r\n..\r\n",
            b"\n\r.\n\r",
        ];
        for odd in odd_ends {
            let smuggled = [b"Subject: a\r\n\r\nfirst", *odd, b"MAIL FROM:<evil@x.example>\r\n"].concat();
            let input = [&smuggled[..], b"\r\n.\r\nQUIT\r\n"].concat();
            for policy in [BareLineEnds::Refuse, BareLineEnds::Normalise] {
                let (content, end, left) = split_everywhere(policy, &input);
                assert_eq!(
                    left,
                    b"QUIT\r\n",
                    "{:?} ended data early",
                    odd.escape_ascii().to_string()
                );
                let end = end.unwrap();
                if policy == BareLineEnds::Normalise {
                    assert!(!end.refuse);
                    assert!(
                        !stray(&content),
                        "{:?} left a stray line end",
                        odd.escape_ascii().to_string()
                    );
                    let mut again = Vec::new();
                    let mut stuffer = Stuffer::default();
                    stuffer.encode(&content, &mut again);
                    stuffer.finish(&mut again);
                    let (second, _, rest) = decode(BareLineEnds::Refuse, &[&again]);
                    assert_eq!(
                        (second, rest),
                        (content, vec![]),
                        "normalised data must arrive as one message"
                    );
                } else {
                    assert_eq!(end.refuse, stray(&smuggled), "{:?}", odd.escape_ascii().to_string());
                }
            }
        }
    }

    /// By a way of its own: a CR or LF without the other.
    fn stray(bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes).replace("\r\n", "");
        text.contains(['\r', '\n'])
    }

    #[test]
    fn first_line_dot_is_an_empty_message() {
        assert_eq!(
            split_everywhere(BareLineEnds::Refuse, b".\r\nRSET\r\n"),
            (vec![], Some(DataEnd::default()), b"RSET\r\n".to_vec())
        );
    }

    #[test]
    fn leading_blank_line_is_content() {
        let (content, end, _) = split_everywhere(BareLineEnds::Refuse, b"\r\n.\r\n");
        assert_eq!((content, end.is_some()), (b"\r\n".to_vec(), true));
    }

    #[test]
    fn a_dot_after_a_lone_lf_is_not_removed() {
        let (content, ..) = split_everywhere(BareLineEnds::Normalise, b"a\n..b\r\n..c\r\n.\r\n");
        assert_eq!(content, b"a\r\n..b\r\n.c\r\n");
    }

    #[test]
    fn lone_cr_becomes_a_space() {
        let (content, end, _) = split_everywhere(BareLineEnds::Normalise, b"a\rb\r\r\n.\rc\r\n.\r\n");
        assert_eq!(content, b"a b \r\n c\r\n");
        assert!(end.unwrap().bare_cr);
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_message(
            input in "[a.\r\n\0]{0,60}",
            cuts in proptest::collection::vec(0usize..60, 0..6),
            normalise in any::<bool>(),
        ) {
            let policy = if normalise { BareLineEnds::Normalise } else { BareLineEnds::Refuse };
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(input.len())).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([input.len()]) {
                chunks.push(&input.as_bytes()[from..cut]);
                from = cut;
            }
            let whole = decode(policy, &[input.as_bytes()]);
            let parts = decode(policy, &chunks);
            prop_assert_eq!(whole, parts);
        }

        #[test]
        fn end_of_data_is_where_a_plain_search_finds_it(input in "[a.\r\n]{0,80}") {
            let framed = format!("\r\n{input}");
            let wanted = framed.find("\r\n.\r\n").map(|at| framed.as_bytes()[at + 5..].to_vec());
            let (_, end, left) = decode(BareLineEnds::Normalise, &[input.as_bytes()]);
            prop_assert_eq!(end.map(|_| left), wanted);
        }
    }
}
