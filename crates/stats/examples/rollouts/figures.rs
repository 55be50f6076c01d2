//! What the formulas were found to do when they were chosen, once more: looks without end at a risk of 5 %.

use serde_json::{Value, json};
use stats::random::Random;
use stats::sequential::means::{self, Means};
use stats::sequential::proportion::{Tally, ln_evidence};
use stats::sequential::rates::Rates;
use stats::sequential::{Risks, Verdict, assignment};

use crate::{events, share, spread};

const RISKS: Risks = Risks {
    fail: 0.05,
    pass: 0.05,
};

/// The two that look after each of many requests are of half as many runs.
pub(crate) fn all(runs: usize) -> Value {
    let shares = [0.001, 0.01, 0.1, 0.5].map(|it| json!({"share": it, "missed": missed(runs, it)}));
    let rates = [
        (0.01, 0.01, 0.5, 0.0),
        (0.015, 0.01, 0.5, 0.005),
        (0.02, 0.01, 0.5, 0.0),
        (0.05, 0.01, 0.1, 0.0),
        (0.3, 0.01, 0.05, 0.0),
        (0.03, 0.01, 0.5, 0.005),
    ];
    let rates = rates.map(|it| compared(runs, it));
    let assigned = [(0.1, 0.1), (0.5, 0.5), (0.1, 0.11), (0.5, 0.52)].map(
        |(meant, real)| json!({"meant": meant, "real": real, "found": assigned(runs, meant, real)}),
    );
    json!({
        "share": shares,
        "rates": rates,
        "burn_in": burn_in(runs.div_ceil(2)),
        "assignment": assigned,
        "simpson": simpson(runs.div_ceil(2)),
    })
}

/// How often the interval of a share is wrong at any of 20 000 looks.
fn missed(runs: usize, rate: f64) -> Value {
    let mut random = Random::new(1);
    let missed = (0..runs).filter(|_| {
        let mut tally = Tally::default();
        (0..20_000).any(|_| {
            let event = u64::from(random.uniform() < rate);
            tally = tally.plus(Tally::new(1, event));
            ln_evidence(tally, rate) >= 20f64.ln()
        })
    });
    share(missed.count(), runs)
}

/// How often and when a candidate fails within 20 000 requests, of both arms: by its rate, by its mean.
fn compared(runs: usize, (one, other, weight, margin): (f64, f64, f64, f64)) -> Value {
    let mut random = Random::new(2);
    let (mut by_rate, mut by_mean) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let (mut rates, mut values) = (Rates::new(margin), Means::new(margin, 5_000));
        let (mut rate, mut mean) = (None, None);
        for window in 1..=200 {
            let units = events(&mut random, 100, weight);
            let candidate = Tally::new(units, events(&mut random, units, one));
            let control = Tally::new(100 - units, events(&mut random, 100 - units, other));
            rates.add(candidate, control);
            for (values, tally) in [
                (&mut values.candidate, candidate),
                (&mut values.control, control),
            ] {
                (0..tally.units).for_each(|it| values.add(f64::from(it < tally.events)));
            }
            let fails = |verdict| verdict == Verdict::Fail;
            let now = f64::from(window) * 100.0;
            if rate.is_none() && fails(rates.read(RISKS).verdict) {
                rate = Some(now);
            }
            if mean.is_none() && fails(values.read(RISKS).verdict) {
                mean = Some(now);
            }
        }
        by_rate.extend(rate);
        by_mean.extend(mean);
    }
    let told =
        |ends: Vec<f64>| json!({"failed": share(ends.len(), runs), "requests": spread(ends, runs)});
    json!({
        "candidate": one, "control": other, "weight": weight, "margin": margin,
        "rates": told(by_rate), "means": told(by_mean),
    })
}

/// Events of 1 %, a tenth of the traffic, a look after each of 20 000 requests: how often no difference is called one by
/// means with different rules for when to begin, and by a z-test.
fn burn_in(runs: usize) -> Value {
    let mut random = Random::new(3);
    let mut failed = [0; 4];
    for _ in 0..runs {
        let mut values = Means::new(0.0, 5_000);
        let mut ever = [false; 4];
        let (mut one, mut other) = (Tally::default(), Tally::default());
        for _ in 0..20_000 {
            let event = random.uniform() < 0.01;
            let tally = Tally::new(1, u64::from(event));
            if random.uniform() < 0.1 {
                values.candidate.add(f64::from(event));
                one = one.plus(tally);
            } else {
                values.control.add(f64::from(event));
                other = other.plus(tally);
            }
            let error = |it: Tally| it.share() * (1.0 - it.share()) / (it.units.max(2) - 1) as f64;
            let error = (error(one) + error(other)).sqrt();
            let half = means::half_width(error, one.units + other.units, 0.05, 5_000);
            let distance = (one.share() - other.share()).abs();
            let apart = distance > half;
            ever[0] |= apart && one.units >= 100 && other.units >= 100;
            ever[1] |= apart && one.units >= 1_000 && other.units >= 1_000;
            ever[2] |= differs(&values);
            ever[3] |= one.units >= 100 && other.units >= 100 && distance > 1.96 * error;
        }
        failed
            .iter_mut()
            .zip(ever)
            .for_each(|(count, ever)| *count += usize::from(ever));
    }
    let [hundred, thousand, tails, peeked] = failed.map(|it| share(it, runs));
    json!({"hundred": hundred, "thousand": thousand, "tails": tails, "peeked": peeked})
}

fn assigned(runs: usize, meant: f64, real: f64) -> Value {
    let mut random = Random::new(4);
    let found = (0..runs).filter(|_| {
        let mut counts = [0, 0];
        (0..20_000).any(|_| {
            counts[usize::from(random.uniform() >= real)] += 1;
            assignment::mismatch(&counts, &[meant, 1.0 - meant], assignment::ALPHA_USUAL)
        })
    });
    share(found.count(), runs)
}

/// A ramp 1-5-25-50 while the rate of both arms rises from 5 to 15 %: how often a difference is seen that is not there.
fn simpson(runs: usize) -> Value {
    let mut random = Random::new(5);
    let (mut pooled_failed, mut failed, mut bias) = (0, 0, [0.0; 2]);
    for _ in 0..runs {
        let (mut pooled, mut concurrent) = (Means::new(0.0, 5_000), Means::new(0.0, 5_000));
        let mut ever = (false, false);
        for request in 0..40_000 {
            let weight = [0.01, 0.05, 0.25, 0.5][request / 10_000];
            let rate = 0.05 + 0.1 * request as f64 / 40_000.0;
            let value = f64::from(random.uniform() < rate);
            let roll = random.uniform();
            if roll < weight {
                pooled.candidate.add(value);
                concurrent.candidate.add(value);
            } else {
                pooled.control.add(value);
                if roll >= 1.0 - weight {
                    concurrent.control.add(value);
                }
            }
            if request % 20 == 19 {
                ever.0 |= differs(&pooled);
                ever.1 |= differs(&concurrent);
            }
        }
        pooled_failed += usize::from(ever.0);
        failed += usize::from(ever.1);
        let apart = |it: &Means| (it.candidate.mean - it.control.mean) / runs as f64;
        bias[0] += apart(&pooled);
        bias[1] += apart(&concurrent);
    }
    json!({
        "pooled": share(pooled_failed, runs), "pooled_bias": bias[0],
        "concurrent": share(failed, runs), "concurrent_bias": bias[1],
    })
}

fn differs(means: &Means) -> bool {
    let read = means.read(RISKS).difference;
    read.low.is_some_and(|it| it > 0.0) || read.high.is_some_and(|it| it < 0.0)
}
