//! Tokens: sealed claims that live in links for years.

use std::borrow::Cow;

use crate::claims::MessageClaims;
use crate::keyring::{KeyId, KeyRing};
use crate::target::Target;

/// Seals the links of one copy of a mail; made by [`KeyRing::sealer`], cheap per link.
#[derive(Debug)]
pub struct Sealer<'k> {
    _ring: &'k KeyRing,
}

/// What became of a target in [`Sealer::seal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealed {
    /// The whole target is in the token.
    Direct(String),
    /// Too long for any token: it needs [`Sealer::seal_reference`].
    TooLong,
}

impl Sealer<'_> {
    /// Seals a target, with the bytes that stood in the mail (`written`) and flags of the caller (`form`).
    #[must_use]
    pub fn seal(&self, _target: &Target, _written: Option<&[u8]>, _form: u8) -> Sealed {
        Sealed::TooLong
    }

    /// Seals the id of a stored target; gives the token and the id, under which the caller stores target and `written`.
    #[must_use]
    pub fn seal_reference(&self, _target: &Target, _written: Option<&[u8]>, _form: u8) -> (String, [u8; 16]) {
        (String::new(), [0; 16])
    }
}

/// The proof that a token is genuine: only opening one makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    key_id: KeyId,
    message: MessageClaims,
    target: Option<Target>,
    host: String,
    written: Option<Vec<u8>>,
    reference_id: Option<[u8; 16]>,
    form: u8,
}

impl Opened {
    /// The target; `None` for a reference whose stored target has not been put in yet (`Opener::complete`).
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// Host of the target as in [`Target::host`]; empty for a reference that had no room for it.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The id of the stored target, for a reference.
    #[must_use]
    pub fn reference_id(&self) -> Option<[u8; 16]> {
        self.reference_id
    }

    /// The bytes as they stood in the mail; `None` as long as [`Opened::target`] is.
    #[must_use]
    pub fn written(&self) -> Option<Cow<'_, [u8]>> {
        self.written.as_deref().map(Cow::Borrowed)
    }

    /// Flags of the caller.
    #[must_use]
    pub fn form(&self) -> u8 {
        self.form
    }

    /// The facts about the mail.
    #[must_use]
    pub fn message(&self) -> &MessageClaims {
        &self.message
    }

    /// The key that sealed the token.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }
}

/// Why a token did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Not a token: wrong alphabet, cut short, or of an unknown version.
    #[error("not a token")]
    Malformed,
    /// The key ring has no such key.
    #[error("sealed with a key that is not in the key ring: {0}")]
    UnknownKey(KeyId),
    /// The key has been retired.
    #[error("sealed with a retired key: {0}")]
    RetiredKey(KeyId),
    /// The seal is broken: forged or damaged.
    #[error("the seal is broken")]
    Forged,
    /// The host in the link is not the host of the sealed target.
    #[error("the host in the link is not that of the target")]
    WrongHost,
    /// The stored target is not the one the token refers to.
    #[error("the stored target is not the one that was sealed")]
    WrongReference,
}

impl OpenError {
    /// A stable word for logs and reports.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownKey(_) => "unknown-key",
            Self::RetiredKey(_) => "retired-key",
            Self::Forged => "forged",
            Self::WrongHost => "wrong-host",
            Self::WrongReference => "wrong-reference",
        }
    }
}
