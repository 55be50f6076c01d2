//! What a model may cost, and what happens when it costs more.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ledger::Share;
use crate::manifest::Span;

/// What a unit of each resource costs, in one currency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// The currency's name, for people: `USD`.
    pub currency: String,
    /// An hour of one core.
    #[serde(default)]
    pub cpu_hour: f64,
    /// An hour of one accelerator.
    #[serde(default)]
    pub accelerator_hour: f64,
    /// An hour of one GiB of memory.
    #[serde(default)]
    pub memory_gib_hour: f64,
}

impl Prices {
    /// Whether every price is a number from 0 up; else the name of one that is not.
    pub fn check(&self) -> Result<(), &'static str> {
        let all = [
            ("cpu_hour", self.cpu_hour),
            ("accelerator_hour", self.accelerator_hour),
            ("memory_gib_hour", self.memory_gib_hour),
        ];
        let wrong = all
            .iter()
            .find(|(_, price)| !price.is_finite() || *price < 0.0);
        wrong.map_or(Ok(()), |(name, _)| Err(name))
    }

    /// What was used, in money.
    pub fn cost(&self, used: Used) -> f64 {
        const MICROS_AN_HOUR: f64 = 3600e6;
        used.cpu_us / MICROS_AN_HOUR * self.cpu_hour
            + used.accelerator_us / MICROS_AN_HOUR * self.accelerator_hour
            + used.memory_mib_s / 1024.0 / 3600.0 * self.memory_gib_hour
    }
}

/// What a prediction used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used {
    /// Microseconds of one core.
    pub cpu_us: f64,
    /// Microseconds of one accelerator.
    pub accelerator_us: f64,
    /// Mebibytes held, times seconds.
    pub memory_mib_s: f64,
}

/// The most that a model's predictions may cost in a span of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// In the currency of the server's price file.
    pub cost: f64,
    /// The span that it is for: `1h`, `1d`.
    pub per: Span,
    /// From this share of it on it is said that it runs out.
    #[serde(default = "Budget::warn_default")]
    pub warn: Share,
    /// How far over it all requests are refused, as a share of it; between the budget and there more and
    /// more are. With `0%` all are refused as soon as it is spent.
    #[serde(default = "Budget::over_default")]
    pub over: Share,
}

impl Budget {
    /// Whether it can be kept; else the setting that is wrong and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if !self.cost.is_finite() || self.cost <= 0.0 {
            return Err(("budget.cost", format!("`{}` is not over 0", self.cost)));
        }
        if self.per.0.as_secs() == 0 {
            return Err(("budget.per", format!("`{}` is not at least 1s", self.per)));
        }
        Ok(())
    }

    fn warn_default() -> Share {
        "80%".parse().unwrap_or_default()
    }

    fn over_default() -> Share {
        "20%".parse().unwrap_or_default()
    }
}

/// What a budget says to the next request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing.
    Within,
    /// It is answered, and somebody should know.
    Warn,
    /// A part of the requests is answered: this share of them.
    Throttle(f64),
    /// None is.
    Shed,
}

/// What the budget says when so much of it is `spent`.
pub fn verdict(budget: &Budget, spent: f64) -> Verdict {
    let share = spent / budget.cost;
    let over = budget.over.get();
    if share < budget.warn.get().min(1.0) {
        Verdict::Within
    } else if share < 1.0 {
        Verdict::Warn
    } else if share < 1.0 + over {
        Verdict::Throttle((1.0 + over - share) / over)
    } else {
        Verdict::Shed
    }
}

/// What was spent within the last span, in so many equal parts of it: the oldest part is forgotten as a
/// new one begins, so that a budget comes back little by little.
#[derive(Clone, Debug)]
pub struct Spent {
    part_ms: i64,
    /// The number of the newest part since 1970.
    newest: i64,
    parts: [f64; PARTS],
    /// Adds up the shares of requests that may be answered; one is when it is full.
    admitted: f64,
}

const PARTS: usize = 24;

impl Spent {
    /// Nothing spent.
    pub fn new(per: std::time::Duration) -> Self {
        let part = per.as_millis() / PARTS as u128;
        Self {
            part_ms: i64::try_from(part).unwrap_or(i64::MAX).max(1),
            newest: i64::MIN,
            parts: [0.0; PARTS],
            admitted: 0.0,
        }
    }

    /// Something was spent at a time, in milliseconds since 1970. What lies before the span is not counted.
    pub fn add(&mut self, now_ms: i64, cost: f64) {
        let part = now_ms.div_euclid(self.part_ms);
        self.forget(part);
        if self.newest.saturating_sub(part) < PARTS as i64 {
            self.parts[slot(part)] += cost;
        }
    }

    /// What was spent within the span that ends now.
    pub fn total(&mut self, now_ms: i64) -> f64 {
        self.forget(now_ms.div_euclid(self.part_ms));
        self.parts.iter().sum()
    }

    /// What the budget says to the next request, and whether it is answered.
    pub fn admit(&mut self, budget: &Budget, now_ms: i64) -> (Verdict, bool) {
        let verdict = verdict(budget, self.total(now_ms));
        let admitted = match verdict {
            Verdict::Within | Verdict::Warn => true,
            Verdict::Shed => false,
            Verdict::Throttle(share) => {
                self.admitted += share;
                let full = self.admitted >= 1.0;
                self.admitted -= f64::from(u8::from(full));
                full
            }
        };
        (verdict, admitted)
    }

    /// Milliseconds until the oldest part is forgotten.
    pub fn retry_ms(&self, now_ms: i64) -> i64 {
        self.part_ms - now_ms.rem_euclid(self.part_ms)
    }

    fn forget(&mut self, part: i64) {
        if part <= self.newest {
            return;
        }
        let gone = part.saturating_sub(self.newest).min(PARTS as i64);
        for step in 0..gone {
            self.parts[slot(part - step)] = 0.0;
        }
        self.newest = part;
    }
}

fn slot(part: i64) -> usize {
    usize::try_from(part.rem_euclid(PARTS as i64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn budget(cost: f64) -> Budget {
        Budget {
            cost,
            per: Span(Duration::from_secs(24)),
            warn: Budget::warn_default(),
            over: Budget::over_default(),
        }
    }

    #[test]
    fn a_budget_warns_then_throttles_then_sheds() {
        let budget = budget(10.0);
        for (spent, want) in [
            (0.0, Verdict::Within),
            (7.9, Verdict::Within),
            (8.0, Verdict::Warn),
            (12.0, Verdict::Shed),
        ] {
            assert_eq!(verdict(&budget, spent), want, "{spent}");
        }
        for (spent, want) in [(10.0, 1.0), (11.5, 0.25)] {
            let Verdict::Throttle(share) = verdict(&budget, spent) else {
                panic!("between the budget and its end")
            };
            assert!((share - want).abs() < 1e-9, "{share}");
        }
    }

    #[test]
    fn a_throttled_budget_answers_its_share() {
        let budget = budget(10.0);
        let mut spent = Spent::new(budget.per.0);
        spent.add(0, 11.5);
        let answered = (0..400).filter(|_| spent.admit(&budget, 0).1).count();
        assert_eq!(answered, 100);
    }

    #[test]
    fn what_was_spent_a_span_ago_is_forgotten() {
        let mut spent = Spent::new(Duration::from_secs(24));
        spent.add(0, 1.0);
        spent.add(12_000, 2.0);
        assert_eq!(spent.total(23_999), 3.0);
        assert_eq!(spent.total(24_000), 2.0);
        assert_eq!(spent.total(36_000), 0.0);
        spent.add(1_000, 5.0);
        assert_eq!(spent.total(36_000), 0.0);
    }

    #[test]
    fn resources_cost_their_price() {
        let prices = Prices {
            currency: "USD".to_owned(),
            cpu_hour: 0.04,
            accelerator_hour: 2.0,
            memory_gib_hour: 0.005,
        };
        let hour = Used {
            cpu_us: 3600e6,
            accelerator_us: 1800e6,
            memory_mib_s: 1024.0 * 3600.0,
        };
        assert!((prices.cost(hour) - 1.045).abs() < 1e-12);
        assert_eq!(prices.check(), Ok(()));
    }
}
