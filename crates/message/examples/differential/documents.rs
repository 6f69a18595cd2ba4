//! Hostile HTML documents from a number: markup on which parsers disagree, put together at random.

use std::fmt::Write;

/// A generator of random numbers (SplitMix64): small, and the same on every machine.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// Elements, those that change how the rest is read more often.
const NAMES: &[&str] = &[
    "a",
    "a",
    "a",
    "a",
    "p",
    "div",
    "b",
    "i",
    "span",
    "font",
    "table",
    "tr",
    "td",
    "th",
    "caption",
    "colgroup",
    "col",
    "tbody",
    "svg",
    "svg",
    "math",
    "math",
    "desc",
    "title",
    "foreignObject",
    "mi",
    "mo",
    "mtext",
    "annotation-xml",
    "malignmark",
    "mglyph",
    "style",
    "style",
    "script",
    "textarea",
    "xmp",
    "plaintext",
    "noscript",
    "noscript",
    "noembed",
    "noframes",
    "iframe",
    "template",
    "select",
    "select",
    "option",
    "optgroup",
    "selectedcontent",
    "button",
    "form",
    "input",
    "frameset",
    "frame",
    "body",
    "html",
    "head",
    "br",
    "hr",
    "img",
    "image",
    "li",
    "ul",
    "dl",
    "dt",
    "dd",
    "h1",
    "h2",
    "pre",
    "listing",
    "nobr",
    "u",
    "code",
    "area",
    "map",
    "object",
    "embed",
    "applet",
    "marquee",
    "param",
    "base",
    "link",
    "meta",
    "isindex",
    "keygen",
    "use",
    "animate",
    "set",
    "o:p",
    "v:rect",
    "x:a",
    "a:b",
    "aa",
    "portal",
    "dialog",
    "details",
    "summary",
    "center",
    "menuitem",
    "rp",
    "rt",
    "ruby",
    "search",
    "A",
    "SVG",
    "sVg",
];

/// Attributes that lead somewhere, or change what others mean.
const ATTRS: &[&str] = &[
    "href",
    "href",
    "href",
    "href",
    "HREF",
    "hRef",
    "xlink:href",
    "xlink:HREF",
    "x:href",
    "action",
    "formaction",
    "src",
    "data",
    "srcdoc",
    "ping",
    "content",
    "http-equiv",
    "to",
    "values",
    "attributeName",
    "name",
    "id",
    "title",
    "alt",
    "style",
    "color",
    "size",
    "face",
    "encoding",
    "type",
    "itemprop",
    "target",
    "=href",
    "href\"",
    "hr\u{0}ef",
    "xmlns",
    "definitionurl",
    "background",
];

/// Openings and ends of what is no element, and shreds of them.
const SHREDS: &[&str] = &[
    "<!--",
    "-->",
    "--!>",
    "--",
    "<!-->",
    "<!--->",
    "<!--[if mso]>",
    "<![endif]-->",
    "<!--[if !mso]><!-->",
    "<!--<![endif]-->",
    "<![if !vml]>",
    "<![endif]>",
    "<![CDATA[",
    "]]>",
    "<?xml ?>",
    "<?",
    "<!",
    "<!doctype html>",
    "<!DOCTYPE",
    "</",
    "</>",
    "<",
    ">",
    "\"",
    "'",
    "=",
    "/",
    "/>",
    "<a",
    "<a ",
    "<a href=",
    "<a href=\"",
    "<p title='",
    "</script",
    "<script>",
    "</style",
    "<!--<script>",
    "</textarea>",
    "</title>",
    "</select>",
    "</svg>",
    "</math>",
    "</br>",
    "</p>",
    "<svg/>",
    "<math/>",
    "<br/>",
    "\u{0}",
    "\n",
    "\t",
    "\u{c}",
    "\r\n",
    "\r",
    " ",
    "&",
    "&#",
    "&#x",
    "]]",
    "<![",
    "<!-",
    "-",
    "\u{a0}",
    "é",
    "日本",
    "\u{200b}",
    "\u{ad}",
    "<s\u{0}vg>",
    "<a/",
    "<a\u{0}",
    "<a\"",
];

/// Ways in which known escapes hide a link from one parser and show it to another.
const TRICKS: &[&str] = &[
    "<svg/><style><!--</style>@",
    "<math/><![CDATA[>@]]>",
    "<svg><math/><mi><title>@",
    "<math><svg><title><textarea>@",
    "<svg><math></br><style><!--</style>@",
    "<svg><a name=z><desc></a><iframe>@",
    "<svg><svg/><div>@<!--",
    "<noscript><p title=\"</noscript>@\">",
    "<noscript><style></noscript>@</style>",
    "<select><style>@</style></select>",
    "<select><iframe>@</iframe>",
    "<select><textarea>@</textarea>",
    "<frameset><noframes>@</noframes>",
    "<table><style>@</style>",
    "<table><a href=x>@<tr><td>",
    "<svg><style>@</style>",
    "<svg><title>@</title>",
    "<svg><script>@</script>",
    "<math><annotation-xml encoding=\"text/html\"><style>@</style>",
    "<math><annotation-xml encoding=text/html>@",
    "<svg><foreignObject><title>@</title>",
    "<template><style>@</style>",
    "<template><a href=x></template>@",
    "<!--<a title=\"-->@\">",
    "<a title=\"<!--\">@-->",
    "<xmp>@</xmp>",
    "<textarea>@</textarea>",
    "<title>@</title>",
    "<script><!--<script></script>@</script>-->",
    "<plaintext>@",
    "<iframe srcdoc='@'></iframe>",
    "<noembed>@</noembed>",
    "<noframes>@</noframes>",
    "<iframe>@</iframe>",
    "<mtext><style>@",
    "<math><mtext><table><mglyph><style><!--</style>@",
    "<form><math><mtext></form><form><mglyph><style>@",
    "<svg></p><style>@</style>",
    "<svg><p><style><!--</style>@",
    "<svg><b><style>@",
    "<svg><font color=x><style><!--</style>@",
    "<svg><font><style>@",
    "<svg><desc><b></svg></b>@",
    "<body><frameset><frame src=x>@",
    "<select><select>@",
    "<select><option><svg>@",
    "<select><button><selectedcontent>@",
    "<table><td><select></td>@",
    "<!--[if mso]>@<![endif]-->",
    "<![if !mso]>@<![endif]>",
    "<?php echo '@' ?>",
    "<a href=x><table><a href=y>@",
    "<script type=\"application/ld+json\">{\"target\":\"https://j.example/\"}</script>@",
    "<span style='mso-element:field-begin'></span>HYPERLINK \"https://w.example/\"@",
];

/// One document.
pub(crate) fn document(seed: u64) -> String {
    let mut maker = Maker {
        dice: Dice::new(seed.wrapping_mul(0xd134_2543_de82_ef95) ^ 0x1234_5678),
        open: Vec::new(),
        hosts: 0,
    };
    let mut out = String::new();
    let pieces = 1 + maker.dice.below(18);
    for _ in 0..pieces {
        maker.piece(&mut out, 0);
        if out.len() > 4_000 {
            break;
        }
    }
    match maker.dice.below(10) {
        // Cut off anywhere.
        0 => {
            let mut at = maker.dice.below(out.len() + 1);
            while !out.is_char_boundary(at) {
                at -= 1;
            }
            out.truncate(at);
        }
        1 | 2 => {
            while let Some(name) = maker.open.pop() {
                let _ = write!(out, "</{name}>");
            }
        }
        _ => {}
    }
    out
}

struct Maker {
    dice: Dice,
    open: Vec<String>,
    hosts: usize,
}

impl Maker {
    fn piece(&mut self, out: &mut String, depth: usize) {
        match self.dice.below(22) {
            0..=6 => self.start_tag(out),
            7..=9 => self.end_tag(out),
            10 | 11 => out.push_str(self.dice.pick(SHREDS)),
            12 | 13 => self.link(out),
            14 => self.text(out),
            15 | 16 => self.text_url(out),
            17 if depth < 3 => self.raw_text(out, depth),
            18 if depth < 3 => self.comment(out, depth),
            19 | 20 if depth < 3 => self.trick(out, depth),
            21 => self.base(out),
            _ => self.text(out),
        }
    }

    fn start_tag(&mut self, out: &mut String) {
        let name = self.dice.pick(NAMES);
        out.push('<');
        out.push_str(name);
        for _ in 0..self.dice.below(4) {
            self.attribute(out);
        }
        match self.dice.below(16) {
            0 => out.push_str("/>"),
            1 => {}
            2 => out.push_str(" >"),
            3 => out.push_str(" /"),
            _ => out.push('>'),
        }
        self.open.push(name.to_owned());
    }

    fn end_tag(&mut self, out: &mut String) {
        let name = if self.dice.one_in(3) || self.open.is_empty() {
            self.dice.pick(NAMES).to_owned()
        } else {
            let at = self.dice.below(self.open.len());
            let from = if self.dice.one_in(2) { self.open.len() - 1 } else { at };
            self.open.remove(from)
        };
        let tail = self.dice.pick(&[">", ">", ">", ">", " >", " x=y>", "/>", "", "\n>"]);
        let _ = write!(out, "</{name}{tail}");
    }

    fn attribute(&mut self, out: &mut String) {
        out.push_str(
            self.dice
                .pick(&[" ", " ", " ", " ", "\n", "/", "\t", "\u{c}", " / ", ""]),
        );
        let name = self.dice.pick(ATTRS);
        out.push_str(name);
        if self.dice.one_in(12) {
            return;
        }
        out.push_str(self.dice.pick(&["=", "=", "=", "=", " = ", "=\n", "= "]));
        let mut value = String::new();
        match name.to_ascii_lowercase().as_str() {
            "http-equiv" => value.push_str(self.dice.pick(&["refresh", "REFRESH", " refresh", "x-ua-compatible"])),
            "content" => {
                value.push_str(self.dice.pick(&["0;url=", "0; URL='", "5,", "", "x"]));
                self.url(&mut value);
            }
            "attributename" => value.push_str(self.dice.pick(&["href", "xlink:href", "HREF", "x"])),
            "encoding" => value.push_str(self.dice.pick(&["text/html", "application/xhtml+xml", "x"])),
            "type" => value.push_str(self.dice.pick(&["hidden", "application/ld+json", "image", "text/html"])),
            "srcdoc" => self.link(&mut value),
            "title" | "alt" | "id" | "name" | "style" if self.dice.one_in(2) => match self.dice.below(4) {
                0 => value.push_str(self.dice.pick(SHREDS)),
                1 => self.link(&mut value),
                2 => self.text_url(&mut value),
                _ => value.push_str("x > y"),
            },
            _ => self.url(&mut value),
        }
        let (open, close) = match self.dice.below(24) {
            0..=9 => ("\"", "\""),
            10..=15 => ("'", "'"),
            16..=20 => ("", ""),
            21 => ("\"", ""),
            22 => ("'", ""),
            _ => ("`", "`"),
        };
        // A value that holds its own quotes ends early; most should not.
        let value = if self.dice.one_in(6) {
            value
        } else {
            match open {
                "\"" => value.replace('"', "&quot;"),
                "'" => value.replace('\'', "&#39;"),
                "" => value.replace([' ', '>', '\n', '\t'], ""),
                _ => value,
            }
        };
        let _ = write!(out, "{open}{value}{close}");
    }

    fn link(&mut self, out: &mut String) {
        let name = self
            .dice
            .pick(&["a", "a", "a", "a", "A", "area", "v:rect", "x:a", "svg:a", "zz"]);
        let quote = self.dice.pick(&["\"", "\"", "'", ""]);
        let mut url = String::new();
        self.url(&mut url);
        if quote.is_empty() {
            url.retain(|c| !matches!(c, ' ' | '>' | '\n' | '\t'));
        }
        let gap = self
            .dice
            .pick(&[" ", " ", " ", "/", "\n", " x=\">\" ", " title=<b> ", "\u{c}"]);
        let _ = write!(out, "<{name}{gap}href={quote}{url}{quote}>");
        self.text(out);
        if !self.dice.one_in(5) {
            let _ = write!(out, "</{name}>");
        }
    }

    /// A reference in one of many spellings.
    fn url(&mut self, out: &mut String) {
        self.hosts += 1;
        let n = self.hosts;
        let host = format!("h{n}.example");
        let url = match self.dice.below(44) {
            0..=9 => format!("https://{host}/"),
            10..=13 => format!("http://{host}/a?b=1&amp;c=2#d"),
            14 => format!("HTTP://{host}"),
            15 => format!("ftp://{host}/f"),
            16 => format!(" \n https://{host}/ "),
            17 => format!("ht\ntps://{host}/"),
            18 => format!("h\tttp://{host}/"),
            19 => format!("&#104;ttps&colon;&sol;/{host}"),
            20 => format!("&#x68;&#x74;tp&#58//{host}/?a=1&copy=2"),
            21 => format!("https:/\\{host}/"),
            22 => format!("https:\\\\{host}"),
            23 => format!("https:{host}"),
            24 => format!("https:///{host}"),
            25 => format!("//{host}/x"),
            26 => format!("/\\{host}/x"),
            27 => format!("\\\\{host}\\x"),
            28 => format!("https://user:pa%20ss@{host}/"),
            29 => "http://0x7f.1/".to_owned(),
            30 => "https://[::1]:8443/".to_owned(),
            31 => format!("https://{host}:99999/"),
            32 => "https://%zz/".to_owned(),
            33 => format!("https://é{host}/ü?ö"),
            34 => format!("\u{a0}https://{host}/"),
            35 => format!("ht\u{0}tps://{host}/"),
            36 => format!("javascript:location='https://{host}/'"),
            37 => self
                .dice
                .pick(&[
                    "mailto:a@b.example",
                    "tel:1",
                    "cid:x",
                    "#top",
                    "",
                    "?",
                    "data:text/html,x",
                    "blob:x",
                    "file:///x",
                ])
                .to_owned(),
            38 => self
                .dice
                .pick(&["page.html", "/root", "?q", "../x", "./", "x/y:z", "..//h.example"])
                .to_owned(),
            39 => "https://click.example/c/00000000".to_owned(),
            40 => format!("https://{host}/<b>\"'"),
            41 => format!("https://{host}/&lt;&#x3c;&Tab;&NewLine;"),
            42 => format!("vbscript:{host}"),
            _ => format!("www.{host}/x"),
        };
        out.push_str(&url);
    }

    fn text(&mut self, out: &mut String) {
        let word = self.dice.pick(&[
            "x",
            "word",
            "two words",
            " ",
            "a &amp; b",
            "&lt;a href=y&gt;",
            "é",
            "&notit;",
            "&#0;",
            "&nbsp;",
            "1 < 2",
            "a.b",
            "don't",
            "\"q\"",
        ]);
        out.push_str(word);
    }

    /// A URL to be read, whole or split by markup.
    fn text_url(&mut self, out: &mut String) {
        self.hosts += 1;
        let n = self.hosts;
        let url = match self.dice.below(8) {
            0..=2 => format!("https://t{n}.example.com/p?q=1&amp;r=2"),
            3 => format!("www.t{n}.com"),
            4 => format!("t{n}.example.com/path"),
            5 => format!("http&#58;//t{n}.com/"),
            6 => format!("ftp://t{n}.com/a_(b)"),
            _ => format!("HTTPS://T{n}.COM."),
        };
        if self.dice.one_in(2) {
            out.push_str(&url);
        } else {
            for c in url.chars() {
                if self.dice.one_in(9) {
                    out.push_str(self.dice.pick(&[
                        "<b>",
                        "</b>",
                        "<wbr>",
                        "<!-- -->",
                        "<span>",
                        "</span>",
                        "<i></i>",
                        "&shy;",
                        "<font>",
                        "</font>",
                        "<br>",
                        "<p>",
                        "</a>",
                        "<a name=x>",
                        "<svg>",
                        "<td>",
                        "<![CDATA[",
                        "]]>",
                        "<!-->",
                    ]));
                }
                out.push(c);
            }
        }
        if self.dice.one_in(3) {
            out.push_str(self.dice.pick(&[" ", ".", ",", ")", "\n", "<br>"]));
        }
    }

    fn inside(&mut self, depth: usize) -> String {
        let mut inner = String::new();
        for _ in 0..1 + self.dice.below(3) {
            if self.dice.one_in(2) {
                self.link(&mut inner);
            } else {
                self.piece(&mut inner, depth + 1);
            }
        }
        inner
    }

    fn raw_text(&mut self, out: &mut String, depth: usize) {
        let name = self.dice.pick(&[
            "style",
            "script",
            "title",
            "textarea",
            "xmp",
            "noscript",
            "noembed",
            "noframes",
            "iframe",
            "plaintext",
            "template",
            "select",
            "svg",
            "math",
            "foreignObject",
        ]);
        let inner = self.inside(depth);
        let end = if self.dice.one_in(5) { "" } else { ">" };
        let _ = write!(out, "<{name}>{inner}</{name}{end}");
    }

    fn comment(&mut self, out: &mut String, depth: usize) {
        let (open, close) = [
            ("<!--", "-->"),
            ("<!--", "--!>"),
            ("<!-->", "-->"),
            ("<!--->", "-->"),
            ("<!--", ""),
            ("<!", ">"),
            ("<?", "?>"),
            ("</ ", ">"),
            ("<![CDATA[", "]]>"),
            ("<!--[if gte mso 9]>", "<![endif]-->"),
            ("<![if !mso]>", "<![endif]>"),
            ("<!--", "--\n>"),
            ("<!--", "-- >"),
            ("<!---", "--->"),
        ][self.dice.below(14)];
        let inner = self.inside(depth);
        let _ = write!(out, "{open}{inner}{close}");
    }

    fn trick(&mut self, out: &mut String, depth: usize) {
        let (head, tail) = self.dice.pick(TRICKS).split_once('@').unwrap_or_default();
        let inner = self.inside(depth);
        let _ = write!(out, "{head}{inner}{tail}");
    }

    fn base(&mut self, out: &mut String) {
        let href = self.dice.pick(&[
            "https://base.example/dir/",
            "//base.example/",
            "http:",
            "https:/base.example",
            "x/",
            "",
            "javascript:x",
            "mailto:x",
            "https://base.example/?<b>",
        ]);
        let tag = self.dice.pick(&["base", "BASE", "base/"]);
        let _ = write!(out, "<{tag} href=\"{href}\">");
    }
}
