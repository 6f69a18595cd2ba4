//! The time of day, from one place.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time of day.
#[must_use]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// Microseconds since 1970 in UTC.
#[must_use]
pub fn now_us() -> i64 {
    i64::try_from(since_1970().as_micros()).unwrap_or(i64::MAX)
}

/// Seconds since 1970 in UTC.
#[must_use]
pub fn now_s() -> i64 {
    now_us().div_euclid(1_000_000)
}

/// The time since 1970 in UTC; zero for a clock that is set before.
#[must_use]
pub fn since_1970() -> Duration {
    now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
