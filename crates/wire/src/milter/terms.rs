//! Negotiation of version, actions and steps.

use super::command::{CONNECT, END_OF_HEADER, HEADER, HELO};
use super::reply::packet;

/// Versions that are spoken.
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=6;

/// Changes the filter may make (`SMFIF_*`).
mod action {
    pub(super) const ADD_HEADERS: u32 = 0x01;
    pub(super) const CHANGE_BODY: u32 = 0x02;
    pub(super) const CHANGE_HEADERS: u32 = 0x10;
    pub(super) const SET_MACROS: u32 = 0x100;
}

/// Steps that are reported or answered (`SMFIP_*`).
mod step {
    pub(super) const NO_REPLY_HEADER: u32 = 0x80;
    pub(super) const NO_UNKNOWN: u32 = 0x100;
    pub(super) const NO_DATA: u32 = 0x200;
    pub(super) const SKIP: u32 = 0x400;
    pub(super) const NO_REPLY_CONNECT: u32 = 0x1000;
    pub(super) const NO_REPLY_HELO: u32 = 0x2000;
    pub(super) const NO_REPLY_END_OF_HEADER: u32 = 0x4_0000;
    pub(super) const LEADING_SPACE: u32 = 0x10_0000;
}

/// Without these no link can be changed.
const NEEDED: u32 = action::ADD_HEADERS | action::CHANGE_BODY | action::CHANGE_HEADERS;

/// Taken where the MTA has them. A reply to MAIL, RCPT, DATA and body content stays due: each may be refused, or end the
/// message early.
const WANTED_STEPS: u32 = step::NO_REPLY_HEADER
    | step::NO_UNKNOWN
    | step::SKIP
    | step::NO_REPLY_CONNECT
    | step::NO_REPLY_HELO
    | step::NO_REPLY_END_OF_HEADER
    | step::LEADING_SPACE;

/// Macros requested, by stage (`SMFIM_*`).
const MACROS: &[(u32, &[u8])] = &[
    (0, b"j v {client_name} {client_addr}\0"),
    (2, b"i {auth_authen}\0"),
    (4, b"i {auth_authen}\0"),
    (5, b"i {auth_authen}\0"),
];

/// Version, actions and steps of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    version: u32,
    actions: u32,
    steps: u32,
}

impl Terms {
    /// The terms for an MTA with this offer; `None` if it lacks a needed action.
    pub(super) fn agree(offer: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let octets = offer.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_be_bytes(octets))
        };
        let (version, actions, steps) = (word(0)?, word(4)?, word(8)?);
        if version < *VERSIONS.start() || actions & NEEDED != NEEDED {
            return None;
        }
        let version = version.min(*VERSIONS.end());
        let macros = if version >= 6 { action::SET_MACROS } else { 0 };
        Some(Self {
            version,
            actions: actions & (NEEDED | macros),
            steps: steps & WANTED_STEPS,
        })
    }

    /// Appends the answer to the offer.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (version, actions, steps) = (
            self.version.to_be_bytes(),
            self.actions.to_be_bytes(),
            self.steps.to_be_bytes(),
        );
        let mut lists = Vec::new();
        if self.has_action(action::SET_MACROS) {
            for (stage, names) in MACROS {
                lists.extend_from_slice(&stage.to_be_bytes());
                lists.extend_from_slice(names);
            }
        }
        packet(b'O', &[&version, &actions, &steps, &lists], out);
    }

    /// The version of the protocol.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Whether header values include the space behind the colon, both ways. Otherwise the MTA removes and adds it.
    #[must_use]
    pub fn leading_space(&self) -> bool {
        self.has_step(step::LEADING_SPACE)
    }

    /// Whether the rest of a body may be skipped.
    #[must_use]
    pub fn may_skip(&self) -> bool {
        self.has_step(step::SKIP)
    }

    /// Whether the MTA reports DATA, the end of the envelope.
    #[must_use]
    pub fn tells_of_data(&self) -> bool {
        // Came with version 4.
        self.version >= 4 && !self.has_step(step::NO_DATA)
    }

    /// Whether the MTA waits for a reply to this command.
    pub(super) fn reply_due(&self, command: u8) -> bool {
        !match command {
            CONNECT => self.has_step(step::NO_REPLY_CONNECT),
            HELO => self.has_step(step::NO_REPLY_HELO),
            HEADER => self.has_step(step::NO_REPLY_HEADER),
            END_OF_HEADER => self.has_step(step::NO_REPLY_END_OF_HEADER),
            _ => false,
        }
    }

    fn has_action(&self, flag: u32) -> bool {
        self.actions & flag != 0
    }

    fn has_step(&self, flag: u32) -> bool {
        self.steps & flag != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(version: u32, actions: u32, steps: u32) -> Vec<u8> {
        [version, actions, steps].iter().flat_map(|n| n.to_be_bytes()).collect()
    }

    #[test]
    fn postfix_with_version_6() {
        let terms = Terms::agree(&offer(6, 0x1ff, 0x1f_ffff)).unwrap();
        assert_eq!((terms.version, terms.actions, terms.steps), (6, 0x113, 0x14_3580));
        assert!(terms.leading_space() && terms.may_skip() && terms.tells_of_data());
        let mut out = Vec::new();
        terms.write(&mut out);
        assert_eq!(out[4], b'O');
        assert_eq!(out.len() - 4, out[3] as usize);
        assert!(out.ends_with(b"\0\0\0\x05i {auth_authen}\0"));
    }

    #[test]
    fn an_old_mta_is_asked_for_nothing_it_does_not_know() {
        let terms = Terms::agree(&offer(2, 0x3f, 0x7f)).unwrap();
        assert_eq!((terms.version, terms.actions, terms.steps), (2, 0x13, 0));
        assert!(!terms.leading_space() && !terms.may_skip() && !terms.tells_of_data());
        let mut out = Vec::new();
        terms.write(&mut out);
        assert_eq!(out, b"\0\0\0\x0dO\0\0\0\x02\0\0\0\x13\0\0\0\0");
    }

    #[test]
    fn a_newer_mta_is_answered_with_what_we_know() {
        assert_eq!(Terms::agree(&offer(7, u32::MAX, u32::MAX)).unwrap().version, 6);
    }

    #[test]
    fn without_changes_there_is_nothing_to_agree_on() {
        for (version, actions) in [(1, 0x3f), (6, 0x1ff & !0x02), (6, 0x1ff & !0x10), (6, 0x1ff & !0x01)] {
            assert_eq!(Terms::agree(&offer(version, actions, 0)), None, "{version} {actions:x}");
        }
        assert_eq!(Terms::agree(b"\0\0\0\x06"), None);
    }
}
