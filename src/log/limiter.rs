//! Keeps an event that may happen thousands of times a second from filling the disk with its lines.

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

/// So many lines ...
const LINES: u32 = 5;

/// ... in so much time.
const WINDOW: Duration = Duration::from_secs(10);

/// Lets a few lines through and counts the others.
#[derive(Debug, Default)]
pub struct Limiter(Mutex<LimiterState>);

#[derive(Debug, Default)]
struct LimiterState {
    window: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Limiter {
    /// Whether a line may be written now; if so, how many were left out since the last one.
    pub fn admit(&self) -> Option<u64> {
        self.admit_at(Instant::now())
    }

    /// How many lines were left out since the last one that was admitted; they are not told again.
    pub fn take_left_out(&self) -> u64 {
        std::mem::take(&mut self.state().left_out)
    }

    fn admit_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state();
        let fresh = state
            .window
            .is_none_or(|began| now.saturating_duration_since(began) >= WINDOW);
        if fresh {
            state.window = Some(now);
            state.lines = 0;
        }
        if state.lines >= LINES {
            state.left_out += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.left_out))
    }

    fn state(&self) -> MutexGuard<'_, LimiterState> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_a_few_lines_and_a_count() {
        let limiter = Limiter::default();
        let now = Instant::now();
        let written = (0..1000).filter(|_| limiter.admit_at(now).is_some()).count();
        assert_eq!(written, LINES as usize);
        assert_eq!(limiter.admit_at(now + WINDOW), Some(995));
        assert_eq!(limiter.admit_at(now + WINDOW), Some(0));
    }
}
