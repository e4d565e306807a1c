//! Generates seeded pseudo-random numbers (SplitMix64): fast, and the same on every machine and in every version.

/// Pseudo-random number generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Creates the generator of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// Returns a number from 0 to `end`, exclusive.
    pub fn below(&mut self, end: u32) -> u32 {
        // The product's upper half: no division, and a bias of 2^-32 is acceptable here.
        let scaled = (self.bits() >> 32) * u64::from(end);
        u32::try_from(scaled >> 32).unwrap_or_default()
    }

    /// Returns a number from -`spread` to `spread`, inclusive.
    pub fn around(&mut self, spread: u32) -> i32 {
        let width = i64::from(spread);
        i32::try_from(i64::from(self.below(2 * spread + 1)) - width).unwrap_or_default()
    }

    /// Returns a number from 0 to 1, exclusive.
    pub fn unit(&mut self) -> f64 {
        f64::from(self.below(u32::MAX)) / f64::from(u32::MAX)
    }

    /// Returns true with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_bounds_and_reach_them() {
        let mut random = Random::new(1);
        let drawn: Vec<i32> = (0..10_000).map(|_| random.around(3)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&-3), Some(&3)));
        assert!((0..10_000).all(|_| random.unit() < 1.0));
    }

    #[test]
    fn a_share_is_about_what_was_asked() {
        let mut random = Random::new(2);
        let hits = (0..100_000).filter(|_| random.chance(0.2)).count();
        assert!((19_000..21_000).contains(&hits), "{hits}");
    }

    #[test]
    fn the_stream_is_the_published_one() {
        // The first outputs of SplitMix64 for the seed 1234567.
        let mut random = Random::new(1_234_567);
        assert_eq!([random.bits(), random.bits()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }
}
