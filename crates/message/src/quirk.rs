//! Doubtful structures: what mail programs read in more than one way.

use std::fmt;

macro_rules! quirks {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// One doubtful structure of a message.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Quirk { $($(#[$doc])* $name,)* }

        impl Quirk {
            /// Every quirk there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Stable name, for reports and logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

quirks! {
    /// More than one Content-Type field.
    DuplicateContentType = "duplicate-content-type",
    /// More than one Content-Transfer-Encoding field.
    DuplicateTransferEncoding = "duplicate-transfer-encoding",
    /// A Content-Type that cannot be read without guessing.
    MalformedContentType = "malformed-content-type",
    /// A transfer encoding that no standard names.
    UnknownTransferEncoding = "unknown-transfer-encoding",
    /// A transfer encoding field with comments, quotes or several words.
    MalformedTransferEncoding = "malformed-transfer-encoding",
    /// A header line that is no field.
    StrayHeaderLine = "stray-header-line",
    /// A blank before a colon, a NUL or a bare CR in a header.
    OddHeaderField = "odd-header-field",
    /// A header block that ends without a blank line.
    UnendedHeader = "unended-header",
    /// More than one boundary may be meant.
    SeveralBoundaries = "several-boundaries",
    /// A multipart type without a boundary.
    MissingBoundary = "missing-boundary",
    /// A line that begins with a boundary and goes on.
    BoundaryPrefix = "boundary-prefix",
    /// A multipart without a single part in it.
    NoParts = "no-parts",
    /// A multipart that is not closed.
    UnclosedMultipart = "unclosed-multipart",
    /// Boundary lines that some programs see and others do not, so that it is uncertain what belongs to which part.
    TangledBoundaries = "tangled-boundaries",
    /// Parts after the closing boundary.
    PartsAfterEnd = "parts-after-end",
    /// More levels of nesting than are looked into.
    TooDeep = "too-deep",
    /// More parts than are looked into.
    TooManyParts = "too-many-parts",
    /// A header block larger than is looked into.
    HeaderTooLarge = "header-too-large",
    /// A text part larger than is looked into.
    TextTooLarge = "text-too-large",
    /// More links in a text than are looked at.
    TooManyLinks = "too-many-links",
    /// Base64 or quoted-printable that decoders disagree about.
    DoubtfulEncoding = "doubtful-encoding",
    /// More than one charset may be meant.
    SeveralCharsets = "several-charsets",
    /// A charset that is not known here.
    UnknownCharset = "unknown-charset",
    /// A charset that had to be transcoded to UTF-8.
    Transcoded = "transcoded",
    /// message/partial: the rest of the message is elsewhere.
    PartialMessage = "partial-message",
    /// message/external-body: the body is behind a link.
    ExternalBody = "external-body",
    /// A signed label on a structure that is not soundly signed.
    UnsoundSignature = "unsound-signature",
    /// An encrypted label on a structure that is not soundly encrypted.
    UnsoundEncryption = "unsound-encryption",
    /// A sound signed part, left byte for byte: links in it are not protected.
    SignedLeft = "signed-left",
    /// A sound encrypted part: what is in it cannot be seen here.
    EncryptedLeft = "encrypted-left",
    /// A uuencoded file in a text.
    Uuencoded = "uuencoded",
    /// HTML or SVG sent as a file.
    MarkupAttachment = "markup-attachment",
    /// An AMP part, which was taken out.
    AmpStripped = "amp-stripped",
    /// A file that may hold a whole message (winmail.dat).
    Tnef = "tnef",
    /// Rich text (RTF), which is not looked into.
    RichText = "rich-text",
    /// A QR code drawn in block characters.
    BlockCharacters = "block-characters",
    /// Markup that parsers read differently; every reading was made safe.
    AmbiguousMarkup = "ambiguous-markup",
    /// Markup that had to be built anew from the parsed tree.
    MarkupRebuilt = "markup-rebuilt",
    /// Markup that was turned into plain text, because no reading of it could be trusted.
    MarkupFlattened = "markup-flattened",
    /// Tags in a text that overlap too often.
    TangledMarkup = "tangled-markup",
    /// A tag or attribute that is cut off at the end of a part.
    CutOffMarkup = "cut-off-markup",
    /// NUL octets in a text.
    Nul = "nul",
    /// Bare CR or LF among CRLF line ends.
    MixedLineEnds = "mixed-line-ends",
    /// A field that gives relative links a base (Content-Base, Content-Location).
    BaseField = "base-field",
}

impl fmt::Display for Quirk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of quirks.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Quirks(u64);

impl Quirks {
    /// Adds one.
    pub fn insert(&mut self, quirk: Quirk) {
        self.0 |= 1 << quirk as u64;
    }

    /// Adds one if `when`.
    pub fn insert_if(&mut self, quirk: Quirk, when: bool) {
        if when {
            self.insert(quirk);
        }
    }

    /// Adds all of another set.
    pub fn merge(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether one is in it.
    #[must_use]
    pub const fn contains(self, quirk: Quirk) -> bool {
        self.0 >> quirk as u64 & 1 == 1
    }

    /// Whether any of these is in it.
    #[must_use]
    pub fn any(self, of: &[Quirk]) -> bool {
        of.iter().any(|q| self.contains(*q))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All in it, in the order of their declaration.
    pub fn iter(self) -> impl Iterator<Item = Quirk> {
        Quirk::ALL.iter().copied().filter(move |q| self.contains(*q))
    }
}

impl fmt::Debug for Quirks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Quirk::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_quirks_fit_and_have_names_of_their_own() {
        assert!(Quirk::ALL.len() <= 64);
        let names: std::collections::HashSet<_> = Quirk::ALL.iter().map(|q| q.as_str()).collect();
        assert_eq!(names.len(), Quirk::ALL.len());
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        let mut s = Quirks::default();
        s.insert(Quirk::Nul);
        s.insert_if(Quirk::Tnef, false);
        assert!(s.contains(Quirk::Nul) && !s.contains(Quirk::Tnef));
        assert_eq!(format!("{s:?}"), r#"{"nul"}"#);
    }
}
