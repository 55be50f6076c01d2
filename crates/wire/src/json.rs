//! A JSON reader that goes once over the bytes and builds nothing, so that a tensor's numbers go from the
//! text straight into its elements.
//!
//! Its own loop, not a recursion, walks what is skipped, and its depth is bounded, so no body can exhaust
//! the stack. Beyond RFC 8259 it takes the words `NaN`, `Infinity` and `-Infinity`, which Python writes.
//! A string with half of a surrogate pair is refused: it has no UTF-8.

use std::borrow::Cow;

use domain::Refusal;

use crate::number::{self, Decimal};

/// Where in a JSON text we are.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    depth_max: usize,
    what: &'static str,
}

/// One value that holds no others.
pub(crate) enum Token<'a> {
    Null,
    Bool(bool),
    Number(Decimal<'a>),
    /// `NaN`, `Infinity` or `-Infinity`.
    Word(&'static str, f64),
    Text(Cow<'a, str>),
}

/// What a value is, told by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    Scalar,
}

impl<'a> Reader<'a> {
    /// At the start of `bytes`; `what` names them in refusals.
    pub(crate) fn new(bytes: &'a [u8], depth_max: u64, what: &'static str) -> Self {
        Self {
            bytes,
            at: 0,
            depth: 0,
            depth_max: usize::try_from(depth_max).unwrap_or(usize::MAX),
            what,
        }
    }

    /// A refusal that names the place.
    #[cold]
    pub(crate) fn malformed(&self, why: &str) -> Refusal {
        Refusal::Malformed {
            what: self.what,
            why: format!("at byte {}: {why}", self.at),
        }
    }

    /// How many bytes are left.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The byte here; 0, which no JSON text holds, at the end.
    #[inline]
    pub(crate) fn byte(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    /// Goes past the byte here.
    #[inline]
    pub(crate) fn advance(&mut self) {
        self.at += 1;
    }

    /// Goes past white space and gives the byte after it.
    #[inline]
    pub(crate) fn next(&mut self) -> u8 {
        loop {
            match self.byte() {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                other => return other,
            }
        }
    }

    /// Goes past the byte if it comes next.
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let taken = self.next() == byte;
        self.at += usize::from(taken);
        taken
    }

    /// What the next value is.
    pub(crate) fn kind(&mut self) -> Kind {
        match self.next() {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            _ => Kind::Scalar,
        }
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Result<(), Refusal> {
        self.next();
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(self.malformed("the JSON has ended, yet more follows"))
        }
    }

    /// One level deeper, if that is not too deep.
    pub(crate) fn enter(&mut self) -> Result<(), Refusal> {
        self.depth += 1;
        if self.depth > self.depth_max {
            let why = format!("it is nested deeper than {} levels", self.depth_max);
            return Err(self.malformed(&why));
        }
        Ok(())
    }

    /// One level up.
    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// An object: `each` is called with the reader before each value and must go past it.
    pub(crate) fn object(
        &mut self,
        mut each: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        if !self.take(b'{') {
            return Err(self.malformed("expected an object"));
        }
        self.enter()?;
        if !self.take(b'}') {
            loop {
                self.next();
                let key = self.text()?;
                self.colon()?;
                each(self, key)?;
                if !self.take(b',') {
                    break;
                }
            }
            if !self.take(b'}') {
                return Err(self.malformed("expected `,` or `}`"));
            }
        }
        self.leave();
        Ok(())
    }

    /// An array: `each` is called with the reader before each value and must go past it.
    pub(crate) fn array(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        if !self.take(b'[') {
            return Err(self.malformed("expected an array"));
        }
        self.enter()?;
        if !self.take(b']') {
            loop {
                each(self)?;
                if !self.take(b',') {
                    break;
                }
            }
            if !self.take(b']') {
                return Err(self.malformed("expected `,` or `]`"));
            }
        }
        self.leave();
        Ok(())
    }

    fn colon(&mut self) -> Result<(), Refusal> {
        if self.take(b':') {
            Ok(())
        } else {
            Err(self.malformed("expected `:`"))
        }
    }

    /// Whether a number starts here, its sign included. No branch on the sign: half of all numbers have one.
    #[inline(always)]
    pub(crate) fn is_at_number(&self) -> bool {
        let sign = usize::from(self.byte() == b'-');
        self.bytes
            .get(self.at + sign)
            .is_some_and(u8::is_ascii_digit)
    }

    /// The number that starts here.
    #[inline(always)]
    pub(crate) fn number(&mut self) -> Result<Decimal<'a>, Refusal> {
        match number::scan(self.bytes, self.at) {
            Some((decimal, end)) => {
                self.at = end;
                Ok(decimal)
            }
            None => Err(self.malformed("expected a value")),
        }
    }

    /// A value that holds no others.
    pub(crate) fn token(&mut self) -> Result<Token<'a>, Refusal> {
        let (word, token) = match self.next() {
            b'"' => return self.text().map(Token::Text),
            b'n' => ("null", Token::Null),
            b't' => ("true", Token::Bool(true)),
            b'f' => ("false", Token::Bool(false)),
            b'N' => ("NaN", Token::Word("NaN", f64::NAN)),
            b'I' => ("Infinity", Token::Word("Infinity", f64::INFINITY)),
            b'-' if self.bytes.get(self.at + 1) == Some(&b'I') => {
                ("-Infinity", Token::Word("-Infinity", f64::NEG_INFINITY))
            }
            b'[' | b'{' => return Err(self.malformed("expected a single value")),
            _ => return self.number().map(Token::Number),
        };
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.malformed("expected a value"));
        }
        self.at += word.len();
        Ok(token)
    }

    /// The string that starts here.
    pub(crate) fn text(&mut self) -> Result<Cow<'a, str>, Refusal> {
        if self.byte() != b'"' {
            return Err(self.malformed("expected a string"));
        }
        let start = self.at + 1;
        let end = plain(self.bytes, start);
        if self.bytes.get(end) == Some(&b'"') {
            let text = str::from_utf8(&self.bytes[start..end])
                .map_err(|_| self.malformed("the string is not UTF-8"))?;
            self.at = end + 1;
            return Ok(Cow::Borrowed(text));
        }
        self.escaped(start).map(Cow::Owned)
    }

    fn escaped(&mut self, start: usize) -> Result<String, Refusal> {
        let mut text = Vec::new();
        self.at = start;
        loop {
            let end = plain(self.bytes, self.at);
            text.extend_from_slice(&self.bytes[self.at..end]);
            self.at = end;
            match self.byte() {
                b'"' => break,
                b'\\' => {
                    let mut utf8 = [0; 4];
                    let escape = self.escape()?;
                    text.extend_from_slice(escape.encode_utf8(&mut utf8).as_bytes());
                }
                _ if self.remaining() == 0 => return Err(self.malformed("the string has no end")),
                _ => return Err(self.malformed("the string holds a control character")),
            }
        }
        self.at += 1;
        String::from_utf8(text).map_err(|_| self.malformed("the string is not UTF-8"))
    }

    fn escape(&mut self) -> Result<char, Refusal> {
        let letter = self.bytes.get(self.at + 1).copied().unwrap_or(0);
        self.at += 2;
        Ok(match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.four_digits()?;
                let mut units = vec![first];
                if (0xd800..0xdc00).contains(&first) && self.bytes[self.at..].starts_with(b"\\u") {
                    self.at += 2;
                    units.push(self.four_digits()?);
                }
                let mut chars = char::decode_utf16(units);
                match (chars.next(), chars.next()) {
                    (Some(Ok(char)), None) => char,
                    _ => return Err(self.malformed("half of a surrogate pair")),
                }
            }
            _ => {
                self.at = self.at.min(self.bytes.len());
                return Err(self.malformed("there is no such escape"));
            }
        })
    }

    fn four_digits(&mut self) -> Result<u16, Refusal> {
        let digits = self.bytes.get(self.at..self.at + 4);
        let number = digits
            .filter(|it| it.iter().all(u8::is_ascii_hexdigit))
            .and_then(|it| str::from_utf8(it).ok())
            .and_then(|it| u16::from_str_radix(it, 16).ok());
        let Some(number) = number else {
            self.at = self.at.min(self.bytes.len());
            return Err(self.malformed("`\\u` needs four hexadecimal digits"));
        };
        self.at += 4;
        Ok(number)
    }

    /// Goes past one value of any kind and depth, reading all of it.
    pub(crate) fn skip(&mut self) -> Result<(), Refusal> {
        // What is open, innermost last: whether it is an object.
        let mut open: Vec<bool> = Vec::new();
        loop {
            match self.next() {
                b'{' => {
                    self.advance();
                    self.enter()?;
                    open.push(true);
                    if self.next() != b'}' {
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.advance();
                    self.enter()?;
                    open.push(false);
                    if self.next() != b']' {
                        continue;
                    }
                }
                b'"' => self.skip_text()?,
                _ => {
                    self.token()?;
                }
            }
            // After a value: close what closes here, then go on with what is open.
            loop {
                let Some(object) = open.last().copied() else {
                    return Ok(());
                };
                match (self.next(), object) {
                    (b',', true) => {
                        self.advance();
                        self.next();
                        self.key()?;
                        break;
                    }
                    (b',', false) => {
                        self.advance();
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        self.advance();
                        self.leave();
                        open.pop();
                    }
                    (_, true) => return Err(self.malformed("expected `,` or `}`")),
                    (_, false) => return Err(self.malformed("expected `,` or `]`")),
                }
            }
        }
    }

    fn key(&mut self) -> Result<(), Refusal> {
        self.skip_text()?;
        self.colon()
    }

    fn skip_text(&mut self) -> Result<(), Refusal> {
        self.text().map(drop)
    }
}

/// Writes a string with its quotes and escapes.
pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        let end = plain(bytes, at);
        out.extend_from_slice(&bytes[at..end]);
        let Some(byte) = bytes.get(end) else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                let (high, low) = (control >> 4, control & 15);
                out.extend_from_slice(b"\\u00");
                out.push(DIGITS[usize::from(high)]);
                out.push(DIGITS[usize::from(low)]);
            }
        }
        at = end + 1;
    }
    out.push(b'"');
}

/// The first byte from `at` on that a string's plain part cannot hold: a quote, a backslash, a control
/// character; or the end.
#[inline]
fn plain(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    while let Some(eight) = bytes.get(at..at + 8) {
        let Ok(eight) = <[u8; 8]>::try_from(eight) else {
            break;
        };
        let word = u64::from_le_bytes(eight);
        let zero = |it: u64| it.wrapping_sub(ONES) & !it;
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let backslash = zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        // The lowest byte that is marked is one of these; those above it may be marked by a borrow.
        let found = (quote | backslash | control) & (ONES * 0x80);
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(byte) = bytes.get(at) {
        if matches!(byte, b'"' | b'\\' | 0..0x20) {
            break;
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn skip(text: &[u8]) -> Result<(), Refusal> {
        let mut reader = Reader::new(text, 64, "body");
        reader.skip()?;
        reader.end()
    }

    fn check_text(json: &[u8], want: &str) {
        let got = match Reader::new(json, 64, "body").text() {
            Ok(text) => text.into_owned(),
            Err(refusal) => refusal.to_string(),
        };
        assert_eq!(got, want);
    }

    #[test]
    fn strings_are_read_as_written_and_halves_of_pairs_refused() {
        check_text(br#""plain""#, "plain");
        check_text(br#""a\n\"\\\/\u00e9\ud83d\ude00z""#, "a\n\"\\/é😀z");
        check_text(
            br#""\ud83d""#,
            "body cannot be read: at byte 7: half of a surrogate pair",
        );
        check_text(
            br#""\ud83d\u0041""#,
            "body cannot be read: at byte 13: half of a surrogate pair",
        );
        check_text(
            br#""\udc00\ud83d""#,
            "body cannot be read: at byte 7: half of a surrogate pair",
        );
        check_text(
            b"\"\xff\"",
            "body cannot be read: at byte 0: the string is not UTF-8",
        );
        check_text(
            b"\"a\nb\"",
            "body cannot be read: at byte 2: the string holds a control character",
        );
        check_text(
            b"\"abcdefghijk",
            "body cannot be read: at byte 12: the string has no end",
        );
        check_text(
            br#""\u12"#,
            "body cannot be read: at byte 3: `\\u` needs four hexadecimal digits",
        );
    }

    #[test]
    fn a_text_nested_100_000_deep_is_refused() {
        for open in ["[", r#"{"a":"#] {
            let refusal = skip(open.repeat(100_000).as_bytes()).expect_err("too deep");
            let text = refusal.to_string();
            assert!(text.contains("deeper than 64 levels"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_skipped_is_what_serde_json_reads(text in "[\\[\\]{},:\"a01.eE\\-+ nultrfs\\\\]{0,24}") {
            let want = serde_json::from_str::<serde_json::Value>(&text);
            // serde_json refuses what no double holds; we read it only where a number is wanted.
            let range = want.as_ref().is_err_and(|it| it.to_string().contains("out of range"));
            prop_assert!(range || skip(text.as_bytes()).is_ok() == want.is_ok(), "{text}");
        }

        #[test]
        fn any_string_is_written_as_serde_json_reads_it(text: String) {
            let mut json = Vec::new();
            write_text(&text, &mut json);
            let got: String = serde_json::from_slice(&json).expect("JSON");
            prop_assert_eq!(got, text);
        }

        #[test]
        fn any_string_is_read_as_serde_json_writes_it(text: String) {
            let json = serde_json::to_vec(&text).expect("a string");
            let got = Reader::new(&json, 64, "body").text().expect("a string").into_owned();
            prop_assert_eq!(got, text);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = skip(&bytes);
        }
    }
}
