//! Apache Thrift's compact protocol, as far as looking at a Parquet file's own account of itself needs: whole
//! numbers, bytes and structures by their field's number. Everything else is passed over. What is read takes
//! at most a few times the memory of its bytes.
//!
//! Source: `doc/specs/thrift-compact-protocol.md` of Apache Thrift.

/// The fields of a structure, in the order in which they stand.
#[derive(Debug, Default)]
pub(super) struct Fields<'a>(Vec<(i16, Value<'a>)>);

#[derive(Debug)]
enum Value<'a> {
    Whole(i64),
    Bytes(&'a [u8]),
    Structure(Fields<'a>),
    Structures(Vec<Fields<'a>>),
    Other,
}

/// What is wrong with the bytes.
pub(super) type Wrong = String;

const DEPTH_MAX: usize = 16;

/// The most fields of a structure: Parquet's have fewer than twenty. They are searched one by one.
const FIELDS_MAX: usize = 64;

/// Reads one structure; also says how many bytes it took.
pub(super) fn read(bytes: &[u8]) -> Result<(Fields<'_>, usize), Wrong> {
    let mut reader = Reader { bytes, at: 0 };
    let fields = reader.structure(0)?;
    Ok((fields, reader.at))
}

impl<'a> Fields<'a> {
    fn get(&self, id: i16) -> Option<&Value<'a>> {
        self.0.iter().find(|(it, _)| *it == id).map(|(_, it)| it)
    }

    pub(super) fn whole(&self, id: i16) -> Option<i64> {
        match self.get(id) {
            Some(Value::Whole(number)) => Some(*number),
            _ => None,
        }
    }

    /// A count, a size or an offset.
    pub(super) fn size(&self, id: i16, what: &str) -> Result<u64, Wrong> {
        let number = self
            .whole(id)
            .ok_or_else(|| format!("{what} is not given"))?;
        u64::try_from(number).map_err(|_| format!("{what} is {number}"))
    }

    pub(super) fn has(&self, id: i16) -> bool {
        self.get(id).is_some()
    }

    pub(super) fn text(&self, id: i16) -> Option<&'a str> {
        match self.get(id) {
            Some(Value::Bytes(bytes)) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    pub(super) fn structure(&self, id: i16) -> Option<&Fields<'a>> {
        match self.get(id) {
            Some(Value::Structure(fields)) => Some(fields),
            _ => None,
        }
    }

    pub(super) fn structures(&self, id: i16) -> &[Fields<'a>] {
        match self.get(id) {
            Some(Value::Structures(all)) => all,
            _ => &[],
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

// The numbers of the types, as they stand in front of a field.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I8: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Wrong> {
        let left = &self.bytes[self.at..];
        let taken = left.get(..count).ok_or("it ends too early")?;
        self.at += count;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Wrong> {
        Ok(self.take(1)?[0])
    }

    fn varint(&mut self) -> Result<u64, Wrong> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number has too many bytes".to_owned())
    }

    fn zigzag(&mut self) -> Result<i64, Wrong> {
        let number = self.varint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn structure(&mut self, depth: usize) -> Result<Fields<'a>, Wrong> {
        if depth > DEPTH_MAX {
            return Err("it is nested too deeply".to_owned());
        }
        let mut fields = Fields::default();
        let mut id: i16 = 0;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(fields);
            }
            let next = match head >> 4 {
                0 => i16::try_from(self.zigzag()?).ok(),
                more => id.checked_add(i16::from(more)),
            };
            id = next.ok_or("a field's number is too large")?;
            if fields.0.len() == FIELDS_MAX {
                return Err(format!("a structure has over {FIELDS_MAX} fields"));
            }
            if fields.has(id) {
                return Err(format!("field {id} is there twice"));
            }
            let value = match head & 0x0f {
                TRUE => Value::Whole(1),
                FALSE => Value::Whole(0),
                other => self.value(other, depth)?,
            };
            fields.0.push((id, value));
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Result<Value<'a>, Wrong> {
        Ok(match kind {
            // In a list, a truth value is a byte.
            TRUE | FALSE | I8 => {
                self.take(1)?;
                Value::Other
            }
            I16 | I32 | I64 => Value::Whole(self.zigzag()?),
            DOUBLE => {
                self.take(8)?;
                Value::Other
            }
            BINARY => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                Value::Bytes(self.take(length)?)
            }
            LIST | SET => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => self.varint()?,
                    count => u64::from(count),
                };
                self.check_count(count)?;
                self.list(head & 0x0f, count, depth)?
            }
            MAP => {
                let count = self.varint()?;
                self.check_count(count)?;
                let kinds = if count > 0 { self.byte()? } else { 0 };
                for _ in 0..count {
                    self.value(kinds >> 4, depth + 1)?;
                    self.value(kinds & 0x0f, depth + 1)?;
                }
                Value::Other
            }
            STRUCT => Value::Structure(self.structure(depth + 1)?),
            other => return Err(format!("there is no type {other}")),
        })
    }

    /// Each element takes a byte or more, so a count is no promise beyond what is left.
    fn check_count(&self, count: u64) -> Result<(), Wrong> {
        let left = (self.bytes.len() - self.at) as u64;
        if count > left {
            return Err(format!("a list of {count} elements has {left} bytes"));
        }
        Ok(())
    }

    fn list(&mut self, kind: u8, count: u64, depth: usize) -> Result<Value<'a>, Wrong> {
        if depth > DEPTH_MAX {
            return Err("it is nested too deeply".to_owned());
        }
        if kind == STRUCT {
            let all: Result<_, _> = (0..count).map(|_| self.structure(depth + 1)).collect();
            return Ok(Value::Structures(all?));
        }
        for _ in 0..count {
            self.value(kind, depth + 1)?;
        }
        Ok(Value::Other)
    }
}
