//! Lines that wait for the end of their thread's turn.
//!
//! A thread of the mail path logs a line for each message. Under load it works through many sessions before it waits for the
//! next event; one write for all of their lines then costs less than a write for each. Nothing waits longer than such a turn.

use std::cell::RefCell;
use std::io::{self, Write};

/// Octets that are held at most.
const MOST: usize = 16 << 10;

/// The lines of a thread; written when it ends, at the latest.
struct Held(Vec<u8>);

thread_local! {
    /// `None` on threads that write each line at once.
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

/// From now on this thread holds its lines: it calls [`write_held`] whenever it is about to wait.
pub(crate) fn hold_lines() {
    HELD.with_borrow_mut(|held| {
        held.get_or_insert(Held(Vec::new()));
    });
}

/// Writes what this thread holds.
pub(crate) fn write_held() {
    // A thread that is ending has written what it held.
    let _ = HELD.try_with(|held| {
        if let Some(held) = &mut *held.borrow_mut() {
            held.write();
        }
    });
}

/// Holds a line, if this thread does.
pub(super) fn hold(line: &[u8]) -> bool {
    let held = HELD.try_with(|held| match &mut *held.borrow_mut() {
        None => false,
        Some(held) => {
            held.0.extend_from_slice(line);
            if held.0.len() >= MOST {
                held.write();
            }
            true
        }
    });
    held.unwrap_or(false)
}

impl Held {
    fn write(&mut self) {
        if !self.0.is_empty() {
            // Nobody is left to be told when standard error is gone.
            let _ = io::stderr().write_all(&self.0);
            self.0.clear();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.write();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_held_only_by_a_thread_that_promised_to_write_it() {
        let other = std::thread::spawn(|| hold(b""));
        assert!(!other.join().unwrap());
        let mail = std::thread::spawn(|| {
            hold_lines();
            let held = hold(b"a line of a test\n");
            let waiting = || HELD.with_borrow(|h| h.as_ref().map(|h| h.0.len()));
            let before = waiting();
            write_held();
            (held, before, waiting())
        });
        assert_eq!(mail.join().unwrap(), (true, Some(17), Some(0)));
    }

    #[test]
    fn no_more_is_held_than_a_turn_may() {
        let thread = std::thread::spawn(|| {
            hold_lines();
            (0..2000).for_each(|_| assert!(hold(b"\n\n\n\n\n\n\n\n\n\n")));
            HELD.with_borrow(|h| h.as_ref().map(|h| h.0.capacity()))
        });
        assert!(thread.join().unwrap().unwrap() <= 2 * MOST);
    }
}
