//! Batches form by themselves: what has arrived, up to a limit, without waiting for more.
//!
//! While one batch commits the next gathers where it waits anyway: in the consumer's prefetch window, in
//! the queue's table, or among the callers of the ingress.

use futures_util::{FutureExt, Stream, StreamExt, stream::Peekable};
use std::pin::Pin;

/// How much one transaction takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Events; at least one is always taken.
    pub events: usize,
    /// Bytes of their bodies; a single larger body is a batch of its own.
    pub bytes: usize,
}

impl Default for Limits {
    /// 500 events or 1 MiB: larger batches are no faster, and a batch needs some ten times its bytes while it is under
    /// way.
    fn default() -> Self {
        Self { events: 500, bytes: 1024 * 1024 }
    }
}

/// How much a batch holds so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Load {
    /// Events.
    pub events: usize,
    /// Bytes of their bodies.
    pub bytes: usize,
}

impl Load {
    /// Takes one more event of a size in, unless a limit forbids it; whether it did.
    pub fn take(&mut self, size: usize, limits: Limits) -> bool {
        let bytes = self.bytes.saturating_add(size);
        if self.events > 0 && (self.events >= limits.events || bytes > limits.bytes) {
            return false;
        }
        self.events += 1;
        self.bytes = bytes;
        true
    }
}

/// Takes what a stream has ready. Stops before an error, before the end, and where a limit is reached; what it
/// leaves is still there.
pub fn gather<S, T, E>(
    stream: &mut Pin<&mut Peekable<S>>,
    limits: Limits,
    size: impl Fn(&T) -> usize,
) -> Vec<T>
where
    S: Stream<Item = Result<T, E>>,
{
    let mut batch = Vec::new();
    let mut load = Load::default();
    while let Some(Some(Ok(next))) = stream.as_mut().peek().now_or_never() {
        if !load.take(size(next), limits) {
            break;
        }
        match stream.next().now_or_never() {
            Some(Some(Ok(item))) => batch.push(item),
            _ => break,
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use std::pin::pin;

    fn gathered(items: Vec<Result<usize, ()>>, limits: Limits) -> Vec<Vec<usize>> {
        let mut stream = pin!(stream::iter(items).peekable());
        std::iter::from_fn(|| Some(gather(&mut stream, limits, |size| *size)))
            .take_while(|batch| !batch.is_empty())
            .collect()
    }

    #[test]
    fn a_batch_ends_at_its_limits_and_nothing_is_lost_between_two() {
        let limits = Limits { events: 3, bytes: 10 };
        let items = [1, 1, 1, 1, 9, 2, 8, 30, 1].map(Ok).to_vec();
        assert_eq!(
            gathered(items, limits),
            [vec![1, 1, 1], vec![1, 9], vec![2, 8], vec![30], vec![1]]
        );
    }

    #[test]
    fn a_batch_ends_before_an_error() {
        let items = vec![Ok(1), Err(()), Ok(2)];
        assert_eq!(gathered(items, Limits::default()), [[1]]);
    }

    #[test]
    fn a_batch_does_not_wait_for_more() {
        let waiting = stream::iter([Ok::<_, ()>(1)]).chain(stream::pending());
        let mut stream = pin!(waiting.peekable());
        assert_eq!(gather(&mut stream, Limits::default(), |_| 0), [1]);
        assert!(gather(&mut stream, Limits::default(), |_| 0).is_empty());
    }
}
