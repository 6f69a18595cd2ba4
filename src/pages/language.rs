//! Languages: what is built in, what files add, and which one a reader gets.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::texts::{TextFault, Texts};

/// The words of the pages in one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Language {
    tag: String,
    direction: Direction,
    pub(super) texts: Texts,
}

/// The direction in which a language is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Direction {
    /// From left to right.
    #[default]
    Ltr,
    /// From right to left.
    Rtl,
}

/// The languages that are offered; English is always among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Languages {
    /// English first.
    all: Vec<Arc<Language>>,
}

/// The language for a reader whose browser sends this `Accept-Language` (RFC 9110, 12.5.4), by lookup (RFC 4647, 3.4); when
/// it asks for none that is offered, `default`, and when that is none, English.
#[must_use]
pub fn language<'a>(accept_language: &str, offered: &'a Languages, default: Option<&str>) -> &'a Language {
    let mut ranges: Vec<(&str, u16)> = accept_language.split(',').take(MAX_RANGES).filter_map(range).collect();
    // Stable: of equal weight, the first counts.
    ranges.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    ranges
        .iter()
        .find_map(|(range, _)| offered.lookup(range))
        .or_else(|| offered.lookup(default?))
        .unwrap_or_else(|| offered.english())
}

/// More are the echo of a broken or hostile client.
const MAX_RANGES: usize = 32;

/// A language range and its weight in thousandths; `None` for what is refused or broken, and for `*`: who takes anything
/// gets the default.
fn range(entry: &str) -> Option<(&str, u16)> {
    let (range, parameters) = entry.split_once(';').unwrap_or((entry, "q=1"));
    let weight = parameters
        .trim()
        .strip_prefix(['q', 'Q'])?
        .trim_start()
        .strip_prefix('=')?;
    let weight: f32 = weight.trim().parse().ok()?;
    let sound = (0.0..=1.0).contains(&weight) && weight > 0.0;
    let range = range.trim();
    (sound && !range.is_empty() && range != "*").then_some((range, (weight * 1000.0) as u16))
}

impl Default for Languages {
    fn default() -> Self {
        BUILT_IN.clone()
    }
}

impl Languages {
    /// The language with this tag, whatever its case.
    #[must_use]
    pub fn get(&self, tag: &str) -> Option<&Language> {
        self.all.iter().find(|l| l.tag.eq_ignore_ascii_case(tag)).map(|l| &**l)
    }

    /// All of them, English first.
    pub fn iter(&self) -> impl Iterator<Item = &Language> {
        self.all.iter().map(|l| &**l)
    }

    /// Adds a language, or puts it in the place of the one with the same tag. A text that is lacking is taken from that one,
    /// or from the English language.
    ///
    /// # Errors
    /// Every fault of `texts`: a tag that is none (key empty), a direction that is none (key `dir`), unknown keys, texts
    /// whose places to fill differ from the English ones.
    pub fn add(&mut self, tag: &str, texts: &BTreeMap<String, String>) -> Result<(), Vec<TextFault>> {
        let old = self.get(tag);
        let fallback = old.unwrap_or_else(|| self.english());
        let was = old.map_or(Direction::Ltr, Language::direction);
        let new = Language::new(tag, texts, &fallback.texts, &self.english().texts, was)?;
        let new = Arc::new(new);
        match self.all.iter_mut().find(|l| l.tag.eq_ignore_ascii_case(tag)) {
            Some(place) => *place = new,
            None => self.all.push(new),
        }
        Ok(())
    }

    /// The language for a range: its own, or that of a shorter one (`de` for `de-AT`).
    fn lookup(&self, range: &str) -> Option<&Language> {
        let mut range = range;
        loop {
            if let Some(found) = self.get(range) {
                return Some(found);
            }
            range = range.rsplit_once('-')?.0;
            // A single letter or digit only introduces what follows it.
            if let Some((shorter, single)) = range.rsplit_once('-')
                && single.len() == 1
            {
                range = shorter;
            }
        }
    }

    fn english(&self) -> &Language {
        self.all.first().map_or(&*ENGLISH, |l| &**l)
    }
}

impl Language {
    fn new(
        tag: &str,
        given: &BTreeMap<String, String>,
        fallback: &Texts,
        english: &Texts,
        was: Direction,
    ) -> Result<Self, Vec<TextFault>> {
        let fault = |key: &str, what: &str| TextFault {
            key: key.to_owned(),
            what: what.to_owned(),
        };
        let mut faults = Vec::new();
        if !is_tag(tag) {
            faults.push(fault(
                "",
                "found a name that is no language tag, allowed: such as pt-BR.toml (RFC 5646)",
            ));
        }
        let mut given = given.clone();
        let direction = match given.remove("dir").as_deref() {
            None => was,
            Some("ltr") => Direction::Ltr,
            Some("rtl") => Direction::Rtl,
            Some(other) => {
                faults.push(fault("dir", &format!("found {other:?}, allowed: \"ltr\", \"rtl\"")));
                was
            }
        };
        match Texts::new(&given, fallback, english) {
            Ok(texts) if faults.is_empty() => Ok(Self {
                tag: tag.to_owned(),
                direction,
                texts,
            }),
            Ok(_) => Err(faults),
            Err(more) => {
                faults.extend(more);
                Err(faults)
            }
        }
    }

    /// Its tag (RFC 5646), such as `de` or `pt-BR`.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The direction in which it is written.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }
}

/// Letters first, then subtags of two to eight letters and digits.
fn is_tag(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let first = parts.next().unwrap_or_default();
    (2..=3).contains(&first.len())
        && first.bytes().all(|b| b.is_ascii_alphabetic())
        && parts.all(|p| (2..=8).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Tags and files of what is compiled in, but for English.
pub(super) const FILES: [(&str, &str); 4] = [
    ("de", include_str!("languages/de.toml")),
    ("es", include_str!("languages/es.toml")),
    ("fr", include_str!("languages/fr.toml")),
    ("ja", include_str!("languages/ja.toml")),
];
pub(super) const ENGLISH_FILE: &str = include_str!("languages/en.toml");

static ENGLISH: LazyLock<Language> = LazyLock::new(|| {
    let nothing = Texts::default();
    let made = Language::new("en", &read(ENGLISH_FILE), &nothing, &ALL_KEYS, Direction::Ltr);
    // A test holds that the file is sound.
    made.unwrap_or_else(|_| Language {
        tag: "en".to_owned(),
        direction: Direction::Ltr,
        texts: nothing,
    })
});

static ALL_KEYS: LazyLock<Texts> = LazyLock::new(Texts::default);

static BUILT_IN: LazyLock<Languages> = LazyLock::new(|| {
    let mut languages = Languages {
        all: vec![Arc::new(ENGLISH.clone())],
    };
    for (tag, file) in FILES {
        // A test holds that none of them has a fault.
        let _ = languages.add(tag, &read(file));
    }
    languages
});

pub(super) fn read(file: &str) -> BTreeMap<String, String> {
    toml::from_str(file).unwrap_or_default()
}
