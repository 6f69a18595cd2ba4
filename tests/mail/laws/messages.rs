//! Messages as mail programs, newsletter tools and liars write them.

use std::fmt;

use data_encoding::BASE64;
use proptest::prelude::*;
use proptest::sample::select;

/// A message, and what was put into it.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) bytes: Vec<u8>,
    /// Targets that a reader can get to.
    pub(super) targets: Vec<String>,
    /// Bodies of files as they stand in the message.
    pub(super) files: Vec<Vec<u8>>,
    /// No text is encoded or in a charset that has to be transcoded.
    pub(super) is_plain: bool,
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}\nwith {:?}", Octets(self.bytes.clone()), self.targets)
    }
}

/// Octets that are shown as text where they are.
#[derive(Clone)]
pub(super) struct Octets(pub(super) Vec<u8>);

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.escape_ascii().to_string().replace("\\r\\n", "\\r\\n\n"))
    }
}

/// A text and the targets in it.
#[derive(Debug, Clone)]
struct Text {
    text: String,
    targets: Vec<String>,
}

/// How the octets of a text are written down.
#[derive(Debug, Clone, Copy)]
enum Coding {
    EightBit,
    Quoted(usize),
    Base64(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charset {
    Utf8,
    Latin1,
    Utf16,
}

/// Messages with links.
pub(super) fn linked() -> impl Strategy<Value = Made> {
    message(true)
}

/// Messages without a single link, but with much that looks a little like one.
pub(super) fn unlinked() -> impl Strategy<Value = Made> {
    message(false)
}

/// Messages with links, in which octets are lost, doubled or exchanged.
pub(super) fn damaged() -> impl Strategy<Value = Octets> {
    let wounds = prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..12);
    (linked(), wounds).prop_map(|(made, wounds)| {
        let mut bytes = made.bytes;
        for (at, kind, octet) in wounds {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match kind {
                0 => drop(bytes.remove(at)),
                1 => bytes.insert(at, octet),
                2 => bytes[at] = octet,
                _ => {
                    let end = (at + usize::from(octet)).min(bytes.len());
                    drop(bytes.drain(at..end));
                }
            }
        }
        Octets(bytes)
    })
}

/// Pieces of header and body in any order.
pub(super) fn soup() -> impl Strategy<Value = Octets> {
    const PIECES: &[&str] = &[
        "Content-Type: text/html\r\n",
        "Content-Type: text/plain; charset=utf-16\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n",
        "Content-Type: multipart/signed; boundary=b\r\n",
        "Content-Type: message/rfc822\r\n",
        "Content-Type: text/calendar\r\n",
        "Content-Type: text/plain; format=flowed; delsp=yes\r\n",
        "Content-Transfer-Encoding: quoted-printable\r\n",
        "Content-Transfer-Encoding: base64\r\n",
        "Content-Base: https://base.example/\r\n",
        "\r\n",
        "\n",
        "--b\r\n",
        "--b--\r\n",
        "https://alpha.example/x",
        "www.beta.example",
        "gamma.example.com/",
        " \r\n",
        "<a href=\"",
        "<a href=https://delta.example>",
        "\">",
        "<base href=//epsilon.example/>",
        "<!--",
        "-->",
        "<svg>",
        "</svg>",
        "<style>",
        "<noscript>",
        "<script type=application/ld+json>",
        "\"https://zeta.example/\"",
        "HYPERLINK \"https://eta.example/\"",
        "<select>",
        "<plaintext>",
        "<xmp>",
        "<table>",
        "<![CDATA[",
        "&#104;ttps://theta.example/",
        "=3D",
        "=\r\n",
        "\0",
        "é",
        "<",
        ">",
        " ",
    ];
    prop::collection::vec(select(PIECES), 0..24).prop_map(|p| Octets(p.concat().into_bytes()))
}

fn message(links: bool) -> impl Strategy<Value = Made> {
    let leaf = prop_oneof![4 => text_part(links), 1 => file_part(), 1 => text_file_part()];
    let tree = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            (
                prop::collection::vec(inner.clone(), 1..4),
                select(&["mixed", "alternative", "related"][..])
            )
                .prop_map(|(parts, kind)| multipart(&parts, kind)),
            inner.prop_map(|part| forwarded(&part)),
        ]
    });
    tree.prop_map(|part| {
        let part = beside_text(&part);
        let head = b"From: Ada <ada@sender.example>\r\nTo: user@on.example\r\nSubject: made\r\nMIME-Version: 1.0\r\n";
        Made {
            bytes: [&head[..], &part.bytes].concat(),
            ..part
        }
    })
}

/// A part's header and body.
fn text_part(links: bool) -> BoxedStrategy<Made> {
    let text = prop_oneof![(plain(links), Just("plain")), (html(links), Just("html"))];
    let coding = prop_oneof![
        4 => Just(Coding::EightBit),
        2 => (20..76_usize).prop_map(Coding::Quoted),
        1 => select(&[16_usize, 60, 64, 76][..]).prop_map(Coding::Base64),
    ];
    let charset = prop_oneof![6 => Just(Charset::Utf8), 2 => Just(Charset::Latin1), 1 => Just(Charset::Utf16)];
    (text, coding, charset)
        .prop_map(|((text, kind), coding, charset)| {
            // Two octets for each character cannot go unencoded through mail.
            let coding = match (charset, coding) {
                (Charset::Utf16, Coding::EightBit) => Coding::Base64(76),
                (_, c) => c,
            };
            let (name, octets) = match charset {
                Charset::Utf8 => ("utf-8", text.text.clone().into_bytes()),
                Charset::Latin1 => (
                    "iso-8859-1",
                    text.text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect(),
                ),
                Charset::Utf16 => (
                    "utf-16le",
                    text.text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
                ),
            };
            let (label, body) = match coding {
                Coding::EightBit => ("8bit", octets),
                Coding::Quoted(width) => ("quoted-printable", quoted_printable(&octets, width)),
                Coding::Base64(width) => ("base64", base64(&octets, width)),
            };
            let head =
                format!("Content-Type: text/{kind}; charset={name}\r\nContent-Transfer-Encoding: {label}\r\n\r\n");
            Made {
                bytes: [head.as_bytes(), &body].concat(),
                targets: text.targets,
                files: Vec::new(),
                is_plain: matches!(coding, Coding::EightBit),
            }
        })
        .boxed()
}

fn file_part() -> BoxedStrategy<Made> {
    prop::collection::vec(any::<u8>(), 0..200)
        .prop_map(|octets| {
            let octets = [&octets[..], b"https://file.example/"].concat();
            file(
                "Content-Type: application/pdf; name=\"a.pdf\"\r\nContent-Disposition: attachment; filename=\"a.pdf\"\r\n\
                 Content-Transfer-Encoding: base64\r\n\r\n",
                base64(&octets, 72),
            )
        })
        .boxed()
}

fn text_file_part() -> BoxedStrategy<Made> {
    plain(true)
        .prop_map(|text| {
            file(
                "Content-Type: text/plain; charset=utf-8; name=\"a.txt\"\r\n\
                 Content-Disposition: attachment; filename=\"a.txt\"\r\n\r\n",
                text.text.into_bytes(),
            )
        })
        .boxed()
}

fn file(head: &str, body: Vec<u8>) -> Made {
    Made {
        bytes: [head.as_bytes(), &body].concat(),
        targets: Vec::new(),
        files: vec![body],
        is_plain: true,
    }
}

fn multipart(parts: &[Made], kind: &str) -> Made {
    // No two multiparts within each other may share a boundary.
    let depth = parts.iter().map(|p| count(&p.bytes, b"boundary=")).max().unwrap_or(0);
    let boundary = format!("=_{depth}.{}", "x".repeat(depth % 5));
    let mut bytes = format!("Content-Type: multipart/{kind}; boundary=\"{boundary}\"\r\n\r\npreamble\r\n").into_bytes();
    for part in parts {
        bytes.extend(format!("--{boundary}\r\n").bytes());
        bytes.extend(&part.bytes);
        bytes.extend(b"\r\n");
    }
    bytes.extend(format!("--{boundary}--\r\n").bytes());
    joined(bytes, parts)
}

/// A message within. Never the last part: mail-parser 0.11 panics where it is.
fn forwarded(part: &Made) -> Made {
    let head =
        b"Content-Type: message/rfc822\r\n\r\nFrom: bo@sender.example\r\nSubject: within\r\nMIME-Version: 1.0\r\n";
    let part = beside_text(part);
    let within = joined([&head[..], &part.bytes].concat(), std::slice::from_ref(&part));
    multipart(&[within, end()], "mixed")
}

/// A file with a text beside it: what is the whole of a message is no file, whatever its header says.
fn beside_text(part: &Made) -> Made {
    let is_file = !part.files.is_empty() && count(&part.bytes, b"boundary=") == 0;
    if is_file {
        multipart(&[part.clone(), end()], "mixed")
    } else {
        part.clone()
    }
}

fn end() -> Made {
    joined(b"Content-Type: text/plain\r\n\r\nend\r\n".to_vec(), &[])
}

fn joined(bytes: Vec<u8>, parts: &[Made]) -> Made {
    Made {
        bytes,
        targets: parts.iter().flat_map(|p| p.targets.clone()).collect(),
        files: parts.iter().flat_map(|p| p.files.clone()).collect(),
        is_plain: parts.iter().all(|p| p.is_plain),
    }
}

fn count(bytes: &[u8], what: &[u8]) -> usize {
    memchr::memmem::find_iter(bytes, what).count()
}

/// Absolute URLs in the form that browsers give them.
fn target() -> impl Strategy<Value = String> {
    let usual = "(https?|ftp)://(www\\.)?(alpha|beta|gamma|delta)\\.example/([a-z0-9]{1,9}(/[a-z0-9]{1,9}){0,3})?(\\?[a-z]{1,4}=[a-z0-9]{1,6}(&[b-f]{2}=[a-z0-9]{1,6}){0,2})?";
    prop_oneof![
        12 => usual,
        2 => "https://alpha\\.example:8443/[a-z]{1,5}#[a-z]{1,5}",
        1 => "https://long\\.example/[a-z0-9]{1200,1300}",
    ]
}

fn words() -> impl Strategy<Value = String> {
    let word = select(
        &[
            "the",
            "Grüße",
            "a",
            "=",
            "naïve",
            "report.pdf",
            "10.5",
            "ada@sender.example",
            "e.g.",
            ">",
            "--",
            "x=3D",
            "\t",
        ][..],
    );
    prop::collection::vec(word, 0..9).prop_map(|w| w.join(" "))
}

/// Lines of plain text.
fn plain(links: bool) -> BoxedStrategy<Text> {
    let around = select(
        &[
            ("", ""),
            ("<", ">"),
            ("(", ")"),
            ("see ", "."),
            ("> ", ""),
            ("\"", "\","),
            ("é ", " ü"),
        ][..],
    );
    let link = (target(), around).prop_map(|(t, (before, after))| Text {
        text: format!("{before}{t}{after}"),
        targets: vec![t],
    });
    lines(words().prop_map(unlinked_text).boxed(), link.boxed(), links)
}

/// Lines of HTML, with links in odd places.
fn html(links: bool) -> BoxedStrategy<Text> {
    const PLACES: &[&str] = &[
        "<a href=\"U\">x</a>",
        "<a href='U'>x</a>",
        "<A HREF=U>x</A>",
        "<a title=\">\" href = \" U \">x</a>",
        "<map><area shape=rect href=\"U\"></map>",
        "<svg><a xlink:href=\"U\"><text>x</text></a></svg>",
        "<!--[if mso]><v:rect href=\"U\"></v:rect><![endif]-->",
        "<!-- <a href=\"U\">x</a> -->",
        "<noscript><a href=\"U\">x</a></noscript>",
        "<template><a href=\"U\">x</a></template>",
        "<table><tr><td><a href=\"U\">x</a></table>",
        "<a:b href=\"U\">x</a:b>",
        "<p>see U and</p>",
        "<td>U</td>",
        "<iframe>y <a href=\"U\">x</a></iframe>",
        "<select><option><a href=\"U\">x</a></select>",
        "<svg/><style><!--</style><a href=\"U\">x</a><!-- -->",
        "<script type=\"application/ld+json\">{\"url\":\"U\"}</script>",
    ];
    const DULL: &[&str] = &[
        "<p style=\"color:red\">Grüße &amp; more</p>",
        "<img src=\"https://img.example/p.png\" alt='a>b'>",
        "<!--[if mso]><table><tr><td><![endif]-->",
        "<a name=top href=\"#top\">up</a> <a href=\"mailto:bo@sender.example\">bo</a>",
        "<br><hr>",
        "</b></i><b><i>",
        "<div\r\nclass=x>",
    ];
    let link = (target(), select(PLACES), any::<bool>()).prop_map(|(t, place, spelt)| {
        let in_text = !place.contains("=") || place.contains("<td>U");
        let url = if in_text { t.replace('&', "&amp;") } else { t.clone() };
        // Character references in an attribute; JSON knows none.
        let url = if spelt && !in_text && !place.contains("script") {
            url.replacen("://", "&colon;&#47;&#x2f;", 1)
        } else {
            url
        };
        Text {
            text: place.replace('U', &url),
            targets: vec![t],
        }
    });
    let dull = select(DULL).prop_map(|t| unlinked_text(t.to_owned()));
    lines(dull.boxed(), link.boxed(), links)
}

/// A plain text and the targets in it, without what would be changed by a quote mark or a cut line.
pub(super) fn plain_text() -> impl Strategy<Value = (String, Vec<String>)> {
    plain(true).prop_map(|t| (t.text, t.targets))
}

fn unlinked_text(text: String) -> Text {
    Text {
        text,
        targets: Vec::new(),
    }
}

fn lines(dull: BoxedStrategy<Text>, link: BoxedStrategy<Text>, links: bool) -> BoxedStrategy<Text> {
    let line = if links { prop_oneof![dull, link].boxed() } else { dull };
    let separator = select(&["\r\n", "\r\n", "\r\n\r\n", " "][..]);
    prop::collection::vec((line, separator), 0..8)
        .prop_map(|lines| Text {
            text: lines.iter().map(|(l, s)| format!("{}{s}", l.text)).collect(),
            targets: lines.into_iter().flat_map(|(l, _)| l.targets).collect(),
        })
        .boxed()
}

/// Quoted-printable with lines of about `width`, as encoders differ in what they escape.
pub(super) fn quoted_printable(octets: &[u8], width: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut column = 0;
    let mut rest = octets;
    while let Some((&octet, tail)) = rest.split_first() {
        if rest.starts_with(b"\r\n") {
            out.extend(b"\r\n");
            column = 0;
            rest = &rest[2..];
            continue;
        }
        if column + 4 > width {
            out.extend(b"=\r\n");
            column = 0;
        }
        let at_end = tail.is_empty() || tail.starts_with(b"\r\n");
        let plain = octet != b'=' && (octet.is_ascii_graphic() || octet == b' ' && !at_end);
        let escaped = if width.is_multiple_of(2) {
            format!("={octet:02X}")
        } else {
            format!("={octet:02x}")
        };
        let piece = if plain { vec![octet] } else { escaped.into_bytes() };
        column += piece.len();
        out.extend(piece);
        rest = tail;
    }
    out
}

fn base64(octets: &[u8], width: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for line in BASE64.encode(octets).as_bytes().chunks(width) {
        out.extend(line);
        out.extend(b"\r\n");
    }
    out
}
