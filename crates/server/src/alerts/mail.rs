//! A mail through a relay. Sources: RFC 5321 (SMTP), RFC 3207 (STARTTLS), RFC 8314 (TLS from the first byte), RFC 4954
//! and RFC 4616 (name and password), RFC 5322 and RFC 2047 (the message).

use domain::alert::Moment;
use domain::alert::receiver::{MailTls, Receiver};
use store::registry::outbox::Delivery;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::target::{Failure, Host, base64};
use super::tls::{Duplex, Stream, Tls};
use crate::clock::wall_ms;

/// The most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;
/// How a relay is greeted.
const HELLO: &str = "EHLO windlass";
/// The longest line of Base64.
const LINE_MAX: usize = 76;

/// A relay and whom it tells.
pub(super) struct MailTarget {
    host: Host,
    tls: Option<(MailTls, Tls)>,
    /// Name and password, as they are sent.
    login: Option<String>,
    from: String,
    to: Vec<String>,
}

impl MailTarget {
    /// Else the setting that is wrong and why.
    pub(super) fn new(receiver: &Receiver) -> Result<Self, (String, String)> {
        let name = receiver.host.clone().unwrap_or_default();
        let how = receiver.mail_tls();
        let tls = || Tls::new("host", &name, receiver.ca.as_deref());
        let (port, tls) = match how {
            MailTls::None => (25, None),
            MailTls::Starttls => (587, Some((how, tls()?))),
            MailTls::Implicit => (465, Some((how, tls()?))),
        };
        let login = receiver.user.as_ref().zip(receiver.password.as_ref());
        Ok(Self {
            host: Host {
                name,
                port: receiver.port.unwrap_or(port),
                allow_private: receiver.allow_private,
            },
            tls,
            login: login
                .map(|(user, password)| base64(format!("\0{user}\0{}", password.0).as_bytes())),
            from: receiver.from.clone().unwrap_or_default(),
            to: receiver.to.clone(),
        })
    }

    /// Sends a mail and waits until the relay has taken it.
    pub(super) async fn send(&self, delivery: &Delivery) -> Result<(), Failure> {
        let mail: wire::alerts::MailRecord = serde_json::from_str(&delivery.body)
            .map_err(|error| Failure::Final(format!("the mail cannot be read: {error}")))?;
        let mut talk = self.begin().await?;
        if let Some(login) = &self.login {
            talk.say(&format!("AUTH PLAIN {login}"), 235).await?;
        }
        talk.say(&format!("MAIL FROM:<{}>", self.from), 250).await?;
        for to in &self.to {
            talk.say(&format!("RCPT TO:<{to}>"), 250).await?;
        }
        talk.say("DATA", 354).await?;
        let message = self.message(delivery.id, &mail, Moment(wall_ms()));
        // It ends with a line of a dot; none of its own lines begins with one.
        talk.say(&format!("{message}\r\n."), 250).await?;
        // It has been taken, whatever is said to the farewell.
        let _ = talk.say("QUIT", 221).await;
        Ok(())
    }

    /// Connects as far as the relay has been greeted, over TLS where there is to be any.
    async fn begin(&self) -> Result<Talk, Failure> {
        let stream = self.host.connect().await?;
        let mut talk = match &self.tls {
            Some((MailTls::Implicit, tls)) => Talk::new(tls.over(stream).await?),
            Some((_, tls)) => {
                let mut plain = Talk::new(stream);
                plain.expect(220).await?;
                plain.say(HELLO, 250).await?;
                plain.say("STARTTLS", 220).await?;
                // What came ahead of TLS did not come from who is behind it (RFC 3207, section 6).
                let stream = plain.into_inner()?;
                let mut talk = Talk::new(tls.over(stream).await?);
                talk.say(HELLO, 250).await?;
                return Ok(talk);
            }
            None => Talk::new(Box::new(stream) as Stream),
        };
        talk.expect(220).await?;
        talk.say(HELLO, 250).await?;
        Ok(talk)
    }

    fn message(&self, id: i64, mail: &wire::alerts::MailRecord, now: Moment) -> String {
        let host = self.from.rsplit_once('@').map_or("windlass", |it| it.1);
        let head = [
            format!("From: <{}>", self.from),
            format!("To: <{}>", self.to.join(">, <")),
            format!("Subject: {}", word(&mail.subject)),
            format!("Date: {}", date(now)),
            format!("Message-ID: <{id}.{}@{host}>", now.0),
            "MIME-Version: 1.0".to_owned(),
            "Content-Type: text/plain; charset=utf-8".to_owned(),
            "Content-Transfer-Encoding: base64".to_owned(),
            "Auto-Submitted: auto-generated".to_owned(),
        ];
        let body = base64(mail.text.as_bytes());
        let lines = body.as_bytes().chunks(LINE_MAX);
        // Base64 is ASCII.
        let lines: Vec<&str> = lines
            .filter_map(|it| std::str::from_utf8(it).ok())
            .collect();
        format!("{}\r\n\r\n{}", head.join("\r\n"), lines.join("\r\n"))
    }
}

/// A header's text; as encoded words where it is not plain.
fn word(text: &str) -> String {
    let plain = text.chars().all(|it| it.is_ascii_graphic() || it == ' ');
    if plain && text.len() <= LINE_MAX {
        return text.to_owned();
    }
    let mut words = Vec::new();
    let mut piece = String::new();
    for letter in text.chars().take(400) {
        // An encoded word has at most 75 characters: 45 bytes and what is around them.
        if piece.len() + letter.len_utf8() > 45 {
            words.push(format!("=?utf-8?B?{}?=", base64(piece.as_bytes())));
            piece.clear();
        }
        piece.push(letter);
    }
    words.push(format!("=?utf-8?B?{}?=", base64(piece.as_bytes())));
    words.join("\r\n ")
}

/// As RFC 5322 wants it: `Tue, 24 Nov 2026 10:00:00 +0000`.
fn date(now: Moment) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let seconds = now.0.div_euclid(1000);
    let day = seconds.div_euclid(86_400);
    let (year, month, date) = domain::time::date(day);
    let of_day = seconds.rem_euclid(86_400);
    let month = MONTHS[usize::from(month.clamp(1, 12)) - 1];
    let weekday = DAYS[usize::try_from(day.rem_euclid(7)).unwrap_or(0)];
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{weekday}, {date:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} +0000")
}

struct Talk<S = Stream> {
    stream: BufReader<S>,
}

impl<S: Duplex> Talk<S> {
    fn new(stream: S) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// The connection, of which nothing was read ahead.
    fn into_inner(self) -> Result<S, Failure> {
        if self.stream.buffer().is_empty() {
            return Ok(self.stream.into_inner());
        }
        Err(Failure::Final(
            "the relay says more than was asked before TLS began".to_owned(),
        ))
    }

    async fn say(&mut self, line: &str, want: u16) -> Result<(), Failure> {
        let bytes = format!("{line}\r\n");
        let written = self.stream.get_mut().write_all(bytes.as_bytes()).await;
        written.map_err(|error| Failure::Passing(format!("the relay: {error}")))?;
        self.expect(want).await
    }

    /// Reads an answer, which may have several lines.
    async fn expect(&mut self, want: u16) -> Result<(), Failure> {
        let mut left = ANSWER_BYTES_MAX;
        loop {
            let mut line = String::new();
            let read = (&mut self.stream).take(left).read_line(&mut line).await;
            let read = read.map_err(|error| Failure::Passing(format!("the relay: {error}")))?;
            left = left.saturating_sub(read as u64);
            if read == 0 || left == 0 {
                return Err(Failure::Passing("the relay broke off".to_owned()));
            }
            if line.as_bytes().get(3) == Some(&b'-') {
                continue;
            }
            let code = line.get(..3).and_then(|it| it.parse::<u16>().ok());
            let shown: String = line.trim().chars().take(200).collect();
            return match code {
                Some(code) if code == want => Ok(()),
                Some(500..=599) => Err(Failure::Final(format!("the relay says `{shown}`"))),
                _ => Err(Failure::Passing(format!("the relay says `{shown}`"))),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_plain_or_encoded() {
        assert_eq!(word("[FIRING:1] credit"), "[FIRING:1] credit");
        assert_eq!(word("é"), "=?utf-8?B?w6k=?=");
        assert_eq!(word("a\r\nBcc: x"), "=?utf-8?B?YQ0KQmNjOiB4?=");
        assert!(
            word(&"é".repeat(60))
                .split("\r\n ")
                .all(|it| it.len() <= 75)
        );
        assert_eq!(
            date(Moment(1_795_514_400_000)),
            "Tue, 24 Nov 2026 10:00:00 +0000"
        );
    }
}
