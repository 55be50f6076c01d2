//! A request's rows as bytes of the log: tensors as they are, the rest in front.
//!
//! What is written here is read by `columns` when a segment is sealed or asked about, and by nobody else.

use domain::ledger::Share;
use domain::{Elements, Tensor};
use stats::random::Random;

use crate::layout::{Kept, Layout, Slot, VALUES_MAX};

/// What a record holds: its first byte.
pub(crate) const LAYOUT: u8 = 1;
pub(crate) const PREDICTIONS: u8 = 2;
pub(crate) const LABELS: u8 = 3;

/// The most bytes of a record; a request with more rows than fit has several.
const RECORD_BYTES: usize = 256 << 10;
/// The most bytes of one row's tensor that are kept whole.
const PAYLOAD_BYTES_MAX: usize = 4 << 20;
/// The longest text of a header that is kept.
pub(crate) const TEXT_BYTES_MAX: usize = 256;

/// How a tensor of a record is written.
pub(crate) const ABSENT: u8 = 0;
pub(crate) const VALUES: u8 = 1;
pub(crate) const SUMMARY: u8 = 2;

/// What is known of a request's rows.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    /// The request's id.
    pub id: [u8; 16],
    /// When it came, in microseconds since 1970.
    pub time_us: i64,
    /// How many rows; at least one, also where the request could not be read.
    pub rows: u32,
    /// How its version was chosen.
    pub arm: &'a str,
    /// What it is about, where a header says so.
    pub key: Option<&'a str>,
    /// Who asked, where a header says so.
    pub caller: Option<&'a str>,
    /// The caller's own id for the request.
    pub request_id: Option<&'a str>,
    /// Why it was not answered.
    pub code: Option<&'a str>,
    /// Where its time went and what it used.
    pub spent: Spent,
    /// The inputs in the signature's order; none where the request could not be read.
    pub inputs: Option<&'a [Tensor]>,
    /// The outputs that were asked for: their places in the signature, and what they are.
    pub outputs: &'a [(usize, &'a Tensor)],
    /// The share of large tensors that is kept whole.
    pub sample: Share,
}

/// Where a request's time went, in microseconds, and what each of its rows used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Waiting for a run.
    pub queue_us: u32,
    /// In the run.
    pub compute_us: u32,
    /// From its arrival to its answer.
    pub total_us: u32,
    /// Rows of all requests that shared the run.
    pub batch_rows: u32,
    /// Microseconds of a core, for each row.
    pub cpu_us: f32,
    /// Microseconds of an accelerator, for each row.
    pub accelerator_us: f32,
    /// Mebibytes of memory held, times seconds, for each row.
    pub memory_mib_s: f32,
    /// What that costs, for each row; NaN where there are no prices.
    pub cost: f32,
}

/// The bytes of a layout's record.
pub(crate) fn layout(number: u32, layout: &Layout) -> Vec<u8> {
    let mut bytes = vec![LAYOUT];
    bytes.extend(number.to_le_bytes());
    bytes.extend(layout.to_json());
    bytes
}

/// What [`layout`] wrote.
pub(crate) fn read_layout(record: &[u8]) -> Option<(u32, Layout)> {
    let number = record.get(1..5)?.try_into().ok()?;
    let layout = Layout::from_json(record.get(5..)?).ok()?;
    Some((u32::from_le_bytes(number), layout))
}

/// Calls `put` with each record that the rows from `first` on make, and how many rows it has.
pub(crate) fn encode<E>(
    number: u32,
    layout: &Layout,
    rows: &Rows<'_>,
    first: u32,
    buffer: &mut Vec<u8>,
    mut put: impl FnMut(&[u8], u32) -> Result<(), E>,
) -> Result<(), E> {
    let all = usize::try_from(rows.rows).unwrap_or(usize::MAX).max(1);
    let step = rows_a_record(layout, rows, all);
    let mut first = usize::try_from(first).unwrap_or(usize::MAX);
    while first < all {
        let count = step.min(all - first);
        buffer.clear();
        head(number, rows, first, count, buffer);
        let part = Part { all, first, count };
        buffer.push(u8::from(rows.inputs.is_some()));
        for (index, slot) in layout.inputs.iter().enumerate() {
            let tensor = rows.inputs.and_then(|it| it.get(index));
            encode_tensor(slot, tensor, part, rows, buffer);
        }
        for (index, slot) in layout.outputs.iter().enumerate() {
            let found = rows.outputs.iter().find(|(place, _)| *place == index);
            encode_tensor(slot, found.map(|(_, tensor)| *tensor), part, rows, buffer);
        }
        put(buffer, u32::try_from(count).unwrap_or(u32::MAX))?;
        first += count;
    }
    Ok(())
}

/// Which of a request's rows a record has.
#[derive(Clone, Copy)]
struct Part {
    all: usize,
    first: usize,
    count: usize,
}

fn rows_a_record(layout: &Layout, rows: &Rows<'_>, all: usize) -> usize {
    if all == 1 {
        return 1;
    }
    let inputs = rows.inputs.unwrap_or_default().iter();
    let tensors = layout.inputs.iter().zip(inputs);
    let outputs = rows.outputs.iter().filter_map(|(index, tensor)| {
        let slot = layout.outputs.get(*index)?;
        Some((slot, *tensor))
    });
    let bytes: usize = tensors
        .chain(outputs)
        .map(|(slot, tensor)| match (&slot.kept, tensor.elements()) {
            // A summary is small, and large payloads are few.
            (Kept::Summary(_), _) => 100 * all,
            (Kept::Columns(_), Elements::Fixed(fixed)) => fixed.as_bytes().len(),
            (Kept::Columns(_), Elements::Bytes(strings)) => {
                strings.iter().map(|it| it.len() + 4).sum()
            }
        })
        .sum();
    (RECORD_BYTES / (bytes / all).max(1)).max(1)
}

fn head(number: u32, rows: &Rows<'_>, first: usize, count: usize, buffer: &mut Vec<u8>) {
    let Spent {
        queue_us,
        compute_us,
        total_us,
        batch_rows,
        cpu_us,
        accelerator_us,
        memory_mib_s,
        cost,
    } = rows.spent;
    buffer.push(PREDICTIONS);
    buffer.extend_from_slice(&number.to_le_bytes());
    buffer.extend_from_slice(&rows.id);
    buffer.extend_from_slice(&rows.time_us.to_le_bytes());
    for number in [
        u32::try_from(first).unwrap_or(u32::MAX),
        u32::try_from(count).unwrap_or(u32::MAX),
        queue_us,
        compute_us,
        total_us,
        batch_rows,
    ] {
        buffer.extend_from_slice(&number.to_le_bytes());
    }
    for number in [cpu_us, accelerator_us, memory_mib_s, cost] {
        buffer.extend_from_slice(&number.to_le_bytes());
    }
    text(Some(rows.arm), buffer);
    for it in [rows.key, rows.caller, rows.request_id, rows.code] {
        text(it, buffer);
    }
}

/// Two bytes of length, `0xffff` for none, and the text.
fn text(text: Option<&str>, buffer: &mut Vec<u8>) {
    let Some(text) = text else {
        buffer.extend_from_slice(&u16::MAX.to_le_bytes());
        return;
    };
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    buffer.extend_from_slice(&u16::try_from(end).unwrap_or(0).to_le_bytes());
    buffer.extend_from_slice(&text.as_bytes()[..end]);
}

fn encode_tensor(
    slot: &Slot,
    tensor: Option<&Tensor>,
    part: Part,
    rows: &Rows<'_>,
    buffer: &mut Vec<u8>,
) {
    let Some(tensor) = tensor else {
        return buffer.push(ABSENT);
    };
    let count = tensor.elements().count();
    if !count.is_multiple_of(part.all) || tensor.datatype() != slot.datatype() {
        return buffer.push(ABSENT);
    }
    let width = count / part.all;
    match &slot.kept {
        Kept::Columns(names) if names.len() == width => {
            buffer.push(VALUES);
            let range = part.first * width..(part.first + part.count) * width;
            values(tensor.elements(), range, buffer);
        }
        Kept::Columns(_) => buffer.push(ABSENT),
        Kept::Summary(_) => {
            buffer.push(SUMMARY);
            // The first axis counts rows, unless the tensor is one whole.
            let whole = part.all == 1 && tensor.shape().first() != Some(&1);
            let shape = tensor
                .shape()
                .get(usize::from(!whole)..)
                .unwrap_or_default();
            for row in part.first..part.first + part.count {
                summary(tensor.elements(), row, width, shape, rows, buffer);
            }
        }
    }
}

fn values(elements: &Elements, range: std::ops::Range<usize>, buffer: &mut Vec<u8>) {
    match elements {
        Elements::Fixed(fixed) => {
            let width = fixed.datatype().width().unwrap_or(1);
            let bytes = fixed.as_bytes();
            buffer.extend_from_slice(&bytes[range.start * width..range.end * width]);
        }
        Elements::Bytes(strings) => {
            for string in &strings[range] {
                let len = u32::try_from(string.len()).unwrap_or(u32::MAX);
                buffer.extend_from_slice(&len.to_le_bytes());
                buffer.extend_from_slice(string);
            }
        }
    }
}

/// Shape, digest, least, greatest and mean value of a row, and its values where they are kept.
fn summary(
    elements: &Elements,
    row: usize,
    width: usize,
    shape: &[usize],
    rows: &Rows<'_>,
    buffer: &mut Vec<u8>,
) {
    let range = row * width..(row + 1) * width;
    buffer.push(u8::try_from(shape.len()).unwrap_or(u8::MAX));
    for size in shape.iter().take(usize::from(u8::MAX)) {
        buffer.extend_from_slice(&u32::try_from(*size).unwrap_or(u32::MAX).to_le_bytes());
    }
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 16 + 3 * 8 + 4]);
    let payload = buffer.len();
    values(elements, range.clone(), buffer);
    let digest = digest(&buffer[payload..]);
    let (min, max, mean) = spread(elements, range);
    let kept = width <= VALUES_MAX || sampled(rows, row);
    let len = buffer.len() - payload;
    let kept = kept && len <= PAYLOAD_BYTES_MAX;
    if !kept {
        buffer.truncate(payload);
    }
    let len = if kept {
        u32::try_from(len).unwrap_or(u32::MAX)
    } else {
        u32::MAX
    };
    let mut to = &mut buffer[start..payload];
    for bytes in [
        &digest[..],
        &min.to_le_bytes(),
        &max.to_le_bytes(),
        &mean.to_le_bytes(),
        &len.to_le_bytes(),
    ] {
        let (here, rest) = to.split_at_mut(bytes.len());
        here.copy_from_slice(bytes);
        to = rest;
    }
}

/// The first 16 bytes of the SHA-256 of the values as they lie in memory, little-endian.
fn digest(bytes: &[u8]) -> [u8; 16] {
    use sha2::Digest;
    let whole = sha2::Sha256::digest(bytes);
    let mut first = [0; 16];
    first.copy_from_slice(&whole[..16]);
    first
}

fn spread(elements: &Elements, range: std::ops::Range<usize>) -> (f64, f64, f64) {
    let Elements::Fixed(fixed) = elements else {
        return (f64::NAN, f64::NAN, f64::NAN);
    };
    let (mut min, mut max, mut sum) = (f64::INFINITY, f64::NEG_INFINITY, 0.0);
    let count = range.len();
    for number in range.filter_map(|index| fixed.number(index)) {
        min = number.min(min);
        max = number.max(max);
        sum += number;
    }
    if count == 0 {
        return (f64::NAN, f64::NAN, f64::NAN);
    }
    (min, max, sum / count as f64)
}

/// Whether a row is in the sample. Told from its id, so that all of its tensors are, or none.
fn sampled(rows: &Rows<'_>, row: usize) -> bool {
    let mut hash = row as u64;
    for half in rows.id.chunks_exact(8) {
        let mut word = [0; 8];
        word.copy_from_slice(half);
        hash = Random::new(hash ^ u64::from_le_bytes(word)).bits();
    }
    rows.sample.takes(hash)
}
