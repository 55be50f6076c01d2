//! Random numbers from a seed that the caller chooses: the same seed gives the same numbers, everywhere and for ever.
//!
//! SplitMix64: Steele, Lea & Flood, OOPSLA 2014. Not for secrets.

use crate::interval::normal_quantile;

/// 2^64 over the golden ratio, made odd: by how much the generator's state grows.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The last step of the generator: every bit of what comes out hangs on every bit that went in, so that any of them may be
/// used.
#[inline]
pub fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The bits at a place of the sequence that begins with the seed 0, the first at 1: for numbers that are not drawn one
/// after another.
#[inline]
pub fn nth(place: u64) -> u64 {
    mixed(place.wrapping_mul(STEP))
}

/// A generator. What it holds may be kept and given back to [`Random::new`], and it goes on where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random(u64);

impl Random {
    /// From any number.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// What [`Random::new`] goes on from.
    pub fn state(&self) -> u64 {
        self.0
    }

    /// 64 random bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mixed(self.0)
    }

    /// Even on `[0, 1)`.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Even on `0..count`, which is not empty. Of counts below a million the remainder is as good as even.
    pub fn below(&mut self, count: usize) -> usize {
        (self.bits() % count as u64) as usize
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        // Never at an end of the quantiles.
        normal_quantile((self.uniform() + f64::EPSILON / 4.0).min(1.0 - f64::EPSILON / 2.0))
    }

    /// The gamma distribution with this shape, at least 1, and scale 1: Marsaglia & Tsang, ACM Trans. Math. Softw. 26
    /// (2000), 363-372.
    pub fn gamma(&mut self, shape: f64) -> f64 {
        assert!(shape >= 1.0 && shape.is_finite(), "a shape is at least 1");
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let normal = self.normal();
            let cube = (1.0 + c * normal).powi(3);
            if cube <= 0.0 {
                continue;
            }
            let chance = 1.0 - self.uniform();
            if chance.ln() < normal * normal / 2.0 + d - d * cube + d * cube.ln() {
                return d * cube;
            }
        }
    }

    /// The beta distribution, both parameters at least 1.
    pub fn beta(&mut self, one: f64, other: f64) -> f64 {
        let (one, other) = (self.gamma(one), self.gamma(other));
        one / (one + other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the reference implementation for the seed 1234567.
    #[test]
    fn the_published_numbers() {
        let mut random = Random::new(1_234_567);
        let got = [random.bits(), random.bits(), random.bits()];
        let want = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(got, want);
        assert_eq!(
            [nth(1), nth(2)],
            [Random::new(0).bits(), {
                let mut random = Random::new(0);
                random.bits();
                random.bits()
            }]
        );
        let mut again = Random::new(random.state());
        assert_eq!(again.bits(), random.bits());
    }

    #[test]
    fn means_and_variances_are_those_of_the_distributions() {
        let mut random = Random::new(1);
        let count = 100_000;
        let mut check = |mean: f64, variance: f64, draw: &dyn Fn(&mut Random) -> f64| {
            let drawn: Vec<f64> = (0..count).map(|_| draw(&mut random)).collect();
            let got = drawn.iter().sum::<f64>() / f64::from(count);
            let spread = drawn.iter().map(|it| (it - got).powi(2)).sum::<f64>() / f64::from(count);
            let error = (variance / f64::from(count)).sqrt();
            assert!((got - mean).abs() < 4.0 * error, "{got}, not {mean}");
            assert!(
                (spread / variance - 1.0).abs() < 0.03,
                "{spread}, not {variance}"
            );
        };
        check(0.5, 1.0 / 12.0, &Random::uniform);
        check(0.0, 1.0, &Random::normal);
        check(2.5, 2.5, &|random| random.gamma(2.5));
        check(0.2, 0.2 * 0.8 / 11.0, &|random| random.beta(2.0, 8.0));
        check(4.5, 99.0 / 12.0, &|random| random.below(10) as f64);
    }
}
