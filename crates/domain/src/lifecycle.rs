//! Which versions are loaded and which of them answers: wanted and actual go in, one next action comes
//! out, and the caller asks again when it is done.
//!
//! R1. A model that answers keeps answering: the new version is loaded before traffic moves to it, and
//!     the old one is unloaded only after.
//! R2. A version that failed to load takes nothing away from the one that answers.
//! R3. What is not wanted is not kept.

use std::collections::{BTreeMap, BTreeSet};

use crate::name::Version;

/// What the owner wants of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The version that answers the model's name.
    pub traffic: Option<Version>,
    /// Further versions that answer when they are asked for by number or alias.
    pub also: BTreeSet<Version>,
}

/// What one version is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is being loaded.
    Loading,
    /// It answers.
    Ready,
    /// It could not be loaded; it is not tried again until it is wanted anew.
    Failed {
        /// The reason.
        why: String,
    },
    /// Its last requests are being answered.
    Unloading,
}

/// What one model is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actual {
    /// Where requests for the model's name go.
    pub routed: Option<Version>,
    /// Every version that is not simply absent.
    pub versions: BTreeMap<Version, State>,
}

/// The next thing to do for a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Load this version.
    Load(Version),
    /// Send the name's requests to this version, which is ready.
    Route(Version),
    /// Send the name's requests nowhere.
    Unroute,
    /// Answer what this version has taken, then drop it.
    Unload(Version),
    /// Forget that this version failed.
    Forget(Version),
}

impl Wanted {
    fn wants(&self, version: Version) -> bool {
        self.traffic == Some(version) || self.also.contains(&version)
    }

    /// Every version that is wanted, the one that answers first.
    pub fn versions(&self) -> impl Iterator<Item = Version> {
        let also = self
            .also
            .iter()
            .copied()
            .filter(|it| self.traffic != Some(*it));
        self.traffic.into_iter().chain(also)
    }
}

/// The next thing to do; none when there is nothing to do but to wait for what is under way.
pub fn next(wanted: &Wanted, actual: &Actual) -> Option<Action> {
    if wanted.traffic.is_none() && actual.routed.is_some() {
        return Some(Action::Unroute);
    }
    if let Some(traffic) = wanted.traffic
        && actual.routed != Some(traffic)
        && actual.versions.get(&traffic) == Some(&State::Ready)
    {
        return Some(Action::Route(traffic));
    }
    if let Some(missing) = wanted
        .versions()
        .find(|it| !actual.versions.contains_key(it))
    {
        return Some(Action::Load(missing));
    }
    actual.versions.iter().find_map(|(version, state)| {
        if wanted.wants(*version) || actual.routed == Some(*version) {
            return None;
        }
        match state {
            State::Ready => Some(Action::Unload(*version)),
            State::Failed { .. } => Some(Action::Forget(*version)),
            State::Loading | State::Unloading => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().expect("a version")
    }

    /// Runs actions until there are none, failing to load what `broken` names. The script's lines are
    /// `want [TRAFFIC] [+ALSO ...] => actions`.
    fn check(broken: &[&str], script: &str) {
        let mut actual = Actual::default();
        for line in script
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            let (command, expected) = line.split_once("=>").expect("an expectation");
            let mut wanted = Wanted::default();
            for word in command.split_whitespace().skip(1) {
                match word.strip_prefix('+') {
                    Some(also) => {
                        wanted.also.insert(version(also));
                    }
                    None => wanted.traffic = Some(version(word)),
                }
            }
            let mut done = Vec::new();
            while let Some(action) = next(&wanted, &actual) {
                let (word, number) = match action {
                    Action::Load(it) => {
                        let failed = broken.contains(&it.to_string().as_str());
                        let state = if failed {
                            State::Failed { why: String::new() }
                        } else {
                            State::Ready
                        };
                        actual.versions.insert(it, state);
                        ("load", Some(it))
                    }
                    Action::Route(it) => {
                        assert_eq!(actual.versions.get(&it), Some(&State::Ready));
                        actual.routed = Some(it);
                        ("route", Some(it))
                    }
                    Action::Unroute => {
                        actual.routed = None;
                        ("unroute", None)
                    }
                    Action::Unload(it) => {
                        assert_ne!(actual.routed, Some(it));
                        actual.versions.remove(&it);
                        ("unload", Some(it))
                    }
                    Action::Forget(it) => {
                        actual.versions.remove(&it);
                        ("forget", Some(it))
                    }
                };
                done.push(number.map_or(word.to_owned(), |it| format!("{word} {it}")));
                assert!(done.len() < 20, "does not come to rest: {done:?}");
            }
            assert_eq!(done.join(", "), expected.trim(), "{line}");
        }
    }

    #[test]
    fn a_swap_loads_before_it_routes_and_unloads_last() {
        check(
            &[],
            "
            want 1    => load 1, route 1
            want 1    =>
            want 2    => load 2, route 2, unload 1
            want 2 +1 => load 1
            want 1 +2 => route 1
            want      => unroute, unload 1, unload 2
            ",
        );
    }

    #[test]
    fn a_version_that_fails_takes_nothing_away() {
        check(
            &["2"],
            "
            want 1 => load 1, route 1
            want 2 => load 2
            want 1 => forget 2
            want 2 => load 2
            ",
        );
    }
}
