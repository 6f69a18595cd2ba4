//! Seals for the forms of pages: the form carries the facts that the page was shown for.
//!
//! A seal is base64url without padding of `time (4 octets, seconds since 1970) | verdict (1) | event id (16) | tag (16)`; the tag
//! is the start of HMAC-SHA256 over use, token and the octets in front of it. So a form counts only for its link and its
//! button, and only for [`Page::LIFE_S`]. The caller ensures that it is used once.

use data_encoding::BASE64URL_NOPAD;
use ring::hmac;
use strum::VariantArray;

use crate::keyring::{Key, KeyRing};
use crate::verdict::Verdict;

/// The facts that a page was shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Time, in seconds since 1970 in UTC.
    pub at_s: u32,
    /// The verdict on the target.
    pub verdict: Verdict,
    /// The id of the click answered with the page.
    pub event_id: [u8; 16],
}

/// The purpose of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageUse {
    /// To go on to the target.
    Continue,
    /// To ask for a review of the verdict.
    Review,
}

/// The reason a form does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// It has not the shape of a seal.
    #[error("malformed")]
    Malformed,
    /// It was not made by a key of ours, or for another link or button.
    #[error("forged")]
    Forged,
    /// It is older than [`Page::LIFE_S`], or from the future.
    #[error("expired")]
    Expired,
}

const FACTS: usize = 4 + 1 + 16;
const TAG: usize = 16;

impl Page {
    /// Lifetime of a form, in seconds.
    pub const LIFE_S: u32 = 3600;

    /// Largest difference between the clocks of nodes, in seconds.
    const SKEW_S: u32 = 60;

    fn to_octets(self) -> [u8; FACTS] {
        let mut out = [0; FACTS];
        let verdict = Verdict::VARIANTS.iter().position(|v| *v == self.verdict);
        let octets = self.at_s.to_be_bytes().into_iter();
        let octets = octets.chain([verdict.unwrap_or_default() as u8]).chain(self.event_id);
        for (to, from) in out.iter_mut().zip(octets) {
            *to = from;
        }
        out
    }

    fn from_octets(octets: &[u8; FACTS]) -> Option<Self> {
        let (at_s, rest) = octets.split_first_chunk()?;
        let (verdict, event_id) = rest.split_first()?;
        Some(Self {
            at_s: u32::from_be_bytes(*at_s),
            verdict: *Verdict::VARIANTS.get(usize::from(*verdict))?,
            event_id: event_id.try_into().ok()?,
        })
    }
}

impl KeyRing {
    /// Seals the facts of a page for a form on it, for the link with this token.
    #[must_use]
    pub fn seal_page(&self, usage: PageUse, token: &str, page: &Page) -> String {
        let facts = page.to_octets();
        let mut sealed = facts.to_vec();
        sealed.extend_from_slice(&tag(self.sealing(), usage, token, &facts));
        BASE64URL_NOPAD.encode(&sealed)
    }

    /// Opens the seal of a form that was sent for this token; `now_s` in seconds since 1970.
    ///
    /// # Errors
    /// See [`PageError`].
    pub fn open_page(&self, usage: PageUse, token: &str, sealed: &str, now_s: u32) -> Result<Page, PageError> {
        let octets = BASE64URL_NOPAD
            .decode(sealed.as_bytes())
            .map_err(|_| PageError::Malformed)?;
        let (facts, given) = octets.split_first_chunk::<FACTS>().ok_or(PageError::Malformed)?;
        // In constant time: a forger may try any number of times.
        let known = self.usable().any(|key| {
            let wanted = tag(key, usage, token, facts);
            given.len() == TAG && wanted.iter().zip(given).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
        });
        if !known {
            return Err(PageError::Forged);
        }
        let page = Page::from_octets(facts).ok_or(PageError::Malformed)?;
        let fresh = page.at_s.saturating_sub(Page::SKEW_S)..=page.at_s.saturating_add(Page::LIFE_S);
        if fresh.contains(&now_s) {
            Ok(page)
        } else {
            Err(PageError::Expired)
        }
    }
}

fn tag(key: &Key, usage: PageUse, token: &str, facts: &[u8; FACTS]) -> [u8; TAG] {
    let mut mac = hmac::Context::with_key(&key.page);
    mac.update(match usage {
        PageUse::Continue => b"continue\0",
        PageUse::Review => b"review\0\0\0",
    });
    // Facts have a fixed length, so where the token begins is never in doubt.
    mac.update(facts);
    mac.update(token.as_bytes());
    mac.sign().as_ref().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Page = Page {
        at_s: 1_795_000_000,
        verdict: Verdict::Warn,
        event_id: [7; 16],
    };

    #[test]
    fn a_form_counts_for_its_link_its_button_and_an_hour() {
        let mut ring = KeyRing::generate([7; 32], 0);
        let sealed = ring.seal_page(PageUse::Continue, "token", &PAGE);
        let open = |ring: &KeyRing, usage, token, now_s| ring.open_page(usage, token, &sealed, now_s);
        for now_s in [PAGE.at_s - 60, PAGE.at_s, PAGE.at_s + Page::LIFE_S] {
            assert_eq!(open(&ring, PageUse::Continue, "token", now_s), Ok(PAGE));
        }
        for now_s in [0, PAGE.at_s - 61, PAGE.at_s + Page::LIFE_S + 1, u32::MAX] {
            assert_eq!(open(&ring, PageUse::Continue, "token", now_s), Err(PageError::Expired));
        }
        assert_eq!(open(&ring, PageUse::Review, "token", PAGE.at_s), Err(PageError::Forged));
        assert_eq!(
            open(&ring, PageUse::Continue, "tokens", PAGE.at_s),
            Err(PageError::Forged)
        );
        let other = KeyRing::generate([8; 32], 0);
        assert_eq!(
            open(&other, PageUse::Continue, "token", PAGE.at_s),
            Err(PageError::Forged)
        );
        // A key that was added meanwhile seals; the old one still counts until it is retired.
        let old = ring.keys().next().unwrap().id;
        ring.add([9; 32], 1).unwrap();
        assert_eq!(open(&ring, PageUse::Continue, "token", PAGE.at_s), Ok(PAGE));
        ring.retire(old, 2).unwrap();
        assert_eq!(
            open(&ring, PageUse::Continue, "token", PAGE.at_s),
            Err(PageError::Forged)
        );
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let ring = KeyRing::generate([7; 32], 0);
        let sealed = ring.seal_page(PageUse::Continue, "token", &PAGE);
        for at in 0..sealed.len() {
            for put in ["A", "z", "!"] {
                let mut other = sealed.clone();
                other.replace_range(at..=at, put);
                if other != sealed {
                    assert!(ring.open_page(PageUse::Continue, "token", &other, PAGE.at_s).is_err());
                }
            }
            assert!(
                ring.open_page(PageUse::Continue, "token", &sealed[..at], PAGE.at_s)
                    .is_err()
            );
        }
    }

    #[test]
    fn every_verdict_comes_back() {
        let ring = KeyRing::generate([7; 32], 0);
        for verdict in Verdict::VARIANTS {
            let page = Page {
                verdict: *verdict,
                ..PAGE
            };
            let sealed = ring.seal_page(PageUse::Review, "", &page);
            assert_eq!(ring.open_page(PageUse::Review, "", &sealed, PAGE.at_s), Ok(page));
        }
    }
}
