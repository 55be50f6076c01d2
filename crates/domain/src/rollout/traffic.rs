//! Which versions answer a model's requests and in what shares, as a value that cannot be wrong.
//!
//! R1. Shares are whole ten-thousandths and one arm has what no other takes, so that they always add up.
//! R2. A candidate's control is as large as the candidate: base rates that move while the steps rise would else
//!     look like an effect (`docs/rollouts.md`; Simpson's paradox).
//! R3. A larger step takes in every key of a smaller one, and no key goes from one of the two arms to the other.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::assign::Place;
use crate::ledger::Share;
use crate::name::Version;
use crate::refusal::Refusal;

/// The whole, in ten-thousandths.
pub const WHOLE: u16 = 10_000;
/// The most of it that a candidate has while it is compared: its control needs as much.
const HALF: u16 = WHOLE / 2;
/// The most arms of an experiment.
pub const ARMS_MAX: usize = 16;

/// What a candidate has at one step: 0.01% to 50%.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step(u16);

/// What an arm of an experiment has: 0.01% to 99.99%.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

impl Step {
    /// In ten-thousandths.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl Weight {
    /// In ten-thousandths.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = ten_thousandths(text)?;
        if parts > HALF {
            return Err(format!(
                "`{text}` is over 50%: the control, with which it is compared, needs as much; \
                 after the last step it has all"
            ));
        }
        Ok(Self(parts))
    }
}

impl FromStr for Weight {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        ten_thousandths(text).map(Self)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 100.0)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 100.0)
    }
}

crate::manifest::text_setting!(
    Step,
    "A share of the keys, 0.01% to 50%: `5%` or `0.05`.",
    "^ *[0-9.]+ *%?$"
);

/// Reads `5%` or `0.05`: neither nothing nor all, and nothing finer than a ten-thousandth.
fn ten_thousandths(text: &str) -> Result<u16, String> {
    let wrong = || format!("`{text}` is not a share such as `5%` or `0.05`");
    let (number, unit) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 100.0),
        None => (text.trim(), f64::from(WHOLE)),
    };
    let parts = number.parse::<f64>().map_err(|_| wrong())? * unit;
    let whole = parts.round();
    if !parts.is_finite() || whole < 0.0 {
        return Err(wrong());
    }
    if (parts - whole).abs() > 1e-6 {
        return Err(format!("`{text}` is finer than 0.01%"));
    }
    if whole < 1.0 || whole > f64::from(WHOLE - 1) {
        return Err(format!("`{text}` is not from 0.01% to 99.99%"));
    }
    Ok(whole as u16)
}

/// What answers a model's requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// Whose answers the callers get.
    pub split: Split,
    /// What answers besides, unheard.
    pub shadow: Option<Shadow>,
}

/// Whose answers the callers get.
#[derive(Clone, Debug, PartialEq)]
pub enum Split {
    /// One version's.
    All(Version),
    /// A candidate's, a control's of the same size, and for the rest the incumbent's, which are not compared. The
    /// control is the incumbent too.
    Compared {
        /// The version that has the traffic.
        incumbent: Version,
        /// The version that may get it.
        candidate: Version,
        /// What the candidate has, and the control as much.
        step: Step,
    },
    /// Those of an experiment's versions.
    Arms(Arms),
}

/// A version that answers a sample of the requests, though no caller gets its answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shadow {
    /// The version.
    pub version: Version,
    /// How much of the requests.
    pub sample: Share,
}

/// The versions of an experiment. The first has what the others leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(Version, u16)>", into = "Vec<(Version, u16)>")]
pub struct Arms {
    control: Version,
    others: Vec<(Version, Weight)>,
}

/// Why a version answered. It is in the ledger with every row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arm {
    /// It had the traffic.
    Traffic,
    /// It has the traffic while another is rolled out, and is not compared.
    Incumbent,
    /// It is what the candidate is compared with.
    Control,
    /// It is rolled out.
    Candidate,
    /// It is one of an experiment's versions, counted from 0, which is the control.
    Version(u8),
    /// It answered unheard.
    Shadow,
}

impl Arm {
    /// Its name in the ledger.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Self::Traffic => "traffic".into(),
            Self::Incumbent => "incumbent".into(),
            Self::Control => "control".into(),
            Self::Candidate => "candidate".into(),
            Self::Version(place) => format!("arm {place}").into(),
            Self::Shadow => "shadow".into(),
        }
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl Arms {
    /// An experiment's arms. Refused where they are not two or more different versions, or leave the control nothing.
    pub fn new(control: Version, others: Vec<(Version, Weight)>) -> Result<Self, Refusal> {
        let wrong = |why: String| Err(malformed(why));
        if others.is_empty() || others.len() >= ARMS_MAX {
            let got = others.len() + 1;
            return wrong(format!(
                "there are {got} versions, want 2 to {ARMS_MAX} of them"
            ));
        }
        for (place, (version, _)) in others.iter().enumerate() {
            let before = others[..place].iter().map(|it| it.0);
            if before.chain([control]).any(|it| it == *version) {
                return wrong(format!("version {version} is there twice"));
            }
        }
        let taken: u32 = others.iter().map(|it| u32::from(it.1.0)).sum();
        if taken >= u32::from(WHOLE) {
            let taken = f64::from(taken) / 100.0;
            return wrong(format!(
                "the shares beside the control's are {taken}% together, want less than 100%"
            ));
        }
        Ok(Self { control, others })
    }

    /// Arms with these shares of the whole, the control's first, as nearly as ten-thousandths allow: what a bandit asks
    /// for. Every arm keeps one at least, and the control has what is left over.
    pub fn near(versions: &[Version], shares: &[f64]) -> Result<Self, Refusal> {
        let Some((control, others)) = versions.split_first() else {
            return Err(malformed("there are 0 versions, want 2".to_owned()));
        };
        let are_shares = shares.iter().all(|it| (0.0..=1.0).contains(it));
        if shares.len() != versions.len() || !are_shares || shares.iter().sum::<f64>() > 1.0 + 1e-9
        {
            let want = versions.len();
            let why = format!("{shares:?} are not {want} shares of a whole");
            return Err(malformed(why));
        }
        let parts = |it: &f64| ((it * f64::from(WHOLE)) as u16).clamp(1, WHOLE - 1);
        let mut weights: Vec<u16> = shares[1..].iter().map(parts).collect();
        // What was rounded up to one is taken from the largest.
        while weights.iter().map(|it| u32::from(*it)).sum::<u32>() >= u32::from(WHOLE)
            && let Some(largest) = weights.iter_mut().max()
        {
            *largest -= 1;
        }
        let weights = weights.into_iter().map(Weight);
        Self::new(*control, others.iter().copied().zip(weights).collect())
    }

    /// Arms of the same size, as nearly as ten-thousandths allow; the control has what is left over.
    pub fn equal(control: Version, others: &[Version]) -> Result<Self, Refusal> {
        let count = u16::try_from(others.len() + 1).unwrap_or(WHOLE);
        let weight = Weight((WHOLE / count).max(1));
        Self::new(control, others.iter().map(|it| (*it, weight)).collect())
    }
}

impl TryFrom<Vec<(Version, u16)>> for Arms {
    type Error = Refusal;

    /// From shares of all versions in ten-thousandths, the control's first.
    fn try_from(all: Vec<(Version, u16)>) -> Result<Self, Refusal> {
        let total: u32 = all.iter().map(|it| u32::from(it.1)).sum();
        if total != u32::from(WHOLE) || all.iter().any(|it| it.1 == 0) {
            let total = f64::from(total) / 100.0;
            return Err(malformed(format!(
                "the shares are {total}% together, want 100% and something for each"
            )));
        }
        let mut all = all.into_iter();
        let control = all.next().map_or(Version::FIRST, |it| it.0);
        Self::new(
            control,
            all.map(|(version, share)| (version, Weight(share)))
                .collect(),
        )
    }
}

impl From<Arms> for Vec<(Version, u16)> {
    fn from(arms: Arms) -> Self {
        arms.shares()
    }
}

impl Arms {
    /// Every version with its share in ten-thousandths, the control's first.
    pub fn shares(&self) -> Vec<(Version, u16)> {
        let shares = Split::Arms(self.clone()).shares();
        shares
            .into_iter()
            .map(|(_, version, share)| (version, share))
            .collect()
    }
}

fn malformed(why: String) -> Refusal {
    Refusal::Malformed {
        what: "the split",
        why,
    }
}

impl Split {
    /// Whose answer the caller at this place gets, and why.
    pub fn at(&self, place: Place) -> (Version, Arm) {
        let slot = place.slot();
        match self {
            Self::All(version) => (*version, Arm::Traffic),
            Self::Compared {
                incumbent,
                candidate,
                step,
            } => {
                if slot < step.0 {
                    (*candidate, Arm::Candidate)
                } else if slot >= WHOLE - step.0 {
                    (*incumbent, Arm::Control)
                } else {
                    (*incumbent, Arm::Incumbent)
                }
            }
            Self::Arms(Arms { control, others }) => {
                let mut end = 0;
                for (index, (version, weight)) in others.iter().enumerate() {
                    end += weight.0;
                    if slot < end {
                        return (*version, Arm::Version(index as u8 + 1));
                    }
                }
                (*control, Arm::Version(0))
            }
        }
    }

    /// Every arm with its version and its share in ten-thousandths. They are [`WHOLE`] together.
    pub fn shares(&self) -> Vec<(Arm, Version, u16)> {
        match self {
            Self::All(version) => vec![(Arm::Traffic, *version, WHOLE)],
            Self::Compared {
                incumbent,
                candidate,
                step: Step(step),
            } => vec![
                (Arm::Candidate, *candidate, *step),
                (Arm::Incumbent, *incumbent, WHOLE - 2 * step),
                (Arm::Control, *incumbent, *step),
            ],
            Self::Arms(Arms { control, others }) => {
                let taken: u16 = others.iter().map(|it| it.1.0).sum();
                let rest = (Arm::Version(0), *control, WHOLE - taken);
                let others = others.iter().enumerate().map(|(index, (version, weight))| {
                    (Arm::Version(index as u8 + 1), *version, weight.0)
                });
                std::iter::once(rest).chain(others).collect()
            }
        }
    }
}

impl Traffic {
    /// One version answers everything.
    pub fn all(version: Version) -> Self {
        Self {
            split: Split::All(version),
            shadow: None,
        }
    }

    /// Every version that must be ready before it can be served.
    pub fn versions(&self) -> Vec<Version> {
        let shares = self.split.shares();
        let mut all: Vec<Version> = shares.iter().map(|it| it.1).collect();
        all.extend(self.shadow.map(|it| it.version));
        all.sort_unstable();
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u32) -> Version {
        Version::new(number).expect("not zero")
    }

    #[test]
    fn shares_are_read_exactly_and_printed_as_they_were() {
        for (text, parts, shown) in [
            ("5%", 500, "5%"),
            ("0.05", 500, "5%"),
            ("0.29%", 29, "0.29%"),
            (" 1 % ", 100, "1%"),
            ("0.01%", 1, "0.01%"),
            ("50%", 5000, "50%"),
        ] {
            let step: Step = text.parse().expect(text);
            assert_eq!((step.get(), step.to_string().as_str()), (parts, shown));
        }
        for (text, want) in [
            ("60%", "`60%` is over 50%: the control"),
            ("0%", "not from 0.01% to 99.99%"),
            ("100%", "not from 0.01% to 99.99%"),
            ("0.005%", "finer than 0.01%"),
            ("NaN", "not a share"),
            ("-5%", "not a share"),
            ("inf", "not a share"),
            ("", "not a share"),
            ("5 percent", "not a share"),
        ] {
            let why = text.parse::<Step>().expect_err(text);
            assert!(why.contains(want), "{why}");
        }
        assert_eq!("99.99%".parse::<Weight>().map(Weight::get), Ok(9999));
    }

    #[test]
    fn arms_that_cannot_be_are_refused() {
        let of = |others: &[(u32, &str)]| {
            let others = others
                .iter()
                .map(|(number, text)| (version(*number), text.parse().expect("a weight")));
            match Arms::new(version(1), others.collect()) {
                Ok(arms) => format!("{:?}", Split::Arms(arms).shares().len()),
                Err(refusal) => refusal.to_string(),
            }
        };
        assert_eq!(of(&[(2, "50%")]), "2");
        assert!(of(&[]).contains("there are 1 versions"));
        assert!(of(&[(1, "50%")]).contains("version 1 is there twice"));
        assert!(of(&[(2, "5%"), (2, "5%")]).contains("version 2 is there twice"));
        assert!(of(&[(2, "50%"), (3, "50%")]).contains("are 100% together"));
        let near = |shares: &[f64]| {
            let versions = [version(1), version(2), version(3)];
            let arms = Arms::near(&versions[..shares.len()], shares)?;
            let shares = Split::Arms(arms).shares();
            Ok::<_, Refusal>(shares.iter().map(|it| it.2).collect::<Vec<u16>>())
        };
        assert_eq!(near(&[0.25, 0.5, 0.25]), Ok(vec![2500, 5000, 2500]));
        assert_eq!(near(&[0.0, 1.0]), Ok(vec![1, 9999]));
        assert_eq!(near(&[1.0, 0.0, 0.0]), Ok(vec![9998, 1, 1]));
        assert_eq!(near(&[0.0, 1.0, 0.0]), Ok(vec![1, 9998, 1]));
        assert_eq!(near(&[0.0, 0.5, 0.5]), Ok(vec![1, 5000, 4999]));
        assert!(near(&[0.5, f64::NAN]).is_err() && near(&[0.0, 0.7, 0.7]).is_err());
        let thirds = Arms::equal(version(1), &[version(2), version(3)]).expect("three");
        let shares = Split::Arms(thirds).shares();
        assert_eq!(shares[0], (Arm::Version(0), version(1), 3334));
        assert_eq!(shares[2], (Arm::Version(2), version(3), 3333));
    }
}
