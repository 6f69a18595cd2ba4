//! The end of a line of running text, and the link it stands in.

use super::tag::Tag;

/// A name of up to eight octets in lower case, as a number: comparing those is cheaper than comparing texts. Longer
/// names and names with a NUL are 0.
pub(super) const fn word(name: &[u8]) -> u64 {
    let (mut out, mut rest, mut at) = (0, name, 0);
    if name.len() > 8 {
        return 0;
    }
    while let [first, behind @ ..] = rest {
        if *first == 0 {
            return 0;
        }
        out |= (first.to_ascii_lowercase() as u64) << at;
        at += 8;
        rest = behind;
    }
    out
}

/// The element that is a link.
pub(super) const LINK: u64 = word(b"a");

/// Names as constants, and whether a word is one of them.
macro_rules! words {
    ($(#[$doc:meta])* $is:ident: $($id:ident $name:literal)*) => {
        $(const $id: u64 = word($name);)*
        $(#[$doc])*
        const fn $is(name: u64) -> bool {
            matches!(name, $($id)|*)
        }
    };
}

words! {
    /// Elements with content that stands on lines of its own.
    is_block:
    TD b"td" TR b"tr" TABLE b"table" DIV b"div" P b"p" TBODY b"tbody" TH b"th" THEAD b"thead" TFOOT b"tfoot"
    CAPTION b"caption" COL b"col" COLGROUP b"colgroup" CENTER b"center" LI b"li" UL b"ul" OL b"ol" DIR b"dir" MENU b"menu"
    DL b"dl" DT b"dt" DD b"dd" H1 b"h1" H2 b"h2" H3 b"h3" H4 b"h4" H5 b"h5" H6 b"h6" HGROUP b"hgroup" PRE b"pre"
    LISTING b"listing" XMP b"xmp" BODY b"body" HTML b"html" HEAD b"head" TITLE b"title" HEADER b"header" FOOTER b"footer"
    MAIN b"main" NAV b"nav" ASIDE b"aside" ARTICLE b"article" SECTION b"section" SEARCH b"search" ADDRESS b"address"
    FIGURE b"figure" DETAILS b"details" SUMMARY b"summary" DIALOG b"dialog" FORM b"form" FIELDSET b"fieldset"
    LEGEND b"legend" BUTTON b"button" SELECT b"select" OPTGROUP b"optgroup" OPTION b"option" DATALIST b"datalist"
    TEXTAREA b"textarea" METER b"meter" PROGRESS b"progress" IFRAME b"iframe" FRAMESET b"frameset" NOFRAMES b"noframes"
    OBJECT b"object" APPLET b"applet" VIDEO b"video" AUDIO b"audio" CANVAS b"canvas" MARQUEE b"marquee" SVG b"svg"
    MATH b"math"
}

words! {
    /// Elements without content that break a line where they stand.
    is_void:
    BR b"br" HR b"hr" IMG b"img" IMAGE b"image" INPUT b"input" KEYGEN b"keygen" ISINDEX b"isindex" EMBED b"embed" FRAME b"frame"
}

/// Counts the open elements that break lines. An element with an unknown name breaks none: browsers show it in the
/// line.
#[derive(Debug, Default)]
pub(super) struct OpenBlocks {
    /// Start tags that were not ended, by a hash of their name. Names may share a count: then an end tag that means nothing
    /// is taken for one that ends a line.
    open: [u32; 32],
}

impl OpenBlocks {
    /// Whether a line ends at a tag of that name.
    pub(super) fn end_at(&mut self, name: &[u8], word: u64, end_tag: bool) -> bool {
        if is_void(word) {
            return !end_tag || word == BR;
        }
        if !is_block(word) && (word != 0 || !is_long_block(name)) {
            return false;
        }
        let slot = word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 59;
        let Some(open) = self.open.get_mut(slot as usize) else {
            return true;
        };
        if end_tag {
            // Browsers pass over an end tag that ends nothing, but for this one.
            let ends = *open > 0 || word == P;
            *open = open.saturating_sub(1);
            return ends;
        }
        *open = open.saturating_add(1);
        true
    }
}

fn is_long_block(name: &[u8]) -> bool {
    [&b"blockquote"[..], b"figcaption", b"plaintext"]
        .iter()
        .any(|n| name.eq_ignore_ascii_case(n))
}

/// Tracks which link the text stands in, tag by tag.
#[derive(Debug, Default)]
pub(super) struct OpenLink {
    /// The start of the start tag of the link around the text.
    pub(super) open: Option<usize>,
    /// The tables around it.
    tables: Vec<Table>,
    /// Elements of SVG or MathML that are open.
    foreign: usize,
    /// The link around the outermost of them.
    around_foreign: Option<usize>,
    /// HTML may have begun again in them.
    left_foreign: bool,
    /// A list of choices is open.
    choices: bool,
    /// The link around it.
    around_choices: Option<usize>,
    /// An entry of that list is open.
    option: bool,
    /// A paragraph is open: nearly any element that follows ends it, and what was begun in it.
    paragraph: bool,
    /// Elements that were begun in the link and have not ended.
    within: Vec<u64>,
    /// Something may have ended around the link: browsers take it up again for text then, but not for a table.
    torn: bool,
}

/// A table that is open.
#[derive(Debug)]
struct Table {
    /// The link that stands around it.
    link: Option<usize>,
    in_cell: bool,
    // What there was when it began.
    paragraph: bool,
    within: Vec<u64>,
    torn: bool,
}

impl OpenLink {
    /// Whether text here stands where no link can be.
    pub(super) fn in_option(&self) -> bool {
        self.option
    }

    /// Reads a start tag that begins at `at`.
    pub(super) fn start(&mut self, text: &[u8], tag: &Tag, word: u64, at: usize) {
        self.track_choices(word, false);
        if self.foreign > 0 && !matches!(word, SVG | MATH) && leaves_foreign(tag.name(text), word) {
            self.leave_foreign();
        }
        if self.foreign == 0 || !is_self_closed(text, tag) {
            self.track_nesting(word, false);
        }
        match word {
            LINK => {
                let has_target = tag.named(text, b"href").any(|a| a.value.is_some())
                    || self.foreign > 0 && !self.left_foreign && tag.named(text, b"xlink:href").next().is_some();
                // A link within another ends the outer one; the text of an anchor without a target is not protected.
                self.end_link();
                if has_target {
                    self.open = Some(at);
                    self.within.clear();
                    self.torn = self.paragraph && self.foreign == 0;
                } else if self.tables.last().is_none_or(|t| !t.in_cell) {
                    self.open = None;
                }
            }
            TABLE => {
                if self.tables.last().is_some_and(|t| !t.in_cell) {
                    self.end_table();
                }
                let around = self.tables.last().and_then(|t| t.link);
                let holds = self.open == around || !self.torn && !self.paragraph;
                self.tables.push(Table {
                    link: self.open.filter(|_| holds),
                    in_cell: false,
                    paragraph: self.paragraph,
                    within: std::mem::take(&mut self.within),
                    torn: self.torn,
                });
                self.cell(false);
            }
            TD | TH | CAPTION => self.cell(true),
            TR | TBODY | THEAD | TFOOT | COL | COLGROUP => self.cell(false),
            SVG | MATH if !is_self_closed(text, tag) => {
                if self.foreign == 0 {
                    self.around_foreign = self.open;
                    self.left_foreign = false;
                }
                self.foreign += 1;
            }
            _ => {}
        }
    }

    /// Reads an end tag.
    pub(super) fn end(&mut self, word: u64) {
        self.track_choices(word, true);
        self.track_nesting(word, true);
        // It may end something around SVG, and that with it.
        let ends_html = (is_block(word) || is_void(word)) && !matches!(word, SVG | MATH);
        if self.foreign > 0 && (ends_html || self.torn) {
            self.leave_foreign();
        }
        match word {
            LINK => self.end_link(),
            TABLE => self.end_table(),
            TD | TH | TR | CAPTION | TBODY | THEAD | TFOOT => self.cell(false),
            // A link that begins in one of these does not outlast it.
            OBJECT | APPLET | MARQUEE => self.open = None,
            SVG | MATH => self.end_foreign(),
            _ => {}
        }
    }

    /// Drops the open link: behind this markup programs differ, so no text is certainly in a link.
    pub(super) fn forget(&mut self) {
        self.open = None;
        self.tables.clear();
    }

    /// Ends the link: in a cell the link around its table goes on, outside of cells that one ends too.
    fn end_link(&mut self) {
        match self.tables.last() {
            Some(t) if t.in_cell => self.open = t.link,
            _ => {
                // Below a table in no link there is none in one.
                let linked = self.tables.iter_mut().rev().take_while(|t| t.link.is_some());
                linked.for_each(|t| t.link = None);
                self.open = None;
            }
        }
    }

    /// Ends SVG or MathML, and a link that began in it.
    fn end_foreign(&mut self) {
        if self.foreign > 0 {
            self.foreign -= 1;
            if self.foreign == 0 && self.open != self.around_foreign {
                self.open = None;
            }
        }
    }

    /// Notes that HTML may go on, in which no link is open that began in SVG or MathML.
    fn leave_foreign(&mut self) {
        self.left_foreign = true;
        if self.open != self.around_foreign {
            self.open = None;
        }
    }

    fn end_table(&mut self) {
        let Some(table) = self.tables.pop() else {
            self.open = None;
            return;
        };
        self.open = table.link;
        self.paragraph = table.paragraph;
        self.within = table.within;
        self.torn = table.torn;
    }

    /// Tracks whether the link is still the innermost open element, those within it aside.
    fn track_nesting(&mut self, word: u64, end_tag: bool) {
        if word == P {
            self.paragraph = !end_tag;
        }
        if self.open.is_none() || word == LINK || is_void(word) || is_empty(word) || is_table(word) {
            return;
        }
        if end_tag {
            self.torn |= self.within.pop() != Some(word);
        } else {
            self.torn |= ends_its_like(word);
            self.within.push(word);
        }
    }

    /// Begins or ends a cell: a link does not reach from one cell into the next.
    fn cell(&mut self, inside: bool) {
        self.open = self.tables.last_mut().and_then(|t| {
            t.in_cell = inside;
            t.link
        });
        // A stray piece of a table ends no paragraph.
        self.paragraph &= self.tables.is_empty();
        self.within.clear();
        self.torn = false;
    }

    fn track_choices(&mut self, word: u64, end_tag: bool) {
        let before = self.choices;
        match word {
            SELECT | DATALIST => self.choices = !end_tag,
            INPUT | TEXTAREA | KEYGEN | TABLE | TBODY | THEAD | TFOOT | TR | TD | TH | CAPTION => self.choices = false,
            _ => {}
        }
        if !before && self.choices {
            self.around_choices = self.open;
        } else if before && !self.choices && self.open != self.around_choices {
            // Browsers differ on whether an anchor in a list of choices is a link: it ends with the list.
            self.open = None;
        }
        // Sound entries hold text only: what stands behind any other tag may be shown elsewhere.
        self.option = self.choices && (word == OPTION && !end_tag || self.option && end_tag && word != OPTION);
    }
}

fn is_self_closed(text: &[u8], tag: &Tag) -> bool {
    tag.end >= 2 && text.get(tag.end - 2) == Some(&b'/')
}

words! {
    /// Elements without content that break no line.
    is_empty:
    WBR b"wbr" META b"meta" LINK_ELEMENT b"link" AREA b"area" BASE b"base" PARAM b"param" SOURCE b"source" TRACK b"track"
}

/// Whether the start of an element ends an open one of its kind, and what was begun in it.
const fn ends_its_like(word: u64) -> bool {
    matches!(word, LI | DT | DD | BUTTON | NOBR | OPTION | OPTGROUP)
}

const fn is_table(word: u64) -> bool {
    matches!(
        word,
        TABLE | TBODY | THEAD | TFOOT | TR | TD | TH | CAPTION | COL | COLGROUP
    )
}

words! {
    /// Elements of HTML that end SVG or MathML around them, or may begin HTML within it (WHATWG HTML 13.2.6.5), beside those
    /// that break a line.
    is_breakout:
    B b"b" BIG b"big" CODE b"code" EM b"em" FONT b"font" I b"i" NOBR b"nobr" RUBY b"ruby" S b"s" SMALL b"small"
    SPAN b"span" STRIKE b"strike" STRONG b"strong" SUB b"sub" SUP b"sup" TT b"tt" U b"u" VAR b"var" DESC b"desc" MI b"mi"
    MO b"mo" MN b"mn" MS b"ms" MTEXT b"mtext"
}

fn leaves_foreign(name: &[u8], word: u64) -> bool {
    // Of the long names the ones that begin HTML: foreignObject, annotation-xml.
    is_breakout(word) || is_block(word) || is_void(word) || is_empty(word) || word == 0 && !name.is_empty()
}
