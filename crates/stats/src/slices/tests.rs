//! Slices that were planted are found, and none where there is none.

use super::*;
use crate::random::Random;

fn below(draw: &mut Random, most: u16) -> u16 {
    (draw.uniform() * f64::from(most)) as u16
}

const CELLS: [u16; 6] = [2, 3, 4, 5, 5, 8];

struct Data {
    features: Vec<Feature>,
    losses: Vec<f64>,
    held_out: Vec<bool>,
}

impl Data {
    /// Features that know nothing of each other; `loss` is told a row's codes.
    fn new(rows: usize, seed: u64, mut loss: impl FnMut(&[u16], &mut Random) -> f64) -> Self {
        let mut draw = Random::new(seed);
        let mut features: Vec<Feature> = CELLS
            .iter()
            .map(|cells| Feature {
                cells: *cells,
                codes: Vec::with_capacity(rows),
            })
            .collect();
        let (mut losses, mut held_out) = (Vec::new(), Vec::new());
        for _ in 0..rows {
            let codes: Vec<u16> = CELLS.iter().map(|it| below(&mut draw, *it)).collect();
            for (feature, code) in features.iter_mut().zip(&codes) {
                feature.codes.push(*code);
            }
            losses.push(loss(&codes, &mut draw));
            held_out.push(draw.bits() & 1 == 1);
        }
        Self {
            features,
            losses,
            held_out,
        }
    }

    fn search(&self, settings: Settings) -> Found {
        let Self {
            features,
            losses,
            held_out,
        } = self;
        let rows = Rows {
            features,
            losses,
            held_out,
        };
        search(rows, settings)
    }
}

const SETTINGS: Settings = Settings {
    support: 30,
    depth: 3,
    slices: 5,
    alpha: 0.05,
    level: 0.95,
};

fn hit(draw: &mut Random, probability: f64) -> f64 {
    f64::from(u8::from(draw.uniform() < probability))
}

/// The conditions of the slices that are confirmed.
fn confirmed(found: &Found) -> Vec<Vec<(usize, u16)>> {
    let confirmed = found.slices.iter().filter(|it| it.confirmed);
    let pairs = confirmed.map(|it| {
        it.conditions
            .iter()
            .map(|it| (it.feature, it.cell))
            .collect()
    });
    pairs.collect()
}

#[test]
fn a_planted_slice_is_named_and_no_other() {
    for seed in 0..20 {
        let one = Data::new(3000, seed, |codes, draw| {
            hit(draw, if codes[2] == 1 { 0.5 } else { 0.2 })
        });
        let found = one.search(SETTINGS);
        assert_eq!(confirmed(&found), [[(2, 1)]], "{seed}");
        let slice = &found.slices[0];
        assert!(slice.difference.low > Some(0.15) && slice.difference.high < Some(0.45));
        assert_eq!(slice.held_out.rows + slice.others.rows, found.held_out.rows);
        let two = Data::new(8000, seed, |codes, draw| {
            hit(
                draw,
                if codes[2] == 1 && codes[3] == 4 {
                    0.6
                } else {
                    0.1
                },
            )
        });
        assert_eq!(
            confirmed(&two.search(SETTINGS)),
            [[(2, 1), (3, 4)]],
            "{seed}"
        );
    }
}

#[test]
fn rare_errors_three_conditions_and_numbers() {
    for seed in 0..5 {
        let rare = Data::new(10_000, seed, |codes, draw| {
            hit(draw, if codes[5] == 7 { 0.1 } else { 0.01 })
        });
        assert_eq!(confirmed(&rare.search(SETTINGS)), [[(5, 7)]], "{seed}");
        let three = |codes: &[u16]| codes[0] == 0 && codes[1] == 2 && codes[4] == 3;
        let deep = Data::new(20_000, seed, |codes, draw| {
            hit(draw, if three(codes) { 0.7 } else { 0.1 })
        });
        let want = [[(0, 0), (1, 2), (4, 3)]];
        assert_eq!(confirmed(&deep.search(SETTINGS)), want, "{seed}");
        // Absolute errors, skewed: the slice's are half as great again. They are so great that their squares are not
        // numbers.
        let skewed = Data::new(6000, seed, |codes, draw| {
            let more = if codes[1] == 0 { 1.5e300 } else { 1e300 };
            -(1.0 - draw.uniform()).ln() * more
        });
        let found = skewed.search(SETTINGS);
        assert_eq!(confirmed(&found), [[(1, 0)]], "{seed}");
        let loss = found.slices[0].held_out.loss;
        assert!(
            loss.low > Some(1.2e300) && loss.high < Some(1.8e300),
            "{loss:?}"
        );
    }
}

#[test]
fn two_slices_are_told_apart() {
    let both = Data::new(8000, 3, |codes, draw| {
        let more = if codes[2] == 1 { 0.3 } else { 0.0 } + if codes[5] == 0 { 0.3 } else { 0.0 };
        hit(draw, 0.1 + more)
    });
    assert_eq!(confirmed(&both.search(SETTINGS)), [[(2, 1)], [(5, 0)]]);
}

/// At most one search in twenty may confirm anything where there is nothing; of 300 searches that is 15 on average,
/// and more than 25 once in two hundred times at the most.
#[test]
fn nothing_is_found_in_noise() {
    let kinds: [fn(&mut Random) -> f64; 4] = [
        |draw| hit(draw, 0.2),
        |draw| hit(draw, 0.02),
        |draw| hit(draw, 0.9),
        |draw| (3.0 * (draw.uniform() + draw.uniform() + draw.uniform() - 1.5)).exp(),
    ];
    for (kind, loss) in kinds.into_iter().enumerate() {
        let mut wrong = 0;
        for seed in 0..300 {
            let data = Data::new(1000, 1_000_000 + seed, |_, draw| loss(draw));
            wrong += usize::from(!confirmed(&data.search(SETTINGS)).is_empty());
        }
        assert!(wrong <= 25, "{wrong} of 300, of kind {kind}");
    }
}

#[test]
fn what_cannot_be_searched_is_not() {
    let few = Data::new(20, 1, |_, draw| hit(draw, 0.5));
    let none = Data::new(0, 1, |_, _| 0.0);
    let alike = Data::new(1000, 1, |_, _| 0.1);
    let right = Data::new(1000, 1, |_, _| 0.0);
    for data in [few, none, alike, right] {
        let found = data.search(SETTINGS);
        assert!(found.slices.is_empty() && found.complete, "{found:?}");
        assert!(found.held_out.loss.value.is_finite());
    }
}

/// Rows in no cell are in no slice.
#[test]
fn what_has_no_cell_is_named_by_none() {
    let mut data = Data::new(3000, 9, |codes, draw| {
        hit(draw, if codes[2] == 1 { 0.6 } else { 0.1 })
    });
    for code in &mut data.features[2].codes {
        *code = if *code == 1 { NO_CELL } else { *code };
    }
    assert_eq!(confirmed(&data.search(SETTINGS)).len(), 0);
}

/// Nearly all rows are in one cell, and the few others happen to be right: that cell explains nothing.
#[test]
fn a_condition_that_hardly_takes_anything_out_is_not_named() {
    let surely = Settings {
        alpha: 1e-5,
        ..SETTINGS
    };
    for seed in 0..10 {
        let mut data = Data::new(3000, seed, |codes, draw| {
            hit(draw, if codes[2] == 1 { 0.6 } else { 0.1 })
        });
        data.features[0].codes.fill(0);
        for row in (0..3000).step_by(100) {
            data.features[0].codes[row] = 1;
            data.losses[row] = 0.0;
        }
        assert_eq!(confirmed(&data.search(surely)), [[(2, 1)]], "{seed}");
    }
}
