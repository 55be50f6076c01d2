//! How a bandit moves the shares of an experiment.

use domain::experiment::Allocation;
use domain::experiment::course::Experiment;
use domain::rollout::test::Better;
use stats::random::{Random, mixed};
use stats::sequential::bandit;
use stats::sequential::means::Values;
use stats::sequential::proportion::Tally;

use super::Arm;

/// The shares that a bandit gives after what was seen; none where shares never move.
pub(super) fn bandits(experiment: &Experiment, arms: &[Arm]) -> Option<Vec<f64>> {
    let plan = &experiment.plan;
    let spec = plan.spec();
    let is_lower = spec.better() == Some(Better::Lower);
    let tallies = arms.iter().map(|it| it.tally(spec.metric.is_share()));
    let tallies: Option<Vec<Tally>> = tallies.collect();
    let arms: Vec<bandit::Arm> = match tallies {
        Some(tallies) => {
            let good = |it: Tally| match is_lower {
                true => Tally::new(it.units, it.units - it.events),
                false => it,
            };
            tallies
                .into_iter()
                .map(|it| bandit::Arm::Events(good(it)))
                .collect()
        }
        None => {
            let good = |arm: &Arm| {
                let mut values = Values::default();
                for (_, _, value, _) in &arm.units {
                    values.add(if is_lower { -value } else { *value });
                }
                bandit::Arm::Values(values)
            };
            arms.iter().map(good).collect()
        }
    };
    match spec.allocation {
        Allocation::Fixed => None,
        Allocation::Thompson { floor, .. } => {
            // The same draws for the same event, so that it can be told again.
            let id = plan.id().as_str().bytes();
            let seed = id.fold(experiment.progress.events, |seed, byte| {
                mixed(seed ^ u64::from(byte))
            });
            Some(bandit::thompson(&arms, floor.get(), &mut Random::new(seed)))
        }
        Allocation::EpsilonGreedy { epsilon, floor, .. } => {
            Some(bandit::epsilon_greedy(&arms, epsilon.get(), floor.get()))
        }
    }
}
