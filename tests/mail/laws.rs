//! What holds for every message, whatever is in it: laws of the whole pipeline.
//!
//! The messages are made here, with the targets and the files that stand in them, so that nothing of ours says what was
//! there; mail-parser reads what comes out.

mod messages;
mod replies;

use std::collections::BTreeSet;
use std::sync::Arc;

use link::LinkDecision;
use linkgate::config::Limits;
use linkgate::mail::spool::Spool;
use mail_parser::{Message, MessageParser, PartType};
use messages::{Octets, damaged, linked, soup, unlinked};
use proptest::prelude::*;

use crate::mail::messages::pipeline::{MAX_LINE, Pipeline, longest_line};

/// What a mail program reads in the parts of a message, in order: texts decoded, files as bytes.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Text(String),
    File(Vec<u8>),
}

fn read(message: &[u8]) -> Vec<Read> {
    fn walk(message: &Message<'_>, out: &mut Vec<Read>) {
        for part in &message.parts {
            match &part.body {
                PartType::Text(t) | PartType::Html(t) => out.push(Read::Text(t.clone().into_owned())),
                PartType::Binary(b) | PartType::InlineBinary(b) => out.push(Read::File(b.clone().into_owned())),
                PartType::Message(inner) => walk(inner, out),
                PartType::Multipart(_) => {}
            }
        }
    }
    let mut out = Vec::new();
    if let Some(message) = MessageParser::default().parse(message) {
        walk(&message, &mut out);
    }
    out
}

fn texts(message: &[u8]) -> String {
    let text = |r| match r {
        Read::Text(t) => Some(t),
        Read::File(_) => None,
    };
    read(message)
        .into_iter()
        .filter_map(text)
        .collect::<Vec<_>>()
        .join("\n\n")
}

fn files(message: &[u8]) -> Vec<Vec<u8>> {
    let file = |r| match r {
        Read::Text(_) => None,
        Read::File(b) => Some(b),
    };
    read(message).into_iter().filter_map(file).collect()
}

fn names_quoted_printable(message: &[u8]) -> usize {
    String::from_utf8_lossy(message)
        .matches("Content-Transfer-Encoding: quoted-printable")
        .count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_message_without_links_goes_on_as_it_came(made in unlinked()) {
        let outcome = Pipeline::shared().plan(&made.bytes);
        prop_assert!(outcome.patch.is_empty(), "{}", show(&made.bytes));
        prop_assert!(!outcome.report.changed);
    }

    #[test]
    fn a_domain_that_did_not_opt_in_gets_every_message_as_it_came(made in linked()) {
        let outcome = Pipeline::shared().plan_for(&made.bytes, "ada@sender.example", "user@off.example");
        prop_assert!(outcome.patch.is_empty());
    }

    #[test]
    fn every_link_is_wrapped_and_every_click_link_leads_where_the_report_says(made in linked()) {
        let pipeline = Pipeline::shared();
        let outcome = pipeline.plan(&made.bytes);
        let output = outcome.patch.apply(&made.bytes);
        let reached: BTreeSet<String> = pipeline.targets(&texts(&output)).into_iter().collect();
        for target in &made.targets {
            prop_assert!(reached.contains(target), "{target} is not wrapped in\n{}", show(&output));
        }
        let told: BTreeSet<String> = outcome
            .report
            .links
            .into_iter()
            .filter(|l| l.decision.kind() == LinkDecision::Wrap)
            .map(|l| l.url)
            .collect();
        prop_assert!(reached.is_subset(&told), "{reached:?} is more than {told:?}");
    }

    #[test]
    fn restoring_brings_every_text_back(made in linked()) {
        let pipeline = Pipeline::shared();
        let output = pipeline.rewrite(&made.bytes);
        let restored = pipeline.restore(&output);
        prop_assert_eq!(read(&restored), read(&made.bytes), "{}", show(&output));
        if made.is_plain && names_quoted_printable(&restored) == names_quoted_printable(&made.bytes) {
            prop_assert_eq!(show(&restored), show(&made.bytes));
        }
    }

    #[test]
    fn a_second_rewriting_changes_nothing(made in linked()) {
        let pipeline = Pipeline::shared();
        let output = pipeline.rewrite(&made.bytes);
        let again = pipeline.plan(&output);
        prop_assert_eq!(show(&again.patch.apply(&output)), show(&output));
        for link in again.report.links {
            prop_assert_eq!(link.decision.kind(), LinkDecision::Keep, "{}", link.url);
        }
    }

    #[test]
    fn files_stay_as_they_are(made in linked()) {
        let output = Pipeline::shared().rewrite(&made.bytes);
        prop_assert_eq!(files(&output), files(&made.bytes));
        let mut rest = output.as_slice();
        for file in &made.files {
            // As encoded, in the order of the parts.
            let at = memchr::memmem::find(rest, file);
            prop_assert!(at.is_some(), "{}\nis not in\n{}", show(file), show(&output));
            rest = &rest[at.unwrap_or_default() + file.len()..];
        }
    }

    #[test]
    fn lines_stay_within_the_limit(made in linked()) {
        let output = Pipeline::shared().rewrite(&made.bytes);
        prop_assert!(longest_line(&output) <= MAX_LINE.max(longest_line(&made.bytes)), "{}", show(&output));
    }

    #[test]
    fn a_message_in_a_file_is_read_like_one_in_memory(made in linked(), limit in 1..4096_usize) {
        let pipeline = Pipeline::shared();
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits {
            spool_memory: limit,
            spool_memory_total: 1 << 20,
            spool_dir: dir.path().to_owned(),
            ..Limits::default()
        };
        let mut spool = Spool::new(&limits, &Arc::default());
        for block in made.bytes.chunks(limit) {
            spool.append(block).unwrap();
        }
        prop_assert_eq!(pipeline.plan_source(&spool).patch, pipeline.plan(&made.bytes).patch);
    }

    #[test]
    fn damaged_messages_come_through(made in damaged()) {
        comes_through(&made.0)?;
    }

    #[test]
    fn any_octets_come_through(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        comes_through(&bytes)?;
    }

    #[test]
    fn any_pieces_come_through(bytes in soup()) {
        comes_through(&bytes.0)?;
    }
}

/// No panic, a patch that stays within the message, and no line that grew too long.
fn comes_through(message: &[u8]) -> Result<(), TestCaseError> {
    let pipeline = Pipeline::shared();
    let patch = pipeline.plan(message).patch;
    let output = patch.apply(message);
    for change in patch.changes() {
        prop_assert!(change.at.end <= message.len() as u64, "{change:?} in {}", show(message));
    }
    prop_assert!(
        longest_line(&output) <= MAX_LINE.max(longest_line(message)),
        "{}",
        show(message)
    );
    pipeline.rewrite(&output);
    pipeline.restore(&output);
    pipeline.restore(message);
    Ok(())
}

fn show(bytes: &[u8]) -> String {
    format!("{:?}", Octets(bytes.to_vec()))
}
