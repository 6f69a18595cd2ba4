//! `[machines]`: who is no reader.

use ipnet::IpNet;
use strum::{IntoStaticStr, VariantArray};

use super::option::{choice, list, networks, section};

section! {
    /// `[machines]`: who is no reader.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Machines {
        /// Words of a `User-Agent` that only machines use, beside those that are known; in lower case.
        pub agents: Vec<String> = list("agents", AGENT, agent),
        /// Networks that only machines ask from.
        pub networks: Vec<IpNet> = networks("networks"),
        /// The visitors who get a page in place of the way to the target.
        pub neutral_page: NeutralPage = choice("neutral_page").or("certain"),
    }
}

/// The visitors who get the neutral page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum NeutralPage {
    /// Machines for certain: those that say so, or of which the operator says so.
    #[default]
    Certain,
    /// Those that are machines by all signs, too.
    Likely,
}

const AGENT: &str = "a word of a User-Agent, at least three characters of printable ASCII";

/// Shorter words are found in the agents of people.
const MIN_WORD: usize = 3;

fn agent(word: &str) -> Option<String> {
    let sound = word.len() >= MIN_WORD && word.chars().all(|c| c == ' ' || c.is_ascii_graphic());
    sound.then(|| word.to_ascii_lowercase())
}
