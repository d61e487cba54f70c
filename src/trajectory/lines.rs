//! Lines of text and the numbers in them, read fast.

use std::io::BufRead;

/// Lines of a text with their numbers counted from 1, without line ends (`\n` or `\r\n`), and whether the line is
/// complete: the last one may not be.
#[derive(Debug, Clone)]
pub struct Lines<'a> {
    rest: &'a [u8],
    number: u32,
}

impl<'a> Lines<'a> {
    /// The lines of a text.
    pub fn new(text: &'a [u8]) -> Self {
        Self { rest: text, number: 0 }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (u32, &'a [u8], bool);

    fn next(&mut self) -> Option<Self::Item> {
        // The search of the system's library looks at many bytes at a time.
        let (mut tail, all) = (self.rest, self.rest);
        let length = tail.skip_until(b'\n').ok().filter(|length| *length > 0)?;
        self.rest = tail;
        self.number = self.number.saturating_add(1);
        let line = &all[..length];
        let complete = line.ends_with(b"\n");
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        Some((self.number, line.strip_suffix(b"\r").unwrap_or(line), complete))
    }
}

/// Words of a line, split at blanks and tabs.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// A number as programs write it: `1.5`, `-2e3`, `1.0D+02`, `nan`, `-inf`; `None` for anything else.
pub fn number(word: &[u8]) -> Option<f64> {
    if let Some((value, length)) = plain_number(word)
        && length == word.len()
    {
        return Some(value);
    }
    let text = std::str::from_utf8(word).ok()?;
    text.parse().ok().or_else(|| {
        let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
        has_digit.then(|| text.replace(['D', 'd'], "e").parse().ok())?
    })
}

/// The numbers of a line, split at blanks and tabs, into `row`; the first word that is not a number, if any.
pub fn numbers<'a>(line: &'a [u8], row: &mut Vec<f64>) -> std::result::Result<(), &'a [u8]> {
    row.clear();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let (value, length) = match plain_number(rest) {
            Some((value, length)) if rest.get(length).is_none_or(u8::is_ascii_whitespace) => (value, length),
            _ => {
                let length = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
                (number(&rest[..length]).ok_or(&rest[..length])?, length)
            }
        };
        row.push(value);
        rest = rest[length..].trim_ascii_start();
    }
    Ok(())
}

/// Powers of ten that are exact in f64.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// A decimal number without exponent at the beginning of a text, and its length.
///
/// A whole number below 2⁵³ divided by an exact power of ten is rounded once, so this is the nearest f64;
/// longer numbers go the long way.
pub fn plain_number(text: &[u8]) -> Option<(f64, usize)> {
    let negative = text.first() == Some(&b'-');
    let start = usize::from(negative);
    let (mut mantissa, mut length) = digits(text, start, 0);
    let mut n_digits = length - start;
    let mut decimals = 0;
    if text.get(length) == Some(&b'.') {
        let after_point = length + 1;
        let eight = text[after_point..].first_chunk::<8>().and_then(eight_digits);
        (mantissa, length) = match eight {
            Some(eight) => {
                digits(text, after_point + 8, mantissa.wrapping_mul(100_000_000).wrapping_add(eight))
            }
            None => digits(text, after_point, mantissa),
        };
        decimals = length - after_point;
        n_digits += decimals;
    }
    if n_digits == 0 || n_digits > 19 || mantissa > 1 << 53 {
        return None;
    }
    let value = mantissa as f64 / POWERS[decimals];
    Some((if negative { -value } else { value }, length))
}

/// A whole number with the digits from `start` on appended, and where they end.
fn digits(text: &[u8], start: usize, mut number: u64) -> (u64, usize) {
    let mut end = start;
    while let Some(digit) = text.get(end).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        end += 1;
    }
    (number, end)
}

/// The number of eight digits, by three steps that join neighbours; `None` where one is no digit.
fn eight_digits(text: &[u8; 8]) -> Option<u64> {
    let bytes = u64::from_le_bytes(*text);
    let values = bytes ^ 0x3030_3030_3030_3030;
    if (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let first = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(100 + (1_000_000 << 32));
    let second = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(1 + (10_000 << 32));
    Some(first.wrapping_add(second) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_fortran_are_numbers() {
        assert_eq!(number(b"1.5D+02"), Some(150.0));
        assert_eq!(number(b"-2e-3"), Some(-0.002));
        assert!(number(b"nan").unwrap().is_nan());
        assert_eq!((number(b"**********"), number(b"D"), number(b"-")), (None, None, None));
        assert_eq!((number(b"1.2.3"), number(b"."), number(b"12-3")), (None, None, None));
    }

    #[test]
    fn numbers_are_the_nearest_there_are() {
        for text in [
            "0.1",
            "-90713.0940000000",
            "3.14159265",
            "3.141592653",
            "9007199254740993",
            "123456789.123456789",
            "5.",
            ".5",
            "-0.0",
        ] {
            assert_eq!(number(text.as_bytes()).unwrap().to_bits(), text.parse::<f64>().unwrap().to_bits());
        }
        assert_eq!(
            (eight_digits(b"01234567"), eight_digits(b"99999999")),
            (Some(1_234_567), Some(99_999_999))
        );
        for other in [b"1234567.", b"-1234567", b"1234 567", b"/1234567", b"1234567:", b"1234567\xff"] {
            assert_eq!(eight_digits(other), None);
        }
        let mut row = Vec::new();
        numbers(b" 1 -2.5\t3e2  0.30000000000000004 inf ", &mut row).unwrap();
        assert_eq!(row, [1.0, -2.5, 300.0, 0.30000000000000004, f64::INFINITY]);
        assert_eq!(numbers(b"1 2.5.0 3", &mut row), Err(&b"2.5.0"[..]));
    }
}
