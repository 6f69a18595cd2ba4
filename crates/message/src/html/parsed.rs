//! Parser results of one text, each run at most once, when its result is first needed.

use std::cell::OnceCell;
use std::ops::Range;

use super::{context, quick};
use crate::slice::Slice;
use context::MarkupContext;

/// A text with the results of its parsers.
#[derive(Debug)]
pub(crate) struct Parsed<'t> {
    text: &'t [u8],
    /// The context of a text that needs none.
    empty: MarkupContext,
    is_plain: OnceCell<bool>,
    context: OnceCell<Option<MarkupContext>>,
    /// `None` within: there is no element to guess about.
    guess: OnceCell<Option<Option<MarkupContext>>>,
    comments: OnceCell<Vec<Range<usize>>>,
    base: OnceCell<Option<Range<usize>>>,
}

impl<'t> Parsed<'t> {
    /// A text that no parser has read yet.
    pub(crate) fn of(text: &'t [u8]) -> Self {
        Self {
            text,
            empty: MarkupContext::default(),
            is_plain: OnceCell::new(),
            context: OnceCell::new(),
            guess: OnceCell::new(),
            comments: OnceCell::new(),
            base: OnceCell::new(),
        }
    }

    /// The text.
    pub(crate) fn text(&self) -> &'t [u8] {
        self.text
    }

    /// The context; `None` when lol_html cannot read it (ambiguous markup, out of memory), empty where it has no use.
    pub(crate) fn context(&self) -> Option<&MarkupContext> {
        if *self.is_plain.get_or_init(|| quick::has_no_context(self.text)) {
            return Some(&self.empty);
        }
        self.whole_context()
    }

    fn whole_context(&self) -> Option<&MarkupContext> {
        self.context.get_or_init(|| context::read_fully(self.text)).as_ref()
    }

    /// A guess at the context of a text that parsers read differently. Edits that rely on it have to be proved.
    pub(crate) fn guess(&self) -> Option<&MarkupContext> {
        let guess = self.guess.get_or_init(|| {
            let plainer = context::plainer(self.text)?;
            Some(context::read_as(self.text, &plainer))
        });
        match guess {
            Some(guess) => guess.as_ref(),
            None => self.whole_context(),
        }
    }

    /// The comments, without their end marks, as far as a parser can tell.
    pub(crate) fn comments(&self) -> &[Range<usize>] {
        self.comments.get_or_init(|| {
            let context = self.whole_context().or_else(|| self.guess());
            let comments = context.map(|c| c.comments.as_slice()).unwrap_or_default();
            comments.iter().map(|c| without_end(self.text, c)).collect()
        })
    }

    /// The href of the base, which `find` looks for in the text.
    pub(crate) fn base(&self, find: impl FnOnce(&[u8]) -> Option<Range<usize>>) -> Option<Range<usize>> {
        self.base.get_or_init(|| find(self.text)).clone()
    }
}

/// A comment without the marks that end it.
fn without_end(text: &[u8], comment: &Range<usize>) -> Range<usize> {
    let raw = text.slice(comment.clone());
    let body = raw.strip_suffix(b">").unwrap_or(raw);
    let body = body.strip_suffix(b"!").filter(|b| b.ends_with(b"--")).unwrap_or(body);
    let body = if raw.starts_with(b"<!--") {
        body.strip_suffix(b"--").unwrap_or(body)
    } else {
        body
    };
    comment.start..comment.start + body.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comments(html: &str) -> Vec<&str> {
        let parsed = Parsed::of(html.as_bytes());
        parsed.comments().iter().map(|c| &html[c.clone()]).collect()
    }

    #[test]
    fn comments_are_known_without_their_ends() {
        assert_eq!(comments("<!-- a --!><? b ><!--c-->"), ["<!-- a ", "<? b ", "<!--c"]);
        assert_eq!(comments("<p>a<!-- b"), ["<!-- b"]);
    }

    #[test]
    fn comments_are_known_where_parsers_disagree_or_the_context_is_of_no_use() {
        // Within a choice there is no raw text to some parsers.
        let contested = "<select><xmp></xmp></select><!-- b -->";
        let parsed = Parsed::of(contested.as_bytes());
        assert!(parsed.context().is_none() && parsed.guess().is_some());
        assert_eq!(comments(contested), ["<!-- b "]);
        let plain = "<p>a<!-- b -->";
        assert!(Parsed::of(plain.as_bytes()).context().unwrap().comments.is_empty());
        assert_eq!(comments(plain), ["<!-- b "]);
    }

    #[test]
    fn a_base_is_looked_for_once() {
        let parsed = Parsed::of(b"<base href=x>");
        assert_eq!(parsed.base(|_| Some(11..12)), Some(11..12));
        assert_eq!(parsed.base(|_| panic!("asked again")), Some(11..12));
    }
}
