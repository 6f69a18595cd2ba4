//! Click links: our URLs that carry a token.

use crate::keyring::KeyRing;
use crate::target::Target;
use crate::token::{OpenError, Opened, Sealer};

/// How click links look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// `<public_url>/c/<host of the target>/<token>`
    #[default]
    Readable,
    /// `<public_url>/c/<token>`
    Short,
}

/// What all click links of an installation begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClickBase {
    prefix: String,
    style: Style,
}

impl ClickBase {
    /// The longest click link, in characters.
    pub const MAX_LINK: usize = 900;

    /// Takes `public_url` of the configuration.
    ///
    /// # Errors
    /// Not an http or https URL, or with query, fragment or userinfo.
    pub fn new(public_url: &str, style: Style) -> Result<Self, ClickBaseError> {
        Ok(Self {
            prefix: format!("{}/c/", public_url.trim_end_matches('/')),
            style,
        })
    }

    /// The public URL without a final slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.prefix.strip_suffix("/c/").unwrap_or(&self.prefix)
    }

    /// The click link that carries `token` for `target`.
    #[must_use]
    pub fn link(&self, target: &Target, token: &str) -> String {
        match self.style {
            Style::Readable => format!("{}{}/{token}", self.prefix, target.host()),
            Style::Short => format!("{}{token}", self.prefix),
        }
    }

    /// Reads a text that begins with a click link; nothing is verified yet.
    #[must_use]
    pub fn parse<'a>(&self, _url: &'a str) -> Option<ClickLink<'a>> {
        None
    }

    /// Reads the path of an HTTP request, with or without the path prefix of the public URL.
    #[must_use]
    pub fn parse_path<'a>(&self, _path: &'a str) -> Option<ClickLink<'a>> {
        None
    }

    /// Where text that may be a click link of ours begins: a cheap test.
    #[must_use]
    pub fn find_prefix(&self, _bytes: &[u8]) -> Option<usize> {
        None
    }
}

/// The pieces of a click link; nothing in it is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClickLink<'a> {
    /// The host that the reader sees, if the link shows one.
    pub host: Option<&'a str>,
    /// Text that begins with the token; more may follow it.
    pub token: &'a str,
}

/// Why a public URL cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClickBaseError {
    /// The URL parser refuses it.
    #[error("not an absolute URL")]
    Invalid,
}

/// Opens click links: a key ring and the base they begin with.
#[derive(Debug, Clone, Copy)]
pub struct Opener<'a> {
    keys: &'a KeyRing,
    base: &'a ClickBase,
}

impl<'a> Opener<'a> {
    /// Joins the two.
    #[must_use]
    pub fn new(keys: &'a KeyRing, base: &'a ClickBase) -> Self {
        Self { keys, base }
    }

    /// Whether `url` begins with a genuine click link of ours.
    #[must_use]
    pub fn recognise(&self, url: &str) -> Option<Opened> {
        self.open_link(&self.base.parse(url)?).ok()
    }

    /// Opens the click link of an HTTP request's path.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_path(&self, path: &str) -> Result<Opened, OpenError> {
        self.open_link(&self.base.parse_path(path).ok_or(OpenError::Malformed)?)
    }

    /// Opens the token of a click link and compares the host that the reader sees.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_link(&self, link: &ClickLink<'_>) -> Result<Opened, OpenError> {
        self.keys.open(link.token)
    }

    /// Puts the stored target into an opened reference.
    ///
    /// # Errors
    /// [`OpenError::WrongReference`] when this is not what was sealed.
    pub fn complete(&self, _opened: Opened, _target: &str, _written: Option<&[u8]>) -> Result<Opened, OpenError> {
        Err(OpenError::WrongReference)
    }
}

/// A wrapped link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// What stands in the mail now; at most [`ClickBase::MAX_LINK`] characters.
    pub click_url: String,
    /// What must be stored, durably, before the mail goes on.
    pub reference: Option<Reference>,
}

/// A target too long for its click link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Names the row.
    pub id: [u8; 16],
    /// The whole target.
    pub target: String,
    /// The bytes that stood in the mail, when they differ from the target.
    pub written: Option<Vec<u8>>,
}

/// Seals a target into a click link, or into a reference when that would be too long.
#[must_use]
pub fn wrap_link(sealer: &Sealer<'_>, base: &ClickBase, target: &Target, written: Option<&[u8]>, form: u8) -> Wrapped {
    let (token, id) = sealer.seal_reference(target, written, form);
    Wrapped {
        click_url: base.link(target, &token),
        reference: Some(Reference {
            id,
            target: target.as_str().into(),
            written: written.map(<[u8]>::to_vec),
        }),
    }
}
