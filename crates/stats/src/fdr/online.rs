//! Tests that come one after another without end, each decided at once.
//!
//! R1. The level of a test depends on the tests before it alone, and never sinks because one of them was a
//! discovery: with independent tests the false discovery rate is then at most `alpha`, at every time.
//! R2. Memory is bounded. A discovery pays into the levels of all tests to come, the less the longer ago it
//! is. Discoveries of long ago, apart by at most 1/256 of their age, are counted together at the age of the
//! oldest. That makes a level smaller, by less than 1 % and never before 512 tests, so R1 stands. About
//! 512 counts are kept at most, and 256 more each time the number of tests doubles after that: some 3 300
//! in a million.
//! R3. What is not a number from 0 to 1 is not a p-value: it is no test, and uses nothing up.

use super::is_p_value;

/// LORD++: Ramdas, Yang, Wainwright & Jordan, Online control of the false discovery rate with decaying
/// memory, NIPS (2017); the level of test t is `γ(t) w + γ(t - τ1) (α - w) + α Σ γ(t - τj)` over
/// the later discoveries τj, with w = α / 2. The weights `γ(j)` are in proportion to
/// `log(max(j, 2)) / (j exp(sqrt(log j)))` (Javanmard & Montanari, Ann. Stat. 46 (2018), 526-554) and sum to
/// one without end.
#[derive(Clone, Debug, PartialEq)]
pub struct Lord {
    alpha: f64,
    spent: Spent,
}

impl Lord {
    /// No tests so far. `alpha`: the false discovery rate not to be exceeded, strictly between 0 and 1.
    pub fn new(alpha: f64) -> Self {
        assert!(alpha > 0.0 && alpha < 1.0, "a rate between 0 and 1");
        Self {
            alpha,
            spent: Spent::default(),
        }
    }

    /// The level of the next test: it is a discovery if its p-value is not above. The time is that of the
    /// counts kept (R2).
    pub fn level(&self) -> f64 {
        self.alpha * self.spent.weight(slow_weight)
    }

    /// Whether the next test is a discovery.
    pub fn add(&mut self, p_value: f64) -> bool {
        if !is_p_value(p_value) {
            return false;
        }
        let discovery = p_value <= self.level();
        self.spent.tick();
        if discovery {
            self.spent.discover();
        }
        discovery
    }
}

/// SAFFRON: Ramdas, Zrnic, Wainwright & Jordan, ICML (2018), arXiv 1802.09098: as [`Lord`], but
/// only a p-value above λ = 1/2 uses something up, for which each level is smaller by the factor 1 - λ; it is
/// at most λ. Better than LORD++ where discoveries are many. The weights are in proportion to `j^-1.6`.
#[derive(Clone, Debug, PartialEq)]
pub struct Saffron {
    alpha: f64,
    /// Its clock counts the p-values above λ.
    spent: Spent,
}

/// λ of SAFFRON.
const CANDIDATE: f64 = 0.5;

impl Saffron {
    /// No tests so far. `alpha`: the false discovery rate not to be exceeded, strictly between 0 and 1.
    pub fn new(alpha: f64) -> Self {
        assert!(alpha > 0.0 && alpha < 1.0, "a rate between 0 and 1");
        Self {
            alpha,
            spent: Spent::default(),
        }
    }

    /// The level of the next test: it is a discovery if its p-value is not above. The time is that of the
    /// counts kept (R2).
    pub fn level(&self) -> f64 {
        let level = (1.0 - CANDIDATE) * self.alpha * self.spent.weight(fast_weight);
        level.min(CANDIDATE)
    }

    /// Whether the next test is a discovery.
    pub fn add(&mut self, p_value: f64) -> bool {
        if !is_p_value(p_value) {
            return false;
        }
        let discovery = p_value <= self.level();
        if p_value > CANDIDATE {
            self.spent.tick();
        }
        if discovery {
            self.spent.discover();
        }
        discovery
    }
}

/// The share of `alpha` for the start; the first discovery adds the rest.
const START: f64 = 0.5;

/// Discoveries younger than twice as many ticks are kept one by one (R2).
const EXACT: u64 = 256;

/// When there were discoveries, on a clock that each test which uses something up moves by one.
#[derive(Clone, Debug, Default, PartialEq)]
struct Spent {
    clock: u64,
    first: Option<u64>,
    /// The discoveries after the first, oldest count first.
    later: Vec<Count>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Count {
    /// The time of the oldest, or one shortly before.
    since: u64,
    discoveries: u64,
}

impl Spent {
    /// The level of the next test, in parts of `alpha`.
    fn weight(&self, weight: fn(f64) -> f64) -> f64 {
        let after = |since: u64| weight((self.clock - since + 1) as f64);
        let later = self.later.iter();
        let later: f64 = later
            .map(|it| it.discoveries as f64 * after(it.since))
            .sum();
        START * after(0) + self.first.map_or(0.0, |it| (1.0 - START) * after(it)) + later
    }

    fn discover(&mut self) {
        if self.first.is_none() {
            self.first = Some(self.clock);
            return;
        }
        match self.later.last_mut() {
            Some(last) if last.since == self.clock => last.discoveries += 1,
            _ => self.later.push(Count {
                since: self.clock,
                discoveries: 1,
            }),
        }
    }

    /// Moves the clock, and counts together what has become old: times are rounded down to a power of two
    /// that is at most 1/256 of the age, whatever other discoveries there are (R1).
    fn tick(&mut self) {
        self.clock += 1;
        for count in &mut self.later {
            let coarse = ((self.clock - count.since) / EXACT).max(1).ilog2();
            count.since = count.since >> coarse << coarse;
        }
        self.later.dedup_by(|it, before| {
            let same = it.since == before.since;
            if same {
                before.discoveries += it.discoveries;
            }
            same
        });
    }
}

/// Of [`Lord`]. One over the sum of all terms, by the Euler-Maclaurin formula.
fn slow_weight(j: f64) -> f64 {
    const SHARE: f64 = 0.079_081_966_722_115_14;
    let log = j.ln();
    SHARE * j.max(2.0).ln() / (j * log.sqrt().exp())
}

/// Of [`Saffron`]: one over Riemann's zeta function at 1.6.
fn fast_weight(j: f64) -> f64 {
    const SHARE: f64 = 0.437_490_165_774_473_6;
    SHARE * j.powf(-1.6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Both procedures behind one face.
    trait Online {
        fn start(alpha: f64) -> Self;
        fn next_level(&self) -> f64;
        fn decide(&mut self, p_value: f64) -> bool;
    }

    impl Online for Lord {
        fn start(alpha: f64) -> Self {
            Self::new(alpha)
        }
        fn next_level(&self) -> f64 {
            self.level()
        }
        fn decide(&mut self, p_value: f64) -> bool {
            self.add(p_value)
        }
    }

    impl Online for Saffron {
        fn start(alpha: f64) -> Self {
            Self::new(alpha)
        }
        fn next_level(&self) -> f64 {
            self.level()
        }
        fn decide(&mut self, p_value: f64) -> bool {
            self.add(p_value)
        }
    }

    fn near(got: f64, want: f64) {
        assert!((got - want).abs() <= 1e-14 * want, "{got}, not {want}");
    }

    #[test]
    fn the_weights_sum_to_one_and_never_grow() {
        for (weight, rest) in [
            // Beyond N: C * 2 Γ(4, x) at x = sqrt(log N), and N^-0.6 / 0.6 over zeta(1.6).
            (slow_weight as fn(f64) -> f64, {
                let x = 100_000f64.ln().sqrt();
                let gamma = (-x).exp() * (x.powi(3) + 3.0 * x * x + 6.0 * x + 6.0);
                0.07908196672211514 * 2.0 * gamma
            }),
            (
                fast_weight,
                0.4374901657744736 / 0.6 * 100_000f64.powf(-0.6),
            ),
        ] {
            let terms = (1..100_000).map(|it| weight(f64::from(it)));
            let sum = terms.sum::<f64>() + weight(100_000.0) / 2.0 + rest;
            assert!((sum - 1.0).abs() < 1e-9, "{sum}");
            assert!((1..1_000).all(|it| weight(f64::from(it)) > weight(f64::from(it + 1))));
        }
    }

    #[test]
    fn levels_of_lord_by_hand() {
        let mut lord = Lord::new(0.1);
        let weight = slow_weight;
        near(lord.level(), 0.05 * weight(1.0));
        assert!(!lord.add(0.9));
        near(lord.level(), 0.05 * weight(2.0));
        assert!(!lord.add(f64::NAN) && !lord.add(-0.5));
        assert!(lord.add(0.0));
        near(lord.level(), 0.05 * weight(3.0) + 0.05 * weight(1.0));
        assert!(lord.add(1e-9));
        assert!(lord.add(lord.level()));
        let want = 0.05 * (weight(5.0) + weight(3.0)) + 0.1 * (weight(2.0) + weight(1.0));
        near(lord.level(), want);
    }

    #[test]
    fn levels_of_saffron_by_hand() {
        let mut saffron = Saffron::new(0.1);
        let weight = fast_weight;
        near(saffron.level(), 0.025 * weight(1.0));
        // A candidate costs nothing, a p-value above one half does.
        assert!(!saffron.add(0.5));
        near(saffron.level(), 0.025 * weight(1.0));
        assert!(!saffron.add(0.6));
        near(saffron.level(), 0.025 * weight(2.0));
        assert!(saffron.add(0.0));
        near(saffron.level(), 0.025 * (weight(2.0) + weight(1.0)));
        assert!(saffron.add(0.0) && !saffron.add(1.0));
        let want = 0.025 * (weight(3.0) + weight(2.0)) + 0.05 * weight(2.0);
        near(saffron.level(), want);
        // Never above one half, however many discoveries there were.
        (0..1_000).for_each(|_| assert!(saffron.add(0.0)));
        assert_eq!(saffron.level(), 0.5);
    }

    #[test]
    fn old_discoveries_are_counted_together_and_cost_little() {
        let mut spent = Spent::default();
        for tests in 1..=20_000u64 {
            spent.tick();
            spent.discover();
            let doublings = (tests / 512).max(1).ilog2() as usize + 1;
            assert!(spent.later.len() <= 512 + 256 * doublings);
            if tests % 1_000 != 500 && tests != 512 {
                continue;
            }
            for weight in [slow_weight as fn(f64) -> f64, fast_weight] {
                let each = (1..tests).map(|it| weight(it as f64)).sum::<f64>();
                let ends = (weight((tests + 1) as f64) + weight(tests as f64)) / 2.0;
                let got = spent.weight(weight);
                assert!(got <= (each + ends) * (1.0 + 1e-12) && got >= 0.99 * (each + ends));
                assert!(tests > 512 || (got / (each + ends) - 1.0).abs() < 1e-12);
            }
        }
        let kept: u64 = spent.later.iter().map(|it| it.discoveries).sum();
        assert_eq!(kept, 19_999);
    }

    /// Uniform on (0, 1].
    fn roll(random: &mut Random) -> f64 {
        ((random.bits() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    const ALPHA: f64 = 0.05;

    fn without_signals<P: Online>(runs: u32) {
        let mut random = Random::new(20_261_124);
        let mut with_any = 0;
        for _ in 0..runs {
            let mut procedure = P::start(ALPHA);
            let found = |_: &i32| procedure.decide(roll(&mut random));
            with_any += (0..1_000).filter(found).count().min(1);
        }
        let noise = 3.0 * (ALPHA * (1.0 - ALPHA) / f64::from(runs)).sqrt();
        let share = with_any as f64 / f64::from(runs);
        assert!(share <= ALPHA + noise, "{share}");
    }

    /// One test in ten is of a signal: its p-value is a uniform one to the 12th power, half of them below
    /// 0.00025.
    fn with_signals<P: Online>(runs: u32, power: f64) {
        let mut random = Random::new(20_261_125);
        let (mut proportions, mut found, mut signals) = (0.0, 0, 0);
        for _ in 0..runs {
            let mut procedure = P::start(ALPHA);
            let (mut right, mut wrong) = (0, 0);
            for _ in 0..1_000 {
                let signal = roll(&mut random) <= 0.1;
                let uniform = roll(&mut random);
                let p_value = if signal { uniform.powi(12) } else { uniform };
                let level = procedure.next_level();
                let discovery = procedure.decide(p_value);
                assert_eq!(discovery, p_value <= level);
                signals += u32::from(signal);
                right += u32::from(signal && discovery);
                wrong += u32::from(!signal && discovery);
            }
            proportions += f64::from(wrong) / f64::from((right + wrong).max(1));
            found += right;
        }
        let rate = proportions / f64::from(runs);
        assert!(rate < ALPHA, "{rate}");
        let share = f64::from(found) / f64::from(signals);
        assert!(share > power, "{share}");
    }

    #[test]
    fn without_signals_a_discovery_is_rarer_than_alpha() {
        without_signals::<Lord>(1_000);
        without_signals::<Saffron>(1_000);
    }

    #[test]
    fn with_signals_the_false_share_stays_below_alpha() {
        with_signals::<Lord>(100, 0.4);
        with_signals::<Saffron>(100, 0.4);
    }
}
