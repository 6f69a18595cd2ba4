//! Extensions offered in a reply to EHLO.

use crate::{PathLine, Reply};

/// The keywords of an EHLO reply that matter here. The default is a server without extensions (HELO).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// PIPELINING (RFC 2920)
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152)
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531)
    pub smtp_utf8: bool,
    /// DSN (RFC 3461)
    pub dsn: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034)
    pub enhanced_status_codes: bool,
    /// SIZE (RFC 1870): offered, and the fixed limit in octets if there is one.
    pub size: Option<Option<u64>>,
    /// STARTTLS (RFC 3207)
    pub starttls: bool,
    /// PRDR (draft-hall-prdr): offered, never read; it is not used with the next hop.
    pub prdr: bool,
    /// CHUNKING (RFC 3030): offered, never read; the next hop gets messages with DATA.
    pub chunking: bool,
    /// XFORWARD (Postfix): the attribute names, as listed.
    pub xforward: Option<String>,
    /// XCLIENT (Postfix): offered to a peer configured for it, never read.
    pub xclient: bool,
}

/// Attributes of XCLIENT.
const XCLIENT_ATTRIBUTES: &str = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";

/// Attributes of XFORWARD offered when the next hop does not offer it: they are kept for the log.
const XFORWARD_ATTRIBUTES: &str = "NAME ADDR PORT PROTO HELO IDENT SOURCE";

impl Capabilities {
    /// Reads a positive reply to EHLO.
    #[must_use]
    pub fn read(reply: &Reply<'_>) -> Self {
        let mut found = Self::default();
        for line in reply.lines().skip(1) {
            let text = String::from_utf8_lossy(line.get(4..).unwrap_or_default());
            let mut words = text.split_ascii_whitespace();
            match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "PIPELINING" => found.pipelining = true,
                "8BITMIME" => found.eight_bit_mime = true,
                "SMTPUTF8" => found.smtp_utf8 = true,
                "DSN" => found.dsn = true,
                "STARTTLS" => found.starttls = true,
                "ENHANCEDSTATUSCODES" => found.enhanced_status_codes = true,
                // SIZE 0 and SIZE alone: no fixed limit.
                "SIZE" => found.size = Some(words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0)),
                "XFORWARD" => {
                    let names: Vec<&str> = words
                        .filter(|w| w.len() <= 16 && w.bytes().all(|b| b.is_ascii_alphanumeric()))
                        .collect();
                    found.xforward = Some(names.join(" "));
                }
                _ => {}
            }
        }
        found
    }

    /// The extensions to offer to a client when the next hop offers `self`.
    ///
    /// PIPELINING and CHUNKING are always offered; STARTTLS is the caller's to add. SIZE is the smaller of the two limits,
    /// `max_message` being ours in octets. XFORWARD is for trusted peers only.
    #[must_use]
    pub fn offered(&self, max_message: u64, trusted: bool) -> Self {
        let limit = self.size.flatten().unwrap_or(u64::MAX).min(max_message);
        Self {
            pipelining: true,
            starttls: false,
            chunking: true,
            xclient: false,
            size: Some(Some(limit)),
            xforward: trusted.then(|| self.xforward.clone().unwrap_or_else(|| XFORWARD_ATTRIBUTES.to_owned())),
            ..*self
        }
    }

    /// The keyword of an extension that a MAIL or RCPT line uses, `self` offers and `now` does not. Parameters that were never
    /// offered are left to the next hop.
    #[must_use]
    pub fn lost(&self, now: &Self, path: &PathLine<'_>) -> Option<&'static str> {
        let uses = |names: &[&str]| names.iter().any(|name| path.has_parameter(name));
        let limit = |of: &Self| of.size.flatten().unwrap_or(u64::MAX);
        let fits = |of: &Self| path.size().is_none_or(|size| size <= limit(of));
        [
            (self.eight_bit_mime && !now.eight_bit_mime, &["BODY"][..], "8BITMIME"),
            (self.smtp_utf8 && !now.smtp_utf8, &["SMTPUTF8"], "SMTPUTF8"),
            (self.dsn && !now.dsn, &["RET", "ENVID", "NOTIFY", "ORCPT"], "DSN"),
        ]
        .into_iter()
        .find_map(|(gone, names, keyword)| (gone && uses(names)).then_some(keyword))
        .or((fits(self) && !fits(now)).then_some("SIZE"))
    }

    /// Appends the reply to EHLO of `hostname` with these keywords.
    pub fn write(&self, hostname: &str, out: &mut Vec<u8>) {
        let mut keywords: Vec<String> = Vec::with_capacity(8);
        for (offered, keyword) in [
            (self.pipelining, "PIPELINING"),
            (self.eight_bit_mime, "8BITMIME"),
            (self.smtp_utf8, "SMTPUTF8"),
            (self.dsn, "DSN"),
            (self.enhanced_status_codes, "ENHANCEDSTATUSCODES"),
            (self.starttls, "STARTTLS"),
            (self.prdr, "PRDR"),
            (self.chunking, "CHUNKING"),
        ] {
            if offered {
                keywords.push(keyword.to_owned());
            }
        }
        if let Some(limit) = self.size {
            keywords.push(limit.map_or_else(|| "SIZE".to_owned(), |n| format!("SIZE {n}")));
        }
        if let Some(names) = &self.xforward {
            keywords.push(format!("XFORWARD {names}").trim_end().to_owned());
        }
        if self.xclient {
            keywords.push(format!("XCLIENT {XCLIENT_ATTRIBUTES}"));
        }
        let last = keywords.len();
        for (at, text) in std::iter::once(hostname)
            .chain(keywords.iter().map(String::as_str))
            .enumerate()
        {
            out.extend_from_slice(if at == last { b"250 " } else { b"250-" });
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Capabilities {
        let (_, reply) = Reply::read(text.as_bytes()).unwrap().unwrap();
        Capabilities::read(&reply)
    }

    #[test]
    fn only_what_both_sides_can_do_is_offered() {
        let next_hop = read(concat!(
            "250-mx.example PIPELINING\r\n250-size 1000\r\n250-8bitmime\r\n250-STARTTLS\r\n250-AUTH PLAIN\r\n",
            "250-CHUNKING\r\n250-XFORWARD NAME ADDR\r\n250 DSN\r\n"
        ));
        assert!(!next_hop.pipelining && !next_hop.smtp_utf8);
        let mut out = Vec::new();
        next_hop.offered(5000, false).write("us.example", &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "250-us.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-DSN\r\n250-CHUNKING\r\n250 SIZE 1000\r\n"
        );
        assert_eq!(next_hop.offered(500, true).size, Some(Some(500)));
        assert_eq!(next_hop.offered(500, true).xforward.as_deref(), Some("NAME ADDR"));
    }

    #[test]
    fn a_next_hop_without_extensions_leaves_ours() {
        let mut out = Vec::new();
        read("250 mx.example\r\n")
            .offered(7, true)
            .write("us.example", &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "250-us.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-SIZE 7\r\n250 XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\r\n"
        );
    }

    #[test]
    fn only_what_was_offered_and_is_used_can_be_lost() {
        let told = read("250-a\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250 SIZE 1000\r\n");
        let less = read("250-a\r\n250 SIZE 500\r\n");
        let lost = |line: &str, told: &Capabilities, now: &Capabilities| match crate::classify(line.as_bytes()) {
            crate::Command::Mail(path) | crate::Command::Rcpt(path) => told.lost(now, &path),
            other => panic!("{other:?}"),
        };
        for (line, wanted) in [
            ("MAIL FROM:<a@b.example>", None),
            ("MAIL FROM:<a@b.example> BODY=8BITMIME", Some("8BITMIME")),
            ("MAIL FROM:<a@b.example> smtputf8", Some("SMTPUTF8")),
            ("MAIL FROM:<a@b.example> ENVID=x", Some("DSN")),
            ("RCPT TO:<a@b.example> NOTIFY=NEVER", Some("DSN")),
            ("MAIL FROM:<a@b.example> SIZE=500", None),
            ("MAIL FROM:<a@b.example> SIZE=501", Some("SIZE")),
            // Too large for either: a refusal for good is right.
            ("MAIL FROM:<a@b.example> SIZE=1001", None),
            ("MAIL FROM:<a@b.example> HOLDFOR=9", None),
        ] {
            assert_eq!(lost(line, &told, &less), wanted, "{line}");
            assert_eq!(lost(line, &told, &told), None, "{line}");
            assert_eq!(lost(line, &less, &told), None, "{line}");
        }
    }

    #[test]
    fn size_without_a_limit_is_no_limit() {
        for text in [
            "250-a\r\n250 SIZE\r\n",
            "250-a\r\n250 SIZE 0\r\n",
            "250-a\r\n250 SIZE many\r\n",
        ] {
            assert_eq!(read(text).size, Some(None), "{text}");
        }
    }
}
