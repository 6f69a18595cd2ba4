//! Comparing a click with those just before and after it: scanners open many links of a mail at once, and the same link as
//! its reader does.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use store::ClickRow;

use super::{RequestSigns, pressed_button};

/// Clicks this far apart, in microseconds, say something about each other.
const REACH: i64 = 15_000_000;

/// Links of one mail that no reader opens by hand within [`BURST`].
const MANY_LINKS: usize = 3;

/// Microseconds within which they are opened at once.
const BURST: i64 = 5_000_000;

/// Clicks of one mail that are remembered at a time.
const MAX_CLICKS: usize = 64;

/// The evidence of other clicks about one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Neighbours {
    /// Several links of the same mail were opened at once.
    pub several_links: bool,
    /// The same link was opened from elsewhere at the same time, by a visitor who looks as much like a person or more.
    pub elsewhere: bool,
}

impl Neighbours {
    /// Its worth in points; see [`super::label`].
    pub(super) fn points(self) -> i32 {
        -4 * i32::from(self.several_links) - 3 * i32::from(self.elsewhere)
    }

    /// The reasons it gives, as stable words.
    pub(super) fn reasons(self) -> impl Iterator<Item = &'static str> {
        let several = self.several_links.then_some("several-links-at-once");
        several
            .into_iter()
            .chain(self.elsewhere.then_some("same-link-elsewhere"))
    }
}

/// The clicks of the last seconds, mail by mail. Bounded, by the number of mails and of clicks on each.
#[derive(Debug)]
pub struct RecentClicks {
    /// By a hash of the mail and its recipient.
    mails: HashMap<u64, VecDeque<RecentClick>>,
    /// Mails in the order of their first click, with its time.
    order: VecDeque<(i64, u64)>,
    max_mails: usize,
    /// Hits are compared at each click, so they hold hashes.
    hasher: RandomState,
}

/// The facts of a click that matter to its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RecentClick {
    at_us: i64,
    link: u64,
    network: Option<u64>,
    agent: u64,
    points: i32,
    button: bool,
}

impl RecentClicks {
    /// Nothing seen yet; remembers clicks on links of so many mails at most.
    #[must_use]
    pub fn new(max_mails: usize) -> Self {
        Self {
            mails: HashMap::new(),
            order: VecDeque::new(),
            max_mails,
            hasher: RandomState::new(),
        }
    }

    /// Remembers a click. Those that can say nothing about later ones any more are forgotten; clicks come in the order of
    /// time, more or less.
    pub fn add(&mut self, row: &ClickRow) {
        let _ = self.add_and_compare(row, &RequestSigns::of(row));
    }

    /// Remembers a click, and says what the others say about it.
    pub(super) fn add_and_compare(&mut self, row: &ClickRow, signs: &RequestSigns) -> Neighbours {
        self.forget_before(row.at_us.saturating_sub(2 * REACH));
        let (key, own) = (self.key(row), self.hit(row, signs));
        let hits = match self.mails.get_mut(&key) {
            Some(hits) => hits,
            None => {
                if self.order.len() >= self.max_mails
                    && let Some((_, oldest)) = self.order.pop_front()
                {
                    self.mails.remove(&oldest);
                }
                self.order.push_back((row.at_us, key));
                self.mails.entry(key).or_default()
            }
        };
        while hits.len() >= MAX_CLICKS
            || hits
                .front()
                .is_some_and(|h| h.at_us < row.at_us.saturating_sub(2 * REACH))
        {
            hits.pop_front();
        }
        hits.push_back(own);
        neighbours(hits, &own, row)
    }

    /// The evidence of those that were added about this click.
    #[must_use]
    pub fn neighbours(&self, row: &ClickRow) -> Neighbours {
        let hits = self.mails.get(&self.key(row));
        hits.map_or_else(Neighbours::default, |hits| {
            neighbours(hits, &self.hit(row, &RequestSigns::of(row)), row)
        })
    }

    /// One mail as one recipient has it: a mail to many is opened by many at once.
    fn key(&self, row: &ClickRow) -> u64 {
        let user = row.user.as_deref().unwrap_or_default();
        self.hasher.hash_one((&row.mail_id, user.to_ascii_lowercase()))
    }

    fn hit(&self, row: &ClickRow, signs: &RequestSigns) -> RecentClick {
        let hash = |text: &dyn AsRef<str>| self.hasher.hash_one(text.as_ref());
        RecentClick {
            at_us: row.at_us,
            link: hash(row.facts.link.as_ref().unwrap_or(&row.url)),
            network: row.facts.network.as_ref().or(row.client_ip.as_ref()).map(|n| hash(n)),
            agent: hash(&row.user_agent),
            points: signs.points(),
            button: pressed_button(row),
        }
    }

    /// Mails and clicks that are remembered.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (
            self.order.len().max(self.mails.len()),
            self.mails.values().map(VecDeque::len).sum(),
        )
    }

    /// Forgets mails whose first click is older, and what is older of the others.
    fn forget_before(&mut self, at_us: i64) {
        while let Some((first, _)) = self.order.front()
            && *first < at_us
        {
            let Some((_, key)) = self.order.pop_front() else { return };
            let Some(hits) = self.mails.get_mut(&key) else { continue };
            while hits.front().is_some_and(|h| h.at_us < at_us) {
                hits.pop_front();
            }
            match hits.front().map(|h| h.at_us) {
                Some(first) => self.order.push_back((first, key)),
                None => {
                    self.mails.remove(&key);
                }
            }
        }
    }
}

/// The evidence of these hits about the click that `own` is taken from.
fn neighbours(hits: &VecDeque<RecentClick>, own: &RecentClick, row: &ClickRow) -> Neighbours {
    // A link without a recipient was sent to many: what they do at the same time says nothing about one of them.
    if row.user.is_none() {
        return Neighbours::default();
    }
    let near = |hit: &RecentClick, reach: i64| hit.at_us.abs_diff(own.at_us) <= reach.unsigned_abs();
    let mut links = [own.link; MANY_LINKS];
    let mut found = 1;
    // Who opens one link of a mail while a scanner is at the others is no scanner.
    let opened = |h: &&RecentClick| near(h, BURST) && !h.button && (h.agent == own.agent || h.is_near(own));
    for hit in hits.iter().filter(opened) {
        if let (false, Some(place)) = (links.contains(&hit.link), links.get_mut(found)) {
            *place = hit.link;
            found += 1;
        }
    }
    let elsewhere =
        |h: &RecentClick| h.link == own.link && h.is_elsewhere(own) && near(h, REACH) && h.points >= own.points;
    Neighbours {
        several_links: found >= MANY_LINKS,
        elsewhere: hits.iter().any(elsewhere),
    }
}

impl RecentClick {
    /// Known to be in the same network.
    fn is_near(&self, other: &Self) -> bool {
        self.network.is_some() && self.network == other.network
    }

    /// Another network, or another program: not the same reader.
    fn is_elsewhere(&self, other: &Self) -> bool {
        let networks = self.network.zip(other.network);
        networks.is_some_and(|(a, b)| a != b) || self.agent != other.agent
    }
}
