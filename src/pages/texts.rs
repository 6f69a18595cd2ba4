//! The words of the pages: their keys, and what may stand in them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

macro_rules! texts {
    ($($key:ident)+) => {
        /// Every text of one language.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub(super) struct Texts { $(pub(super) $key: String),+ }

        impl Texts {
            /// All keys, in the order in which language files show them.
            #[cfg(test)]
            pub(super) const KEYS: &'static [&'static str] = &[$(stringify!($key)),+];

            /// The text under a key.
            pub(super) fn get(&self, key: &str) -> Option<&str> {
                match key { $(stringify!($key) => Some(&self.$key),)+ _ => None }
            }

            fn set(&mut self, key: &str, text: String) {
                match key { $(stringify!($key) => self.$key = text,)+ _ => {} }
            }
        }
    };
}

texts! {
    label_check label_warning label_blocked label_note
    confirm_title confirm_what confirm_hidden confirm_todo confirm_button
    neutral_title neutral_what neutral_todo neutral_button
    checking_title checking_what checking_todo checking_button
    warning_title warning_what warning_todo
    blocked_title blocked_what blocked_phishing blocked_malware blocked_revoked blocked_hedged blocked_todo
    unknown_title unknown_what unknown_todo
    failed_title failed_what failed_todo
    not_ours_title not_ours_what not_ours_todo
    expired_title expired_what expired_todo
    revoked_title revoked_what revoked_todo
    later_title later_what later_todo
    many_title many_what many_todo
    onward_title onward_what onward_link
    review_title review_what review_todo
    method_title method_what method_todo
    target_label target_reads_as target_full
    reasons_label reasons_general on_the_way
    unchecked_label source_silent source_busy
    details_label chain_label checked_at
    back_button close_hint
    continue_label continue_warning continue_recorded continue_careful continue_button
    mistake_label mistake_button mistake_mail
    reference contact_label teach_label
    google_phishing google_malware google_other google_note
    listed_phishing listed_malware listed_botnet listed_abuse listed_new_domain listed_revoked listed_unspecified
    target_unknown
    obstacle_captcha obstacle_login obstacle_encrypted obstacle_too_many_hops obstacle_loop obstacle_needs_script
    obstacle_forbidden_address obstacle_certificate obstacle_no_answer obstacle_too_large obstacle_busy
    smuggled_own_link_inside smuggled_many_networks smuggled_long_after smuggled_other_recipient
    smuggled_foreign_wrapper smuggled_several_wrappers smuggled_wrapper_of_someone_else
    teach_phishing teach_malware teach_new_domain teach_look_alike teach_hidden teach_smuggled teach_general
    sign_look_alike sign_digits_for_letters sign_near_name sign_whole_script sign_mixed_scripts sign_other_ending
    sign_name_in_subdomain sign_name_part sign_embedded_domain sign_other_text sign_user_info sign_ip_address
    sign_double_extension sign_odd_port sign_program sign_needless_encoding sign_plain_login sign_many_labels
    sign_archive sign_long_address sign_shortener sign_open_redirector sign_free_hosting sign_punycode
    sign_dmarc_failed sign_spf_failed sign_display_name sign_first_seen sign_first_contact sign_reply_to
    sign_assistant_orders
}

impl Texts {
    /// The texts that `given` has, over those of `fallback`.
    ///
    /// # Errors
    /// Each key that is not known, and each text that names other places to fill than that of `english`, or is too long.
    pub(super) fn new(
        given: &BTreeMap<String, String>,
        fallback: &Self,
        english: &Self,
    ) -> Result<Self, Vec<TextFault>> {
        let mut texts = fallback.clone();
        let mut faults = Vec::new();
        for (key, text) in given {
            let what = match english.get(key) {
                None => Some("found an unknown key, allowed: the keys of the English file".to_owned()),
                Some(_) if text.trim().is_empty() => Some("found nothing, allowed: a text, or no such key".to_owned()),
                Some(_) if text.len() > MAX_TEXT => Some(format!("found {} octets, allowed: {MAX_TEXT}", text.len())),
                Some(wanted) if !wanted.is_empty() && places(text) != places(wanted) => Some(format!(
                    "found {}, allowed: {}",
                    listed(&places(text)),
                    listed(&places(wanted))
                )),
                Some(_) => None,
            };
            match what {
                Some(what) => faults.push(TextFault { key: key.clone(), what }),
                None => texts.set(key, text.trim().to_owned()),
            }
        }
        if faults.is_empty() { Ok(texts) } else { Err(faults) }
    }

    /// The text for a stable word such as `too-many-hops`, which stands under `<family>_too_many_hops`.
    pub(super) fn word(&self, family: &str, word: &str) -> Option<&str> {
        self.get(&format!("{family}_{}", word.replace('-', "_")))
    }
}

/// Octets of the longest text.
const MAX_TEXT: usize = 1000;

/// A fault of one text of a language file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFault {
    /// Its key.
    pub key: String,
    /// The text found and the values allowed, in words.
    pub what: String,
}

/// A stretch of a text that has been filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) text: Cow<'a, str>,
    /// Whether it is what was filled in: a name, an address; kept apart from the direction of the words around it.
    pub(super) is_value: bool,
}

/// Puts values into the places of a text. A place without a value stays empty.
pub(super) fn fill<'a>(text: &'a str, values: &[(&str, Cow<'a, str>)]) -> Vec<Piece<'a>> {
    let words = |text: &'a str| Piece {
        text: text.into(),
        is_value: false,
    };
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, name, after)) = next_place(rest) {
        pieces.push(words(before));
        if let Some((_, value)) = values.iter().find(|(n, _)| *n == name) {
            pieces.push(Piece {
                text: value.clone(),
                is_value: true,
            });
        }
        rest = after;
    }
    pieces.push(words(rest));
    pieces.retain(|p| !p.text.is_empty());
    pieces
}

/// The names of the places in a text: `{source}`.
fn places(text: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut rest = text;
    while let Some((_, name, after)) = next_place(rest) {
        names.insert(name);
        rest = after;
    }
    names
}

fn next_place(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('{')?;
    let (name, after) = rest.split_once('}')?;
    Some((before, name, after))
}

fn listed(names: &BTreeSet<&str>) -> String {
    if names.is_empty() {
        return "no place to fill in".to_owned();
    }
    let names: Vec<_> = names.iter().map(|n| format!("{{{n}}}")).collect();
    names.join(", ")
}
