//! Where receivers are, and the way there: names are resolved here, and the connection goes to the address that
//! was looked at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::Refusal;
use domain::alert::address::not_public;
use domain::alert::receiver::{Kind, Receiver, Receivers};
use store::registry::outbox::Delivery;
use tokio::net::TcpStream;

use super::http::HttpTarget;
use super::mail::MailTarget;

/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Why a delivery was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may be taken later.
    Passing(String),
    /// It will not.
    Final(String),
}

/// A receiver that can be told.
pub(super) struct Target {
    way: Way,
    timeout: Duration,
}

enum Way {
    Http(HttpTarget),
    Mail(MailTarget),
}

/// A host, and whether it may be one of our own network.
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) allow_private: bool,
}

/// All receivers, by name.
pub(super) fn of_all(receivers: &Receivers) -> Result<BTreeMap<String, Arc<Target>>, Refusal> {
    let all = receivers.receivers.iter().enumerate();
    all.map(|(place, receiver)| {
        let target = of(receiver).map_err(|(field, why)| Refusal::InvalidManifest {
            field: format!("receivers[{place}].{field}"),
            why,
        })?;
        Ok((receiver.name.clone(), Arc::new(target)))
    })
    .collect()
}

fn of(receiver: &Receiver) -> Result<Target, (String, String)> {
    let way = match receiver.kind {
        Kind::Smtp => Way::Mail(MailTarget::new(receiver)?),
        Kind::Webhook | Kind::Slack => Way::Http(HttpTarget::new(receiver, "")?),
        Kind::Alertmanager => Way::Http(HttpTarget::new(receiver, "/api/v2/alerts")?),
    };
    Ok(Target {
        way,
        timeout: receiver.timeout(),
    })
}

impl Target {
    /// Brings it there, within the receiver's time.
    pub(super) async fn deliver(&self, delivery: &Delivery) -> Result<(), Failure> {
        let attempt = async {
            match &self.way {
                Way::Http(target) => target.post(&delivery.body).await,
                Way::Mail(target) => target.send(delivery).await,
            }
        };
        let result = tokio::time::timeout(self.timeout, attempt).await;
        result.unwrap_or_else(|_| {
            let ms = self.timeout.as_millis();
            Err(Failure::Passing(format!("no answer within {ms} ms")))
        })
    }
}

impl Host {
    /// A connection to one of the host's addresses that may be used.
    pub(super) async fn connect(&self) -> Result<TcpStream, Failure> {
        let Self {
            name,
            port,
            allow_private,
        } = self;
        let found = tokio::net::lookup_host((name.as_str(), *port)).await;
        let found =
            found.map_err(|error| Failure::Passing(format!("`{name}` is not known: {error}")))?;
        let mut failure = Failure::Passing(format!("`{name}` has no address"));
        for address in found.take(ADDRESSES_MAX) {
            if let Some(what) = not_public(address.ip()).filter(|_| !allow_private) {
                failure = Failure::Final(format!(
                    "`{name}` is at {}, which is {what}; `allow_private: true` permits it",
                    address.ip()
                ));
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = Failure::Passing(format!("`{name}:{port}`: {error}")),
            }
        }
        Err(failure)
    }
}

/// Base64 with padding. Source: RFC 4648, section 4.
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |place: usize| u32::from(chunk.get(place).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = ALPHABET[(group >> (18 - 6 * place) & 63) as usize];
            let pad = place > chunk.len();
            text.push(if pad { '=' } else { char::from(letter) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_is_that_of_the_standard() {
        for (bytes, want) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(super::base64(bytes.as_bytes()), want);
        }
    }
}
