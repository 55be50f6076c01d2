//! JSON numbers: from text to the nearest number of a type, exactly as `std` rounds it.
//!
//! Most numbers on the wire are short decimals. They are read without a second look at the text (Clinger,
//! "How to read floating point numbers accurately", 1990: an exact integer times or divided by an exact
//! power of ten rounds once). What that cannot decide goes to `std`.

/// A number as it is written, not yet rounded.
#[derive(Clone, Copy)]
pub(crate) struct Decimal<'a> {
    text: &'a [u8],
    /// All digits as one integer; meaningless when there are more than 19.
    mantissa: u64,
    exponent: i32,
    digits: usize,
    negative: bool,
    /// Written without a fraction and without an exponent.
    whole: bool,
}

/// More than any power of ten that a double can hold; further digits of an exponent change nothing.
const EXPONENT_MAX: i32 = 100_000;
/// A `u64` holds every number of this many digits.
const DIGITS_MAX: usize = 19;
/// Every integer up to this one is a double.
const EXACT_MAX: u64 = 1 << 53;

const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

const TENS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// Reads the number that starts at `start` by the grammar of JSON, and where it ends.
#[inline(always)]
pub(crate) fn scan(bytes: &[u8], start: usize) -> Option<(Decimal<'_>, usize)> {
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
    let negative = byte(start) == b'-';
    let first = start + usize::from(negative);
    let (mut mantissa, mut at) = digits(bytes, first, 0);
    let mut count = at - first;
    if count == 0 || (count > 1 && byte(first) == b'0') {
        return None;
    }
    let mut exponent = 0;
    let mut whole = true;
    if byte(at) == b'.' {
        let fraction = at + 1;
        (mantissa, at) = many_digits(bytes, fraction, mantissa);
        let length = at - fraction;
        if length == 0 {
            return None;
        }
        exponent = -i32::try_from(length).unwrap_or(EXPONENT_MAX);
        count += length;
        whole = false;
    }
    if byte(at) | 0x20 == b'e' {
        let (power, end) = power(bytes, at + 1)?;
        exponent += power;
        at = end;
        whole = false;
    }
    let decimal = Decimal {
        text: bytes.get(start..at)?,
        mantissa,
        exponent,
        digits: count,
        negative,
        whole,
    };
    Some((decimal, at))
}

/// Appends the digits from `at` on to `mantissa`, one at a time: integers are short.
#[inline(always)]
fn digits(bytes: &[u8], mut at: usize, mut mantissa: u64) -> (u64, usize) {
    while let Some(byte) = bytes.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (mantissa, at)
}

/// As [`digits`], up to eight at a time and without a branch on how many there are: fractions are long.
#[inline(always)]
fn many_digits(bytes: &[u8], mut at: usize, mut mantissa: u64) -> (u64, usize) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    while let Some(eight) = bytes.get(at..).and_then(|it| it.first_chunk()) {
        let text = u64::from_le_bytes(*eight);
        // A byte that is no digit is marked; so may be those after it, by a borrow or carry from it.
        let low = text.wrapping_sub(ONES * 0x30);
        let high = text.wrapping_add(ONES * 0x46);
        let count = ((low | high) & (ONES * 0x80)).trailing_zeros() / 8;
        if count == 8 {
            mantissa = mantissa
                .wrapping_mul(100_000_000)
                .wrapping_add(eight_digits(low));
            at += 8;
            continue;
        }
        if count > 0 {
            // The digits move to where the last of eight would be, zeros before them.
            let number = eight_digits(low << (64 - 8 * count));
            mantissa = mantissa
                .wrapping_mul(TENS[count as usize])
                .wrapping_add(number);
        }
        return (mantissa, at + count as usize);
    }
    digits(bytes, at, mantissa)
}

/// Eight digits, the first in the lowest byte, as a number: pairs, then fours, then all eight are joined by
/// multiplications (D. Lemire, "Quickly parsing eight digits", 2018).
#[inline(always)]
fn eight_digits(digits: u64) -> u64 {
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let mask = 0x0000_00ff_0000_00ff;
    let upper = (pairs & mask).wrapping_mul(0x000f_4240_0000_0064);
    let lower = ((pairs >> 16) & mask).wrapping_mul(0x0000_2710_0000_0001);
    upper.wrapping_add(lower) >> 32
}

#[cold]
fn power(bytes: &[u8], start: usize) -> Option<(i32, usize)> {
    let sign = bytes.get(start).copied().unwrap_or(0);
    let first = start + usize::from(matches!(sign, b'+' | b'-'));
    let mut at = first;
    let mut power = 0i32;
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        power = (power * 10 + i32::from(digit - b'0')).min(EXPONENT_MAX);
        at += 1;
    }
    if at == first {
        return None;
    }
    Some((if sign == b'-' { -power } else { power }, at))
}

impl<'a> Decimal<'a> {
    /// As it is written.
    pub(crate) fn text(&self) -> &'a str {
        // Only digits, signs, a dot and an `e` were taken.
        str::from_utf8(self.text).unwrap_or_default()
    }

    /// Whether it is written without a fraction and without an exponent.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// The nearest double; infinite when it is larger than any.
    #[inline(always)]
    pub(crate) fn to_f64(self) -> f64 {
        if self.digits <= DIGITS_MAX && self.mantissa <= EXACT_MAX {
            let number = self.mantissa as f64;
            let power = POWERS.get(self.exponent.unsigned_abs() as usize);
            if let Some(power) = power {
                let number = if self.exponent < 0 {
                    number / power
                } else {
                    number * power
                };
                return if self.negative { -number } else { number };
            }
        }
        self.long_f64()
    }

    #[cold]
    fn long_f64(self) -> f64 {
        self.text().parse().unwrap_or(f64::NAN)
    }

    /// The nearest single; infinite when it is larger than any.
    #[inline(always)]
    pub(crate) fn to_f32(self) -> f32 {
        if self.digits <= DIGITS_MAX
            && let Some(power) = POWERS.get(self.exponent.unsigned_abs() as usize)
        {
            // Rounded at most twice, so off by less than 4 units of the double's last place. Rounding once
            // more, to a single, is right unless that could carry it over the middle between two singles;
            // the 29 bits that a single lacks show how near the middle is. Not subnormal: at least 1e-22.
            let number = self.mantissa as f64;
            let number = if self.exponent < 0 {
                number / power
            } else {
                number * power
            };
            let below = number.to_bits() & 0x1fff_ffff;
            if below.wrapping_sub(0x1000_0000 - 4) > 8 {
                let number = number as f32;
                return if self.negative { -number } else { number };
            }
        }
        self.long_f32()
    }

    #[cold]
    fn long_f32(self) -> f32 {
        self.text().parse().unwrap_or(f32::NAN)
    }

    /// The integer that it is, where it is one: `3`, also `3.0` and `3e0`.
    #[inline(always)]
    pub(crate) fn to_integer(self) -> Option<i128> {
        if self.whole && self.digits <= DIGITS_MAX {
            let number = i128::from(self.mantissa);
            return Some(if self.negative { -number } else { number });
        }
        self.to_long_integer()
    }

    #[cold]
    fn to_long_integer(self) -> Option<i128> {
        if self.whole {
            return self.text().parse().ok();
        }
        let number = self.to_f64();
        // Up to 2^53 a double without a fraction was written without one.
        (number.fract() == 0.0 && number.abs() <= EXACT_MAX as f64).then_some(number as i128)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Decimal<'_> {
        let (decimal, end) = scan(text.as_bytes(), 0).expect("a number");
        assert_eq!(end, text.len(), "{text}");
        decimal
    }

    fn check(text: &str) {
        let want64: f64 = text.parse().expect("std reads it");
        let want32: f32 = text.parse().expect("std reads it");
        assert_eq!(read(text).to_f64().to_bits(), want64.to_bits(), "{text}");
        assert_eq!(read(text).to_f32().to_bits(), want32.to_bits(), "{text}");
    }

    #[test]
    fn the_middle_between_two_numbers_goes_where_std_takes_it() {
        for text in [
            "0",
            "-0",
            "-0.0",
            "0.1",
            "16777217",
            "16777219",
            "16777217.0000000001",
            "16777216.9999999999",
            "9007199254740993",
            "9007199254740993.0000000000000000000000001",
            "1.00000005960464477539062",
            "1.0000000596046447",
            "1.0000000596046448",
            "3.4028235677973366e38",
            "3.4028235677973365e38",
            "1e-45",
            "7e-46",
            "1.17549435e-38",
            "2.2250738585072011e-308",
            "4.9e-324",
            "2e-324",
            "1.7976931348623159e308",
            "1e999",
            "-1e999",
            "1e-999999999999999999",
            "18446744073709551615",
            "18446744073709551616",
            "0.00000000000000000000000000000000000000000000001",
            "123456789012345678901234567890",
            "8.5899345920000005e9",
            "1E+2",
            "12345678",
            "0.12345678",
            "0.1234567812345678",
        ] {
            check(text);
        }
    }

    #[test]
    fn what_json_does_not_call_a_number_is_not_one() {
        for text in [
            "", "-", "01", "-01", ".5", "5.", "1e", "1e+", "+1", "e1", "- 1", "00",
        ] {
            let whole = scan(text.as_bytes(), 0).is_some_and(|(_, end)| end == text.len());
            assert!(!whole, "{text}");
        }
    }

    #[test]
    fn integers_are_whole_numbers_however_written() {
        for (text, want) in [
            ("7", Some(7)),
            ("-7", Some(-7)),
            ("7.0", Some(7)),
            ("7e2", Some(700)),
            ("7.5", None),
            ("18446744073709551615", Some(18_446_744_073_709_551_615)),
            ("-9223372036854775808", Some(-9_223_372_036_854_775_808)),
            ("1e400", None),
        ] {
            assert_eq!(read(text).to_integer(), want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_double_reads_as_std_reads_it(bits: u64, digits in 0usize..20) {
            let number = f64::from_bits(bits);
            if number.is_finite() {
                check(&format!("{number:?}"));
                check(&format!("{number:e}"));
                check(&format!("{number:.digits$e}"));
            }
        }

        #[test]
        fn any_single_and_its_neighbours_read_as_std_reads_them(bits: u32, off in -3i64..4) {
            let number = f32::from_bits(bits);
            if number.is_finite() {
                check(&format!("{number:?}"));
                // The middle between two singles, and the doubles beside it.
                let middle = (f64::from(number).to_bits() | 0x1000_0000).wrapping_add_signed(off);
                check(&format!("{:?}", f64::from_bits(middle)));
            }
        }

        #[test]
        fn any_short_decimal_reads_as_std_reads_it(text in "-?(0|[1-9][0-9]{0,18})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?") {
            check(&text);
        }
    }
}
