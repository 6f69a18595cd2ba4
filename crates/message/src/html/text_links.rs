//! URLs in running text of HTML, which get a link around them.

use std::collections::HashMap;
use std::ops::Range;

use super::action::most;
use super::reference::is_plain_reference;
use super::{ContextReading, KnownRuling, Pass};
use crate::autolink;
use crate::edit::{TextEdit, meets};
use crate::mapped::Mapped;
use crate::site::Use;
use crate::slice::Slice;

impl Pass<'_, '_> {
    /// URLs in running text: each gets a link around it, and the text stays. In raw text on screen, where no link can
    /// stand, the URL is replaced. `dead`: links by the offset of their tag, and whether all their targets were taken
    /// out. `false` when there are more than the limit.
    pub(super) fn text_edits(
        &mut self,
        reading: ContextReading<'_>,
        dead: &HashMap<usize, bool>,
        base: Option<&str>,
        edits: &mut Vec<TextEdit>,
    ) -> bool {
        let (text, work) = (self.text, self.work);
        let (runs, shown_raw) = match reading {
            ContextReading::Sure(context) => (&context.runs, context.shown_raw.as_slice()),
            // In raw text a URL would have to be replaced, which a reader sees.
            ContextReading::Guess(context) => (&context.runs, &[][..]),
            ContextReading::Every => return true,
        };
        let (mut count, most) = (0, most(text.len()));
        // What stands in a tag of some reading was dealt with; no link is put around a part of it.
        let taken = joined(edits);
        // The text of a link stays, but for links that lead nowhere any more: programs may look for URLs there.
        let is_free = |link: Option<usize>| link.is_none_or(|tag| dead.get(&tag) == Some(&true));
        let runs = runs
            .iter()
            .filter(|run| is_free(run.link) && hints_at_url(text, &run.pieces));
        let lines = runs.map(|run| {
            let mut mapped = Mapped::default();
            for r in &run.pieces {
                mapped.push_html(text, r.clone(), work.encoding);
            }
            (Use::HtmlText, base, mapped)
        });
        let raw = shown_raw.iter().map(|r| {
            let mut mapped = Mapped::default();
            mapped.push(text, r.clone(), work.encoding);
            (Use::PlainText, None, mapped)
        });
        for (usage, base, mapped) in lines.chain(raw) {
            for found in autolink::find(&mapped.text, work.links) {
                let pieces = mapped.raw(&found.at);
                let Some(whole) = pieces.first().zip(pieces.last()).map(|(a, b)| a.start..b.end) else {
                    continue;
                };
                if pieces.iter().any(|p| meets(&taken, p)) {
                    continue;
                }
                count += pieces.len();
                if count > most {
                    self.flooded = true;
                    return false;
                }
                let mut site = self.site(usage, "text".into(), whole.clone(), found.url.into(), base);
                site.left = site.left.or(found.left);
                let KnownRuling::Replace(with) = self.rule(&whole, usage, &site) else {
                    continue;
                };
                if usage == Use::PlainText {
                    edits.push(TextEdit {
                        at: whole,
                        with: with.as_bytes().to_vec(),
                    });
                    continue;
                }
                for p in pieces {
                    edits.push(TextEdit {
                        at: p.start..p.start,
                        with: format!("<a href=\"{with}\">").into_bytes(),
                    });
                    edits.push(TextEdit {
                        at: p.end..p.end,
                        with: b"</a>".to_vec(),
                    });
                }
            }
        }
        true
    }
}

/// Whether other edits put links into the text at all the places where these do, and at more.
pub(super) fn links_more(edits: &[TextEdit], other: &[TextEdit]) -> bool {
    let ends = |edits: &[TextEdit]| -> Vec<usize> {
        let ends = edits.iter().filter(|e| e.at.is_empty() && e.with == b"</a>");
        ends.map(|e| e.at.start).collect()
    };
    let (ends, other) = (ends(edits), ends(other));
    other.len() > ends.len() && ends.iter().all(|e| other.binary_search(e).is_ok())
}

/// The stretches that edits take, sorted, those that meet joined.
fn joined(edits: &[TextEdit]) -> Vec<Range<usize>> {
    let mut at: Vec<Range<usize>> = edits.iter().map(|e| e.at.clone()).collect();
    at.sort_by_key(|r| (r.start, r.end));
    let mut out: Vec<Range<usize>> = Vec::with_capacity(at.len());
    for r in at {
        match out.last_mut() {
            Some(l) if r.start < l.end => l.end = l.end.max(r.end),
            _ => out.push(r),
        }
    }
    out
}

/// Whether a run may hold a URL, references in it and its stretches joined.
fn hints_at_url(text: &[u8], run: &[Range<usize>]) -> bool {
    let alone = run.len() == 1;
    run.iter().any(|r| {
        let raw = text.slice(r.clone());
        autolink::may_hold_url(raw)
            || !alone && memchr::memchr2(b':', b'.', raw).is_some()
            || memchr::memchr_iter(b'&', raw).any(|at| !is_plain_reference(raw.slice(at + 1..)))
    })
}
