//! Lines that a crash, a full disk or a copy cut.
//!
//! A damaged line between good ones is left out and named: one sample less does no harm. Two in a row, or more
//! than one in a hundred, mean that the file is not what its header says, and that is an error.

use super::Text;
use crate::error::{Error, Result};

/// Counts good and damaged lines of one file.
pub(super) struct Damage<'a> {
    text: &'a Text,
    n_good: usize,
    last_was_bad: bool,
    bad: Vec<(u32, String, String)>,
}

impl<'a> Damage<'a> {
    pub fn new(text: &'a Text) -> Self {
        Self { text, n_good: 0, last_was_bad: false, bad: Vec::new() }
    }

    /// A row was read.
    pub fn good(&mut self) {
        self.n_good += 1;
        self.last_was_bad = false;
    }

    /// A header begins: what stands before it was cut.
    pub fn header(&mut self) {
        self.last_was_bad = false;
    }

    /// A line cannot be read.
    pub fn bad(&mut self, line: u32, expected: impl Into<String>, found: impl Into<String>) -> Result<()> {
        self.bad.push((line, expected.into(), found.into()));
        if self.last_was_bad {
            return Err(self.error(self.bad.len() - 2, "the next line is damaged as well"));
        }
        self.last_was_bad = true;
        Ok(())
    }

    /// What was left out, one sentence each.
    pub fn warnings(&self) -> Result<Vec<String>> {
        if !self.bad.is_empty() && (self.n_good == 0 || self.bad.len() > (self.n_good / 100).max(3)) {
            let hint = format!("{} of {} lines are damaged", self.bad.len(), self.bad.len() + self.n_good);
            return Err(self.error(0, &hint));
        }
        let path = self.text.path.display();
        let sentence = |(line, expected, found): &(u32, String, String)| {
            format!("`{path}`, line {line}: left out, {found} where {expected} should be")
        };
        Ok(self.bad.iter().map(sentence).collect())
    }

    fn error(&self, idx: usize, hint: &str) -> Error {
        let (line, expected, found) = &self.bad[idx];
        self.text.error(*line, expected.clone(), found.clone(), hint)
    }
}

/// Whether the last number of a line without an end was cut: it has fewer digits than the one above it.
///
/// Programs write a column with the same number of digits, or nearly so; a number that lost its last three has lost
/// less than 0.1 % in any of the formats read here, one that lost more is not worth a sample.
pub(super) fn looks_cut(line: &[u8], previous: Option<&[u8]>, separator: impl Fn(&u8) -> bool) -> bool {
    let last = |line: &[u8]| line.trim_ascii_end().rsplit(&separator).next().unwrap_or_default().to_vec();
    let digits = |word: &[u8]| {
        let mantissa =
            word.split(|byte| matches!(byte, b'e' | b'E' | b'd' | b'D')).next().unwrap_or_default();
        mantissa.iter().filter(|byte| byte.is_ascii_digit()).count()
    };
    let has_exponent = |word: &[u8]| word.iter().any(|byte| matches!(byte, b'e' | b'E' | b'd' | b'D'));
    let Some(previous) = previous else { return false };
    let (word, above) = (last(line), last(previous));
    let exponent_digits = word.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    digits(&word) + 2 < digits(&above) || (has_exponent(&word) && exponent_digits < 2)
}

/// Numbers of a line for messages, no longer than a line.
pub(super) fn shown(word: &[u8]) -> String {
    let text = String::from_utf8_lossy(word);
    let short: String = text.chars().take(40).collect();
    if short.len() < text.len() { format!("`{short}…`") } else { format!("`{short}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Text {
        Text { path: "a.xvg".into(), bytes: Vec::new() }
    }

    #[test]
    fn a_damaged_line_alone_is_named_and_two_are_an_error() {
        let text = text();
        let mut damage = Damage::new(&text);
        (0..100).for_each(|_| damage.good());
        damage.bad(101, "3 numbers", "2").unwrap();
        damage.good();
        assert_eq!(damage.warnings().unwrap(), ["`a.xvg`, line 101: left out, 2 where 3 numbers should be"]);
        damage.bad(103, "3 numbers", "1").unwrap();
        let error = damage.bad(104, "3 numbers", "4").unwrap_err().to_string();
        assert!(error.contains("line 103") && error.contains("found 1"), "{error}");
    }

    #[test]
    fn much_damage_is_an_error() {
        let text = text();
        let mut damage = Damage::new(&text);
        for line in 0..4 {
            damage.good();
            damage.bad(2 * line + 2, "3 numbers", "2").unwrap();
        }
        assert!(damage.warnings().unwrap_err().to_string().contains("4 of 8 lines"));
        let mut none_good = Damage::new(&text);
        none_good.bad(1, "3 numbers", "2").unwrap();
        assert!(none_good.warnings().is_err());
    }

    #[test]
    fn a_last_number_is_cut_when_the_one_above_is_longer() {
        let blank = u8::is_ascii_whitespace;
        assert!(looks_cut(b"1.0 0.77", Some(b"0.0 0.77155721"), blank));
        assert!(!looks_cut(b"1.0 0.7715573", Some(b"0.0 0.77155721"), blank));
        assert!(!looks_cut(b"1 0.5", Some(b"0 0.25"), blank));
        assert!(looks_cut(b"1 1.2345e+0", Some(b"0 1.2345e+02"), blank));
        assert!(!looks_cut(b"1 0.5", None, blank));
    }
}
