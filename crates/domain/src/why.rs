//! What most likely made a model change around a moment: clues in the order in which one should look at them.
//!
//! R1. A clue is something that surely happened or changed; what may be chance is none.
//! R2. What somebody did may be the cause of everything else, other inputs of what the model answers and how long it
//!     takes, more requests of latency. What rules did about alerts is an effect.
//! R3. The nearer in time the likelier: a quarter of the window farther is half as likely.
//! R4. The more a change is beyond the smallest that matters the likelier, though it is never more than twice as likely.
//! R5. What began after the first symptom did is half as likely.

use crate::alert::Evidence;

/// What part of the story a clue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Somebody did something: another version, another alias.
    Deed,
    /// Rows are other than they were.
    Input,
    /// There are more or fewer of them.
    Load,
    /// Answers, latency, errors, cost or quality are other than they were; an alert began.
    Symptom,
    /// A rule did something about an alert.
    Reaction,
}

impl Role {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deed => "deed",
            Self::Input => "input",
            Self::Load => "load",
            Self::Symptom => "symptom",
            Self::Reaction => "reaction",
        }
    }

    /// How likely it is the cause of the others (R2).
    fn weight(self) -> f64 {
        match self {
            Self::Deed => 1.0,
            Self::Input => 0.8,
            Self::Load => 0.4,
            Self::Symptom => 0.2,
            Self::Reaction => 0.1,
        }
    }
}

/// Something that surely happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Clue {
    /// What part it has.
    pub role: Role,
    /// What it is, in a word: `traffic`, `drift`, `latency`.
    pub kind: &'static str,
    /// What it is about: a feature, a code; may be empty.
    pub subject: String,
    /// When it happened or began, as far as that is known, in microseconds since 1970.
    pub at_us: i64,
    /// How many times the smallest change that matters; at least 1. What has no size has [`f64::INFINITY`].
    pub size: f64,
    /// A sentence, with the numbers in it.
    pub summary: String,
    /// The numbers.
    pub evidence: Evidence,
}

/// The time that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Around {
    /// The moment.
    pub at_us: i64,
    /// How long before and behind it.
    pub window_us: i64,
    /// How exactly it is known when something began.
    pub span_us: i64,
}

/// The clues within the window, the likeliest cause first, each with how likely it is: from 0 to 1, to compare alone.
/// What is dated to a span may begin up to one before the window does, as spans do not begin where windows do.
pub fn rank(clues: Vec<Clue>, around: Around) -> Vec<(f64, Clue)> {
    let Around {
        at_us,
        window_us,
        span_us,
    } = around;
    let farthest = window_us.saturating_add(span_us);
    let symptoms = clues.iter().filter(|it| it.role == Role::Symptom);
    let first = symptoms.map(|it| it.at_us).min();
    let mut ranked: Vec<(f64, Clue)> = clues
        .into_iter()
        .filter(|it| (it.at_us - at_us).abs() <= farthest)
        .map(|clue| {
            let distance = (clue.at_us - at_us).abs() as f64 / window_us.max(1) as f64;
            let closeness = (-4.0 * distance).exp2();
            let size = if clue.size.is_finite() {
                clue.size.max(1.0) / (1.0 + clue.size.max(1.0))
            } else {
                1.0
            };
            let after = first.is_some_and(|it| clue.at_us > it.saturating_add(span_us));
            let late = if after { 0.5 } else { 1.0 };
            (clue.role.weight() * closeness * size * late, clue)
        })
        .collect();
    ranked.sort_by(|(a, one), (b, other)| {
        b.total_cmp(a)
            .then(one.role.cmp(&other.role))
            .then(one.at_us.cmp(&other.at_us))
            .then_with(|| one.subject.cmp(&other.subject))
    });
    ranked
}

/// The first of values from which on most are nearer to `changed` than to `usual`; the first of all where there is none.
pub fn onset(values: &[Option<f64>], usual: f64, changed: f64) -> usize {
    // The split that has the most values on their own side.
    let is_changed = |it: f64| (it - changed).abs() < (it - usual).abs();
    let mut right = values
        .iter()
        .flatten()
        .filter(|it| is_changed(**it))
        .count() as i64;
    let (mut best, mut place) = (right, 0);
    for (index, value) in values.iter().enumerate() {
        if let Some(value) = value {
            right += if is_changed(*value) { -1 } else { 1 };
        }
        if right > best {
            (best, place) = (right, index + 1);
        }
    }
    place.min(values.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn clue(role: Role, minutes: i64, size: f64) -> Clue {
        Clue {
            role,
            kind: "it",
            subject: format!("{} {minutes}", role.name()),
            at_us: minutes * MINUTE,
            size,
            summary: String::new(),
            evidence: Evidence::new(),
        }
    }

    fn order(clues: &[Clue]) -> Vec<String> {
        let around = Around {
            at_us: 0,
            window_us: 60 * MINUTE,
            span_us: 5 * MINUTE,
        };
        let ranked = rank(clues.to_vec(), around);
        assert!(ranked.iter().all(|(score, _)| (0.0..=1.0).contains(score)));
        ranked.into_iter().map(|it| it.1.subject).collect()
    }

    #[test]
    fn causes_come_before_their_effects() {
        let all = [
            clue(Role::Reaction, 3, f64::INFINITY),
            clue(Role::Symptom, 1, 20.0),
            clue(Role::Load, 0, 3.0),
            clue(Role::Input, 0, 3.0),
            clue(Role::Deed, 0, f64::INFINITY),
        ];
        let want = ["deed 0", "input 0", "load 0", "symptom 1", "reaction 3"];
        assert_eq!(order(&all), want);
    }

    #[test]
    fn what_is_nearer_and_greater_is_likelier() {
        let near_and_far = [
            clue(Role::Deed, -50, f64::INFINITY),
            clue(Role::Input, -5, 2.0),
        ];
        assert_eq!(order(&near_and_far), ["input -5", "deed -50"]);
        let sizes = [clue(Role::Input, 1, 1.2), clue(Role::Input, 2, 9.0)];
        assert_eq!(order(&sizes), ["input 2", "input 1"]);
        assert_eq!(order(&[clue(Role::Deed, 66, 1.0)]), [""; 0]);
    }

    /// In spans of five minutes the hour before 14:03 begins at 13:00.
    #[test]
    fn what_began_with_the_windows_first_span_is_within() {
        assert_eq!(order(&[clue(Role::Input, -63, 3.0)]), ["input -63"]);
        assert_eq!(order(&[clue(Role::Input, -65, 3.0)]), ["input -65"]);
    }

    #[test]
    fn the_longest_window_holds_everything() {
        let around = Around {
            at_us: 0,
            window_us: i64::MAX,
            span_us: 5 * MINUTE,
        };
        assert_eq!(rank(vec![clue(Role::Deed, -90, 1.0)], around).len(), 1);
    }

    /// A deed after the latency went up did not make it go up.
    #[test]
    fn no_cause_comes_after_its_effect() {
        let all = [
            clue(Role::Symptom, -20, 3.0),
            clue(Role::Input, -22, 3.0),
            clue(Role::Deed, -8, f64::INFINITY),
        ];
        let both = order(&all);
        assert_eq!(
            both[0], "deed -8",
            "near enough to be looked at all the same"
        );
        let later = [
            clue(Role::Symptom, 2, 3.0),
            clue(Role::Input, 0, 3.0),
            clue(Role::Deed, 9, f64::INFINITY),
        ];
        assert_eq!(order(&later)[0], "input 0");
    }

    #[test]
    fn a_change_begins_where_the_values_turn() {
        let of = |text: &str| {
            let values: Vec<Option<f64>> = text
                .chars()
                .map(|it| it.to_digit(10).map(f64::from))
                .collect();
            onset(&values, 1.0, 5.0)
        };
        assert_eq!(of("111155"), 4);
        assert_eq!(of("1115155"), 3);
        assert_eq!(of("555"), 0);
        assert_eq!(of("11 5 5"), 2);
        assert_eq!(of(""), 0);
    }
}
