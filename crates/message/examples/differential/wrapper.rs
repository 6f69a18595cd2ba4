//! A judge that wraps whatever leads to the web, and knows its own links again.

use std::collections::HashMap;

use message::{Judge, MARK_SEAL, Original, Originals, Ruling, Seal, Site, Use};

use crate::oracle::resolve;

/// The prefix of every click link.
pub(crate) const PREFIX: &str = "https://click.example/c/";
/// Octets of a link of ours.
const LINK: usize = PREFIX.len() + 8;

/// A link that was put in.
#[derive(Debug, Clone)]
struct Put {
    target: String,
    written: Vec<u8>,
    form: u8,
}

/// Wraps everything.
#[derive(Debug, Default)]
pub(crate) struct Wrapper {
    put: HashMap<String, Put>,
    /// Forms and frames are taken out of effect instead of being wrapped, and so are calls beside a click.
    disarms: bool,
    /// Text outside of markup gave way to a link.
    pub(crate) changed_text: bool,
    /// Something was taken out for good.
    pub(crate) lost: bool,
}

enum Kind {
    Ours,
    Web(String),
    Dead,
    Left,
}

impl Wrapper {
    pub(crate) fn new(disarms: bool) -> Self {
        Self {
            disarms,
            ..Self::default()
        }
    }

    /// The link of ours that a text begins with.
    pub(crate) fn own<'t>(&self, text: &'t str) -> Option<&'t str> {
        text.get(..LINK).filter(|l| self.put.contains_key(*l))
    }

    fn kind(&self, site: &Site<'_>) -> Kind {
        if self.own(&site.url).is_some() {
            return Kind::Ours;
        }
        let base = site.base.and_then(|b| resolve(b, None));
        if let Some(url) = resolve(&site.url, base.as_ref()) {
            return Kind::Web(url.into());
        }
        let bare: String = site.url.chars().filter(|c| *c > ' ').collect();
        let scheme = bare
            .split(['/', '?', '#'])
            .next()
            .and_then(|h| h.split_once(':'))
            .map(|(s, _)| s);
        match scheme.map(str::to_ascii_lowercase).as_deref() {
            None | Some("mailto" | "tel" | "sms" | "cid" | "mid") => Kind::Left,
            Some(_) => Kind::Dead,
        }
    }

    fn dies(&self, usage: Use) -> bool {
        self.disarms && matches!(usage, Use::Submit | Use::Load | Use::Ping)
    }
}

/// As good as a seal where nobody lies (FNV-1a).
fn checksum(octets: &[u8]) -> Seal {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for b in octets {
        hash = (hash ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3);
    }
    let mut seal = [b'x'; MARK_SEAL];
    for (to, from) in seal.iter_mut().zip(hash.to_be_bytes()) {
        *to = from;
    }
    seal
}

impl Judge for Wrapper {
    fn rule(&mut self, site: &Site<'_>) -> Ruling {
        match self.kind(site) {
            Kind::Ours | Kind::Left => Ruling::Keep,
            Kind::Web(_) if self.dies(site.usage) => Ruling::Disarm,
            Kind::Web(target) => {
                self.changed_text |= matches!(
                    site.usage,
                    Use::PlainText | Use::WordField | Use::QuotedValue | Use::Folded { .. }
                );
                // Numbers that no document guesses, and no link of ours begins another.
                let number = (self.put.len() as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
                let link = format!("{PREFIX}{number:08x}");
                self.put.insert(
                    link.clone(),
                    Put {
                        target,
                        written: site.written.to_vec(),
                        form: site.form(),
                    },
                );
                Ruling::Replace(link)
            }
            Kind::Dead => {
                self.lost |= matches!(site.usage, Use::Json | Use::WordField);
                Ruling::Disarm
            }
        }
    }

    fn is_safe(&mut self, site: &Site<'_>) -> bool {
        match self.kind(site) {
            Kind::Ours | Kind::Left => true,
            Kind::Web(_) | Kind::Dead => false,
        }
    }

    fn seal_mark(&self, kept: &[u8]) -> Seal {
        checksum(kept)
    }
}

impl Originals for Wrapper {
    fn find(&self, text: &[u8]) -> Option<usize> {
        memchr::memmem::find(text, PREFIX.as_bytes())
    }

    fn open(&mut self, text: &str) -> Option<Original> {
        let put = self.put.get(self.own(text)?)?;
        Some(Original {
            len: LINK,
            form: put.form,
            target: put.target.clone(),
            written: Some(put.written.clone()),
        })
    }

    fn knows_mark(&self, kept: &[u8], seal: &Seal) -> bool {
        checksum(kept) == *seal
    }
}
