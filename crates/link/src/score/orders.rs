//! Orders to AI assistants that stand in a URL.
//!
//! In a fragment no server sees them, but an assistant in the reader's browser does; and a link with a question for an
//! assistant can tell it to remember things.

use std::iter;

use super::{Code, Found, text};
use crate::escapes::{clip, percent_decoded};
use crate::target::Target;

pub(super) fn signs(target: &Target, found: &mut Found) {
    let url = target.url();
    // Not the path, which names its page: a page may be about such orders.
    let texts = [url.query(), url.fragment()].into_iter().flatten();
    for written in texts.filter(|t| is_prose(t)) {
        // Twice, as some are encoded to hide them.
        let words = text::words(&percent_decoded(&percent_decoded(clip(written, MAX_TEXT))));
        if dismisses(&words) || whispers(&words) || is_assistant(target.host()) && plants(&words) {
            found.add(Code::AssistantOrders, &words.join(" "));
            return;
        }
    }
}

/// Most octets of a query or fragment read; orders stand at the front.
const MAX_TEXT: usize = 8192;

/// Fewest words of an order.
const MIN_WORDS: usize = 4;

/// Whether a text may have enough words; a quick test that is false for nearly all.
fn is_prose(text: &str) -> bool {
    let ends = text.as_bytes().windows(2).filter(|pair| match pair {
        [a, b] => a.is_ascii_alphanumeric() && !b.is_ascii_alphanumeric(),
        _ => false,
    });
    ends.count() >= MIN_WORDS - 1
}

/// Whether words dismiss instructions: "Ignore all previous instructions."
fn dismisses(words: &[String]) -> bool {
    let behind = |at: usize, many: usize| words.iter().skip(at + 1).take(many);
    let orders = words.iter().enumerate().any(|(verb, word)| {
        DISMISS.contains(&&**word)
            && behind(verb, 3)
                .zip(verb + 1..)
                .any(|(word, which)| starts(word, &EARLIER) && behind(which, 3).any(|word| starts(word, &INSTRUCTIONS)))
    });
    // Japanese and Chinese have no spaces, and the verb comes last or first.
    orders
        || words
            .iter()
            .any(|w| has_both(w, &["指示", "命令", "指令"], &["無視", "忽略", "忘れ", "忘记"]))
}

/// Whether words ask an assistant to hide something from its user.
fn whispers(words: &[String]) -> bool {
    ADDRESS.iter().any(|phrase| holds(words, phrase)) && HIDE.iter().any(|phrase| holds(words, phrase))
}

/// Whether words tell an assistant to trust or remember something.
fn plants(words: &[String]) -> bool {
    let keeps = words.iter().any(|w| starts(w, &REMEMBER)) || LATER.iter().any(|phrase| holds(words, phrase));
    keeps && words.iter().any(|w| starts(w, &TRUST))
}

/// Whether a host is an assistant's whose links carry a question.
fn is_assistant(host: &str) -> bool {
    let host = host.strip_prefix("www.").unwrap_or(host);
    ASSISTANTS.contains(&host)
}

fn starts(word: &str, stems: &[&str]) -> bool {
    stems.iter().any(|stem| word.starts_with(stem))
}

fn has_both(word: &str, some: &[&str], others: &[&str]) -> bool {
    let has = |list: &[&str]| list.iter().any(|part| word.contains(part));
    !word.is_ascii() && has(some) && has(others)
}

fn holds(words: &[String], phrase: &str) -> bool {
    let wanted = phrase.split(' ').count();
    words
        .windows(wanted)
        .any(|window| iter::zip(window, phrase.split(' ')).all(|(word, part)| word == part))
}

const DISMISS: [&str; 23] = [
    "ignore",
    "disregard",
    "forget",
    "override",
    "bypass",
    "ignoriere",
    "ignorieren",
    "missachte",
    "vergiss",
    "ignorez",
    "ignorer",
    "oublie",
    "oubliez",
    "ignora",
    "ignorar",
    "ignorad",
    "olvida",
    "olvide",
    "esqueça",
    "esqueca",
    "dimentica",
    "negeer",
    "vergeet",
];

/// Stems of words for earlier instructions.
const EARLIER: [&str; 24] = [
    "all",
    "any",
    "previous",
    "prior",
    "above",
    "earlier",
    "preceding",
    "existing",
    "original",
    "system",
    "your",
    "bisherig",
    "vorherig",
    "vorigen",
    "früher",
    "toutes",
    "précédent",
    "precedent",
    "antérieur",
    "todas",
    "anterior",
    "previas",
    "tutte",
    "eerdere",
];

const INSTRUCTIONS: [&str; 12] = [
    "instruction",
    "prompt",
    "guideline",
    "directive",
    "anweisung",
    "vorgaben",
    "consigne",
    "instruccion",
    "instruç",
    "instruco",
    "istruzion",
    "instructie",
];

const ADDRESS: [&str; 12] = [
    "ai assistant",
    "dear assistant",
    "the assistant",
    "ai agent",
    "ai model",
    "language model",
    "you are an ai",
    "if you are an ai",
    "as an ai",
    "ki assistent",
    "assistant ia",
    "asistente de ia",
];

const HIDE: [&str; 16] = [
    "tell the user",
    "tell users",
    "inform the user",
    "ask the user",
    "convince the user",
    "send the user",
    "the user s data",
    "do not tell",
    "don t tell",
    "do not mention",
    "don t mention",
    "do not reveal",
    "without telling",
    "without mentioning",
    "sage dem nutzer",
    "dis à l utilisateur",
];

const REMEMBER: [&str; 8] = [
    "remember",
    "memor",
    "merke",
    "merk",
    "retiens",
    "souviens",
    "recuerda",
    "覚えて",
];

const LATER: [&str; 8] = [
    "from now on",
    "in future conversations",
    "in the future",
    "for future",
    "all future",
    "in zukunft",
    "à l avenir",
    "en el futuro",
];

const TRUST: [&str; 12] = [
    "trust",
    "authorit",
    "reliable",
    "credible",
    "recommend",
    "prefer",
    "cite",
    "citation",
    "empfehl",
    "vertrau",
    "confiance",
    "confianza",
];

const ASSISTANTS: [&str; 14] = [
    "chatgpt.com",
    "chat.openai.com",
    "claude.ai",
    "copilot.microsoft.com",
    "m365.cloud.microsoft",
    "gemini.google.com",
    "perplexity.ai",
    "grok.com",
    "chat.mistral.ai",
    "chat.deepseek.com",
    "chat.qwen.ai",
    "meta.ai",
    "you.com",
    "poe.com",
];
