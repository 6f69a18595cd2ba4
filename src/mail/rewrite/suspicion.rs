//! Collects the signs against a link when mail comes in, and what they mean for the message.

use link::{AtDelivery, Delivery, Evidence, Finding, Sign, Smuggled, Weight, Word};

/// The signs against a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suspicion {
    /// Signs in the URL alone; empty where no rule of the domain counts them.
    pub signs: Vec<Sign>,
    /// The lists that name it, and what a listing there is worth.
    pub listed: Vec<(String, Weight)>,
    /// Why it does not belong into this mail, as stable words.
    pub misplaced: Vec<&'static str>,
    /// The grade that all of them lead to under the rules of the domain.
    pub grade: Grade,
}

/// The word for a click link of ours that was made for someone else.
pub(super) const OWN_LINK_SMUGGLED: &str = "own-link-smuggled";

/// The grade of a link under the rules of its domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Nothing that a rule of the domain counts.
    #[default]
    None,
    /// Marked in a header line, for filters behind us.
    Doubtful,
    /// It is listed as harmful, or has too many points.
    Bad,
}

impl Suspicion {
    /// The points of its signs.
    #[must_use]
    pub fn score(&self) -> u32 {
        link::points(&self.signs)
    }

    /// Takes over what lists say.
    pub(super) fn take_listings(&mut self, evidence: Vec<Evidence>) {
        for e in evidence {
            if let Finding::Listed(listing) = e.finding {
                self.listed.push((e.source.into_owned(), listing.weight));
            }
        }
    }

    /// Takes over why a link does not belong here.
    pub(super) fn take_smuggled(&mut self, smuggled: &[Smuggled]) {
        self.misplaced.extend(smuggled.iter().map(|s| s.as_str()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.signs.is_empty() && self.listed.is_empty() && self.misplaced.is_empty()
    }

    /// Works out how bad the link is by what a domain has chosen.
    pub(super) fn grade(&mut self, delivery: &Delivery) {
        let scored = delivery.delivery_score > 0 && self.score() >= delivery.delivery_score;
        self.grade = if scored || self.is_listed() {
            Grade::Bad
        } else if self.listed.is_empty() && self.misplaced.is_empty() {
            Grade::None
        } else {
            Grade::Doubtful
        };
    }

    /// Whether a list names it as harmful.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.listed.iter().any(|(_, weight)| *weight == Weight::Block)
    }

    /// Whether it is a click link of ours that was made for someone else.
    #[must_use]
    pub fn is_smuggled(&self) -> bool {
        self.misplaced.contains(&OWN_LINK_SMUGGLED)
    }

    /// In words, for the log.
    pub(crate) fn why(&self) -> String {
        let mut words: Vec<String> = self
            .listed
            .iter()
            .map(|(list, _)| format!("listed by {list}"))
            .collect();
        words.extend(self.misplaced.iter().map(|w| (*w).to_owned()));
        if !self.signs.is_empty() {
            let codes: Vec<&str> = self.signs.iter().map(|s| s.code).collect();
            words.push(format!("{} points ({})", self.score(), codes.join(", ")));
        }
        words.join(", ")
    }
}

/// The conclusion from all links of a message.
#[derive(Debug, Default)]
pub(super) struct Conclusion {
    /// Links that are at least doubtful.
    pub(super) doubtful: u32,
    /// The fault of the first bad one.
    pub(super) refusal: Option<String>,
}

impl Conclusion {
    pub(super) fn take(&mut self, url: &str, suspicion: &Suspicion, at_delivery: AtDelivery) {
        let grade = suspicion.grade;
        if grade >= Grade::Doubtful {
            self.doubtful += 1;
        }
        if grade == Grade::Bad && at_delivery == AtDelivery::Refuse && self.refusal.is_none() {
            let end = url.floor_char_boundary(MAX_URL);
            let url = url.get(..end).unwrap_or_default();
            self.refusal = Some(format!("a link: {}: {url}", suspicion.why()));
        }
    }

    /// The header line for filters behind us, if one is due.
    pub(super) fn tag(&self, at_delivery: AtDelivery) -> Option<Vec<u8>> {
        (self.doubtful > 0 && at_delivery != AtDelivery::Wrap)
            .then(|| format!("{TAG}: yes; links={}\r\n", self.doubtful).into_bytes())
    }
}

/// The name of the header field for filters behind us.
const TAG: &str = "X-Linkgate-Suspicious";

/// Octets of a URL in a reason for the log.
const MAX_URL: usize = 500;
