//! The attributes that lead somewhere, as a table: name, elements, use. A new one is one line here.

/// The use of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttributeUse {
    /// A link, unless its element names a base or a resource.
    Href,
    /// A form that would be sent there.
    Submit,
    /// A page that is loaded by itself.
    Load,
    /// A URL that is called beside a click.
    Ping,
    /// A document of its own: taken out of effect.
    Document,
    /// `http-equiv`: where it says refresh, `content` is taken out of effect.
    Pragma,
    /// The value of microdata: a link where it is a URL.
    Microdata,
    /// The name of an attribute that an animation changes: taken out of effect where it is a link.
    Animated,
    /// The origin of something: not followed.
    Provenance,
    /// Leads nowhere itself, but says how others are read.
    Meaning,
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Attribute {
    /// The name in lower case.
    pub(super) name: &'static [u8],
    /// The elements that it counts on, in lower case; none for all. A star stands for any end of a name.
    pub(super) elements: &'static [&'static [u8]],
    pub(super) usage: AttributeUse,
}

const fn row(name: &'static [u8], elements: &'static [&'static [u8]], usage: AttributeUse) -> Attribute {
    Attribute { name, elements, usage }
}

/// Elements whose `src` is a page of its own.
#[rustfmt::skip]
const FRAMES: &[&[u8]] = &[b"iframe", b"frame", b"embed", b"portal", b"fencedframe", b"layer", b"ilayer"];

/// Elements whose `href` names a picture, a style sheet or another element, and is not followed by a click.
#[rustfmt::skip]
const RESOURCES: &[&[u8]] = &[
    b"link", b"image", b"use", b"feimage", b"pattern", b"lineargradient", b"radialgradient", b"filter", b"mpath",
    b"textpath", b"tref", b"script", b"cursor", b"font-face-uri", b"glyphref", b"altglyph", b"color-profile", b"set",
    b"animate", b"animatemotion", b"animatetransform", b"animatecolor", b"discard", b"svg:image", b"svg:use",
];

/// Elements of VML whose `o:href` says where a picture came from.
const PICTURES: &[&[u8]] = &[b"v:imagedata", b"v:fill", b"v:stroke"];

/// Every attribute that counts; `href` with any prefix (`xlink:href`) counts like `href`.
pub(super) const ATTRIBUTES: &[Attribute] = &[
    row(b"href", &[], AttributeUse::Href),
    row(b"o:href", PICTURES, AttributeUse::Provenance),
    row(b"action", &[b"form", b"isindex"], AttributeUse::Submit),
    row(b"formaction", &[], AttributeUse::Submit),
    row(b"action-xhr", &[], AttributeUse::Submit),
    row(b"src", FRAMES, AttributeUse::Load),
    row(b"data", &[b"object"], AttributeUse::Load),
    row(b"archive", &[b"applet"], AttributeUse::Load),
    row(b"code", &[b"applet"], AttributeUse::Load),
    row(b"codebase", &[b"applet"], AttributeUse::Load),
    row(b"srcdoc", &[], AttributeUse::Document),
    row(b"http-equiv", &[], AttributeUse::Pragma),
    row(b"ping", &[], AttributeUse::Ping),
    row(b"content", &[b"meta"], AttributeUse::Microdata),
    row(b"attributename", &[b"set", b"animate*"], AttributeUse::Animated),
    row(b"charset", &[], AttributeUse::Meaning),
    row(b"itemprop", &[], AttributeUse::Meaning),
    row(b"type", &[], AttributeUse::Meaning),
];

/// The first letters of the attributes that lead somewhere, a bit each.
const FIRST_LETTERS: u32 = {
    let (mut letters, mut rest) = (0, ATTRIBUTES);
    while let [row, behind @ ..] = rest {
        if let [first, ..] = row.name
            && !matches!(row.usage, AttributeUse::Meaning)
        {
            letters |= 1 << (*first - b'a');
        }
        rest = behind;
    }
    letters
};

/// Whether an attribute of that name may lead somewhere; quick, and `false` is certain.
pub(super) fn may_lead(name: &[u8]) -> bool {
    let first = name.first().map_or(0, u8::to_ascii_lowercase);
    first.is_ascii_lowercase() && FIRST_LETTERS >> (first - b'a') & 1 == 1 || name.contains(&b':')
}

/// Whether an attribute of that name has a part in what a tag leads to.
pub(super) fn matters(name: &[u8]) -> bool {
    name.contains(&b':') || ATTRIBUTES.iter().any(|row| name.eq_ignore_ascii_case(row.name))
}

/// The use of an attribute on an element.
pub(super) fn use_of(name: &[u8], element: &[u8]) -> Option<AttributeUse> {
    let known = |row: &&Attribute| name.eq_ignore_ascii_case(row.name) && row.counts_on(element);
    let row = ATTRIBUTES.iter().find(known).map(|row| row.usage);
    row.or(is_href(name).then_some(AttributeUse::Href))
}

/// Whether a name is `href`, with or without a prefix.
pub(super) fn is_href(name: &[u8]) -> bool {
    name.last_chunk::<4>().is_some_and(|n| n.eq_ignore_ascii_case(b"href"))
        && (name.len() == 4 || name.len() > 5 && name.get(name.len() - 5) == Some(&b':'))
}

/// Whether the `src` of an element is a page of its own.
pub(super) fn is_frame(element: &[u8]) -> bool {
    FRAMES.iter().any(|f| element.eq_ignore_ascii_case(f))
}

/// Whether the `href` of an element names a resource, which a click does not follow.
pub(super) fn is_resource(element: &[u8]) -> bool {
    RESOURCES.iter().any(|r| element.eq_ignore_ascii_case(r))
}

impl Attribute {
    fn counts_on(&self, element: &[u8]) -> bool {
        self.elements.is_empty()
            || self.elements.iter().any(|e| match e.strip_suffix(b"*") {
                Some(begin) => element
                    .get(..begin.len())
                    .is_some_and(|b| b.eq_ignore_ascii_case(begin)),
                None => element.eq_ignore_ascii_case(e),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parsed::Parsed, sites};
    use super::*;

    #[test]
    fn every_row_passes_the_quick_filter_and_has_a_use() {
        for row in ATTRIBUTES {
            let upper = row.name.to_ascii_uppercase();
            assert!(matters(&upper), "{row:?}");
            assert!(
                row.usage == AttributeUse::Meaning || may_lead(row.name) && may_lead(&upper),
                "{row:?}"
            );
            let element = row.elements.first().copied().unwrap_or(b"a");
            assert_eq!(use_of(&upper, element), Some(row.usage), "{row:?}");
        }
        for name in [
            "title", "id", "width", "border", "valign", "bgcolor", "target", "xref", "",
        ] {
            assert!(!may_lead(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn every_row_that_leads_somewhere_is_acted_on() {
        for row in ATTRIBUTES {
            let (value, more) = match row.usage {
                AttributeUse::Pragma => ("refresh", "content='0;url=https://a.example/'"),
                AttributeUse::Animated => ("href", ""),
                AttributeUse::Microdata => ("https://a.example/", "itemprop=url"),
                AttributeUse::Provenance | AttributeUse::Meaning => ("https://a.example/", ""),
                _ => ("https://a.example/", ""),
            };
            let element = row.elements.first().copied().unwrap_or(b"a");
            let (element, name) = (String::from_utf8_lossy(element), String::from_utf8_lossy(row.name));
            let text = format!("<{element} {name}=\"{value}\" {more}>");
            let found = sites::scan(&Parsed::of(text.as_bytes()), &[]).actions.len();
            let quiet = matches!(row.usage, AttributeUse::Provenance | AttributeUse::Meaning);
            assert_eq!(found, usize::from(!quiet), "{text}");
        }
    }
}
