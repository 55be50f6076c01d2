//! Which predictions a question is about: the flags for a range of time, and paths with a query.

use clap::Args;
use domain::manifest::Span;
use wire::path;

/// A range of time; without any of them all of it, or what the server takes then.
#[derive(Debug, Args)]
#[command(next_help_heading = "Range of time")]
pub(crate) struct RangeArgs {
    /// The time up to now: `90m`, `7d`
    #[arg(long, value_name = "SPAN", conflicts_with_all = ["from", "to"])]
    last: Option<Span>,
    /// From this moment on, in UTC: `2026-11-24T10:00`, `2026-11-24`, `10:00` for today, or how long ago it
    /// was, `7d`
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    from: Option<String>,
    /// Before this moment
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    to: Option<String>,
}

impl RangeArgs {
    /// Where it begins, as the server reads it.
    pub(crate) fn from(&self) -> Option<String> {
        let last = self.last.as_ref().map(Span::to_string);
        last.or_else(|| self.from.clone())
    }

    /// Where it ends.
    pub(crate) fn to(&self) -> Option<String> {
        self.to.clone()
    }
}

/// A moment is the server's to read, whose clock says what is now; that it is one at all is told at once.
pub(crate) fn moment(text: &str) -> Result<String, String> {
    match domain::time::read_moment(text, 0) {
        Some(_) => Ok(text.to_owned()),
        None => Err("want `2026-11-24T10:00`, `2026-11-24`, `10:00` or `7d`".to_owned()),
    }
}

/// A path and its query; what has no value is left out.
pub(crate) fn asked(path: &str, query: &[(&str, Option<String>)]) -> String {
    let mut asked = path.to_owned();
    let mut separator = '?';
    for (name, value) in query {
        if let Some(value) = value {
            asked.push(separator);
            asked.push_str(name);
            asked.push('=');
            path::encode(value, &mut asked);
            separator = '&';
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        range: RangeArgs,
    }

    fn check(flags: &str, want: &str) {
        let flags = flags.split('|').filter(|it| !it.is_empty());
        let got = match Only::try_parse_from(["it"].into_iter().chain(flags)) {
            Ok(Only { range }) => asked("/q", &[("from", range.from()), ("to", range.to())]),
            Err(error) => format!("{:?}", error.kind()),
        };
        assert_eq!(got, want);
    }

    #[test]
    fn a_range_is_sent_as_the_server_reads_it() {
        check("", "/q");
        check("--last|90m", "/q?from=90m");
        check("--last|1.5h", "/q?from=90m");
        check(
            "--from|2026-11-24 10:00|--to|2026-11-24T11:00+01:00",
            "/q?from=2026-11-24%2010%3A00&to=2026-11-24T11%3A00%2B01%3A00",
        );
        check("--to|1h", "/q?to=1h");
    }

    #[test]
    fn a_range_that_is_none_is_a_wrong_flag() {
        check("--last|7d|--from|2026-11-24", "ArgumentConflict");
        check("--last|7d|--to|2026-11-24", "ArgumentConflict");
        check("--last|yesterday", "ValueValidation");
        check("--from|yesterday", "ValueValidation");
        check("--to", "InvalidValue");
    }

    #[test]
    fn a_query_keeps_every_character() {
        let pairs = [("by", Some("a,b&c=ä".to_owned())), ("x", None)];
        assert_eq!(asked("/q", &pairs), "/q?by=a%2Cb%26c%3D%C3%A4");
    }
}
