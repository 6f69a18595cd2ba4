//! The key ring: one key that seals, many that open.
//!
//! A key is a secret of 32 octets. HKDF-SHA256 (RFC 5869) derives from it the AEAD key, the keys for nonces, reference ids
//! and marks, and the key's name. A name that does not fit its secret therefore shows a damaged key file.

use std::fmt::{self, Write as _};

use data_encoding::{BASE64, HEXLOWER};
use ring::{aead, hkdf, hmac};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The name of a key: four hexadecimal digits, derived from its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub(crate) [u8; 2]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([a, b]) = self;
        write!(f, "{a:02x}{b:02x}")
    }
}

impl std::str::FromStr for KeyId {
    type Err = RetireError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let octets = HEXLOWER
            .decode(s.to_ascii_lowercase().as_bytes())
            .map_err(|_| RetireError::NotAnId)?;
        octets.try_into().map(Self).map_err(|_| RetireError::NotAnId)
    }
}

/// The reason a token did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
#[non_exhaustive]
pub enum OpenError {
    /// Not a token: wrong alphabet, cut short, or of an unknown version.
    #[error("not a token, or cut short")]
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

/// The state of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum KeyState {
    /// It seals new tokens, and opens.
    Sealing,
    /// It opens tokens sealed with it.
    Opening,
    /// It opens no token any more.
    Retired,
}

/// The public facts about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its name.
    pub id: KeyId,
    /// Its state.
    pub state: KeyState,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Seconds since 1970.
    pub retired_at: Option<i64>,
}

/// All keys of an installation. Its `Debug` form holds no secret.
#[derive(Clone)]
pub struct KeyRing {
    sealing: Key,
    /// In file order.
    others: Vec<Key>,
}

#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) id: KeyId,
    pub(crate) aead: aead::LessSafeKey,
    pub(crate) nonce: hmac::Key,
    pub(crate) reference: hmac::Key,
    pub(crate) mark: hmac::Key,
    pub(crate) page: hmac::Key,
    secret: [u8; 32],
    created_at: i64,
    retired_at: Option<i64>,
}

impl KeyRing {
    /// A ring of one sealing key.
    #[must_use]
    pub fn generate(secret: [u8; 32], now_s: i64) -> Self {
        Self {
            sealing: Key::new(secret, now_s),
            others: Vec::new(),
        }
    }

    /// Reads the text of a key file.
    ///
    /// # Errors
    /// Every fault with its line.
    pub fn parse(text: &str) -> Result<Self, KeyRingError> {
        let mut faults = Faults {
            text,
            found: Vec::new(),
        };
        let keys = read(text, &mut faults);
        let mut sealing = None;
        let mut others = Vec::with_capacity(keys.len());
        let mut seen: Vec<KeyId> = Vec::with_capacity(keys.len());
        for entry in keys {
            if seen.contains(&entry.key.id) {
                faults.add(entry.at, format!("key {} stands in the file twice", entry.key.id));
            }
            seen.push(entry.key.id);
            if !entry.seals {
                others.push(entry.key);
            } else if sealing.is_none() {
                sealing = Some(entry.key);
            } else {
                faults.add(
                    entry.at,
                    "a second key with state = \"sealing\"; allowed: exactly one".into(),
                );
            }
        }
        if sealing.is_none() && faults.found.is_empty() {
            faults.found.push(KeyFault {
                line: 0,
                what: "no key with state = \"sealing\"; allowed: exactly one".into(),
            });
        }
        faults.found.sort_by_key(|f| f.line);
        match sealing {
            Some(sealing) if faults.found.is_empty() => Ok(Self { sealing, others }),
            _ => Err(KeyRingError { faults: faults.found }),
        }
    }

    /// The text of a key file; holds the secrets.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = String::from(
            "# linkgate key ring. Whoever reads this file can forge click links; without it no click link opens.\n\
             # Keep it secret and keep a copy. Times are seconds since 1970.\n",
        );
        for (key, state) in self.entries() {
            // A retired key keeps its last state and gets a date.
            let state = if state == KeyState::Sealing {
                "sealing"
            } else {
                "opening"
            };
            let secret = BASE64.encode(&key.secret);
            let _ = write!(
                out,
                "\n[[key]]\nid = \"{}\"\nstate = \"{state}\"\ncreated_at = {}\n",
                key.id, key.created_at
            );
            if let Some(at) = key.retired_at {
                let _ = writeln!(out, "retired_at = {at}");
            }
            let _ = writeln!(out, "secret = \"{secret}\"");
        }
        out
    }

    /// Adds a key, which seals from now on; the sealing one before it only opens.
    ///
    /// # Errors
    /// The ring has a key of this name: try another secret.
    pub fn add(&mut self, secret: [u8; 32], now_s: i64) -> Result<KeyId, AddError> {
        let key = Key::new(secret, now_s);
        let id = key.id;
        if self.keys().any(|k| k.id == id) {
            return Err(AddError::SameId);
        }
        let before = std::mem::replace(&mut self.sealing, key);
        self.others.insert(0, before);
        Ok(id)
    }

    /// Retires an opening key: tokens sealed with it are refused from now on.
    ///
    /// The secret stays in the file, so that a mistake can be undone by removing `retired_at`.
    ///
    /// # Errors
    /// No such key, it is the sealing one, or it is retired already.
    pub fn retire(&mut self, id: KeyId, now_s: i64) -> Result<(), RetireError> {
        if id == self.sealing.id {
            return Err(RetireError::Sealing);
        }
        let key = self
            .others
            .iter_mut()
            .find(|k| k.id == id)
            .ok_or(RetireError::Unknown)?;
        if key.retired_at.is_some() {
            return Err(RetireError::Retired);
        }
        key.retired_at = Some(now_s);
        Ok(())
    }

    /// The keys: the sealing one first, the others in file order.
    pub fn keys(&self) -> impl Iterator<Item = KeyInfo> + '_ {
        self.entries().map(|(k, state)| KeyInfo {
            id: k.id,
            state,
            created_at: k.created_at,
            retired_at: k.retired_at,
        })
    }

    pub(crate) fn sealing(&self) -> &Key {
        &self.sealing
    }

    /// The key that may open a token sealed with `id`.
    pub(crate) fn opening(&self, id: KeyId) -> Result<&Key, OpenError> {
        let mut keys = std::iter::once(&self.sealing).chain(&self.others);
        let key = keys.find(|k| k.id == id).ok_or(OpenError::UnknownKey(id))?;
        if key.retired_at.is_some() {
            Err(OpenError::RetiredKey(id))
        } else {
            Ok(key)
        }
    }

    /// The keys that are not retired.
    pub(crate) fn usable(&self) -> impl Iterator<Item = &Key> {
        let keys = std::iter::once(&self.sealing).chain(&self.others);
        keys.filter(|k| k.retired_at.is_none())
    }

    fn entries(&self) -> impl Iterator<Item = (&Key, KeyState)> {
        std::iter::once((&self.sealing, KeyState::Sealing)).chain(self.others.iter().map(|k| {
            let state = if k.retired_at.is_some() {
                KeyState::Retired
            } else {
                KeyState::Opening
            };
            (k, state)
        }))
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys()).finish()
    }
}

impl Key {
    fn new(secret: [u8; 32], created_at: i64) -> Self {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"linkgate token v1").extract(&secret);
        let KeyName(id) = derive(&root, b"id", hkdf::HKDF_SHA256);
        Self {
            id,
            aead: aead::LessSafeKey::new(derive(&root, b"aead", &aead::AES_256_GCM)),
            nonce: derive(&root, b"nonce", hmac::HMAC_SHA256),
            reference: derive(&root, b"reference", hmac::HMAC_SHA256),
            mark: derive(&root, b"mark", hmac::HMAC_SHA256),
            page: derive(&root, b"page", hmac::HMAC_SHA256),
            secret,
            created_at,
            retired_at: None,
        }
    }
}

/// HKDF-Expand.
fn derive<L: hkdf::KeyType, K: for<'a> From<hkdf::Okm<'a, L>>>(root: &hkdf::Prk, info: &[u8], length: L) -> K {
    match root.expand(&[info], length) {
        Ok(octets) => octets.into(),
        // RFC 5869 2.3 allows 255 blocks of output; nothing here asks for more than one.
        Err(ring::error::Unspecified) => unreachable!("one block of key material is always to be had"),
    }
}

struct KeyName(KeyId);

impl From<hkdf::Okm<'_, hkdf::Algorithm>> for KeyName {
    fn from(octets: hkdf::Okm<'_, hkdf::Algorithm>) -> Self {
        let mut block = [0; 32];
        // Cannot fail: the block is as long as the algorithm's output. If it did, the name would be 0000 everywhere.
        let _ = octets.fill(&mut block);
        let [a, b, ..] = block;
        Self(KeyId([a, b]))
    }
}

/// A key as in a file.
struct Entry {
    key: Key,
    seals: bool,
    /// Offset of its table in the file.
    at: usize,
}

struct Faults<'a> {
    text: &'a str,
    found: Vec<KeyFault>,
}

impl Faults<'_> {
    fn add(&mut self, at: usize, what: String) {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        self.found.push(KeyFault { line, what });
    }
}

/// The entries that are sound in themselves.
fn read(text: &str, faults: &mut Faults<'_>) -> Vec<Entry> {
    let (file, errors) = DeTable::parse_recoverable(text);
    for e in &errors {
        // Only the bare message: the full form quotes the line, which may hold a secret.
        faults.add(e.span().map_or(0, |s| s.start), format!("not TOML: {}", e.message()));
    }
    if !errors.is_empty() {
        return Vec::new();
    }
    let mut keys = Vec::new();
    for (name, value) in file.get_ref() {
        let at = name.span().start;
        match (name.get_ref().as_ref(), value.get_ref()) {
            ("key", DeValue::Array(tables)) => {
                for table in tables.iter() {
                    match table.get_ref() {
                        DeValue::Table(fields) => keys.extend(read_key(fields, table.span().start, faults)),
                        _ => faults.add(table.span().start, "key: allowed: [[key]] tables".into()),
                    }
                }
            }
            ("key", _) => faults.add(at, "key: allowed: [[key]] tables".into()),
            (other, _) => faults.add(at, format!("{other:?} is unknown; allowed: [[key]]")),
        }
    }
    keys
}

fn read_key(fields: &DeTable<'_>, at: usize, faults: &mut Faults<'_>) -> Option<Entry> {
    const ALLOWED: [&str; 5] = ["id", "state", "created_at", "retired_at", "secret"];
    let before = faults.found.len();
    for name in fields.keys().filter(|n| !ALLOWED.contains(&n.get_ref().as_ref())) {
        let what = format!("{:?} is unknown; allowed: {}", name.get_ref(), ALLOWED.join(", "));
        faults.add(name.span().start, what);
    }
    let mut field = |name: &str| -> Option<&Spanned<DeValue<'_>>> {
        let value = fields.get(name);
        if value.is_none() && name != "retired_at" {
            faults.add(at, format!("{name} is missing"));
        }
        value
    };
    let (id, state, created, retired, secret) = (
        field("id"),
        field("state"),
        field("created_at"),
        field("retired_at"),
        field("secret"),
    );

    let id = id.and_then(|v| {
        let id = v.get_ref().as_str().and_then(|s| s.parse::<KeyId>().ok());
        if id.is_none() {
            faults.add(v.span().start, "id: allowed: four hexadecimal digits in quotes".into());
        }
        Some((id?, v.span().start))
    });
    let seals = state.and_then(|v| match v.get_ref().as_str() {
        Some("sealing") => Some(true),
        Some("opening") => Some(false),
        _ => {
            faults.add(v.span().start, "state: allowed: \"sealing\", \"opening\"".into());
            None
        }
    });
    let mut time = |v: Option<&Spanned<DeValue<'_>>>, name: &str| {
        let v = v?;
        let seconds = v
            .get_ref()
            .as_integer()
            .and_then(|i| i64::from_str_radix(i.as_str(), i.radix()).ok());
        if seconds.is_none() {
            faults.add(
                v.span().start,
                format!("{name}: allowed: seconds since 1970, an integer"),
            );
        }
        seconds
    };
    let (created_at, retired_at) = (time(created, "created_at"), time(retired, "retired_at"));
    if let (Some(true), Some(v)) = (seals, retired) {
        faults.add(v.span().start, "retired_at: a sealing key cannot be retired".into());
    }
    let secret = secret.and_then(|v| {
        let octets = v.get_ref().as_str().and_then(|s| BASE64.decode(s.as_bytes()).ok());
        let secret = octets.and_then(|o| <[u8; 32]>::try_from(o).ok());
        if secret.is_none() {
            faults.add(v.span().start, "secret: allowed: 32 octets in base64".into());
        }
        secret
    });

    let (id, id_at) = id?;
    let mut key = Key::new(secret?, created_at?);
    key.retired_at = retired_at;
    if key.id != id {
        faults.add(
            id_at,
            format!(
                "id {id} does not fit the secret, whose id is {}: one of them is damaged",
                key.id
            ),
        );
    }
    (faults.found.len() == before).then_some(Entry { key, seals: seals?, at })
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
    /// Line number from 1; 0 for a fault of the whole file.
    pub line: usize,
    /// The fault, and what is allowed; never a secret.
    pub what: String,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        f.write_str(&self.what)
    }
}

impl fmt::Display for KeyRingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            write!(f, "{}{fault}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for KeyRingError {}

/// The reason a key was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// Two keys would have the same name.
    #[error("the key ring has a key of the same id")]
    SameId,
}

/// The reason a key was not retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RetireError {
    /// Not four hexadecimal digits.
    #[error("a key id is four hexadecimal digits")]
    NotAnId,
    /// No such key.
    #[error("no key has this id")]
    Unknown,
    /// It seals new tokens.
    #[error("this key seals new links: add another one first")]
    Sealing,
    /// It is retired.
    #[error("this key is retired already")]
    Retired,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::MessageClaims;
    use crate::target::Target;
    use crate::token::Sealed;

    fn token(ring: &KeyRing) -> String {
        let claims = MessageClaims {
            message_id: "m".into(),
            recipient: None,
            sender: String::new(),
            issued_at: 0,
            domain: "example.com".into(),
        };
        match ring
            .sealer(&claims)
            .seal(&Target::parse("https://a.example/").unwrap(), None, 0)
        {
            Sealed::Direct(token) => token,
            Sealed::TooLong => panic!("too long"),
        }
    }

    fn faults(text: &str) -> Vec<(usize, String)> {
        KeyRing::parse(text)
            .unwrap_err()
            .faults
            .into_iter()
            .map(|f| (f.line, f.what))
            .collect()
    }

    #[test]
    fn a_ring_comes_back_from_its_text() {
        let mut ring = KeyRing::generate([1; 32], 100);
        let first = ring.keys().next().unwrap().id;
        ring.add([2; 32], 200).unwrap();
        ring.add([3; 32], 300).unwrap();
        ring.retire(first, 400).unwrap();
        let back = KeyRing::parse(&ring.to_toml()).unwrap();
        assert_eq!(back.keys().collect::<Vec<_>>(), ring.keys().collect::<Vec<_>>());
        assert_eq!(back.to_toml(), ring.to_toml());
        assert!(back.open(&token(&ring)).is_ok());
    }

    #[test]
    fn an_older_key_opens_until_it_is_retired() {
        let mut ring = KeyRing::generate([1; 32], 100);
        let old = token(&ring);
        let first = ring.keys().next().unwrap().id;
        assert_eq!(ring.retire(first, 1), Err(RetireError::Sealing));
        assert_eq!(ring.add([1; 32], 200), Err(AddError::SameId));
        let second = ring.add([2; 32], 200).unwrap();
        assert_eq!(ring.open(&old).unwrap().key_id(), first);
        assert_eq!(ring.open(&token(&ring)).unwrap().key_id(), second);
        ring.retire(first, 300).unwrap();
        assert_eq!(ring.open(&old), Err(OpenError::RetiredKey(first)));
        assert_eq!(ring.retire(first, 300), Err(RetireError::Retired));
        assert_eq!(ring.retire(KeyId([0, 0]), 300), Err(RetireError::Unknown));
        assert_eq!(
            KeyRing::generate([9; 32], 0).open(&old),
            Err(OpenError::UnknownKey(first))
        );
    }

    #[test]
    fn every_fault_has_its_line() {
        let good = KeyRing::generate([1; 32], 100).to_toml();
        let text = format!(
            "colour = 1\n{good}\n[[key]]\nid = \"zz\"\nstate = \"sealed\"\ncreated_at = \"now\"\nsecret = \"AAAA\"\nextra = 1\n\n[[key]]\n"
        );
        let found = faults(&text);
        let lines: Vec<_> = found.iter().map(|(l, _)| *l).collect();
        assert_eq!(lines, [1, 12, 13, 14, 15, 16, 18, 18, 18, 18], "{found:?}");
        assert!(found[1].1.contains("four hexadecimal digits"));
    }

    #[test]
    fn a_ring_has_exactly_one_sealing_key() {
        assert_eq!(faults("")[0].0, 0);
        let one = KeyRing::generate([1; 32], 100).to_toml();
        let two = KeyRing::generate([2; 32], 100).to_toml();
        assert!(faults(&one.replace("sealing", "opening"))[0].1.contains("exactly one"));
        assert!(faults(&format!("{one}{two}"))[0].1.contains("second key"));
        assert!(
            faults(&format!("{one}{}", one.replace("sealing", "opening")))[0]
                .1
                .contains("twice")
        );
        assert!(
            faults(&one.replace("secret =", "retired_at = 3\nsecret ="))[0]
                .1
                .contains("cannot be retired")
        );
    }

    #[test]
    fn a_damaged_secret_is_noticed_and_never_shown() {
        let text = KeyRing::generate([1; 32], 100).to_toml();
        let broken = text.replace("secret = \"AQEB", "secret = \"AQEC");
        assert!(faults(&broken)[0].1.contains("does not fit"));
        for shown in [
            format!("{:?}", KeyRing::parse(&text).unwrap()),
            format!("{}", KeyRing::parse(&broken).unwrap_err()),
            format!("{}", KeyRing::parse(&text.replace("AQE=\"", "AQE=")).unwrap_err()),
        ] {
            assert!(!shown.contains("AQEB") && !shown.contains("AQEC"), "{shown}");
        }
    }

    #[test]
    fn a_key_id_reads_as_it_is_shown() {
        let id = KeyId([0x0a, 0xf1]);
        assert_eq!(id.to_string(), "0af1");
        assert_eq!("0AF1".parse(), Ok(id));
        assert_eq!("0af".parse::<KeyId>(), Err(RetireError::NotAnId));
        assert_eq!("0af1aa".parse::<KeyId>(), Err(RetireError::NotAnId));
    }
}
