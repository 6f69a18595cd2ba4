//! Inputs of a megabyte on which careless code takes time or memory that grows with the square.

use message::fuzzing::{self, Layout};
use message::{Options, plan};

use crate::wrapper::Wrapper;

/// Size of each input, in octets.
const SIZE: usize = 1 << 20;

/// The treatment of an input.
#[derive(Debug, Clone, Copy)]
enum Work {
    Html,
    Text(Layout, bool),
    Mail,
}

/// One input: what it is called, what stands before, over and over, and behind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    work: Work,
    head: &'static str,
    flood: &'static str,
    tail: &'static str,
}

const fn html(name: &'static str, head: &'static str, flood: &'static str, tail: &'static str) -> Case {
    Case {
        name,
        work: Work::Html,
        head,
        flood,
        tail,
    }
}

const fn text(name: &'static str, layout: Layout, flood: &'static str, tail: &'static str) -> Case {
    Case {
        name,
        work: Work::Text(layout, false),
        head: "",
        flood,
        tail,
    }
}

const fn mail(name: &'static str, head: &'static str, flood: &'static str) -> Case {
    Case {
        name,
        work: Work::Mail,
        head,
        flood,
        tail: "",
    }
}

/// Every case.
pub(crate) const CASES: &[Case] = &[
    html("nested div", "<a href=http://a.example>", "<div>", ""),
    html(
        "nested div, ambiguous",
        "<svg/><style><!--</style><a href=http://a.example>",
        "<div>",
        "",
    ),
    html("nested b", "<svg/><style><a href=x:>", "<b>", ""),
    html(
        "nested b, each its own",
        "<svg/><style></style>",
        "<p><b id=x href=http://a.example>",
        "",
    ),
    html("nested svg", "<svg>", "<g>", "</x></x></x>"),
    html("svg ends", "<svg/><style><a href=x:></style>", "<svg><a></x>", ""),
    html("nested tables", "<svg/><style><a href=x:></style>", "<table><td>x", ""),
    html("foster parents", "<svg/><style><a href=x:></style><table>", "<a>x", ""),
    html("links", "", "<a href=http://a.example/>x</a> ", ""),
    html(
        "few links",
        "",
        "<p>Some words of a plain letter, and more of them, <a href=http://a.example/>x</a> ",
        "",
    ),
    html("open links", "", "<a ", ""),
    html("open links with a value", "", "<a href=http://a.example ", ""),
    html("open quotes", "", "<a href=\"", ""),
    html("open comments", "", "<!--", ""),
    html("open comments with links", "", "<!-- <a href=http://a.example> --", ""),
    html("hyphens in a comment", "<!--", "-", "x"),
    html("open sections", "", "<![CDATA[", ""),
    html("open bogus comments", "", "<?", ""),
    html("one long attribute", "<a href=\"http://a.example/", "x", "\">x</a>"),
    html("many attributes", "<a href=http://a.example ", "b=c ", ">x</a>"),
    html("many targets in a tag", "<a ", "href=http://a.example ", ">x</a>"),
    html(
        "many meta contents",
        "<meta itemprop=url ",
        "content=http://a.example ",
        ">x",
    ),
    html(
        "tags of many attributes",
        "",
        "<a b c d e f g h i j k l m n o p q r s t u v w x y z href=http://a.example>",
        "",
    ),
    html("bases", "", "<base href=http://a.example/>", ""),
    html("bases with links", "", "<base href=http://a.example/><a href=x>", ""),
    html("entities", "<p>", "&amp;", ""),
    html("entities without an end", "<p>", "&", ""),
    html(
        "long false entities",
        "<p>",
        "&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "",
    ),
    html("entities in a value", "<a href='http://a.example/", "&amp;", "'>"),
    html("word fields", "<p style=mso-element:x>", "HYPERLINK \"", ""),
    html(
        "word fields with targets",
        "<p style=mso-element:x>",
        "HYPERLINK \"http://a.example/\" ",
        "",
    ),
    html(
        "word fields and blanks",
        "<p style=mso-element:x>",
        "HYPERLINK        ",
        "",
    ),
    html("quotes in a JSON script", "<script type=application/ld+json>", "\"", ""),
    html(
        "URLs in a JSON script",
        "<script type=application/ld+json>",
        "\"http://a.example/\",",
        "",
    ),
    html("open JSON scripts", "", "<script type=json>", ""),
    html("blanks in a JSON script", "<script type=json>", "\"\"          ", ""),
    html("URLs to read", "<p>", "http://a.example/ ", ""),
    html("names to read", "<p>", "a.example.com<br>", ""),
    html("dots to read", "<p>", "a.", ""),
    html("URLs split", "<p>", "h<b>t</b>tp://a.ex<wbr>ample/ ", ""),
    html("frames with documents", "", "<iframe srcdoc=\"<a href=x>\">", ""),
    html(
        "frames with ends of comments in their documents",
        "",
        "<iframe srcdoc=\"<a href=x>-->\">",
        "",
    ),
    html(
        "frames with ends of comments in their documents, behind a doctype",
        "<!DOCTYPE html>",
        "<iframe srcdoc=\"<a href=x>-->\">",
        "",
    ),
    html(
        "frames with ends of comments in their documents, behind two bases",
        "<base href=http://a.example/><base href=http://b.example/>",
        "<iframe srcdoc=\"<a href=x>-->\">",
        "",
    ),
    html(
        "links that run out of their comments, behind two bases",
        "<base href=http://a.example/><base href=http://b.example/>",
        "<!-- <a href='//h.example --><p class='c'> and words enough that this is no flood of links</p>",
        "",
    ),
    html("noscript in noscript", "", "<noscript><a href=http://a.example>", ""),
    html("raw text that does not end", "", "<noembed><style><title>", ""),
    html("templates", "<svg/><style><a href=x:></style>", "<template>", ""),
    html("selects", "", "<select><option><a href=http://a.example>", ""),
    html("NULs", "<a\0 href=http://a.example>", "\0", ""),
    html("less-than signs", "", "<", ""),
    html("end tags", "<svg/><style><a href=x:></style>", "</p>", ""),
    text("URLs", Layout::Plain, "http://a.example/ ", ""),
    text("URLs on a line of a calendar", Layout::Folded, "http://a.example/ ", ""),
    text("folds", Layout::Folded, "a.example\r\n ", ""),
    text("escapes", Layout::Folded, "\\,", ""),
    text("flowed lines", Layout::Flowed, "http:/ \r\n/a.example/ ", ""),
    text("dots", Layout::Plain, "a.", ""),
    text("dots and hyphens", Layout::Plain, ".-", " a.b"),
    text("dots alone", Layout::Plain, ".", "a"),
    text("colons", Layout::Plain, ":", ""),
    text("schemes", Layout::Plain, "http://", ""),
    text("schemes and commas", Layout::Plain, "http://a,", ""),
    text("open brackets", Layout::Plain, "http://([{", ""),
    text("brackets that do not match", Layout::Plain, "http://a([{)]} ", ""),
    text("angle brackets over lines", Layout::Plain, "<http://a\r\n", ""),
    text(
        "angle brackets over lines, closed once",
        Layout::Plain,
        "<http://a\r\n",
        ">",
    ),
    text("names", Layout::Plain, "a.example.com ", ""),
    text("mail addresses", Layout::Plain, "a.b@c.", ""),
    text("files", Layout::Plain, "begin 644 x\n", ""),
    text("words like files", Layout::Plain, "begin ", ""),
    text(
        "signed messages",
        Layout::Plain,
        "-----BEGIN PGP SIGNED MESSAGE-----\n",
        "http://a.example",
    ),
    text(
        "signed messages, half",
        Layout::Plain,
        "-----BEGIN PGP SIGNED MESSAGE-----\n-----BEGIN PGP SIGNATURE-----\n-----END PGP SIGNATURE-----\n",
        "http://a.example",
    ),
    text("blocks", Layout::Plain, "\u{2588}\u{2591}", "http://a.example"),
    Case {
        name: "text that may be HTML",
        work: Work::Text(Layout::Plain, true),
        head: "<html>",
        flood: "<a href=http://a.example>",
        tail: "",
    },
    mail("letters", "Content-Type: text/plain\r\n\r\n", "words and words\r\n"),
    mail("no body", "", "X-A: b\r\n"),
    mail("long field", "Subject: ", "x\r\n "),
    mail("many words in a type", "Content-Type: text/plain", "; a=b"),
    mail(
        "pieces of a boundary",
        "Content-Type: multipart/mixed",
        "; boundary*1=b",
    ),
    mail(
        "boundaries",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n",
        "--b\r\n",
    ),
    mail(
        "parts",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n",
        "--b\r\nContent-Type: text/html\r\n\r\n<a href=http://a.example>\r\n",
    ),
    mail(
        "lines like boundaries",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n",
        "--bb\r\n",
    ),
    mail("messages in messages", "", "Content-Type: message/rfc822\r\n\r\n"),
    mail(
        "multiparts in multiparts",
        "",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n",
    ),
    mail(
        "bare CRs",
        "Content-Type: text/html\r\n\r\n",
        "<a href=http://a.example>\r",
    ),
    mail(
        "soft breaks",
        "Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
        "=\r\n",
    ),
    mail(
        "links in quoted-printable",
        "Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
        "<a href=3Dhttp://a.example/long/path/and/more>xyz</a>",
    ),
    mail(
        "escapes in quoted-printable",
        "Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
        "=3D",
    ),
    mail(
        "stray escapes",
        "Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
        "=",
    ),
    mail(
        "blanks behind a stray escape",
        "Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
        "=  ",
    ),
    mail(
        "base64",
        "Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n",
        "PGEgaHJlZj1odHRwOi8vYS5leGFtcGxlPng8L2E+\r\n",
    ),
    mail(
        "padding",
        "Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n",
        "YQ==",
    ),
    mail(
        "a charset of two octets",
        "Content-Type: text/plain; charset=shift_jis\r\n\r\n",
        "\u{83}",
    ),
    mail(
        "UTF-16",
        "Content-Type: text/html; charset=utf-16le\r\n\r\n",
        "<\0a\0 \0h\0r\0e\0f\0=\0h\0t\0t\0p\0:\0/\0/\0a\0.\0b\0>\0",
    ),
    mail(
        "calendar",
        "Content-Type: text/calendar\r\n\r\n",
        "URL:http://a.exam\r\n ple/\r\n",
    ),
];

impl Case {
    pub(crate) fn input(&self) -> Vec<u8> {
        let times = (SIZE - self.head.len() - self.tail.len()) / self.flood.len();
        [self.head, &self.flood.repeat(times), self.tail].concat().into_bytes()
    }

    /// Does what is to be done with the input, and says how long the result is.
    pub(crate) fn run(&self, input: &[u8]) -> usize {
        let mut judge = Wrapper::new(false);
        match self.work {
            Work::Html => fuzzing::html(input, &mut judge).bytes.len(),
            Work::Text(layout, both) => fuzzing::text(input, layout, both, &mut judge).bytes.len(),
            Work::Mail => match plan(&input, &Options::default(), &mut judge) {
                Ok(planned) => planned.patch.changes().iter().map(|c| c.with.len()).sum(),
                Err(e) => panic!("{}: {e}", self.name),
            },
        }
    }
}
