//! The layers of a link: wrappers of other vendors, our own click links, redirectors, and URLs that stand in it.
//!
//! Only the text is read; no query is sent. A wrapper is known by its host, whole or at a dot, *and* by the shape of its
//! links, so that a host that looks like a vendor's cannot hide its own target behind a harmless `?url=`. A reader still
//! opens the outermost link; the layers serve to judge it.

mod proofpoint;
mod vendors;

use std::borrow::Cow;

use crate::one_time::{OneTime, looks_one_time};
use crate::redirectors::{embedded, known_redirector};
use crate::target::Target;
use crate::token::Opened;
use crate::verdict::{Evidence, Finding, Obstacle};
use crate::word::Word;

pub use vendors::Vendor;
pub(crate) use vendors::{is_vendors_host, stands_anywhere};

/// Opens one of our own click links; `None` when it is none, or not genuine.
///
/// For a stored target it is up to the caller to put it in.
pub type OpenOwn<'a> = &'a dyn Fn(&str) -> Option<Opened>;

/// Most layers read.
pub const MAX_LAYERS: usize = 10;

/// The layers of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwrapped {
    /// The layers, the outermost first; empty when nothing is inside.
    pub layers: Vec<Layer>,
    /// The innermost readable target, which is the link itself when there are no layers, and a wrapper when `opaque` is set.
    pub target: Target,
    /// Other URLs in a link that may be a redirect, with their innermost targets, to be checked as well.
    pub also: Vec<Target>,
    /// The wrapper that only its vendor can open.
    pub opaque: Option<Opaque>,
    /// The reason layers remain, if some do.
    pub unfinished: Option<Unfinished>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The link.
    pub url: Target,
    /// Its kind.
    pub kind: LayerKind,
}

/// The kind of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerKind {
    /// A wrapper of another vendor.
    Vendor(Wrapper),
    /// A genuine click link of ours.
    Own(Box<Opened>),
    /// A link of this site, known to redirect.
    Redirector(&'static str),
    /// A link with a URL in it, which may be a redirect.
    Generic,
}

/// The facts in a wrapper of another vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapper {
    /// Whose it is.
    pub vendor: Vendor,
    /// Whether it is known by the shape of its path alone, as on users' own hosts; it can be forged.
    pub by_path: bool,
    /// The recipient named (Safe Links).
    pub recipient: Option<String>,
    /// The host shown to readers, when it is not the target's (Sophos).
    pub shown_host: Option<String>,
}

/// A wrapper that only its vendor can open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opaque {
    /// Whose it is.
    pub vendor: Vendor,
    /// The host of the target as stated; not verified.
    pub host: Option<String>,
}

/// The reason layers remain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// The chain leads back to itself.
    Loop,
    /// There are more than [`MAX_LAYERS`] layers, or more URLs than are read.
    TooDeep,
}

/// Reads the layers of a link, with `own` for our own click links.
#[must_use]
pub fn unwrap(target: &Target, own: OpenOwn<'_>) -> Unwrapped {
    let mut work = Work {
        own,
        looks: MAX_LOOKS,
        too_many: false,
    };
    let mut all = Unwrapped::plain(target);
    let mut aside = Vec::new();
    loop {
        let step = work.step(&all.target, &mut aside);
        let (kind, inside) = match step {
            Step::Nothing => break,
            Step::Opaque(opaque) => {
                all.opaque = Some(opaque);
                break;
            }
            Step::Inside(kind, inside) => (kind, inside),
        };
        if all.layers.len() == MAX_LAYERS {
            all.unfinished = Some(Unfinished::TooDeep);
            break;
        }
        let url = all.target.clone();
        match inside {
            Ok(inside) => {
                let known = all.layers.iter().any(|l| l.url == inside) || url == inside;
                all.layers.push(Layer { url, kind });
                if known {
                    all.unfinished = Some(Unfinished::Loop);
                    break;
                }
                all.target = inside;
            }
            Err(opaque) => {
                all.layers.push(Layer { url, kind });
                all.opaque = Some(opaque);
                break;
            }
        }
    }
    while let Some(next) = aside.pop() {
        if all.also.contains(&next) || next == all.target || all.layers.iter().any(|l| l.url == next) {
            continue;
        }
        if all.also.len() == MAX_ALSO {
            all.unfinished.get_or_insert(Unfinished::TooDeep);
            break;
        }
        if let Step::Inside(_, Ok(inside)) = work.step(&next, &mut aside) {
            aside.push(inside);
        }
        all.also.push(next);
    }
    if work.looks == 0 || work.too_many {
        all.unfinished.get_or_insert(Unfinished::TooDeep);
    }
    all
}

impl Unwrapped {
    /// A link with nothing inside, as [`crate::Glance`] tells them.
    #[must_use]
    pub fn plain(target: &Target) -> Self {
        Self {
            layers: Vec::new(),
            target: target.clone(),
            also: Vec::new(),
            opaque: None,
            unfinished: None,
        }
    }

    /// The link itself, which stays the destination.
    #[must_use]
    pub fn outer(&self) -> &Target {
        self.layers.first().map_or(&self.target, |layer| &layer.url)
    }

    /// The certain target: behind the layers of vendors known by their hosts and of ours. Layers behind it are guesses, or up
    /// to an untrusted site.
    #[must_use]
    pub fn certain(&self) -> &Target {
        self.layers
            .iter()
            .find(|layer| layer.kind.both_ends())
            .map_or(&self.target, |layer| &layer.url)
    }

    /// Every URL to check, each once: the innermost first, then outer ones that a reader may end at, then
    /// [`Unwrapped::also`]. Wrappers of vendors known by their host and click links of ours are left out: their host says
    /// nothing about the target.
    #[must_use]
    pub fn to_check(&self) -> Vec<&Target> {
        let mut all = vec![&self.target];
        let on_the_way = self.layers.iter().rev().filter(|l| l.kind.both_ends()).map(|l| &l.url);
        for url in on_the_way.chain(&self.also) {
            if !all.contains(&url) {
                all.push(url);
            }
        }
        all
    }

    /// Whether the link, or one that it may lead to, looks like one that works once or acts ([`looks_one_time`]): fetching a
    /// redirector fetches its target.
    #[must_use]
    pub fn looks_one_time(&self, link_text: Option<&str>) -> Option<OneTime> {
        self.to_check()
            .into_iter()
            .find_map(|target| looks_one_time(target, link_text))
    }

    /// The other vendors of wrappers in the chain, the outermost first, each once, without click trackers.
    #[must_use]
    pub fn vendors(&self) -> Vec<Vendor> {
        let mut vendors = Vec::new();
        let layers = self.layers.iter().filter_map(|layer| match &layer.kind {
            LayerKind::Vendor(wrapper) => Some(wrapper.vendor),
            _ => None,
        });
        // A click link of ours with a stored target is no foreign wrapper.
        let own = matches!(self.layers.last().map(|l| &l.kind), Some(LayerKind::Own(o)) if o.target().is_none());
        let opaque = self.opaque.as_ref().filter(|_| !own).map(|o| o.vendor);
        for vendor in layers.chain(opaque).filter(|v| v.protects()) {
            if !vendors.contains(&vendor) {
                vendors.push(vendor);
            }
        }
        vendors
    }

    /// The evidence in the layers, from the source `wrapper`: a target known to the vendor only, a chain without an end, a
    /// wrapper that shows another host than its target's.
    #[must_use]
    pub fn evidence(&self) -> Vec<Evidence> {
        let found = |finding| Evidence {
            source: Cow::Borrowed("wrapper"),
            about: self.target.as_str().to_owned(),
            finding,
        };
        let mut all = Vec::new();
        if let Some(opaque) = &self.opaque {
            all.push(found(Finding::TargetUnknown(Cow::Borrowed(opaque.vendor.name()))));
        }
        all.extend(self.unfinished.map(|why| {
            found(Finding::CouldNotInspect(match why {
                Unfinished::Loop => Obstacle::Loop,
                Unfinished::TooDeep => Obstacle::TooManyHops,
            }))
        }));
        let shown = self.layers.iter().find_map(|layer| match &layer.kind {
            LayerKind::Vendor(wrapper) => wrapper.shown_host.clone(),
            _ => None,
        });
        all.extend(shown.map(|detail| {
            found(Finding::Sign {
                code: "wrapper-shows-other-host",
                points: POINTS_OTHER_HOST,
                detail,
            })
        }));
        all
    }
}

impl LayerKind {
    /// The stable word for reports: the vendor, `linkgate` for our own, the redirector's site, `possible-redirect`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Vendor(wrapper) => wrapper.vendor.as_str(),
            Self::Own(_) => Vendor::Linkgate.as_str(),
            Self::Redirector(site) => site,
            Self::Generic => "possible-redirect",
        }
    }

    /// Whether a reader may also end at the link itself, so that it has to be checked with its target.
    #[must_use]
    pub fn both_ends(&self) -> bool {
        match self {
            Self::Vendor(wrapper) => wrapper.by_path,
            Self::Own(_) => false,
            Self::Redirector(_) | Self::Generic => true,
        }
    }
}

/// Most URLs beside the chain kept.
const MAX_ALSO: usize = 16;

/// Most links searched for URLs.
const MAX_LOOKS: usize = 64;

/// Greatest depth at which a link is searched for another site.
const MAX_SAME_SITE: usize = 3;

/// The sign of a wrapper that shows another host than its target's, which is never an accident.
const POINTS_OTHER_HOST: u8 = 60;

/// The outcome of reading one link.
enum Step {
    /// No layer.
    Nothing,
    /// An opaque wrapper.
    Opaque(Opaque),
    /// A layer and its target; that of a click link of ours may be in the store.
    Inside(LayerKind, Result<Target, Opaque>),
}

struct Work<'a> {
    own: OpenOwn<'a>,
    looks: usize,
    /// More URLs were found than are kept.
    too_many: bool,
}

impl Work<'_> {
    /// Reads one link; URLs beside the main one go to `aside`.
    fn step(&mut self, target: &Target, aside: &mut Vec<Target>) -> Step {
        let Some(step) = self.certain(target) else {
            let inside = self.guess(target, aside, MAX_SAME_SITE);
            return inside.map_or(Step::Nothing, |inside| Step::Inside(LayerKind::Generic, Ok(inside)));
        };
        // Only the server knows which of two values of one name it takes.
        if let Step::Inside(LayerKind::Vendor(_) | LayerKind::Redirector(_), Ok(inside)) = &step
            && self.looks > 0
        {
            self.looks -= 1;
            for other in embedded(target) {
                if other.host() != inside.host() {
                    self.put_aside(other, aside);
                }
            }
        }
        step
    }

    fn put_aside(&mut self, url: Target, aside: &mut Vec<Target>) {
        if aside.len() <= MAX_ALSO {
            aside.push(url);
        } else {
            self.too_many = true;
        }
    }

    fn certain(&self, target: &Target) -> Option<Step> {
        if let Some(opened) = (self.own)(target.as_str()) {
            let inside = opened.target().cloned().ok_or_else(|| Opaque {
                vendor: Vendor::Linkgate,
                host: Some(opened.host().to_owned()).filter(|h| !h.is_empty()),
            });
            return Some(Step::Inside(LayerKind::Own(Box::new(opened)), inside));
        }
        match vendors::read(target) {
            Some(Ok((wrapper, inside))) => return Some(Step::Inside(LayerKind::Vendor(wrapper), Ok(inside))),
            Some(Err(opaque)) => return Some(Step::Opaque(opaque)),
            None => {}
        }
        known_redirector(target).map(|found| Step::Inside(LayerKind::Redirector(found.site), Ok(found.to)))
    }

    /// The URL in a link that leads to another site, directly or by a link of the same site.
    fn guess(&mut self, target: &Target, aside: &mut Vec<Target>, depth: usize) -> Option<Target> {
        if depth == 0 || self.looks == 0 || target.as_str().len() > crate::escapes::MAX_TEXT {
            return None;
        }
        self.looks -= 1;
        let mut found: Option<Target> = None;
        for inside in embedded(target) {
            let leaves = found.is_none()
                && (!same_site(target, &inside)
                    || self.certain(&inside).is_some()
                    || self.guess(&inside, aside, depth - 1).is_some());
            if leaves {
                found = Some(inside);
            } else {
                self.put_aside(inside, aside);
            }
        }
        found
    }
}

/// Whether two URLs belong to the same registrable domain.
fn same_site(a: &Target, b: &Target) -> bool {
    a.host() == b.host()
        || matches!(
            (suffix::domain_str(a.host()), suffix::domain_str(b.host())),
            (Some(a), Some(b)) if a == b
        ) && a.host().bytes().any(|b| b.is_ascii_alphabetic())
}
