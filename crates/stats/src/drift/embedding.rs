//! Rows of many numbers, such as embeddings: the maximum mean discrepancy.

use crate::random::Random;
use crate::series::robust::middle;

/// The most rows of both together: every pair is looked at, and kept.
pub const ROWS_MAX: usize = 2_000;

/// The maximum mean discrepancy and its permutation test: Gretton et al., J. Mach. Learn. Res. 13 (2012), 723-773.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mmd {
    /// Its square, the unbiased estimate (lemma 6): about 0 where nothing changed, and then also below.
    pub squared: f64,
    /// The share of permutations with at least so much, themselves among them.
    pub p: f64,
    /// The width of the Gaussian kernel exp(-d^2 / (2 width^2)): the median distance of all rows.
    pub width: f64,
}

/// Of rows of `dimensions` numbers each, one after another. None where one has fewer than two rows, both together
/// have more than [`ROWS_MAX`], a value is not finite, or all rows are the same. `seed` chooses the permutations.
pub fn mmd(
    reference: &[f64],
    current: &[f64],
    dimensions: usize,
    permutations: usize,
    seed: u64,
) -> Option<Mmd> {
    if dimensions == 0 {
        return None;
    }
    let (n, m) = (reference.len() / dimensions, current.len() / dimensions);
    let all = reference.iter().chain(current);
    if n < 2 || m < 2 || n + m > ROWS_MAX || !all.clone().all(|it| it.is_finite()) {
        return None;
    }
    let rows: Vec<&[f64]> = reference
        .chunks_exact(dimensions)
        .chain(current.chunks_exact(dimensions))
        .collect();
    let count = rows.len();
    let mut kernel = vec![0.0; count * count];
    let mut distances = Vec::with_capacity(count * (count - 1) / 2);
    for (i, a) in rows.iter().enumerate() {
        for (j, b) in rows.iter().enumerate().take(i) {
            let squared: f64 = a.iter().zip(*b).map(|(x, y)| (x - y).powi(2)).sum();
            distances.push(squared);
            kernel[i * count + j] = squared;
            kernel[j * count + i] = squared;
        }
    }
    let width = middle(&mut distances)?.sqrt();
    if !(width > 0.0 && width.is_finite()) {
        return None;
    }
    for value in &mut kernel {
        *value = (-*value / (2.0 * width * width)).exp();
    }
    let mut order: Vec<usize> = (0..count).collect();
    let squared = discrepancy(&kernel, &order, n);
    let mut random = Random::new(seed);
    let mut as_much = 0;
    for _ in 0..permutations {
        shuffle(&mut order, &mut random);
        as_much += usize::from(discrepancy(&kernel, &order, n) >= squared);
    }
    Some(Mmd {
        squared,
        p: (as_much + 1) as f64 / (permutations + 1) as f64,
        width,
    })
}

/// The unbiased estimate where the first `n` of `order` are the reference.
fn discrepancy(kernel: &[f64], order: &[usize], n: usize) -> f64 {
    let count = order.len();
    let (mut within, mut other, mut across) = (0.0, 0.0, 0.0);
    for (place, i) in order.iter().enumerate() {
        let row = &kernel[i * count..(i + 1) * count];
        let (first, second) = order.split_at(place.min(n));
        if place < n {
            within += first.iter().map(|j| row[*j]).sum::<f64>();
        } else {
            across += first.iter().map(|j| row[*j]).sum::<f64>();
            other += second[..place - n].iter().map(|j| row[*j]).sum::<f64>();
        }
    }
    let (n, m) = (n as f64, (count - n) as f64);
    2.0 * within / (n * (n - 1.0)) + 2.0 * other / (m * (m - 1.0)) - 2.0 * across / (n * m)
}

/// Fisher and Yates's.
fn shuffle(order: &mut [usize], random: &mut Random) {
    for last in (1..order.len()).rev() {
        order.swap(last, random.below(last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(count: usize, shift: f64) -> Vec<f64> {
        (0..count)
            .flat_map(|it| {
                let angle = it as f64 * 2.4;
                [angle.cos() + shift, angle.sin()]
            })
            .collect()
    }

    #[test]
    fn what_moved_is_found_and_what_did_not_is_not() {
        let same = mmd(&ring(60, 0.0), &ring(50, 0.0), 2, 200, 1).unwrap();
        assert!(same.squared < 0.01 && same.p > 0.1, "{same:?}");
        let moved = mmd(&ring(60, 0.0), &ring(50, 1.0), 2, 200, 1).unwrap();
        assert!(moved.squared > 0.1 && moved.p < 0.01, "{moved:?}");
        assert_eq!(mmd(&ring(60, 0.0), &ring(50, 1.0), 2, 200, 1), Some(moved));
    }

    #[test]
    fn by_hand() {
        // Distances 1, 1, 2 within and across: the median of 1 1 2 2 3 1 is 1.5.
        let got = mmd(&[0.0, 1.0], &[2.0, 3.0], 1, 0, 0).unwrap();
        let k = |distance: f64| (-distance * distance / (2.0 * got.width * got.width)).exp();
        let want = k(1.0) + k(1.0) - (k(2.0) + k(3.0) + k(1.0) + k(2.0)) / 2.0;
        assert!((got.squared - want).abs() < 1e-12);
        assert_eq!(got.p, 1.0);
    }

    #[test]
    fn there_is_nothing_to_tell_of_too_few_too_many_or_the_same() {
        assert!(mmd(&[1.0], &[2.0, 3.0], 1, 10, 0).is_none());
        assert!(mmd(&[1.0; 5], &[1.0; 5], 1, 10, 0).is_none());
        assert!(mmd(&[f64::NAN; 5], &[1.0; 5], 1, 10, 0).is_none());
        assert!(mmd(&[1.0; 2_000], &[2.0; 5], 1, 10, 0).is_none());
        assert!(mmd(&[], &[], 0, 10, 0).is_none());
    }
}
