//! The key ring: one key that seals, many that open.

use std::fmt;

use crate::claims::MessageClaims;
use crate::token::{OpenError, Opened, Sealer};

/// Names a key: four hexadecimal digits, derived from its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 2]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}", self.0[0], self.0[1])
    }
}

impl std::str::FromStr for KeyId {
    type Err = RetireError;

    fn from_str(_s: &str) -> Result<Self, Self::Err> {
        Err(RetireError::NotAnId)
    }
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// New tokens are sealed with it; it opens as well.
    Sealing,
    /// It opens tokens that were sealed with it.
    Opening,
    /// It opens nothing any more.
    Retired,
}

/// What may be told about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its name.
    pub id: KeyId,
    /// What it is for.
    pub state: KeyState,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Seconds since 1970.
    pub retired_at: Option<i64>,
}

/// All keys of an installation. Its `Debug` form holds no secret.
#[derive(Debug, Clone)]
pub struct KeyRing {}

impl KeyRing {
    /// A ring of one sealing key.
    #[must_use]
    pub fn generate(_secret: [u8; 32], _now_s: i64) -> Self {
        Self {}
    }

    /// Reads the text of a key file.
    ///
    /// # Errors
    /// Every fault with its line.
    pub fn parse(_text: &str) -> Result<Self, KeyRingError> {
        Ok(Self {})
    }

    /// The text of a key file; holds the secrets.
    #[must_use]
    pub fn to_toml(&self) -> String {
        String::new()
    }

    /// Puts in a key, which seals from now on; the one that sealed until now only opens.
    ///
    /// # Errors
    /// The ring has a key of that name already: try another secret.
    pub fn add(&mut self, _secret: [u8; 32], _now_s: i64) -> Result<KeyId, AddError> {
        Err(AddError::SameId)
    }

    /// Retires an opening key: tokens sealed with it are refused from now on.
    ///
    /// # Errors
    /// No such key, or it is the sealing one.
    pub fn retire(&mut self, _id: KeyId, _now_s: i64) -> Result<(), RetireError> {
        Err(RetireError::NotAnId)
    }

    /// The keys in file order.
    pub fn keys(&self) -> impl Iterator<Item = KeyInfo> + '_ {
        std::iter::empty()
    }

    /// A sealer for the links of one copy of a mail.
    #[must_use]
    pub fn sealer(&self, _claims: &MessageClaims) -> Sealer<'_> {
        unreachable!("skeleton")
    }

    /// Opens the token that `text` begins with; whatever follows it is ignored.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(&self, _text: &str) -> Result<Opened, OpenError> {
        Err(OpenError::Malformed)
    }
}

/// A key file that cannot be used: all its faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRingError {
    /// In order of lines; never empty.
    pub faults: Vec<KeyFault>,
}

/// One fault of a key file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFault {
    /// Line number from 1; 0 when the fault is of the whole file.
    pub line: usize,
    /// What is wrong, without secrets.
    pub what: String,
}

impl fmt::Display for KeyRingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            let sep = if i == 0 { "" } else { "; " };
            write!(f, "{sep}line {}: {}", fault.line, fault.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for KeyRingError {}

/// Why a key was not put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// Two keys would have the same name.
    #[error("the key ring has a key of the same id")]
    SameId,
}

/// Why a key was not retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RetireError {
    /// Not four hexadecimal digits.
    #[error("a key id is four hexadecimal digits")]
    NotAnId,
    /// No such key.
    #[error("no key has this id")]
    Unknown,
    /// New tokens are sealed with it.
    #[error("this key seals new links: add another one first")]
    Sealing,
    /// Retired before.
    #[error("this key is retired already")]
    Retired,
}
