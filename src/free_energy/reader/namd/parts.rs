//! What each `fepout` file says about which window.

use std::collections::HashMap;
use std::path::Path;

use super::super::damage::{Damage, shown};
use super::super::series::Origin;
use super::super::text::{Text, number, plain_number, words};
use crate::error::Result;

/// A part of a file name: `foo9` comes before `foo10`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub enum NamePart {
    /// Digits.
    Number(u128),
    /// Everything else.
    Letters(String),
}

/// The name of a file, without its folder, for sorting as people do.
pub fn natural_key(path: &Path) -> Vec<NamePart> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let mut key = vec![NamePart::Letters(String::new())];
    for letter in name.chars() {
        match (key.last_mut(), letter.to_digit(10)) {
            (Some(NamePart::Number(n)), Some(digit)) => {
                *n = n.saturating_mul(10).saturating_add(u128::from(digit));
            }
            (_, Some(digit)) => key.push(NamePart::Number(u128::from(digit))),
            (Some(NamePart::Letters(letters)), None) => letters.push(letter),
            _ => key.push(NamePart::Letters(letter.into())),
        }
    }
    key
}

/// Energies in one direction.
#[derive(Default)]
pub struct Energies {
    /// Step of each.
    pub step: Vec<i64>,
    /// kcal/mol.
    pub value: Vec<f64>,
    /// Where each stands.
    pub origin: Vec<Origin>,
}

impl Energies {
    /// Adds one.
    pub fn push(&mut self, step: i64, value: f64, origin: Origin) {
        self.step.push(step);
        self.value.push(value);
        self.origin.push(origin);
    }

    /// Appends energies of a restarted run, but not those that were there already with the same step and value.
    pub fn append(&mut self, next: &Energies) -> usize {
        let last = self.step.last().copied();
        let overlaps = next.step.first().is_some_and(|first| last.is_some_and(|last| *first <= last));
        let mut known = HashMap::new();
        if overlaps {
            known.extend(self.step.iter().zip(&self.value).map(|(step, value)| (*step, value.to_bits())));
        }
        let before = self.step.len();
        for index in 0..next.step.len() {
            let (step, value) = (next.step[index], next.value[index]);
            if known.get(&step) != Some(&value.to_bits()) {
                self.push(step, value, next.origin[index]);
            }
        }
        next.step.len() - (self.step.len() - before)
    }
}

/// What one file says about one window.
#[derive(Default)]
pub struct Part {
    /// Index of the file.
    pub file: usize,
    /// Where the part begins.
    pub first_line: u32,
    /// λ and λ₂ of the header or the footer.
    pub lambdas: Option<(f64, f64)>,
    /// λ₀ of the energies backwards, where the header has it.
    pub idws: Option<f64>,
    /// Whether the window begins here.
    pub has_header: bool,
    /// Whether the window ends here.
    pub has_footer: bool,
    /// Whether collection begins in this part.
    pub starts: bool,
    /// λ of the line that says that equilibration ended.
    pub equilibrated_at: Option<f64>,
    /// U(λ₂) − U(λ) since collection began.
    pub forward: Energies,
    /// U(λ₀) − U(λ) since collection began.
    pub back: Energies,
    /// Energies before collection began, used where it began in an earlier part.
    pub early_forward: Energies,
    /// The same backwards.
    pub early_back: Energies,
}

impl Part {
    /// File and line, for messages.
    pub fn place(&self, files: &[Text]) -> String {
        format!("`{}` line {}", files[self.file].path.display(), self.first_line)
    }

    /// The first step with an energy.
    pub fn first_step(&self) -> Option<i64> {
        [&self.early_forward, &self.early_back, &self.forward, &self.back]
            .into_iter()
            .filter_map(|energies| energies.step.first().copied())
            .min()
    }

    /// Number of energies before collection began.
    pub fn n_early(&self) -> usize {
        self.early_forward.step.len() + self.early_back.step.len()
    }

    /// Number of energies since.
    pub fn n_energies(&self) -> usize {
        self.forward.step.len() + self.back.step.len()
    }
}

/// Whether a line holds an energy backwards (or forwards); `None` where it holds neither.
fn direction(line: &[u8]) -> Option<bool> {
    let forward = line.starts_with(b"FepEnergy:");
    (forward || line.starts_with(b"FepE_back:")).then_some(!forward)
}

/// Where the n-th word of a line begins (from 0, between blanks), eight bytes at a time.
pub(super) fn word_start(line: &[u8], n: u32) -> Option<usize> {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let mut before = 0x80;
    let mut seen = 0;
    for (block, bytes) in line.chunks(8).enumerate() {
        let padded = <[u8; 8]>::try_from(bytes).unwrap_or_else(|_| {
            let mut padded = [b' '; 8];
            padded.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            padded
        });
        // The highest bit of each byte says whether it is a blank, and then whether a word begins there.
        let differs = u64::from_le_bytes(padded) ^ 0x2020_2020_2020_2020;
        let blank = !(((differs & LOW) + LOW) | differs | LOW);
        let mut starts = !blank & (blank << 8 | before) & !LOW;
        before = blank >> 56;
        let count = ((starts >> 7).wrapping_mul(0x0101_0101_0101_0101) >> 56) as u32;
        if seen + count > n {
            (seen..n).for_each(|_| starts &= starts - 1);
            return Some(8 * block + starts.trailing_zeros() as usize / 8);
        }
        seen += count;
    }
    None
}

/// Step and ΔE of a line, behind its first word; the word or line that is not as it should be.
fn energy(line: &[u8], complete: bool) -> std::result::Result<(i64, f64), &[u8]> {
    let value = |n: u32| {
        let rest = &line[word_start(line, n).ok_or(line)?..];
        match plain_number(rest) {
            Some((value, length)) if rest.get(length).is_none_or(|byte| *byte == b' ') => Ok(value),
            _ => {
                let word = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
                number(word).ok_or(word)
            }
        }
    };
    // A line that was cut off behind ΔE is whole for this purpose.
    if !complete && word_start(line, 6).is_none() {
        return Err(line);
    }
    Ok((value(0)? as i64, value(5)?))
}

/// Splits a file into windows and parts of windows; says what was damaged.
pub fn parts(text: &Text, file: usize) -> Result<(Vec<Part>, Vec<String>)> {
    let mut damage = Damage::new(text);
    let mut parts = Vec::new();
    let new = |line: u32| Part { file, first_line: line, ..Part::default() };
    let mut part = new(1);
    // Comments before the first header belong to no window.
    let mut has_content = false;
    for (line, bytes, complete) in text.lines() {
        let origin = Origin { source: file as u32, line };
        match bytes.first() {
            Some(b'F') => {
                let Some(back) = direction(bytes) else { continue };
                has_content = true;
                let (step, value) = match energy(&bytes[10..], complete) {
                    Ok(found) => found,
                    Err(found) => {
                        damage.bad(
                            line,
                            "a step and, in the seventh column, an energy difference",
                            shown(found),
                        )?;
                        continue;
                    }
                };
                damage.good();
                let energies = match (part.starts, back) {
                    (true, false) => &mut part.forward,
                    (true, true) => &mut part.back,
                    (false, false) => &mut part.early_forward,
                    (false, true) => &mut part.early_back,
                };
                energies.push(step, value, origin);
            }
            Some(b'#') => {
                let fields: Vec<&[u8]> = words(bytes).collect();
                let after = |name: &[u8], skip: usize| {
                    let at = fields.iter().position(|field| *field == name)?;
                    fields.get(at + skip).copied().and_then(number).filter(|lambda| lambda.is_finite())
                };
                let damaged = |what: &str| {
                    text.error(
                        line,
                        what,
                        format!("`{}`", String::from_utf8_lossy(bytes)),
                        "the line is damaged",
                    )
                };
                if bytes.starts_with(b"#NEW FEP") {
                    if !complete {
                        continue;
                    }
                    if has_content {
                        parts.push(std::mem::replace(&mut part, new(line)));
                    }
                    part.first_line = line;
                    let pair = (after(b"TO", 1), after(b"LAMBDA2", 1));
                    let (Some(one), Some(two)) = pair else {
                        return Err(damaged("`#NEW FEP WINDOW: LAMBDA SET TO … LAMBDA2 …`"));
                    };
                    part.lambdas = Some((one, two));
                    part.idws = after(b"LAMBDA_IDWS", 1);
                    part.has_header = true;
                    has_content = true;
                } else if bytes.starts_with(b"#Free energy") {
                    let pair = (after(b"[", 1), after(b"[", 2));
                    let (Some(one), Some(two)) = pair else {
                        if complete {
                            return Err(damaged("`#Free energy change for lambda window [ … … ] is …`"));
                        }
                        continue;
                    };
                    if part.lambdas.is_some_and(|known| known != (one, two)) {
                        return Err(text.error(
                            line,
                            format!(
                                "the end of the window {:?} that began at line {}",
                                part.lambdas.unwrap_or_default(),
                                part.first_line
                            ),
                            format!("that of {:?}", (one, two)),
                            "the file may be put together of several in the wrong order",
                        ));
                    }
                    part.lambdas = Some((one, two));
                    part.has_footer = true;
                    parts.push(std::mem::replace(&mut part, new(line + 1)));
                    has_content = false;
                } else if bytes.starts_with(b"#STARTING") {
                    part.starts = true;
                    has_content = true;
                } else if let Some(lambda) = after(b"EQUILIBRATION", 3) {
                    part.equilibrated_at = Some(lambda);
                    has_content = true;
                } else if bytes.starts_with(b"#TITITLE") || bytes.starts_with(b"#NEW TI") {
                    return Err(text.error(
                        line,
                        "free-energy perturbation (`FepEnergy:` lines)",
                        "thermodynamic integration of NAMD",
                        "such files are not read; ∂U/∂λ can be given as a table, with `--format table`",
                    ));
                }
            }
            _ => {}
        }
    }
    if has_content {
        parts.push(part);
    }
    if parts.is_empty() {
        return Err(text.error(
            1,
            "windows (`#NEW FEP WINDOW`) or energies (`FepEnergy:`) of NAMD",
            "none in the file",
            "the run may have stopped before it began; leave this file out",
        ));
    }
    Ok((parts, damage.warnings()?))
}
