//! Tokens: sealed claims that live in links for years.
//!
//! A token of version 1 is base64url (RFC 4648 section 5) without padding of
//!
//! ```text
//! octets  what
//! 2       version (4 bits, 1) and length of the sealed claims in octets (12 bits)
//! 2       key id
//! 12      nonce: the start of HMAC-SHA256 over the claims
//! n       claims (claims.rs), AES-256-GCM
//! 16      tag; the first four octets are authenticated with it
//! ```
//!
//! * The length in front makes a token self-delimiting: programs that find links in text include brackets, full stops or
//!   ideographs that follow, which are ignored.
//! * Claims are padded such that the number of octets is no multiple of three. The last character then carries two or four
//!   bits, followed by zero bits, and no such character is `-` or `_`, which those programs drop from the end of a link.
//! * The zero bits are checked, so that no two texts are the same token.
//! * The nonce is derived from the claims: the same claims give the same token, and no random source is needed. A key seals
//!   far fewer than 2^32 different claims before it is replaced, so no two claims get one nonce.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use data_encoding::BASE64URL_NOPAD;
use ring::aead::{Aad, Nonce};
use ring::hmac;

use crate::claims::{self, Claims, Link, MessageClaims};
use crate::keyring::{Key, KeyId, KeyRing, OpenError};
use crate::target::Target;

const VERSION: u8 = 1;
const HEADER: usize = 4;
const NONCE: usize = 12;
const TAG: usize = 16;
/// Characters of a token without claims.
pub(crate) const SHORTEST: usize = ((HEADER + NONCE + TAG) * 4).div_ceil(3);
/// The first character of a token: its six bits are the version and two more.
const FIRST: RangeInclusive<u8> = b'A' + 4 * VERSION..=b'A' + 4 * VERSION + 3;
const MAX_CLAIMS: usize = 0xfff;
/// Hosts longer than DNS allows are not named in a reference.
const MAX_REFERENCE_HOST: usize = 255;

/// Seals the links of one copy of a mail; made by [`KeyRing::sealer`], cheap per link.
#[derive(Clone)]
pub struct Sealer<'k> {
    key: &'k Key,
    message: Vec<u8>,
    /// State after the message section.
    nonce: hmac::Context,
    reference: hmac::Context,
    blocked: bool,
}

/// The outcome of [`Sealer::seal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealed {
    /// The token with the whole target.
    Direct(String),
    /// Too long for any token: it needs [`Sealer::seal_reference`].
    TooLong,
}

impl Sealer<'_> {
    /// A sealer for links known to be bad: their tokens keep that until a reader clicks.
    #[must_use]
    pub fn blocking(&self) -> Self {
        Self {
            blocked: true,
            ..self.clone()
        }
    }

    /// Seals a target, with the bytes that stood in the mail (`written`) and flags of the caller (`form`).
    #[must_use]
    pub fn seal(&self, target: &Target, written: Option<&[u8]>, form: u8) -> Sealed {
        let room = target.as_str().len() + written.map_or(0, |w| w.len() / 4) + 16;
        let mut token = self.begin(room);
        claims::push_direct(&mut token, target.as_str(), written, form);
        self.finish(token).map_or(Sealed::TooLong, Sealed::Direct)
    }

    /// Seals the id of a stored target; returns token and id, under which the caller stores target and `written`.
    ///
    /// The id is a MAC over the row and the facts about the mail: it cannot be guessed, is the same for the same link of the
    /// same copy, and `complete` refuses a changed row.
    #[must_use]
    pub fn seal_reference(&self, target: &Target, written: Option<&[u8]>, form: u8) -> (String, [u8; 16]) {
        let host = Some(target.host())
            .filter(|h| h.len() <= MAX_REFERENCE_HOST)
            .unwrap_or_default();
        self.reference(target, host, written, form)
    }

    /// A reference whose token does not name the host.
    pub(crate) fn seal_bare_reference(&self, target: &Target, written: Option<&[u8]>, form: u8) -> (String, [u8; 16]) {
        self.reference(target, "", written, form)
    }

    fn reference(&self, target: &Target, host: &str, written: Option<&[u8]>, form: u8) -> (String, [u8; 16]) {
        let id = reference_id(self.reference.clone(), target.as_str(), written, form);
        let mut token = self.begin(host.len() + 20);
        claims::push_reference(&mut token, &id, host, form);
        // Message section and host are bounded far below MAX_CLAIMS: there always is a token.
        (self.finish(token).unwrap_or_default(), id)
    }

    /// Room for header and nonce, then the message section.
    fn begin(&self, room: usize) -> Vec<u8> {
        let mut token = Vec::with_capacity(HEADER + NONCE + self.message.len() + room + TAG);
        token.extend_from_slice(&[0; HEADER + NONCE]);
        token.extend_from_slice(&self.message);
        token
    }

    fn finish(&self, mut token: Vec<u8>) -> Option<String> {
        let link_at = HEADER + NONCE + self.message.len();
        if self.blocked {
            claims::block(&mut token, link_at);
        }
        if (token.len() + TAG).is_multiple_of(3) {
            claims::pad(&mut token, link_at);
        }
        let len = token.len() - HEADER - NONCE;
        if len > MAX_CLAIMS {
            return None;
        }
        let mut mac = self.nonce.clone();
        mac.update(token.get(link_at..)?);
        let nonce = *mac.sign().as_ref().first_chunk::<NONCE>()?;
        let KeyId([id0, id1]) = self.key.id;
        let header = [(VERSION << 4) | (len >> 8) as u8, len as u8, id0, id1];

        let (front, claims) = token.split_at_mut_checked(HEADER + NONCE)?;
        let tag = self
            .key
            .aead
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(header), claims)
            .ok()?;
        front.first_chunk_mut::<HEADER>()?.copy_from_slice(&header);
        front.last_chunk_mut::<NONCE>()?.copy_from_slice(&nonce);
        token.extend_from_slice(tag.as_ref());
        Some(BASE64URL_NOPAD.encode(&token))
    }
}

impl std::fmt::Debug for Sealer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("key", &self.key.id)
            .finish_non_exhaustive()
    }
}

/// The proof that a token is genuine: only opening one makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    key_id: KeyId,
    message: MessageClaims,
    place: Place,
    form: u8,
    blocked: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Direct {
        target: Target,
        written: Option<Vec<u8>>,
    },
    Stored {
        id: [u8; 16],
        host: String,
    },
    Completed {
        id: [u8; 16],
        target: Target,
        written: Option<Vec<u8>>,
    },
}

impl Opened {
    /// The target; `None` for a reference before [`KeyRing::complete`].
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        match &self.place {
            Place::Direct { target, .. } | Place::Completed { target, .. } => Some(target),
            Place::Stored { .. } => None,
        }
    }

    /// Host of the target as in [`Target::host`]; empty for a reference without room for it.
    #[must_use]
    pub fn host(&self) -> &str {
        match &self.place {
            Place::Direct { target, .. } | Place::Completed { target, .. } => target.host(),
            Place::Stored { host, .. } => host,
        }
    }

    /// The id of the stored target, for a reference.
    #[must_use]
    pub fn reference_id(&self) -> Option<[u8; 16]> {
        match &self.place {
            Place::Direct { .. } => None,
            Place::Stored { id, .. } | Place::Completed { id, .. } => Some(*id),
        }
    }

    /// The bytes that stood in the mail; `None` as long as [`Opened::target`] is.
    #[must_use]
    pub fn written(&self) -> Option<Cow<'_, [u8]>> {
        match &self.place {
            Place::Direct { target, written } | Place::Completed { target, written, .. } => {
                Some(Cow::Borrowed(written.as_deref().unwrap_or(target.as_str().as_bytes())))
            }
            Place::Stored { .. } => None,
        }
    }

    /// Flags of the caller.
    #[must_use]
    pub fn form(&self) -> u8 {
        self.form
    }

    /// Whether the link was known to be bad at delivery and never leads to its target (`at_delivery = "block-link"`).
    #[must_use]
    pub fn blocked_at_delivery(&self) -> bool {
        self.blocked
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

impl KeyRing {
    /// A sealer for the links of one copy of a mail.
    #[must_use]
    pub fn sealer(&self, claims: &MessageClaims) -> Sealer<'_> {
        let key = self.sealing();
        let message = claims::encode_message(claims);
        let mut nonce = hmac::Context::with_key(&key.nonce);
        nonce.update(&message);
        let reference = reference_context(key, &message);
        Sealer {
            key,
            message,
            nonce,
            reference,
            blocked: false,
        }
    }

    /// Opens the token at the front of `text`; the rest is ignored.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(&self, text: &str) -> Result<Opened, OpenError> {
        let chars = extent(text).ok_or(OpenError::Malformed)?;
        let chars = text.as_bytes().get(..chars).ok_or(OpenError::Malformed)?;
        let mut token = BASE64URL_NOPAD.decode(chars).map_err(|_| OpenError::Malformed)?;
        let (header, rest) = token.split_first_chunk_mut::<HEADER>().ok_or(OpenError::Malformed)?;
        let (nonce, sealed) = rest.split_first_chunk_mut::<NONCE>().ok_or(OpenError::Malformed)?;
        let [_, _, id0, id1] = *header;
        let key = self.opening(KeyId([id0, id1]))?;
        let plain = key
            .aead
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(*header), sealed)
            .map_err(|_| OpenError::Forged)?;
        let Claims {
            message,
            link,
            form,
            blocked,
        } = claims::decode(plain).ok_or(OpenError::Malformed)?;
        let place = match link {
            Link::Direct { target, written } => Place::Direct {
                target: Target::parse(&target).map_err(|_| OpenError::Malformed)?,
                written,
            },
            Link::Reference { id, host } => Place::Stored { id, host },
        };
        Ok(Opened {
            key_id: key.id,
            message,
            place,
            form,
            blocked,
        })
    }

    /// Puts the stored row into an opened reference; other tokens are returned unchanged.
    ///
    /// # Errors
    /// [`OpenError::WrongReference`] when another row was sealed, [`OpenError::UnknownKey`] and [`OpenError::RetiredKey`] when
    /// the key is gone.
    pub fn complete(&self, opened: Opened, target: &str, written: Option<&[u8]>) -> Result<Opened, OpenError> {
        let Some(id) = opened.reference_id() else {
            return Ok(opened);
        };
        let key = self.opening(opened.key_id)?;
        let context = reference_context(key, &claims::encode_message(&opened.message));
        if reference_id(context, target, written, opened.form) != id {
            return Err(OpenError::WrongReference);
        }
        let target = Target::parse(target).map_err(|_| OpenError::WrongReference)?;
        let written = written.map(<[u8]>::to_vec);
        Ok(Opened {
            place: Place::Completed { id, target, written },
            ..opened
        })
    }
}

fn reference_context(key: &Key, message: &[u8]) -> hmac::Context {
    let mut context = hmac::Context::with_key(&key.reference);
    context.update(&(message.len() as u64).to_be_bytes());
    context.update(message);
    context
}

/// `written` equal to the target counts as none, so that a store may leave it out.
fn reference_id(mut context: hmac::Context, target: &str, written: Option<&[u8]>, form: u8) -> [u8; 16] {
    context.update(&[form]);
    context.update(&(target.len() as u64).to_be_bytes());
    context.update(target.as_bytes());
    if let Some(w) = written.filter(|w| *w != target.as_bytes()) {
        context.update(&[1]);
        context.update(w);
    }
    context.sign().as_ref().first_chunk::<16>().copied().unwrap_or_default()
}

/// Length of the token at the front of `text`, in characters, by its header; `None` when there is none.
pub(crate) fn extent(text: &str) -> Option<usize> {
    let text = text.as_bytes();
    if !FIRST.contains(text.first()?) {
        return None;
    }
    let mut front = [0; 3];
    let n = BASE64URL_NOPAD.decode_mut(text.first_chunk::<4>()?, &mut front).ok()?;
    let [first, second, _] = front;
    if n != front.len() || first >> 4 != VERSION {
        return None;
    }
    let octets = HEADER + NONCE + (usize::from(first & 0xf) << 8 | usize::from(second)) + TAG;
    let chars = (octets * 4).div_ceil(3);
    let token = text.get(..chars)?;
    token
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        .then_some(chars)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> KeyRing {
        KeyRing::generate([7; 32], 1_760_000_000)
    }

    fn claims() -> MessageClaims {
        MessageClaims {
            message_id: "0198f2c4a1b2".into(),
            recipient: Some("jo@example.com".into()),
            sender: "news@shop.example".into(),
            issued_at: 1_760_000_000,
            domain: "example.com".into(),
        }
    }

    fn target(text: &str) -> Target {
        Target::parse(text).unwrap()
    }

    fn direct(sealed: Sealed) -> String {
        match sealed {
            Sealed::Direct(token) => token,
            Sealed::TooLong => panic!("too long"),
        }
    }

    #[test]
    fn the_last_character_survives_greedy_and_shy_linkers() {
        let ring = ring();
        let sealer = ring.sealer(&claims());
        for n in 0..12 {
            let t = target(&format!("https://a.example/{}", "x".repeat(n)));
            let token = direct(sealer.seal(&t, None, 0));
            assert!(token.ends_with(|c: char| c.is_ascii_alphanumeric()), "{token}");
            assert_eq!(extent(&token), Some(token.len()));
            for tail in [").", "\u{3002}", "AAAA", "-_", "0", "https://b.example/"] {
                assert_eq!(
                    ring.open(&format!("{token}{tail}")).unwrap().target(),
                    Some(&t),
                    "{tail}"
                );
            }
            assert_eq!(ring.open(&token[..token.len() - 1]), Err(OpenError::Malformed));
        }
    }

    #[test]
    fn nothing_personal_can_be_read() {
        let token = direct(
            ring()
                .sealer(&claims())
                .seal(&target("https://a.example/secret-path"), None, 0),
        );
        let octets = BASE64URL_NOPAD.decode(token.as_bytes()).unwrap();
        for word in ["jo@", "example", "secret", "0198"] {
            assert!(memchr::memmem::find(&octets, word.as_bytes()).is_none());
            assert!(!token.contains(word));
        }
    }

    #[test]
    fn the_same_claims_give_the_same_token_and_others_another_nonce() {
        let ring = ring();
        let seal = |url: &str| direct(ring.sealer(&claims()).seal(&target(url), None, 0));
        assert_eq!(seal("https://a.example/1"), seal("https://a.example/1"));
        assert_ne!(seal("https://a.example/1")[6..22], seal("https://a.example/2")[6..22]);
    }

    #[test]
    fn a_target_longer_than_a_token_says_so() {
        let t = target(&format!("https://a.example/{}", "x".repeat(5000)));
        assert_eq!(ring().sealer(&claims()).seal(&t, None, 0), Sealed::TooLong);
    }

    #[test]
    fn a_reference_takes_only_the_row_it_was_sealed_for() {
        let ring = ring();
        let t = target("https://a.example/long?x&y");
        let (token, id) = ring
            .sealer(&claims())
            .seal_reference(&t, Some(b"HTTPS://a.example/long?x&amp;y"), 5);
        let opened = ring.open(&token).unwrap();
        assert_eq!(
            (opened.target(), opened.written(), opened.host()),
            (None, None, "a.example")
        );
        assert_eq!(
            (opened.reference_id(), opened.form(), opened.message()),
            (Some(id), 5, &claims())
        );
        let written: &[u8] = b"HTTPS://a.example/long?x&amp;y";
        for (url, written) in [
            ("https://evil.example/long?x&y", Some(written)),
            (t.as_str(), None),
            (t.as_str(), Some(&b"other"[..])),
            ("javascript:alert(1)", Some(written)),
        ] {
            assert_eq!(
                ring.complete(opened.clone(), url, written),
                Err(OpenError::WrongReference)
            );
        }
        let whole = ring.complete(opened, t.as_str(), Some(written)).unwrap();
        assert_eq!((whole.target(), whole.written().as_deref()), (Some(&t), Some(written)));
    }

    #[test]
    fn a_link_that_was_blocked_at_delivery_says_so() {
        let ring = ring();
        let sealer = ring.sealer(&claims());
        for url in ["https://a.example/", "http://www.a.example/x", "ftp://a.example/y/"] {
            let t = target(url);
            let written: &[u8] = b"HTTPS://a.example/";
            let open = |sealer: &Sealer<'_>| {
                let Sealed::Direct(token) = sealer.seal(&t, Some(written), 9) else {
                    panic!("too long");
                };
                ring.open(&token).unwrap()
            };
            let (plain, blocked) = (open(&sealer), open(&sealer.blocking()));
            assert!(!plain.blocked_at_delivery() && blocked.blocked_at_delivery());
            assert_eq!((blocked.target(), blocked.form()), (Some(&t), 9));
            assert_eq!(blocked.written(), plain.written());
            let (token, id) = sealer.blocking().seal_reference(&t, Some(written), 9);
            let stored = ring.open(&token).unwrap();
            assert!(stored.blocked_at_delivery());
            assert_eq!(stored.reference_id(), Some(id));
            let whole = ring.complete(stored, t.as_str(), Some(written)).unwrap();
            assert!(whole.blocked_at_delivery());
            assert_eq!(whole.target(), Some(&t));
        }
    }

    #[test]
    fn another_mail_gives_another_reference() {
        let ring = ring();
        let t = target("https://a.example/long");
        let other = MessageClaims {
            recipient: None,
            ..claims()
        };
        assert_ne!(
            ring.sealer(&claims()).seal_reference(&t, None, 0).1,
            ring.sealer(&other).seal_reference(&t, None, 0).1
        );
        // A target and written octets that run together are told apart.
        let a = ring.sealer(&other).seal_reference(&t, Some(b""), 0).1;
        assert_ne!(a, ring.sealer(&other).seal_reference(&t, None, 0).1);
        assert_eq!(
            ring.sealer(&other).seal_reference(&t, Some(t.as_str().as_bytes()), 0).1,
            ring.sealer(&other).seal_reference(&t, None, 0).1
        );
    }
}
