//! `[rewriting]`: how messages are worked on.

use message::{Ambiguous, Amp, MarkupFiles};

use super::option::{flag, one_of, section};

section! {
    for message::Options {
        ambiguous: Ambiguous = one_of("ambiguous", [
            ("normalise", Ambiguous::Normalise),
            ("refuse", Ambiguous::Refuse),
            ("pass", Ambiguous::Pass),
        ]).or("normalise"),
        bare_domains: bool = flag("bare_domains", true),
        amp: Amp = one_of("amp", [("rewrite", Amp::Rewrite), ("strip", Amp::Strip)]).or("rewrite"),
        markup_files: MarkupFiles = one_of("markup_files", [
            ("leave", MarkupFiles::Leave),
            ("typed", MarkupFiles::Typed),
            ("named", MarkupFiles::Named),
        ]).or("typed"),
    }
}
