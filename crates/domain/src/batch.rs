//! Groups waiting requests into runs.
//!
//! Owns no thread, clock or channel: the caller reports arrivals and the time, and asks what to run
//! whenever a session is free.
//!
//! R1. An idle session never waits: `poll` gives something whenever anything is waiting.
//! R2. Only requests of one shape share a run; along a padded axis, only those of similar length.
//! R3. A request is passed over for at most `delay_max`; after that the oldest request is in the next run.
//! R4. A run has at most `rows_max` rows, unless one request alone has more.
//! R5. What is past its deadline, or gone, is never run.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Time;

/// How requests may be grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most rows of a run; 1 and up.
    pub rows_max: u32,
    /// The longest that a request is passed over for others that group better.
    pub delay_max: Duration,
    /// The most rows that wait.
    pub rows_waiting_max: u32,
}

/// What two requests must have in common to share a run.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Kind {
    /// The sizes of all axes that may differ between requests, except rows and the padded axis. Empty
    /// where the model leaves none open.
    pub shape: Box<[usize]>,
    /// The size of the padded axis; 0 where nothing is padded.
    pub length: usize,
}

/// A request as the batcher sees it.
#[derive(Clone, Debug)]
pub struct Arrival<T> {
    /// What is given back.
    pub item: T,
    /// Its rows, 1 and up.
    pub rows: u32,
    /// What it may be grouped with.
    pub kind: Kind,
    /// When it is too late to run it.
    pub deadline: Time,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// Run these together, in this order.
    Run(Vec<T>),
    /// These are past their deadline: answer them so, and ask again.
    Late(Vec<T>),
    /// Nothing waits.
    Idle,
}

struct Waiting<T> {
    arrival: Arrival<T>,
    since: Time,
}

/// The waiting requests of one version.
pub struct Batcher<T> {
    limits: Limits,
    waiting: VecDeque<Waiting<T>>,
    rows_waiting: u32,
}

/// How far a search for companions looks. Bounds the work of a poll when thousands wait.
const SEARCH_MAX: usize = 512;

/// Padding that is still worth it: at most an eighth more than the real elements. Groups of four similar
/// lengths gain a tenth to a quarter on a text encoder, so an eighth is about where the gain is eaten.
const PADDED_PARTS: u64 = 9;
const REAL_PARTS: u64 = 8;

impl<T> Batcher<T> {
    /// Nothing waiting.
    pub fn new(limits: Limits) -> Self {
        assert!(limits.rows_max > 0, "a run has at least one row");
        Self {
            limits,
            waiting: VecDeque::new(),
            rows_waiting: 0,
        }
    }

    /// Rows that wait.
    pub fn rows_waiting(&self) -> u32 {
        self.rows_waiting
    }

    /// Requests that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Gives the item back when the queue is full, so that the caller can refuse it.
    pub fn push(&mut self, arrival: Arrival<T>, now: Time) -> Result<(), T> {
        let rows = self.rows_waiting.saturating_add(arrival.rows);
        // A request larger than the whole queue is taken when nothing else waits.
        if rows > self.limits.rows_waiting_max && !self.waiting.is_empty() {
            return Err(arrival.item);
        }
        self.rows_waiting = rows;
        self.waiting.push_back(Waiting {
            arrival,
            since: now,
        });
        Ok(())
    }

    /// What a free session should do. `gone` says whether nobody waits for an item any more; such items
    /// are dropped.
    pub fn poll(&mut self, now: Time, gone: impl Fn(&T) -> bool) -> Next<T> {
        let late = self.drop_useless(now, gone);
        if !late.is_empty() {
            return Next::Late(late);
        }
        let Some(anchor) = self.anchor(now) else {
            return Next::Idle;
        };
        let chosen = self.companions(anchor);
        Next::Run(self.take(&chosen))
    }

    /// Everything that waits, in order of arrival.
    pub fn drain(&mut self) -> Vec<T> {
        self.rows_waiting = 0;
        self.waiting.drain(..).map(|it| it.arrival.item).collect()
    }

    fn drop_useless(&mut self, now: Time, gone: impl Fn(&T) -> bool) -> Vec<T> {
        let useless = |it: &Waiting<T>| it.arrival.deadline <= now || gone(&it.arrival.item);
        if !self.waiting.iter().take(SEARCH_MAX).any(useless) {
            return Vec::new();
        }
        let mut late = Vec::new();
        let mut kept = VecDeque::with_capacity(self.waiting.len());
        let mut rows_waiting = 0u32;
        for waiting in self.waiting.drain(..) {
            if gone(&waiting.arrival.item) {
                continue;
            }
            if waiting.arrival.deadline <= now {
                late.push(waiting.arrival.item);
                continue;
            }
            rows_waiting = rows_waiting.saturating_add(waiting.arrival.rows);
            kept.push_back(waiting);
        }
        self.waiting = kept;
        self.rows_waiting = rows_waiting;
        late
    }

    /// The request around which the next run is built: the oldest, unless it can still wait and another
    /// shape fills a run better.
    fn anchor(&self, now: Time) -> Option<usize> {
        let oldest = self.waiting.front()?;
        if now.since(oldest.since) >= self.limits.delay_max {
            return Some(0);
        }
        let searched = || self.waiting.iter().take(SEARCH_MAX);
        if searched().all(|it| it.arrival.kind.shape == oldest.arrival.kind.shape) {
            return Some(0);
        }
        // Few shapes are in flight at a time; a list is quicker than a map.
        let mut groups: Vec<(&[usize], usize, u32)> = Vec::new();
        for (index, waiting) in searched().enumerate() {
            let Arrival { kind, rows, .. } = &waiting.arrival;
            match groups.iter_mut().find(|(shape, ..)| **shape == *kind.shape) {
                Some((_, _, sum)) => *sum = sum.saturating_add(*rows),
                None => groups.push((&kind.shape, index, *rows)),
            }
        }
        let filled = |rows: u32| rows.min(self.limits.rows_max);
        // `max_by_key` takes the last of equals; reversed, that is the oldest.
        let best = groups.iter().rev().max_by_key(|(_, _, rows)| filled(*rows));
        best.map(|(_, first, _)| *first)
    }

    /// The indexes, ascending, of the requests that run together with the anchor.
    fn companions(&self, anchor: usize) -> Vec<usize> {
        let first = &self.waiting[anchor].arrival;
        let same_shape = |it: &Waiting<T>| it.arrival.kind.shape == first.kind.shape;
        let mut candidates: Vec<usize> = (anchor + 1..self.waiting.len().min(anchor + SEARCH_MAX))
            .filter(|index| same_shape(&self.waiting[*index]))
            .collect();
        let length = |index: usize| self.waiting[index].arrival.kind.length;
        if first.kind.length > 0 {
            // Stable: of equally near ones the oldest first.
            candidates.sort_by_key(|index| length(*index).abs_diff(first.kind.length));
        }
        let mut chosen = vec![anchor];
        let mut rows = first.rows;
        let mut longest = first.kind.length as u64;
        let mut real = u64::from(first.rows) * longest;
        for index in candidates {
            let arrival = &self.waiting[index].arrival;
            let more = rows.saturating_add(arrival.rows);
            if more > self.limits.rows_max {
                break;
            }
            let length = arrival.kind.length as u64;
            let (longer, sum) = (longest.max(length), real + u64::from(arrival.rows) * length);
            if u64::from(more) * longer * REAL_PARTS > sum * PADDED_PARTS {
                break;
            }
            (rows, longest, real) = (more, longer, sum);
            chosen.push(index);
        }
        chosen.sort_unstable();
        chosen
    }

    fn take(&mut self, chosen: &[usize]) -> Vec<T> {
        let is_prefix = chosen.last() == Some(&(chosen.len() - 1));
        let mut items = Vec::with_capacity(chosen.len());
        let mut out = |waiting: Waiting<T>, rows_waiting: &mut u32| {
            *rows_waiting = rows_waiting.saturating_sub(waiting.arrival.rows);
            items.push(waiting.arrival.item);
        };
        if is_prefix {
            for waiting in self.waiting.drain(..chosen.len()) {
                out(waiting, &mut self.rows_waiting);
            }
        } else {
            let mut chosen = chosen.iter().peekable();
            let mut kept = VecDeque::with_capacity(self.waiting.len());
            for (index, waiting) in self.waiting.drain(..).enumerate() {
                if chosen.next_if_eq(&&index).is_some() {
                    out(waiting, &mut self.rows_waiting);
                } else {
                    kept.push_back(waiting);
                }
            }
            self.waiting = kept;
        }
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of `TIME push NAME ROWS [xSHAPE] [lLENGTH] [dDEADLINE]`, `TIME gone NAME`, or
    /// `TIME poll => RESULT`. `rows_max` 8, `delay_max` 5, 20 rows wait at most.
    fn check(script: &str) {
        let limits = Limits {
            rows_max: 8,
            delay_max: Duration::from_nanos(5),
            rows_waiting_max: 20,
        };
        let mut batcher = Batcher::new(limits);
        let mut gone: Vec<String> = Vec::new();
        for line in script
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            let (command, want) = line.split_once("=>").unwrap_or((line, ""));
            let mut words = command.split_whitespace();
            let now = Time(words.next().expect("a time").parse().expect("a number"));
            let got = match words.next().expect("a verb") {
                "push" => {
                    let name = words.next().expect("a name").to_owned();
                    let rows = words.next().expect("rows").parse().expect("a number");
                    let mut arrival = Arrival {
                        item: name,
                        rows,
                        kind: Kind::default(),
                        deadline: Time::NEVER,
                    };
                    for word in words {
                        let (key, number) = word.split_at(1);
                        let number: usize = number.parse().expect("a number");
                        match key {
                            "x" => arrival.kind.shape = Box::new([number]),
                            "l" => arrival.kind.length = number,
                            _ => arrival.deadline = Time(number as u64),
                        }
                    }
                    match batcher.push(arrival, now) {
                        Ok(()) => String::new(),
                        Err(_) => "full".to_owned(),
                    }
                }
                "gone" => {
                    gone.extend(words.map(str::to_owned));
                    String::new()
                }
                _ => match batcher.poll(now, |item| gone.contains(item)) {
                    Next::Run(items) => format!("run {}", items.join(" ")),
                    Next::Late(items) => format!("late {}", items.join(" ")),
                    Next::Idle => "idle".to_owned(),
                },
            };
            assert_eq!(got, want.trim(), "{line}");
        }
        let rows: u32 = batcher.waiting.iter().map(|it| it.arrival.rows).sum();
        assert_eq!(batcher.rows_waiting(), rows);
    }

    #[test]
    fn an_idle_session_runs_at_once() {
        check(
            "
            0 poll      => idle
            0 push a 1
            0 poll      => run a
            0 poll      => idle
            ",
        );
    }

    #[test]
    fn a_request_that_does_not_fit_starts_the_next_run() {
        check(
            "
            0 push a 6
            1 push b 6
            1 push c 2
            1 poll      => run a
            1 poll      => run b c
            1 poll      => idle
            ",
        );
    }

    #[test]
    fn a_request_larger_than_a_run_runs_alone() {
        check(
            "
            0 push a 30
            0 push b 1   => full
            0 poll       => run a
            0 push b 1
            0 push c 9
            0 push d 1
            0 poll       => run b
            0 poll       => run c
            0 poll       => run d
            ",
        );
    }

    #[test]
    fn a_full_queue_gives_the_item_back() {
        check(
            "
            0 push a 10
            0 push b 10
            0 push c 1   => full
            0 poll       => run a
            0 push c 1
            ",
        );
    }

    #[test]
    fn shapes_do_not_mix_and_the_fuller_group_goes_first_until_the_oldest_is_due() {
        check(
            "
            0 push a 1 x3
            1 push b 1 x4
            1 push c 1 x4
            4 poll      => run b c
            4 push d 1 x4
            4 push e 1 x4
            5 poll      => run a
            5 poll      => run d e
            ",
        );
    }

    #[test]
    fn of_equally_full_groups_the_oldest_goes_first() {
        check(
            "
            0 push a 1 x3
            0 push b 1 x4
            1 poll      => run a
            1 poll      => run b
            ",
        );
    }

    #[test]
    fn similar_lengths_share_a_run_and_different_ones_do_not() {
        check(
            "
            0 push a 1 l100
            0 push b 1 l16
            0 push c 1 l104
            0 push d 1 l90
            0 push e 1 l20
            0 poll      => run a c d
            0 poll      => run b e
            ",
        );
    }

    #[test]
    fn what_is_late_or_gone_is_never_run() {
        check(
            "
            0 push a 1 d3
            0 push b 1
            0 push c 1
            0 push d 1 d9
            2 gone c
            3 poll      => late a
            3 poll      => run b d
            3 poll      => idle
            4 push e 1
            4 gone e
            4 poll      => idle
            ",
        );
    }
}
