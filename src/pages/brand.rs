//! `page_name` and its like in `[default]` and `[domain]`: how the pages of the click address look and what they offer.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use axum::body::Bytes;
use link::{Target, ascii_domain};

use crate::pages::Languages;

/// The looks of all domains, and the languages they are offered in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pages {
    /// `[default]`: for domains without a section, and for pages that belong to no domain.
    pub common: Arc<Brand>,
    /// `[domain]`, by name.
    pub by_name: HashMap<String, Arc<Brand>>,
    /// The built-in languages, and those of `[click] languages_dir`.
    pub languages: Arc<Languages>,
}

impl Pages {
    /// The look for a recipient domain.
    #[must_use]
    pub fn brand(&self, domain: &str) -> &Arc<Brand> {
        self.by_name
            .get(domain)
            .or_else(|| self.by_name.get(ascii_domain(domain)?.as_str()))
            .unwrap_or(&self.common)
    }

    /// All logos that a page may show.
    pub fn logos(&self) -> impl Iterator<Item = &Arc<Logo>> {
        let brands = std::iter::once(&self.common).chain(self.by_name.values());
        brands.filter_map(|b| b.logo.as_ref())
    }
}

/// The parts of the pages of a domain that an operator can choose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Brand {
    /// `page_name`: who runs the mail of the domain.
    pub name: Option<String>,
    /// `page_logo`
    pub logo: Option<Arc<Logo>>,
    /// `page_colour`
    pub colour: Colours,
    /// `page_contact`: whom a reader may ask.
    pub contact: Option<Contact>,
    /// `page_text`: the operator's own words on pages that warn or block.
    pub text: Option<String>,
    /// `page_back_to`: where "back to safety" leads.
    pub back_to: Option<Target>,
    /// `page_redirect_to`: the operator's own page for links that are blocked.
    pub redirect_to: Option<Target>,
    /// `page_language`: for readers whose browser asks for none that is offered.
    pub language: Option<String>,
    /// `page_review_to`: how a reader asks for a review.
    pub review_to: ReviewTo,
}

/// How a reader asks for a review.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ReviewTo {
    /// By a button; the request is recorded.
    #[default]
    Button,
    /// By mail to this address.
    Mailbox(String),
    /// Not at all.
    Nobody,
}

/// The person or page that a reader may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contact {
    /// A mail address.
    Mailbox(String),
    /// A page.
    Page(Target),
    /// Words, such as a telephone number.
    Words(String),
}

impl Contact {
    /// Takes a text for the kind that its form says.
    #[must_use]
    pub fn new(text: &str) -> Self {
        if (text.starts_with("https://") || text.starts_with("http://"))
            && let Ok(target) = Target::parse(text)
        {
            return Self::Page(target);
        }
        if is_mailbox(text) {
            Self::Mailbox(text.to_owned())
        } else {
            Self::Words(text.to_owned())
        }
    }
}

/// Whether a text is a mail address that can stand in a `mailto:` link as it is.
#[must_use]
pub fn is_mailbox(text: &str) -> bool {
    let sound = |c: char| c.is_ascii_alphanumeric() || "!$'*+-/=^_`{|}~.".contains(c);
    text.rsplit_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && local.chars().all(sound) && ascii_domain(domain).is_some())
}

/// A picture that stands in memory, served by the click address itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Logo {
    /// The path under which pages ask for it; it names the content, so that another picture has another path.
    pub href: String,
    /// `image/png` or `image/svg+xml`
    pub media_type: &'static str,
    /// The file.
    pub octets: Bytes,
}

/// Octets of the largest logo.
pub const MAX_LOGO: u64 = 256 * 1024;

impl Logo {
    /// A picture from the octets of a file; `prefix` is the path of `public_url`.
    ///
    /// # Errors
    /// In words: it is neither PNG nor SVG, or too large.
    pub fn new(octets: Vec<u8>, prefix: &str) -> Result<Self, &'static str> {
        const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
        if octets.len() as u64 > MAX_LOGO {
            return Err("it is larger than 256 KiB");
        }
        let (media_type, end) = if octets.starts_with(PNG) {
            ("image/png", "png")
        } else if std::str::from_utf8(&octets).is_ok_and(|text| text.contains("<svg")) {
            ("image/svg+xml", "svg")
        } else {
            return Err("it is neither PNG nor SVG");
        };
        let digest = ring::digest::digest(&ring::digest::SHA256, &octets);
        let name = data_encoding::HEXLOWER.encode(digest.as_ref().get(..8).unwrap_or_default());
        let prefix = prefix.trim_end_matches('/');
        Ok(Self {
            href: format!("{prefix}{LOGO_PATH}{name}.{end}"),
            media_type,
            octets: octets.into(),
        })
    }

    /// The path, as a proxy leaves it that takes away the path of `public_url`.
    #[must_use]
    pub fn without_prefix(&self) -> &str {
        let at = self.href.rfind(LOGO_PATH).unwrap_or_default();
        self.href.get(at..).unwrap_or_default()
    }
}

/// Under `public_url`, where logos stand.
const LOGO_PATH: &str = "/logo/";

impl fmt::Debug for Logo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Logo({}, {} octets)", self.href, self.octets.len())
    }
}

/// The operator's colour, as far as it can be read on light and on dark ground.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Colours {
    /// The style rule that sets it.
    pub css: String,
    /// The source expression that lets a browser use that rule (Content Security Policy, `'sha256-...'`).
    pub csp_source: String,
}

/// The colour when `page_colour` does not say.
pub const USUAL_COLOUR: &str = "#2457a6";

impl Default for Colours {
    fn default() -> Self {
        static USUAL: LazyLock<Colours> = LazyLock::new(|| Colours::of(Rgb([0x24, 0x57, 0xa6])));
        USUAL.clone()
    }
}

impl Colours {
    /// Reads `#rrggbb`. A colour that cannot be read on white, or under white letters, is darkened for light pages until it
    /// can, and lightened for dark ones: 4.5 to 1 (WCAG 2.2, 1.4.3).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#').filter(|d| d.len() == 6 && d.is_ascii())?;
        let octet = |at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        Some(Self::of(Rgb([octet(0)?, octet(2)?, octet(4)?])))
    }

    fn of(colour: Rgb) -> Self {
        let light = colour.until_legible(Rgb::BLACK, &LIGHT_GROUNDS);
        let dark = colour.until_legible(Rgb::WHITE, &DARK_GROUNDS);
        let css = format!(
            ":root{{--brand:{light};--on-brand:{}}}@media (prefers-color-scheme:dark){{:root{{--brand:{dark};--on-brand:{}}}}}",
            Rgb::WHITE,
            DARKEST
        );
        let digest = ring::digest::digest(&ring::digest::SHA256, css.as_bytes());
        let csp_source = format!("'sha256-{}'", data_encoding::BASE64.encode(digest.as_ref()));
        Self { css, csp_source }
    }
}

/// The grounds that the colour stands on, or under, on light pages and on dark ones: those of `templates/click/style.css`.
const LIGHT_GROUNDS: [Rgb; 3] = [Rgb::WHITE, Rgb([0xf3, 0xf5, 0xf8]), Rgb([0xee, 0xf2, 0xf8])];
const DARK_GROUNDS: [Rgb; 3] = [Rgb([0x22, 0x2b, 0x38]), Rgb([0x1a, 0x20, 0x29]), DARKEST];
const DARKEST: Rgb = Rgb([0x10, 0x14, 0x1a]);

/// A colour of the sRGB space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rgb([u8; 3]);

impl Rgb {
    const WHITE: Self = Self([255; 3]);
    const BLACK: Self = Self([0; 3]);

    /// The colour, mixed with `end` as little as it takes to stand out on all of `grounds`.
    fn until_legible(self, end: Self, grounds: &[Self]) -> Self {
        const LEAST: f64 = 4.5;
        const STEPS: u16 = 64;
        (0..=STEPS)
            .map(|share| self.mixed(end, share, STEPS))
            .find(|c| grounds.iter().all(|g| c.contrast(*g) >= LEAST))
            .unwrap_or(end)
    }

    fn mixed(self, other: Self, share: u16, of: u16) -> Self {
        let mix = |a: u8, b: u8| ((u16::from(a) * (of - share) + u16::from(b) * share) / of) as u8;
        let ([a, b, c], [d, e, f]) = (self.0, other.0);
        Self([mix(a, d), mix(b, e), mix(c, f)])
    }

    /// Contrast ratio (WCAG 2.2, "contrast ratio").
    fn contrast(self, other: Self) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// Relative luminance (WCAG 2.2, "relative luminance").
    fn luminance(self) -> f64 {
        let linear = |octet: u8| {
            let c = f64::from(octet) / 255.0;
            if c <= 0.04045 {
                c / 12.92
            } else {
                ((c + 0.055) / 1.055).powf(2.4)
            }
        };
        let [r, g, b] = self.0.map(linear);
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }
}

impl fmt::Display for Rgb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [r, g, b] = self.0;
        write!(f, "#{r:02x}{g:02x}{b:02x}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn colours() {
        for bad in [
            "", "#12345", "#1234567", "123456", "#12345g", "#+12345", "red", "#é2345",
        ] {
            assert_eq!(Colours::parse(bad), None, "{bad}");
        }
        // Legible already: it stays. Yellow is not: it is darkened.
        assert!(
            Colours::parse("#2457A6")
                .unwrap()
                .css
                .starts_with(":root{--brand:#2457a6;")
        );
        assert!(
            !Colours::parse("#ffff00")
                .unwrap()
                .css
                .contains("{--brand:#ffff00;--on-brand:#ffffff")
        );
        assert_eq!(Colours::parse(USUAL_COLOUR), Some(Colours::default()));
    }

    #[test]
    fn contrast_as_wcag_has_it() {
        assert!((Rgb::BLACK.contrast(Rgb::WHITE) - 21.0).abs() < 1e-9);
        // #767676 is the lightest grey that can be read on white.
        assert!(Rgb([0x76; 3]).contrast(Rgb::WHITE) >= 4.5);
        assert!(Rgb([0x77; 3]).contrast(Rgb::WHITE) < 4.5);
    }

    proptest! {
        #[test]
        fn any_colour_can_be_read(r: u8, g: u8, b: u8) {
            let colour = Rgb([r, g, b]);
            let light = colour.until_legible(Rgb::BLACK, &LIGHT_GROUNDS);
            prop_assert!(LIGHT_GROUNDS.iter().all(|g| light.contrast(*g) >= 4.5));
            let dark = colour.until_legible(Rgb::WHITE, &DARK_GROUNDS);
            prop_assert!(DARK_GROUNDS.iter().all(|g| dark.contrast(*g) >= 4.5));
        }
    }

    #[test]
    fn the_grounds_are_those_of_the_style_sheet() {
        let style = include_str!("../../templates/click/style.css");
        let (light, dark) = style.split_once("@media (prefers-color-scheme:dark)").unwrap();
        let dark = dark.split_once("}}").unwrap().0;
        for (part, grounds) in [(light, LIGHT_GROUNDS), (dark, DARK_GROUNDS)] {
            let mut named: Vec<_> = ["--ground:", "--sheet:", "--well:", "--calm-ground:"]
                .iter()
                .map(|name| part.split_once(name).unwrap().1.split([';', '}']).next().unwrap())
                .map(|c| if c == "#fff" { "#ffffff" } else { c })
                .collect();
            let mut grounds: Vec<_> = grounds.iter().map(Rgb::to_string).collect();
            named.sort_unstable();
            named.dedup();
            grounds.sort_unstable();
            assert_eq!(named, grounds);
        }
    }

    #[test]
    fn contacts_by_their_form() {
        assert_eq!(
            Contact::new("help@example.com"),
            Contact::Mailbox("help@example.com".into())
        );
        assert!(matches!(Contact::new("https://help.example.com/"), Contact::Page(_)));
        for words in [
            "Call 4711",
            "a b@example.com",
            "@",
            "x@",
            "a@b?subject=x",
            "javascript:alert(1)",
            "https://",
        ] {
            assert_eq!(Contact::new(words), Contact::Words(words.into()));
        }
    }

    #[test]
    fn logos() {
        let png = Logo::new(b"\x89PNG\r\n\x1a\nrest".to_vec(), "/mail/").unwrap();
        assert!(
            png.href.starts_with("/mail/logo/") && png.href.ends_with(".png"),
            "{png:?}"
        );
        let svg = Logo::new(b"<?xml version='1.0'?><svg/>".to_vec(), "").unwrap();
        assert!(svg.href.starts_with("/logo/") && svg.href.ends_with(".svg"));
        assert!(Logo::new(b"GIF89a".to_vec(), "").is_err());
        assert!(Logo::new(vec![b' '; 256 * 1024 + 1], "").is_err());
        assert!(Logo::new(b"\xff<svg/>".to_vec(), "").is_err());
    }
}
