//! Protocol Buffers text format, as people write it in `config.pbtxt`: fields, lists, messages, strings,
//! numbers, names, comments. (The language: protobuf.dev, "Text Format Language Specification".)
//!
//! Left out, and refused where they occur: extensions and `Any` in square brackets, which no
//! `config.pbtxt` has. Depth and size are bounded; every error names its line.

use domain::Refusal;

/// The longest text that is read, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// How deep messages may lie in one another.
const DEPTH_MAX: usize = 32;
/// How many values there may be, and how long a field's name may be: each value of a list has a copy.
const VALUES_MAX: usize = 65_536;
const NAME_BYTES_MAX: usize = 128;
/// The name by which errors call the text.
const FILE: &str = "config.pbtxt";

/// `name: value`. A list is as many fields of one name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i128),
    Float(f64),
    /// A name of an enumeration, `true` or `false`.
    Word(String),
    Message(Vec<Field>),
}

impl Value {
    /// What it is, for an error.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text) => format!("{:?}", text.chars().take(80).collect::<String>()),
            Self::Integer(whole) => format!("`{whole}`"),
            Self::Float(float) => format!("`{float}`"),
            Self::Word(word) => format!("`{}`", word.chars().take(80).collect::<String>()),
            Self::Message(_) => "a message in braces".to_owned(),
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Vec<Field>, Refusal> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(invalid(
            1,
            format!("it is longer than {TEXT_BYTES_MAX} bytes"),
        ));
    }
    let mut parser = Parser {
        rest: text,
        line: 1,
        values: 0,
    };
    let fields = parser.fields(None, 0)?;
    Ok(fields)
}

pub(super) fn invalid(line: usize, why: impl Into<String>) -> Refusal {
    Refusal::InvalidManifest {
        field: format!("{FILE}:{line}"),
        why: why.into(),
    }
}

struct Parser<'a> {
    rest: &'a str,
    line: usize,
    values: usize,
}

impl<'a> Parser<'a> {
    /// Fields up to the closing bracket, or up to the end of the text where there is none.
    fn fields(&mut self, close: Option<char>, depth: usize) -> Result<Vec<Field>, Refusal> {
        if depth > DEPTH_MAX {
            return Err(self.wrong(format!("messages lie more than {DEPTH_MAX} deep")));
        }
        let mut fields = Vec::new();
        loop {
            self.skip_blank();
            let next = self.rest.chars().next();
            if next == close {
                self.take(next.map_or(0, char::len_utf8));
                return Ok(fields);
            }
            let line = self.line;
            let name = match next {
                None => return Err(self.expected(&format!("`{}`", close.unwrap_or('}')))),
                Some(c) if c.is_ascii_alphabetic() || c == '_' => self.word().to_owned(),
                Some(_) => return Err(self.expected("a field's name")),
            };
            if name.len() > NAME_BYTES_MAX {
                return Err(self.wrong(format!("a name is longer than {NAME_BYTES_MAX} bytes")));
            }
            self.skip_blank();
            let colon = self.skip(':');
            self.skip_blank();
            if self.skip('[') {
                self.list(&name, line, depth, &mut fields)?;
            } else {
                let value = self.value(colon, depth)?;
                fields.push(Field { name, line, value });
            }
            self.skip_blank();
            // One separator may stand between fields; none is as good.
            let _ = self.skip(',') || self.skip(';');
        }
    }

    fn list(
        &mut self,
        name: &str,
        line: usize,
        depth: usize,
        fields: &mut Vec<Field>,
    ) -> Result<(), Refusal> {
        self.skip_blank();
        if self.skip(']') {
            return Ok(());
        }
        loop {
            self.skip_blank();
            let value = self.value(true, depth)?;
            fields.push(Field {
                name: name.to_owned(),
                line,
                value,
            });
            self.skip_blank();
            if self.skip(']') {
                return Ok(());
            }
            if !self.skip(',') {
                return Err(self.expected("`,` or `]`"));
            }
        }
    }

    /// A value; without a colon before it, it can only be a message.
    fn value(&mut self, colon: bool, depth: usize) -> Result<Value, Refusal> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(self.wrong(format!("there are more than {VALUES_MAX} values")));
        }
        match self.rest.chars().next() {
            Some('{') => {
                self.take(1);
                Ok(Value::Message(self.fields(Some('}'), depth + 1)?))
            }
            Some('<') => {
                self.take(1);
                Ok(Value::Message(self.fields(Some('>'), depth + 1)?))
            }
            _ if !colon => Err(self.expected("`:` or `{`")),
            Some('"' | '\'') => self.string(),
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => self.number(),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                Ok(Value::Word(self.word().to_owned()))
            }
            _ => Err(self.expected("a value")),
        }
    }

    /// Strings that stand side by side are one.
    fn string(&mut self) -> Result<Value, Refusal> {
        let mut bytes = Vec::new();
        while let Some(quote @ ('"' | '\'')) = self.rest.chars().next() {
            self.take(1);
            loop {
                let Some(c) = self.rest.chars().next() else {
                    return Err(self.expected(&format!("the closing {quote}")));
                };
                self.take(c.len_utf8());
                match c {
                    '\n' => return Err(self.wrong("a string goes over the end of the line")),
                    '\\' => self.escape(&mut bytes)?,
                    c if c == quote => break,
                    c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
            self.skip_blank();
        }
        String::from_utf8(bytes)
            .map(Value::Text)
            .map_err(|_| self.wrong("a string is not UTF-8"))
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), Refusal> {
        let Some(c) = self.rest.chars().next() else {
            return Err(self.expected("a character after `\\`"));
        };
        let plain = match c {
            'n' => b'\n',
            't' => b'\t',
            'r' => b'\r',
            '\\' | '"' | '\'' | '?' => c as u8,
            '0'..='7' => return self.code(bytes, 3, 8),
            'x' | 'X' => {
                self.take(1);
                return self.code(bytes, 2, 16);
            }
            _ => return Err(self.wrong(format!("`\\{c}` is not an escape that is read here"))),
        };
        self.take(1);
        bytes.push(plain);
        Ok(())
    }

    /// A byte by its code: at most so many digits.
    fn code(&mut self, bytes: &mut Vec<u8>, digits: usize, radix: u32) -> Result<(), Refusal> {
        let count = self.run(|c| c.is_digit(radix)).min(digits);
        let code = u8::from_str_radix(&self.rest[..count], radix)
            .map_err(|_| self.wrong("an escape is not a byte"))?;
        self.take(count);
        bytes.push(code);
        Ok(())
    }

    fn number(&mut self) -> Result<Value, Refusal> {
        let signed = self.rest;
        let negative = self.skip('-');
        if !negative {
            let _ = self.skip('+');
        }
        self.skip_blank();
        let mut length = self.run(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'));
        // The sign of an exponent belongs to the number.
        let hexadecimal = self.rest.starts_with("0x") || self.rest.starts_with("0X");
        if !hexadecimal
            && self.rest[..length].ends_with(['e', 'E'])
            && self.rest[length..].starts_with(['+', '-'])
        {
            let after = &self.rest[length + 1..];
            length +=
                1 + after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        }
        let text = &self.rest[..length];
        let shown: String = signed
            .chars()
            .take(40)
            .take_while(|c| !c.is_whitespace())
            .collect();
        let magnitude = if hexadecimal {
            u64::from_str_radix(&text[2..], 16).ok()
        } else if text.len() > 1
            && text.starts_with('0')
            && text.bytes().all(|b| b.is_ascii_digit())
        {
            u64::from_str_radix(text, 8).ok()
        } else {
            text.parse().ok()
        };
        let value = match magnitude {
            Some(whole) if negative => Some(Value::Integer(-i128::from(whole))),
            Some(whole) => Some(Value::Integer(i128::from(whole))),
            None if text.starts_with(|c: char| c.is_ascii_digit() || c == '.')
                && text.contains(['.', 'e', 'E', 'f', 'F'])
                && !hexadecimal =>
            {
                let text = text.strip_suffix(['f', 'F']).unwrap_or(text);
                let float: Option<f64> = text.parse().ok();
                float.map(|it| Value::Float(if negative { -it } else { it }))
            }
            None => None,
        };
        let value = value.ok_or_else(|| self.wrong(format!("`{shown}` is not a number")))?;
        self.take(length);
        Ok(value)
    }

    fn word(&mut self) -> &'a str {
        let length = self.run(|c| c.is_ascii_alphanumeric() || c == '_');
        self.take(length)
    }

    /// How many bytes from here on are such characters.
    fn run(&self, such: impl Fn(char) -> bool) -> usize {
        self.rest.find(|c| !such(c)).unwrap_or(self.rest.len())
    }

    fn skip(&mut self, c: char) -> bool {
        let found = self.rest.starts_with(c);
        if found {
            self.take(c.len_utf8());
        }
        found
    }

    /// Goes on to what is neither blank nor a comment.
    fn skip_blank(&mut self) {
        loop {
            self.take(self.run(char::is_whitespace));
            if !self.rest.starts_with('#') {
                return;
            }
            self.take(self.run(|c| c != '\n'));
        }
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn expected(&self, what: &str) -> Refusal {
        match self.rest.chars().next() {
            Some(got) => self.wrong(format!("expected {what}, got `{}`", got.escape_debug())),
            None => self.wrong(format!("expected {what}, the file ends")),
        }
    }

    fn wrong(&self, why: impl Into<String>) -> Refusal {
        invalid(self.line, why)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Shows fields in one way of many: `name: value` on a line each, messages in braces.
    fn show(fields: &[Field]) -> String {
        let shown = fields.iter().map(|Field { name, line, value }| {
            let value = match value {
                Value::Text(text) => format!("{text:?}"),
                Value::Integer(whole) => whole.to_string(),
                Value::Float(float) => format!("{float:?}"),
                Value::Word(word) => word.clone(),
                Value::Message(fields) => format!("{{ {} }}", show(fields)),
            };
            format!("{line}:{name} {value}")
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    fn check(text: &str, want: &str) {
        let got = match parse(text) {
            Ok(fields) => show(&fields),
            Err(refusal) => refusal.to_string(),
        };
        assert_eq!(got, want);
    }

    #[test]
    fn fields_are_read_as_people_write_them() {
        check("", "");
        check("# only this\n\n", "");
        check(
            "name: \"a\" # why\nmax_batch_size: 8",
            "1:name \"a\", 2:max_batch_size 8",
        );
        check(
            "a { b: 1; c: 2, d <e: x> }",
            "1:a { 1:b 1, 1:c 2, 1:d { 1:e x } }",
        );
        check(
            "a: { b: [ 1, -2,3 ] }\nc: []",
            "1:a { 1:b 1, 1:b -2, 1:b 3 }",
        );
        check(
            "i [\n{ n: 'x' },\n{ n: 'y' }\n]",
            "1:i { 2:n \"x\" }, 1:i { 3:n \"y\" }",
        );
        check("a: 'one '\n  \"two\"", "1:a \"one two\"");
        check(
            r#"a: "\n\t\\\"\'\101\x41\303\251""#,
            r#"1:a "\n\t\\\"'AAé""#,
        );
        check(
            "a: 0x1F b: 017 c: 1.5e-3 d: .5 e: -2.f f: true",
            "1:a 31, 1:b 15, 1:c 0.0015, 1:d 0.5, 1:e -2.0, 1:f true",
        );
        check("a: 18446744073709551615", "1:a 18446744073709551615");
        check("a:1b:2", "`config.pbtxt:1`: `1b:2` is not a number");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        check(
            "a: 1\nb 2",
            "`config.pbtxt:2`: expected `:` or `{`, got `2`",
        );
        check(
            "a {\n b: 1\n",
            "`config.pbtxt:3`: expected `}`, the file ends",
        );
        check("a: {\n", "`config.pbtxt:2`: expected `}`, the file ends");
        check("}", "`config.pbtxt:1`: expected a field's name, got `}`");
        check("a: [1 2]", "`config.pbtxt:1`: expected `,` or `]`, got `2`");
        check(
            "a: [1,",
            "`config.pbtxt:1`: expected a value, the file ends",
        );
        check(
            "a: \"x\ny\"",
            "`config.pbtxt:2`: a string goes over the end of the line",
        );
        check(
            "a: \"x",
            "`config.pbtxt:1`: expected the closing \", the file ends",
        );
        check(
            r#"a: "\q""#,
            r"`config.pbtxt:1`: `\q` is not an escape that is read here",
        );
        check(r#"a: "\777""#, "`config.pbtxt:1`: an escape is not a byte");
        check(r#"a: "\377""#, "`config.pbtxt:1`: a string is not UTF-8");
        check(
            "[ext.x]: 1",
            "`config.pbtxt:1`: expected a field's name, got `[`",
        );
        check(
            "a: 99999999999999999999999x",
            "`config.pbtxt:1`: `99999999999999999999999x` is not a number",
        );
        check("a: 09", "`config.pbtxt:1`: `09` is not a number");
        check("a: 0xg", "`config.pbtxt:1`: `0xg` is not a number");
        check("a: -inf", "`config.pbtxt:1`: `-inf` is not a number");
    }

    #[test]
    fn hostile_nesting_and_length_are_refused() {
        for open in ["a{", "a:{", "a<", "a:[{"] {
            check(
                &open.repeat(100_000),
                "`config.pbtxt:1`: messages lie more than 32 deep",
            );
        }
        let wrong = "`config.pbtxt:1`: expected a value, got `[`";
        check(&format!("a:{}", "[".repeat(100_000)), wrong);
        check(
            &format!("a: [{}", "1,".repeat(100_000)),
            "`config.pbtxt:1`: there are more than 65536 values",
        );
        check(
            &"a".repeat(129),
            "`config.pbtxt:1`: a name is longer than 128 bytes",
        );
        check(
            &" ".repeat(TEXT_BYTES_MAX + 1),
            "`config.pbtxt:1`: it is longer than 1048576 bytes",
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = parse(&text);
        }

        #[test]
        fn text_of_its_own_signs_is_read_or_refused(
            text in "([a-z_]{1,3}|[-+0-9.xXeEf]{1,4}|[:{}<>,;#\n\\[\\]\"'\\\\ é])*"
        ) {
            let _ = parse(&text);
        }
    }
}
