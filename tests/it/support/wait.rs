//! Waiting for something to become true: by looking at the state again and again, never by counting
//! notifications or sleeping for a guessed time.

use futures_util::FutureExt as _;
use std::{fmt::Debug, panic::AssertUnwindSafe, time::Duration};
use tokio::time::Instant;

/// How long anything may take to settle. Far above what it takes on a busy machine: only a failure waits it out.
pub(crate) const SETTLES_WITHIN: Duration = Duration::from_secs(30);

/// The pause between two looks: short against what is waited for, long against the cost of a look.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Looks until what is seen is enough, and returns it. Fails with the last thing seen:
/// `eventually("all are delivered", async || delivered(&db).await, |count| *count == 3).await`.
pub(crate) async fn eventually<T: Debug>(
    what: &str,
    look: impl AsyncFnMut() -> T,
    enough: impl Fn(&T) -> bool,
) -> T {
    within(SETTLES_WITHIN, what, look, enough).await
}

/// As [`eventually`], with a bound of its own.
pub(crate) async fn within<T: Debug>(
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> T,
    enough: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        let seen = look().await;
        if enough(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}; last seen: {seen:?}");
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

#[tokio::test]
async fn waiting_ends_with_what_was_waited_for() {
    let mut count = 0;
    let seen = eventually(
        "it reaches 3",
        async || {
            count += 1;
            count
        },
        |count| *count == 3,
    )
    .await;
    assert_eq!(seen, 3);
}

#[tokio::test]
async fn waiting_in_vain_fails_with_the_last_thing_seen() {
    let limit = Duration::from_millis(1);
    let waiting = within(limit, "it is 4", async || 3, |n| *n == 4);
    let panic = AssertUnwindSafe(waiting).catch_unwind().await.expect_err("it never is");
    let message = panic.downcast_ref::<String>().expect("a message");
    assert!(message.contains("it is 4; last seen: 3"), "{message}");
}
