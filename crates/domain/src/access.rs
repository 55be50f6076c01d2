//! Who may do what. A [`Permission`] can be made only here, and every verb of the server asks for one,
//! so no handler can be written that forgot the check.

use std::marker::PhantomData;

use crate::refusal::Refusal;

/// Asks a model for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Predict;
/// Looks at models, versions, states, measurements.
#[derive(Clone, Copy, Debug)]
pub struct Read;
/// Pushes, moves aliases and traffic, loads, unloads, removes.
#[derive(Clone, Copy, Debug)]
pub struct Change;

/// A kind of deed that can be permitted.
pub trait Deed: Copy {
    /// What it is called in a refusal.
    const NAME: &'static str;
}

impl Deed for Predict {
    const NAME: &'static str = "predict";
}
impl Deed for Read {
    const NAME: &'static str = "read";
}
impl Deed for Change {
    const NAME: &'static str = "change";
}

/// A proof that the caller may do `D`.
#[derive(Clone, Copy, Debug)]
pub struct Permission<D: Deed> {
    deed: PhantomData<D>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Somebody who has not said who they are.
    Anonymous,
    /// Somebody whose web page, on another site, sent the request through a visitor's browser.
    CrossSite,
    /// A browser that was led here under a name that is not the server's: whoever owns the name may have let it point
    /// here to read what is not theirs.
    OtherName,
}

/// Who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Everybody who can reach the socket: it is on loopback, or its owner said that the network is trusted.
    Trusting,
}

/// The check. A browser that was told by another site to change something is refused whatever the
/// policy: its visitor did not ask for it.
pub fn check<D: Deed>(policy: Policy, caller: Caller) -> Result<Permission<D>, Refusal> {
    match (policy, caller) {
        (Policy::Trusting, Caller::Anonymous) => Ok(Permission { deed: PhantomData }),
        (Policy::Trusting, Caller::CrossSite) => Err(Refusal::Forbidden {
            why: format!("`{}` was asked for by a page of another site", D::NAME),
        }),
        (Policy::Trusting, Caller::OtherName) => Err(Refusal::Forbidden {
            why: format!(
                "`{}` was asked for by a browser under a name that is not this server's; use its address or \
                 `localhost`, or start it with `--hostname NAME`",
                D::NAME
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_site_gets_no_permission() {
        assert!(check::<Predict>(Policy::Trusting, Caller::Anonymous).is_ok());
        assert!(check::<Change>(Policy::Trusting, Caller::CrossSite).is_err());
        assert!(check::<Read>(Policy::Trusting, Caller::CrossSite).is_err());
        assert!(check::<Read>(Policy::Trusting, Caller::OtherName).is_err());
    }
}
