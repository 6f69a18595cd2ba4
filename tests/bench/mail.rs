//! Mail of known size and make-up, the same in every run.

use std::fmt::Write as _;

/// Links in tags of [`newsletter`].
pub(crate) const HTML_LINKS: usize = 150;
/// Links in the plain text beside it.
pub(crate) const TEXT_LINKS: usize = 12;

/// A small generator of numbers (xorshift64*): what matters is that it never changes.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.roll() >> 33) as usize % n
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn words(&mut self, n: usize) -> String {
        (0..n).map(|_| self.pick(WORDS)).collect::<Vec<_>>().join(" ")
    }

    /// A link as campaigns write it: some 190 octets.
    fn url(&mut self, and: &str) -> String {
        format!(
            "https://{}/c/{:x}/{:012x}/offer?utm_source=letter{and}utm_medium=email{and}utm_campaign=week-{}{and}id={:016x}{and}who={:016x}{:016x}",
            self.pick(HOSTS),
            self.below(4096),
            self.roll() >> 16,
            self.below(53),
            self.roll(),
            self.roll(),
            self.roll(),
        )
    }
}

const WORDS: &[&str] = &[
    "autumn",
    "offers",
    "from",
    "our",
    "workshop",
    "for",
    "readers",
    "who",
    "like",
    "to",
    "cook",
    "with",
    "good",
    "tools",
    "this",
    "week",
    "we",
    "show",
    "new",
    "pans",
    "and",
    "knives",
    "größer",
    "als",
    "je",
    "zuvor",
    "café",
    "menu",
    "вкусно",
    "美味",
    "members",
    "save",
    "until",
    "Sunday",
    "see",
    "more",
    "below",
];

const HOSTS: &[&str] = &[
    "www.kitchen.example",
    "click.letters.kitchen.example",
    "shop.kitchen.example",
    "recipes.example",
    "xn--kche-0ra.example",
];

const HEAD: &str = "Received: from mx.kitchen.example (mx.kitchen.example [192.0.2.44]) by in.example.com with ESMTPS id 4Zx9\r\n\
    \tfor <reader@example.com>; Tue, 04 Nov 2025 09:30:00 +0000\r\n\
    DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=kitchen.example; s=s1;\r\n\
    \th=from:to:subject:date:message-id; bh=Zm9yIGJlbmNoZXMgb25seSwgbm8gc2lnbmF0dXJlIGF0IGE=;\r\n\
    \tb=VGhpcyBpcyBub3QgYSBzaWduYXR1cmUgYnV0IGEgdGV4dCBvZiBhYm91dCB0aGUgbGVuZ3RoIG9mIG9uZSwg\r\n\
    \t bm8gbW9yZSBhbmQgbm8gbGVzcywgc28gdGhhdCBoZWFkZXJzIGFyZSBhcyBsb25nIGFzIHRoZXkgYXJlIGluIGxpZmU=\r\n\
    Message-ID: <4711.week-45@kitchen.example>\r\n\
    Date: Tue, 04 Nov 2025 09:29:58 +0000\r\n\
    From: Kitchen Letters <letters@kitchen.example>\r\n\
    To: <reader@example.com>\r\n\
    Subject: =?utf-8?Q?Gr=C3=B6=C3=9Fere_Pfannen?= for the week\r\n\
    List-Unsubscribe: <https://click.letters.kitchen.example/u/4711>\r\n\
    MIME-Version: 1.0\r\n";

/// A newsletter: multipart/alternative, both parts quoted-printable, about 73 KB.
pub(crate) fn newsletter() -> Vec<u8> {
    let mut out = format!("{HEAD}Content-Type: multipart/alternative; boundary=\"=_letter\"\r\n\r\n").into_bytes();
    for (kind, body) in [("plain", newsletter_text()), ("html", newsletter_html())] {
        out.extend_from_slice(
            format!("--=_letter\r\nContent-Type: text/{kind}; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n").as_bytes(),
        );
        out.extend_from_slice(&quoted_printable(&body));
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"--=_letter--\r\n");
    out
}

/// Its HTML, decoded: about 60 KB, [`HTML_LINKS`] links, some of them in comments for one mail program.
pub(crate) fn newsletter_html() -> String {
    let d = &mut Dice(45);
    let mut out = String::from(
        "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\" \"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\r\n\
         <html xmlns=\"http://www.w3.org/1999/xhtml\"><head><meta http-equiv=\"Content-Type\" content=\"text/html; charset=utf-8\"/>\r\n\
         <title>Kitchen Letters</title>\r\n<style type=\"text/css\">\r\n",
    );
    for i in 0..24 {
        let _ = write!(
            out,
            ".k{i} {{font-family:Arial,sans-serif;font-size:{}px;line-height:{}px;color:#{:06x};}}\r\n",
            11 + i % 7,
            15 + i % 7,
            i * 7919
        );
    }
    out.push_str("@media only screen and (max-width:600px){.k0{width:100%!important}}\r\n</style></head>\r\n<body style=\"margin:0;background:#f4f4f4\"><table class=\"k0\" width=\"600\" cellpadding=\"0\" cellspacing=\"0\" border=\"0\" align=\"center\">\r\n");
    let mut links = 0;
    while links < HTML_LINKS {
        let (u, k) = (d.url("&amp;"), links % 24);
        links += 1;
        match links % 5 {
            0 => {
                let _ = write!(
                    out,
                    "<tr><td class=\"k{k}\" style=\"padding:10px 20px\"><a href=\"{u}\" target=\"_blank\" style=\"text-decoration:none\"><img src=\"https://{}/i/{:08x}.png\" width=\"560\" height=\"180\" alt=\"{}\" style=\"display:block;border:0\"/></a></td></tr>\r\n",
                    d.pick(HOSTS),
                    d.roll() >> 32,
                    d.words(2)
                );
            }
            1 if links < HTML_LINKS => {
                links += 1;
                let _ = write!(
                    out,
                    "<!--[if mso]><v:roundrect xmlns:v=\"urn:schemas-microsoft-com:vml\" href=\"{u}\" style=\"height:40px;width:200px\" fillcolor=\"#d62828\"><center><![endif]--><a href=\"{u}\" style=\"background-color:#d62828;color:#ffffff;display:inline-block;width:200px\">{}</a><!--[if mso]></center></v:roundrect><![endif]-->\r\n",
                    d.words(2)
                );
            }
            _ => {
                let _ = write!(
                    out,
                    "<tr><td class='k{k}' style='padding:10px 20px'><p>{} &ndash; <a href='{u}'>{}</a>&nbsp;{}</p></td></tr>\r\n",
                    d.words(6),
                    d.words(3),
                    d.words(3)
                );
            }
        }
        if links % 4 == 0 {
            let _ = write!(
                out,
                "<tr><td class=\"k{k}\" style=\"padding:10px 20px 10px 20px;font-size:14px\">{}.</td></tr>\r\n",
                d.words(20)
            );
        }
    }
    out.push_str("</table></body></html>\r\n");
    out
}

/// The text beside it: about 3 KB, [`TEXT_LINKS`] links.
pub(crate) fn newsletter_text() -> String {
    let d = &mut Dice(46);
    (0..TEXT_LINKS)
        .map(|_| format!("{}\r\n{}\r\n", d.words(10), d.url("&")))
        .collect()
}

/// One part of plain text without a link, of about `size` octets.
pub(crate) fn plain(size: usize) -> Vec<u8> {
    let d = &mut Dice(47);
    let mut out = format!("{HEAD}Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n");
    while out.len() < size {
        out.push_str(&d.words(9));
        out.push_str(".\r\n");
    }
    out.into_bytes()
}

/// A short text and an attachment of `size` octets in base64.
pub(crate) fn attachment(size: usize) -> Vec<u8> {
    let d = &mut Dice(48);
    let mut out = format!(
        "{HEAD}Content-Type: multipart/mixed; boundary=\"=_mixed\"\r\n\r\n\
         --=_mixed\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{}\r\n{}\r\n\
         --=_mixed\r\nContent-Type: application/pdf; name=\"menu.pdf\"\r\nContent-Disposition: attachment; filename=\"menu.pdf\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n",
        d.words(40),
        d.url("&"),
    )
    .into_bytes();
    let mut line = [0u8; 57];
    while out.len() < size {
        for b in &mut line {
            *b = d.roll() as u8;
        }
        out.extend_from_slice(data_encoding::BASE64.encode(&line).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"--=_mixed--\r\n");
    out
}

/// A text with CRLF in quoted-printable, with lines of 76 characters.
pub(crate) fn quoted_printable(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() * 5 / 4);
    for line in text.split_inclusive("\r\n") {
        let (body, end) = line.strip_suffix("\r\n").map_or((line, ""), |b| (b, "\r\n"));
        let mut column = 0;
        for b in body.bytes() {
            let piece = match b {
                b'!'..=b'<' | b'>'..=b'~' | b' ' => vec![b],
                b => format!("={b:02X}").into_bytes(),
            };
            if column + piece.len() > 75 {
                out.extend_from_slice(b"=\r\n");
                column = 0;
            }
            column += piece.len();
            out.extend_from_slice(&piece);
        }
        out.extend_from_slice(end.as_bytes());
    }
    out
}
