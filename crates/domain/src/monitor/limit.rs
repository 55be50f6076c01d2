//! Whether a figure is beyond what is allowed, as far as its interval tells.

use crate::alert::Verdict;

/// A figure that was measured and, where one can be given, its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// The figure.
    pub value: f64,
    /// The interval's lower end.
    pub low: Option<f64>,
    /// The interval's upper end.
    pub high: Option<f64>,
}

/// Where a figure stops being acceptable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// It is bad below.
    Under(f64),
    /// It is bad above.
    Over(f64),
}

impl Limit {
    /// `Bad` only where the interval's better end is beyond the limit, so that neither chance nor an improvement is an
    /// alarm. `Fine` where the figure itself is within. Else it cannot be told: what is bad stays bad until
    /// the figure is back, and what is fine stays fine.
    pub fn judge(self, figure: Figure) -> Verdict {
        let Figure { value, low, high } = figure;
        let (within, beyond) = match self {
            Self::Under(limit) => (value >= limit, high.is_some_and(|it| it < limit)),
            Self::Over(limit) => (value <= limit, low.is_some_and(|it| it > limit)),
        };
        match (within, beyond) {
            (true, _) => Verdict::Fine,
            (false, true) => Verdict::Bad,
            (false, false) => Verdict::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(limit: Limit, value: f64, ends: Option<(f64, f64)>, want: Verdict) {
        let figure = Figure {
            value,
            low: ends.map(|it| it.0),
            high: ends.map(|it| it.1),
        };
        assert_eq!(limit.judge(figure), want, "{limit:?} {figure:?}");
    }

    #[test]
    fn bad_is_what_chance_cannot_explain() {
        let under = Limit::Under(0.7);
        check(under, 0.6, Some((0.55, 0.65)), Verdict::Bad);
        check(under, 0.68, Some((0.6, 0.74)), Verdict::Unknown);
        check(under, 0.6, None, Verdict::Unknown);
        check(under, 0.7, Some((0.6, 0.8)), Verdict::Fine);
        let over = Limit::Over(0.1);
        check(over, 0.3, Some((0.2, 0.4)), Verdict::Bad);
        check(over, 0.3, Some((0.05, 0.5)), Verdict::Unknown);
        check(over, 0.05, None, Verdict::Fine);
    }

    #[test]
    fn an_improvement_is_never_bad() {
        check(Limit::Under(0.7), 0.99, Some((0.98, 1.0)), Verdict::Fine);
        check(Limit::Over(0.6), 0.1, Some((0.0, 0.2)), Verdict::Fine);
    }
}
