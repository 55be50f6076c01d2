//! Isotonic regression: the closest function that never falls.
//!
//! Least squares by the pool-adjacent-violators algorithm: Barlow, Bartholomew, Bremner & Brunk, Statistical
//! Inference under Order Restrictions (1972), section 1.2. Between the points it knows the function is linear,
//! and constant outside of them; scikit-learn's `IsotonicRegression(out_of_bounds="clip", increasing=True)`.

use serde::{Deserialize, Serialize};

/// A point of the plane.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Where.
    pub x: f64,
    /// What is there.
    pub y: f64,
}

/// A function that never falls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Point>", into = "Vec<Point>")]
pub struct Isotonic {
    /// By rising `x`, each `x` once; never empty.
    corners: Vec<Point>,
}

impl TryFrom<Vec<Point>> for Isotonic {
    type Error = &'static str;

    /// A function that was written down.
    fn try_from(corners: Vec<Point>) -> Result<Self, Self::Error> {
        let finite = corners
            .iter()
            .all(|it| it.x.is_finite() && it.y.is_finite());
        let rises = corners
            .windows(2)
            .all(|it| it[0].x < it[1].x && it[0].y <= it[1].y);
        match finite && rises && !corners.is_empty() {
            true => Ok(Self { corners }),
            false => Err("not the corners of a function that never falls"),
        }
    }
}

impl From<Isotonic> for Vec<Point> {
    fn from(isotonic: Isotonic) -> Self {
        isotonic.corners
    }
}

/// Points closer together than this become one, at the first one's place: numpy's `finfo(float64).resolution`.
const RESOLUTION: f64 = 1e-15;

impl Isotonic {
    /// Fits the points, all finite. `None` without points. Sorts: work for a worker thread.
    pub fn fit(mut points: Vec<Point>) -> Option<Self> {
        let finite = |it: &Point| it.x.is_finite() && it.y.is_finite();
        assert!(points.iter().all(finite), "finite points");
        points.sort_unstable_by(|one, other| {
            let by_x = one.x.total_cmp(&other.x);
            by_x.then(one.y.total_cmp(&other.y))
        });
        let places = merged(&points);
        if places.is_empty() {
            return None;
        }
        Some(Self {
            corners: corners(&places),
        })
    }

    /// The function's value at a finite `x`.
    pub fn predict(&self, x: f64) -> f64 {
        assert!(x.is_finite(), "a finite place");
        let right = self.corners.partition_point(|it| it.x < x);
        let Some(after) = self.corners.get(right) else {
            return self.corners[right - 1].y;
        };
        if right == 0 || after.x == x {
            return after.y;
        }
        let before = self.corners[right - 1];
        let share = (x - before.x) / (after.x - before.x);
        // Between the two ends, whatever the rounding.
        (before.y + share * (after.y - before.y)).clamp(before.y, after.y)
    }

    /// The corners of the function, by rising `x`.
    pub fn corners(&self) -> &[Point] {
        &self.corners
    }
}

/// Points at one place.
#[derive(Clone, Copy)]
struct Place {
    x: f64,
    sum: f64,
    count: f64,
}

/// Points by rising `x` to places.
fn merged(points: &[Point]) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for point in points {
        match places.last_mut() {
            Some(place) if point.x - place.x < RESOLUTION => {
                place.sum += point.y;
                place.count += 1.0;
            }
            Some(_) | None => places.push(Place {
                x: point.x,
                sum: point.y,
                count: 1.0,
            }),
        }
    }
    places
}

/// Neighbours that fall are pooled to their mean until none does; of a pool its first and last place stay.
fn corners(places: &[Place]) -> Vec<Point> {
    struct Pool {
        first: f64,
        last: f64,
        sum: f64,
        count: f64,
    }
    let mut pools: Vec<Pool> = Vec::new();
    for place in places {
        let mut pool = Pool {
            first: place.x,
            last: place.x,
            sum: place.sum,
            count: place.count,
        };
        while let Some(before) =
            pools.pop_if(|before| before.sum / before.count >= pool.sum / pool.count)
        {
            pool = Pool {
                first: before.first,
                sum: before.sum + pool.sum,
                count: before.count + pool.count,
                ..pool
            };
        }
        pools.push(pool);
    }
    let mut corners = Vec::new();
    for pool in pools {
        let y = pool.sum / pool.count;
        corners.push(Point { x: pool.first, y });
        if pool.last > pool.first {
            corners.push(Point { x: pool.last, y });
        }
    }
    corners
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(points: &[(f64, f64)]) -> Isotonic {
        let points = points.iter().map(|&(x, y)| Point { x, y }).collect();
        Isotonic::fit(points).expect("points")
    }

    #[test]
    fn corners_that_were_written_down_make_the_same_function() {
        let isotonic = fit(&[(1.0, 1.0), (2.0, 3.0), (3.0, 2.0), (4.0, 5.0)]);
        let corners: Vec<Point> = isotonic.clone().into();
        assert_eq!(Isotonic::try_from(corners), Ok(isotonic));
        let wrong: [&[(f64, f64)]; 5] = [
            &[],
            &[(1.0, 1.0), (0.0, 2.0)],
            &[(0.0, 2.0), (1.0, 1.0)],
            &[(0.0, 1.0), (0.0, 2.0)],
            &[(f64::NAN, 1.0)],
        ];
        for wrong in wrong {
            let corners: Vec<Point> = wrong.iter().map(|&(x, y)| Point { x, y }).collect();
            assert!(Isotonic::try_from(corners).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn neighbours_that_fall_are_pooled() {
        // 3 and 2 pool to 2.5; the 0 then pulls them and the 1 down to 1.5.
        let isotonic = fit(&[(4.0, 0.0), (1.0, 1.0), (2.0, 3.0), (3.0, 2.0), (6.0, 5.0)]);
        for (x, want) in [
            (0.0, 1.0),
            (1.0, 1.0),
            (1.5, 1.0 + 2.0 / 6.0),
            (2.0, 5.0 / 3.0),
            (3.0, 5.0 / 3.0),
            (4.0, 5.0 / 3.0),
            (5.0, 10.0 / 3.0),
            (6.0, 5.0),
            (9.0, 5.0),
        ] {
            let got = isotonic.predict(x);
            assert!((got - want).abs() < 1e-15, "{x}: {got}, not {want}");
        }
        assert_eq!(isotonic.corners().len(), 4);
    }

    #[test]
    fn points_at_one_place_weigh_as_many() {
        // The mean of three at 1 is 2, then comes 0: pooled (3 * 2 + 0) / 4.
        let isotonic = fit(&[(1.0, 1.0), (2.0, 0.0), (1.0, 3.0), (1.0, 2.0)]);
        assert_eq!(isotonic.predict(1.0), 1.5);
        assert_eq!(isotonic.predict(2.0), 1.5);
        assert_eq!(fit(&[(1.0, 1.0), (1.0, 0.0)]).predict(-7.0), 0.5);
    }

    #[test]
    fn what_rises_already_stays() {
        let isotonic = fit(&[(0.0, 0.0), (1.0, 1.0), (2.0, 4.0)]);
        assert_eq!(isotonic.predict(1.5), 2.5);
        assert_eq!(Isotonic::fit(Vec::new()), None);
    }
}
