//! Settings in the control section of an output of AMBER, and the marks in its text.

use super::super::text::{number, words};

/// What the control section of a run says.
#[derive(Default)]
pub struct Control {
    values: Vec<(&'static str, f64)>,
    /// λ as printed, to find them again before the energies.
    pub labels: Vec<Vec<u8>>,
    /// Where their list begins.
    pub labels_line: u32,
}

impl Control {
    /// The settings that matter.
    const KEYS: [&'static str; 7] =
        ["dt", "temp0", "clambda", "ifmbar", "bar_intervall", "mbar_states", "coords"];

    /// The value of one of the keys.
    pub fn get(&self, key: &str) -> Option<f64> {
        self.values.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    /// Keeps the first value of each key in a line of `key = value, key = value`.
    pub fn take(&mut self, line: &[u8]) {
        let mut rest = line;
        while let Some(equal) = rest.iter().position(|byte| *byte == b'=') {
            let key = words(&rest[..equal]).last().unwrap_or_default();
            let key = key.rsplit(|byte| *byte == b',').next().unwrap_or_default();
            let value = words(&rest[equal + 1..]).next().unwrap_or_default();
            let value = value.split(|byte| *byte == b',').next().and_then(number);
            let known = Self::KEYS.iter().find(|known| known.as_bytes() == key);
            if let (Some(known), Some(value)) = (known, value)
                && self.get(known).is_none()
            {
                self.values.push((known, value));
            }
            rest = &rest[equal + 1..];
        }
    }

    /// Keeps the λ of a line after `MBAR - lambda values considered`; `false` where the list has ended.
    pub fn take_labels(&mut self, line: &[u8]) -> bool {
        let list = match line.windows(6).position(|window| window == b"total:") {
            Some(at) => &line[at + 6..],
            None => line,
        };
        let all_numbers = words(list).all(|word| number(word).is_some_and(f64::is_finite));
        let goes_on = all_numbers && words(list).next().is_some();
        if goes_on {
            self.labels.extend(words(list).map(<[u8]>::to_vec));
        }
        goes_on
    }
}

/// The number of the section that a line opens.
pub fn section(line: &[u8]) -> Option<u8> {
    let line = line.strip_prefix(b"   ")?;
    let titles: [(&[u8], u8); 5] = [
        (b"1.  RESOURCE", 1),
        (b"2.  CONTROL", 2),
        (b"3.  ATOMIC", 3),
        (b"4.  RESULTS", 4),
        (b"5.  TIMINGS", 5),
    ];
    titles.iter().find(|(title, _)| line.starts_with(title)).map(|(_, number)| *number)
}

/// The number after `key` and `=`; `Some(None)` where asterisks or letters stand instead of one.
pub fn value_of(line: &[u8], key: &[u8]) -> Option<Option<f64>> {
    let at = line.windows(key.len()).position(|window| window == key)?;
    let rest = line[at + key.len()..].trim_ascii_start().strip_prefix(b"=")?;
    Some(words(rest).next().and_then(number))
}
