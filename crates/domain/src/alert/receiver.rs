//! Who is told of alerts: the file that a server is started with (`--alerts`). Unknown keys are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::label::Fnv;
use super::notify::{Inhibition, Pace, Route};
use super::{Matcher, Severity, label};
use crate::manifest::Span;

/// The most receivers.
pub const RECEIVERS_MAX: usize = 50;
/// The longest that an attempt to deliver may be given.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// How long an attempt is given, unless it is said.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often Alertmanager is told of what still fires: it takes five minutes of silence for an end.
const ALERTMANAGER_REPEAT: Duration = Duration::from_secs(60);

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receivers {
    /// How people reach this server, for the links in what is sent; without it there are none.
    #[serde(default)]
    pub external_url: String,
    /// What is told together, and how often.
    #[serde(default)]
    pub group: Group,
    /// How often what was not taken is tried again.
    #[serde(default)]
    pub retry: Retry,
    /// Whom to tell.
    #[serde(default)]
    pub receivers: Vec<Receiver>,
    /// What keeps what quiet; without it a model's `data_quality` and `deploy` its `drift`.
    #[serde(default)]
    pub inhibit: Option<Vec<Inhibit>>,
}

/// What is told together, and how often.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The labels whose values make a group; without it `model`.
    #[serde(default)]
    pub by: Option<Vec<String>>,
    /// From a group's first alert until it is told of; without it `30s`.
    #[serde(default)]
    pub wait: Option<Span>,
    /// From one telling to the next, when something changed; without it `5m`.
    #[serde(default)]
    pub interval: Option<Span>,
    /// From one telling to the next, when nothing did; without it `4h`.
    #[serde(default)]
    pub repeat: Option<Span>,
}

/// How often what was not taken is tried again: after `first`, then after twice as long each time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// After the first failure.
    pub first: Span,
    /// The longest time between two attempts.
    pub longest: Span,
    /// Attempts in all; then it is a dead letter.
    pub attempts: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: Span(Duration::from_secs(5)),
            longest: Span(Duration::from_secs(600)),
            attempts: 12,
        }
    }
}

impl Retry {
    /// How long to wait after so many failed attempts; none when that was the last. Spread by up to a fifth
    /// either way, by the delivery's number: what failed together must not come again together.
    pub fn after(&self, attempts: u32, delivery: i64) -> Option<Duration> {
        if attempts >= self.attempts {
            return None;
        }
        let doubled = 2u32.saturating_pow(attempts.saturating_sub(1).min(30));
        let wait = self.first.0.saturating_mul(doubled).min(self.longest.0);
        let mut hash = Fnv::default();
        hash.add(&delivery.to_le_bytes());
        hash.add(&attempts.to_le_bytes());
        let roll = (hash.0 >> 11) as f64 / (1u64 << 53) as f64;
        Some(wait.mul_f64(0.8 + 0.4 * roll))
    }
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Whom to tell.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receiver {
    /// What it is called in deliveries.
    pub name: String,
    /// How it is told.
    pub kind: Kind,
    /// For all but `smtp`: where it listens. It may hold a name and a password, and is not shown.
    #[serde(default)]
    pub url: Option<Secret>,
    /// For all but `smtp`: headers to send.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// For `smtp`: the relay's name or address.
    #[serde(default)]
    pub host: Option<String>,
    /// For `smtp`: its port; without it 25, 587 for `starttls` and 465 for `implicit`.
    #[serde(default)]
    pub port: Option<u16>,
    /// For `smtp`: whether TLS is spoken; without it `starttls` where there is a `user`, else `none`.
    #[serde(default)]
    pub tls: Option<MailTls>,
    /// For `smtp`: the name that the relay knows this server by.
    #[serde(default)]
    pub user: Option<String>,
    /// For `smtp`: its password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// For TLS: a PEM file of the authorities that are believed, in place of the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// For `smtp`: the sender's address.
    #[serde(default)]
    pub from: Option<String>,
    /// For `smtp`: the addresses of those who are told.
    #[serde(default)]
    pub to: Vec<String>,
    /// Which severities it is told of; without it `page` and `ticket`.
    #[serde(default)]
    pub severities: Option<BTreeSet<Severity>>,
    /// Whether it is told of what happens to rollouts, too; `alertmanager` cannot be.
    #[serde(default)]
    pub rollouts: bool,
    /// The same of experiments.
    #[serde(default)]
    pub experiments: bool,
    /// Whether it may have an address that is not of the public internet.
    #[serde(default)]
    pub allow_private: bool,
    /// How long an attempt may take; without it `10s`.
    #[serde(default)]
    pub timeout: Option<Span>,
}

/// How a receiver is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A POST of what Alertmanager sends its webhooks.
    Webhook,
    /// An Alertmanager's own API.
    Alertmanager,
    /// A POST of what Slack's incoming webhooks take.
    Slack,
    /// A mail, through a relay.
    Smtp,
}

/// When TLS begins between this server and a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// Never: for a relay on this machine or in its network.
    None,
    /// After a greeting; a relay that does not know it is not told anything.
    Starttls,
    /// With the first byte.
    Implicit,
}

/// What keeps what quiet.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inhibit {
    /// What keeps quiet.
    pub source: Vec<Matcher>,
    /// What is kept quiet.
    pub target: Vec<Matcher>,
    /// The labels that must be the same.
    #[serde(default)]
    pub equal: Vec<String>,
}

impl Receivers {
    /// Whether it can be kept; else the setting that is wrong and why. Addresses are not looked at.
    pub fn check(&self) -> Result<(), (String, String)> {
        if self.receivers.len() > RECEIVERS_MAX {
            let why = format!("at most {RECEIVERS_MAX} are taken");
            return Err(("receivers".to_owned(), why));
        }
        if self.retry.attempts == 0 {
            return Err(("retry.attempts".to_owned(), "it is not over 0".to_owned()));
        }
        let repeat = self.group.repeat.map_or(Pace::default().repeat, |it| it.0);
        if repeat.is_zero() {
            return Err(("group.repeat".to_owned(), "it is not over 0".to_owned()));
        }
        for (place, rule) in self.inhibit.iter().flatten().enumerate() {
            if rule.source.is_empty() || rule.target.is_empty() {
                let why = "`source` and `target` need a matcher each".to_owned();
                return Err((format!("inhibit[{place}]"), why));
            }
        }
        for (place, receiver) in self.receivers.iter().enumerate() {
            let at = |field: &str| format!("receivers[{place}].{field}");
            if receiver.name.is_empty() {
                return Err((at("name"), "it is empty".to_owned()));
            }
            let same = |it: &Receiver| it.name == receiver.name;
            if self.receivers[..place].iter().any(same) {
                let why = format!("`{}` is the name of two receivers", receiver.name);
                return Err((at("name"), why));
            }
            receiver.check().map_err(|(field, why)| (at(field), why))?;
        }
        Ok(())
    }

    /// What each receiver is told of and how often, in the order of the receivers.
    pub fn routes(&self) -> Vec<Route> {
        let model = || vec![label::MODEL.to_owned()];
        let standard = Pace::default();
        let of = |span: Option<Span>, default| span.map_or(default, |it| it.0);
        let usual = Pace {
            wait: of(self.group.wait, standard.wait),
            interval: of(self.group.interval, standard.interval),
            repeat: of(self.group.repeat, standard.repeat),
            repeats_acknowledged: false,
        };
        // It groups, waits and repeats by its own rules; it only must not think that something ended.
        let alertmanager = Pace {
            wait: Duration::ZERO,
            interval: Duration::ZERO,
            repeat: ALERTMANAGER_REPEAT,
            repeats_acknowledged: true,
        };
        let route = |it: &Receiver| Route {
            receiver: it.name.clone(),
            severities: it
                .severities
                .clone()
                .unwrap_or_else(|| [Severity::Page, Severity::Ticket].into()),
            by: match it.kind {
                Kind::Alertmanager => model(),
                _ => self.group.by.clone().unwrap_or_else(model),
            },
            pace: match it.kind {
                Kind::Alertmanager => alertmanager,
                Kind::Webhook | Kind::Slack | Kind::Smtp => usual,
            },
        };
        self.receivers.iter().map(route).collect()
    }

    /// What keeps what quiet.
    pub fn inhibitions(&self) -> Vec<Inhibition> {
        let Some(rules) = &self.inhibit else {
            return Inhibition::standard();
        };
        let rule = |it: &Inhibit| Inhibition {
            source: it.source.clone(),
            target: it.target.clone(),
            equal: it.equal.clone(),
        };
        rules.iter().map(rule).collect()
    }
}

impl Receiver {
    /// How long an attempt may take.
    pub fn timeout(&self) -> Duration {
        self.timeout.map_or(TIMEOUT, |it| it.0)
    }

    /// When TLS begins between this server and a relay.
    pub fn mail_tls(&self) -> MailTls {
        self.tls.unwrap_or(match self.user {
            Some(_) => MailTls::Starttls,
            None => MailTls::None,
        })
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.timeout().is_zero() || self.timeout() > TIMEOUT_MAX {
            return Err(("timeout", "it is not over 0 and at most 1m".to_owned()));
        }
        let more = [
            ("rollouts", self.rollouts),
            ("experiments", self.experiments),
        ];
        let unknown = more.into_iter().find(|it| it.1);
        if let Some((what, _)) = unknown.filter(|_| self.kind == Kind::Alertmanager) {
            let why = format!("an Alertmanager knows only alerts; tell a `webhook` of {what}");
            return Err((what, why));
        }
        let mail = self.kind == Kind::Smtp;
        let unwanted = || match mail {
            true => "a mail has none".to_owned(),
            false => "only `smtp` takes it".to_owned(),
        };
        let needed = |is: bool| match is {
            true => Ok(()),
            false => Err("it is missing".to_owned()),
        };
        if mail {
            needed(self.host.is_some()).map_err(|why| ("host", why))?;
            needed(self.from.is_some()).map_err(|why| ("from", why))?;
            needed(!self.to.is_empty()).map_err(|why| ("to", why))?;
            let addresses = self.from.iter().chain(&self.to);
            if let Some(wrong) = addresses.into_iter().find(|it| !is_mail_address(it)) {
                return Err((
                    "to",
                    format!("`{wrong}` is not an address such as `ann@example.org`"),
                ));
            }
            needed(self.user.is_none() || self.password.is_some())
                .map_err(|why| ("password", why))?;
            needed(self.password.is_none() || self.user.is_some()).map_err(|why| ("user", why))?;
            if self.mail_tls() == MailTls::None {
                let clear = "without TLS it would be read by everybody on the way";
                if self.password.is_some() {
                    return Err(("password", clear.to_owned()));
                }
                if self.ca.is_some() {
                    return Err(("ca", "`tls: none` takes none".to_owned()));
                }
            }
            if self.url.is_some() {
                return Err(("url", unwanted()));
            }
            if !self.headers.is_empty() {
                return Err(("headers", unwanted()));
            }
            return Ok(());
        }
        needed(self.url.is_some()).map_err(|why| ("url", why))?;
        let fields = [
            ("host", self.host.is_some()),
            ("port", self.port.is_some()),
            ("tls", self.tls.is_some()),
            ("user", self.user.is_some()),
            ("password", self.password.is_some()),
            ("from", self.from.is_some()),
            ("to", !self.to.is_empty()),
        ];
        match fields.into_iter().find(|(_, is)| *is) {
            Some((field, _)) => Err((field, unwanted())),
            None => Ok(()),
        }
    }
}

/// Enough to put it into a command of SMTP: nothing that would end the line or the address.
fn is_mail_address(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '"' | '\\' | ',');
    text.len() <= 254
        && text.chars().all(plain)
        && text
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
}
