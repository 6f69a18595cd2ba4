//! Words read back: from columns of the store and from spilled rows.

use std::str::FromStr;

/// A text that stands where one of a few words is due, and is none of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown word {0:?}")]
pub struct UnknownWord(pub String);

/// The value of a word.
pub(crate) fn by_word<T: FromStr>(word: &str) -> Result<T, UnknownWord> {
    word.parse().map_err(|_| UnknownWord(word.to_owned()))
}

/// A verdict as its word, in spilled rows.
pub(crate) mod verdict_word {
    use link::{Verdict, Word};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        clippy::ref_option,
        reason = "what serde calls it with"
    )]
    pub(crate) fn serialize<S: Serializer>(verdict: &Option<Verdict>, to: S) -> Result<S::Ok, S::Error> {
        verdict.map(Verdict::as_str).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Verdict>, D::Error> {
        let word = Option::<String>::deserialize(from)?;
        word.map(|w| super::by_word(&w)).transpose().map_err(D::Error::custom)
    }
}
