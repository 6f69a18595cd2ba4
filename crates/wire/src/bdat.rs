//! Message data in chunks (BDAT, RFC 3030): octets by count, without dots and without a final line.

use memchr::memchr2;

use crate::slice::part;
use crate::{BareLineEnds, DataEnd};

/// Decodes the payload of a message's chunks.
///
/// No dot ends a payload; but a CR or LF that stands alone is as dangerous as in DATA, with which the next hop gets the
/// message. A CR at the end of a chunk and an LF at the front of the next belong together.
#[derive(Debug, Clone)]
pub struct ChunkDecoder {
    policy: BareLineEnds,
    /// The last octet read was a CR; it is handed out with the next octet.
    after_cr: bool,
    seen: DataEnd,
}

impl ChunkDecoder {
    /// A decoder before the first chunk of a message.
    #[must_use]
    pub fn new(policy: BareLineEnds) -> Self {
        Self {
            policy,
            after_cr: false,
            seen: DataEnd::default(),
        }
    }

    /// Reads the front of `payload`, which must hold nothing but payload: octets consumed, and their content, which may be
    /// empty. `(0, [])` when all is read.
    pub fn next<'a>(&mut self, payload: &'a [u8]) -> (usize, &'a [u8]) {
        let mut from = 0;
        if self.after_cr && !payload.is_empty() {
            self.after_cr = false;
            if payload.first() == Some(&b'\n') {
                if !self.seen.refuse {
                    return (1, b"\r\n");
                }
                from = 1;
            } else {
                self.saw(true);
                if self.policy == BareLineEnds::Normalise {
                    return (0, b" ");
                }
            }
        }
        let mut to = from;
        loop {
            let rest = part(payload, to..);
            let Some(hit) = memchr2(b'\r', b'\n', rest) else {
                return (payload.len(), self.content(payload, from, payload.len()));
            };
            let at = to + hit;
            match part(rest, hit..) {
                [b'\r', b'\n', ..] => to = at + 2,
                [b'\r'] => {
                    self.after_cr = true;
                    return (payload.len(), self.content(payload, from, at));
                }
                lone => {
                    let is_cr = lone.first() == Some(&b'\r');
                    match self.policy {
                        BareLineEnds::Refuse => {
                            self.saw(is_cr);
                            to = at + 1;
                        }
                        BareLineEnds::Normalise if at > from => return (at, self.content(payload, from, at)),
                        BareLineEnds::Normalise => {
                            self.saw(is_cr);
                            return (at + 1, if is_cr { b" " } else { b"\r\n" });
                        }
                    }
                }
            }
        }
    }

    /// Ends the last chunk: the content left. A CR at the very end stands alone.
    pub fn finish(&mut self) -> &'static [u8] {
        if !std::mem::take(&mut self.after_cr) {
            return b"";
        }
        self.saw(true);
        match self.policy {
            BareLineEnds::Refuse => b"",
            BareLineEnds::Normalise => b" ",
        }
    }

    /// The lone line ends found so far.
    #[must_use]
    pub fn seen(&self) -> DataEnd {
        self.seen
    }

    fn saw(&mut self, is_cr: bool) {
        self.seen.bare_cr |= is_cr;
        self.seen.bare_lf |= !is_cr;
        self.seen.refuse = self.policy == BareLineEnds::Refuse;
    }

    fn content<'a>(&self, payload: &'a [u8], from: usize, to: usize) -> &'a [u8] {
        if self.seen.refuse {
            return b"";
        }
        part(payload, from..to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The content of a message that comes in these pieces, and what was seen in it.
    fn decode(policy: BareLineEnds, pieces: &[&[u8]]) -> (Vec<u8>, DataEnd) {
        let (mut decoder, mut content) = (ChunkDecoder::new(policy), Vec::new());
        for piece in pieces {
            let mut rest = *piece;
            loop {
                let (used, found) = decoder.next(rest);
                content.extend_from_slice(found);
                rest = &rest[used..];
                if used == 0 && found.is_empty() {
                    assert!(rest.is_empty(), "{rest:?} is never taken");
                    break;
                }
            }
        }
        content.extend_from_slice(decoder.finish());
        if decoder.seen().refuse {
            content.clear();
        }
        (content, decoder.seen())
    }

    fn normalised(text: &str) -> (Vec<u8>, DataEnd) {
        decode(BareLineEnds::Normalise, &[text.as_bytes()])
    }

    #[test]
    fn dots_mean_nothing() {
        assert_eq!(normalised("..a\r\n.\r\n..\r\nb").0, b"..a\r\n.\r\n..\r\nb");
    }

    #[test]
    fn a_line_end_may_lie_across_two_chunks() {
        for policy in [BareLineEnds::Refuse, BareLineEnds::Normalise] {
            let (content, seen) = decode(policy, &[b"a\r", b"", b"\nb\r\n"]);
            assert_eq!((content, seen), (b"a\r\nb\r\n".to_vec(), DataEnd::default()));
        }
    }

    #[test]
    fn a_cr_or_lf_at_the_border_of_chunks_may_stand_alone() {
        assert_eq!(decode(BareLineEnds::Normalise, &[b"a\r", b"b"]).0, b"a b");
        assert_eq!(decode(BareLineEnds::Normalise, &[b"a", b"\nb"]).0, b"a\r\nb");
        assert_eq!(decode(BareLineEnds::Normalise, &[b"a\r"]).0, b"a ");
        for pieces in [
            &[&b"a\r"[..], b"b\r\n"][..],
            &[b"a", b"\nb\r\n"],
            &[b"a\r\n\r"],
            &[b"\r", b"\r\n"],
        ] {
            assert!(decode(BareLineEnds::Refuse, pieces).1.refuse, "{pieces:?}");
        }
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_message(
            text in "[a.\r\n\0]{0,40}",
            cuts in proptest::collection::vec(0usize..40, 0..6),
            normalise in any::<bool>(),
        ) {
            let policy = if normalise { BareLineEnds::Normalise } else { BareLineEnds::Refuse };
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            cuts.sort_unstable();
            let (mut pieces, mut from) = (Vec::new(), 0);
            for cut in cuts.into_iter().chain([text.len()]) {
                pieces.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            prop_assert_eq!(decode(policy, &pieces), decode(policy, &[text.as_bytes()]));
        }

        #[test]
        fn only_line_ends_that_stand_alone_change(text in "[a.\r\n]{0,40}") {
            // By a way of its own: pairs out of the way, then each half that is left.
            let plain = text.replace("\r\n", "P").replace('\n', "P").replace('\r', " ").replace('P', "\r\n");
            prop_assert_eq!(normalised(&text).0, plain.into_bytes());
            let stray = text.replace("\r\n", "").contains(['\r', '\n']);
            let (content, seen) = decode(BareLineEnds::Refuse, &[text.as_bytes()]);
            prop_assert_eq!(seen.refuse, stray);
            if !stray {
                prop_assert_eq!(content, text.into_bytes());
            }
        }
    }
}
