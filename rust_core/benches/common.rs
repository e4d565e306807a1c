//! How the benches of single steps take the time.

use std::time::Instant;

const TURNS: usize = 31;

/// Nanoseconds that the median turn of `work` takes for each of the `count` things that it does.
pub(crate) fn median_nanos(count: impl TryInto<u128>, mut work: impl FnMut()) -> u128 {
    let count = count.try_into().unwrap_or(u128::MAX);
    let mut nanos: Vec<u128> = (0..TURNS)
        .map(|_| {
            #[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
            let started = Instant::now();
            work();
            started.elapsed().as_nanos() / count
        })
        .collect();
    nanos.sort_unstable();
    nanos.get(TURNS / 2).copied().unwrap_or_default()
}
