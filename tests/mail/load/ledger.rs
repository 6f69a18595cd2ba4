//! What clients were told and what next hops took, recipient by recipient; and whether both agree.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;

/// A message for one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Piece {
    pub(super) message: u64,
    pub(super) recipient: usize,
}

/// What a client knows of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// 2xx after the dot.
    Accepted,
    /// 4xx or 5xx at any step.
    Refused(u16),
    /// The dot went out, and the connection ended without a reply.
    Unknown,
    /// The client went away before the dot was out.
    Aborted,
}

#[derive(Debug, Default, Clone, Copy)]
struct Taken {
    /// Times a next hop took it and said so.
    answered: u32,
    /// Times it took it and its reply was lost, stalled or garbled.
    unanswered: u32,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    told: Mutex<HashMap<Piece, Told>>,
    taken: Mutex<HashMap<Piece, Taken>>,
    wrong: Mutex<Vec<String>>,
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Sums {
    pub(super) accepted: usize,
    pub(super) refused: usize,
    pub(super) unknown: usize,
    pub(super) aborted: usize,
    /// Refused to the client although a next hop took it without a reply: it may come twice.
    pub(super) lost_replies: usize,
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "accepted {} refused {} unknown {} aborted {} lost replies {}",
            self.accepted, self.refused, self.unknown, self.aborted, self.lost_replies
        )
    }
}

impl Ledger {
    pub(super) fn told(&self, piece: Piece, told: Told) {
        if let Some(before) = self.told.lock().unwrap().insert(piece, told) {
            self.wrong(format!("{piece:?} was told twice: {before:?}, {told:?}"));
        }
    }

    pub(super) fn taken(&self, piece: Piece, answered: bool) {
        let mut all = self.taken.lock().unwrap();
        let taken = all.entry(piece).or_default();
        if answered {
            taken.answered += 1;
        } else {
            taken.unanswered += 1;
        }
    }

    /// Notes what must never be.
    pub(super) fn wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    pub(super) fn sums(&self) -> Sums {
        let taken = self.taken.lock().unwrap();
        let mut sums = Sums::default();
        for (piece, told) in &*self.told.lock().unwrap() {
            match told {
                Told::Accepted => sums.accepted += 1,
                Told::Refused(_) => {
                    sums.refused += 1;
                    sums.lost_replies += usize::from(taken.get(piece).is_some_and(|t| t.unanswered > 0));
                }
                Told::Unknown => sums.unknown += 1,
                Told::Aborted => sums.aborted += 1,
            }
        }
        sums
    }

    /// Holds both sides against each other.
    pub(super) fn judge(&self) -> Sums {
        let mut wrong = std::mem::take(&mut *self.wrong.lock().unwrap());
        let told = self.told.lock().unwrap().clone();
        for (piece, told) in &told {
            let taken = self.taken.lock().unwrap().get(piece).copied().unwrap_or_default();
            let right = match told {
                Told::Accepted => taken.answered == 1 && taken.unanswered == 0,
                Told::Refused(_) => taken.answered == 0 && taken.unanswered <= 1,
                Told::Unknown => taken.answered + taken.unanswered <= 1,
                Told::Aborted => taken.answered + taken.unanswered == 0,
            };
            if !right {
                wrong.push(format!("{piece:?} {told:?} but {taken:?}"));
            }
        }
        for piece in self.taken.lock().unwrap().keys() {
            if !told.contains_key(piece) {
                wrong.push(format!("{piece:?} was taken but nobody sent it"));
            }
        }
        assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
        self.sums()
    }
}
