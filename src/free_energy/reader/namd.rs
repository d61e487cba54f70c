//! `fepout` files of NAMD.
//!
//! A window begins with `#NEW FEP WINDOW: LAMBDA SET TO λ LAMBDA2 λ₂ [LAMBDA_IDWS λ₀]`, equilibrates until
//! `#STARTING COLLECTION OF ENSEMBLE AVERAGE`, prints ΔE = U(λ₂) − U(λ) in kcal/mol (`FepEnergy:`) and, in
//! interleaved double-wide sampling, U(λ₀) − U(λ) at the steps between (`FepE_back:`), and ends with
//! `#Free energy change for lambda window [ λ λ₂ ]`. Windows go over several files where a run was restarted.
//!
//! As in alchemlyb, files are taken in the natural order of their names, equilibration is left out, the i-th energy
//! forwards and the i-th backwards of a window make one sample at the step of the first, and what was computed in a
//! run that was restarted from before its end stays: it was drawn from the same ensemble. Differently, windows that
//! were cut off are read and named instead of refused. Only energies of neighbours exist; the others are not
//! computed.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::series::{Format, Origin, Series};
use super::text::{self, Text, number, words};
use crate::error::Result;
use crate::units::GAS_CONSTANT;

/// kJ in a kcal.
const KJ_PER_KCAL: f64 = 4.184;

/// Whether a file that begins so is free-energy output of NAMD.
pub(super) fn is_format(head: &[u8]) -> bool {
    let contains = |what: &[u8]| head.windows(what.len()).any(|window| window == what);
    [&b"#NEW FEP WINDOW"[..], b"FepEnergy:", b"FepE_back:", b"#TITITLE", b"#NEW TI WINDOW"]
        .into_iter()
        .any(contains)
}

/// Reads windows: one series each, all with the states of all files.
pub(super) fn read(files: &[Text], temperature_k: Option<f64>) -> Result<Vec<Series>> {
    let Some(first) = files.first() else { return Ok(Vec::new()) };
    let temperature_k = text::temperature(&first.path, None, temperature_k)?;
    let mut order: Vec<usize> = (0..files.len()).collect();
    order.sort_by_cached_key(|file| natural_key(&files[*file].path));
    let mut windows: Vec<Window> = Vec::new();
    let mut warnings = Vec::new();
    for file in order {
        for part in parts(files, file)? {
            add(&mut windows, part, files, &mut warnings);
        }
    }
    let states = path_of_states(&windows);
    let mut all: Vec<Series> = Vec::new();
    let mut unpaired = 0;
    for window in &mut windows {
        let place = window.part.place(files);
        if window.part.back.step.is_empty() {
            window.part.idws = None;
        } else if window.part.idws.is_none() {
            window.infer_idws(&states, &place, &mut warnings);
        }
        let mut series = window.series(files, &states, temperature_k, &mut unpaired, &mut warnings);
        if let Some(first) = series.first_mut() {
            first.warnings.append(&mut warnings);
        }
        all.append(&mut series);
    }
    if unpaired > 0 {
        let text = format!(
            "{unpaired} energies in one direction have no partner in the other (interleaved double-wide sampling); \
             they are left out"
        );
        warnings.push(text);
    }
    let Some(last) = all.last_mut() else {
        let found =
            warnings.first().map_or("none".into(), |warning| format!("none that can be used: {warning}"));
        return Err(files[0].error(1, "a window with energies after its equilibration", found, ""));
    };
    last.warnings.append(&mut warnings);
    Ok(all)
}

/// A part of a file name: `foo9` comes before `foo10`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum NamePart {
    Number(u128),
    Letters(String),
}

/// The name of a file, without its folder, for sorting as people do.
fn natural_key(path: &Path) -> Vec<NamePart> {
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
struct Energies {
    step: Vec<i64>,
    /// kcal/mol.
    value: Vec<f64>,
    origin: Vec<Origin>,
}

impl Energies {
    fn push(&mut self, step: i64, value: f64, origin: Origin) {
        self.step.push(step);
        self.value.push(value);
        self.origin.push(origin);
    }

    /// Appends energies of a restarted run, but not those that were there already with the same step and value.
    fn append(&mut self, next: &Energies) -> usize {
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
struct Part {
    file: usize,
    first_line: u32,
    /// λ and λ₂ of the header or the footer.
    lambdas: Option<(f64, f64)>,
    idws: Option<f64>,
    has_header: bool,
    has_footer: bool,
    /// Whether collection begins in this part.
    starts: bool,
    /// λ of the line that says that equilibration ended.
    equilibrated_at: Option<f64>,
    forward: Energies,
    back: Energies,
    /// Energies before collection began, used where it began in an earlier part.
    early_forward: Energies,
    early_back: Energies,
}

impl Part {
    fn place(&self, files: &[Text]) -> String {
        format!("`{}` line {}", files[self.file].path.display(), self.first_line)
    }

    fn first_step(&self) -> Option<i64> {
        [&self.early_forward, &self.early_back, &self.forward, &self.back]
            .into_iter()
            .filter_map(|energies| energies.step.first().copied())
            .min()
    }

    fn n_early(&self) -> usize {
        self.early_forward.step.len() + self.early_back.step.len()
    }

    fn n_energies(&self) -> usize {
        self.forward.step.len() + self.back.step.len()
    }
}

/// Splits a file into windows and parts of windows.
fn parts(files: &[Text], file: usize) -> Result<Vec<Part>> {
    let text = &files[file];
    let mut parts = Vec::new();
    let new = |line: u32| Part { file, first_line: line, ..Part::default() };
    let mut part = new(1);
    // Comments before the first header belong to no window.
    let mut has_content = false;
    for (line, bytes, complete) in text.lines() {
        let origin = Origin { source: file as u32, line };
        match bytes.first() {
            Some(b'F') => {
                let back = if bytes.starts_with(b"FepEnergy:") {
                    false
                } else if bytes.starts_with(b"FepE_back:") {
                    true
                } else {
                    continue;
                };
                has_content = true;
                // A line cut off behind ΔE is whole for this purpose.
                let mut fields = words(&bytes[10..]);
                let step = fields.next().and_then(number);
                let value = fields.nth(4);
                if !complete && fields.next().is_none() {
                    continue;
                }
                let (Some(step), Some(word)) = (step, value) else {
                    return Err(text.error(
                        line,
                        "a step and, in the seventh column, an energy difference",
                        format!("`{}`", String::from_utf8_lossy(&bytes[..bytes.len().min(120)])),
                        "the file may be damaged here; remove the line",
                    ));
                };
                let Some(value) = number(word) else {
                    return Err(text.error(
                        line,
                        "an energy difference in the seventh column",
                        format!("`{}`", String::from_utf8_lossy(word)),
                        "",
                    ));
                };
                let energies = match (part.starts, back) {
                    (true, false) => &mut part.forward,
                    (true, true) => &mut part.back,
                    (false, false) => &mut part.early_forward,
                    (false, true) => &mut part.early_back,
                };
                energies.push(step as i64, value, origin);
            }
            Some(b'#') => {
                let fields: Vec<&[u8]> = words(bytes).collect();
                let after = |name: &[u8], skip: usize| {
                    let at = fields.iter().position(|field| *field == name)?;
                    fields.get(at + skip).copied().and_then(number)
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
    Ok(parts)
}

/// A window and whether its footer has been read; `part` grows with the files that continue it.
struct Window {
    part: Part,
    sources: Vec<usize>,
    last_step: i64,
}

/// Adds a part to the window it continues, or as a window of its own.
fn add(windows: &mut Vec<Window>, mut part: Part, files: &[Text], warnings: &mut Vec<String>) {
    let place = part.place(files);
    let fits = |window: &Window| {
        let lambda = part.lambdas.map(|pair| pair.0).or(part.equilibrated_at);
        !window.part.has_footer
            && part.lambdas.is_none_or(|pair| window.part.lambdas.is_none_or(|known| known == pair))
            && lambda.is_none_or(|lambda| window.part.lambdas.is_none_or(|known| known.0 == lambda))
    };
    let folder = |file: usize| files[file].path.parent();
    let near = |window: &Window| folder(window.part.file) == folder(part.file);
    let open = (!part.has_header)
        .then(|| {
            windows
                .iter()
                .rposition(|window| fits(window) && near(window))
                .or_else(|| windows.iter().rposition(fits))
        })
        .flatten();
    let last_step =
        |part: &Part| part.forward.step.last().max(part.back.step.last()).copied().unwrap_or(i64::MIN);
    let Some(open) = open else {
        if !part.has_header && !part.starts {
            warnings.push(format!(
                "{place}: the beginning of this window is in none of the files; its {} energies are left out",
                part.n_early()
            ));
            return;
        }
        if !part.starts && part.has_footer && part.n_early() > 0 {
            // Without equilibration NAMD does not say that collection starts.
            warnings.push(format!("{place}: a window without equilibration; all its energies are used"));
            part.forward = std::mem::take(&mut part.early_forward);
            part.back = std::mem::take(&mut part.early_back);
            part.starts = true;
        }
        let (sources, last_step) = (vec![part.file], last_step(&part));
        windows.push(Window { part, sources, last_step });
        return;
    };
    let window = &mut windows[open];
    let known = &mut window.part;
    let before = (window.last_step, part.first_step().unwrap_or(i64::MAX));
    let mut repeated = 0;
    if known.starts {
        repeated += known.forward.append(&part.early_forward);
        repeated += known.back.append(&part.early_back);
    } else if part.has_footer && !part.starts {
        warnings.push(format!("{place}: this window ends without a word that collection started; left out"));
    }
    repeated += known.forward.append(&part.forward);
    repeated += known.back.append(&part.back);
    known.starts |= part.starts;
    known.lambdas = known.lambdas.or(part.lambdas);
    known.has_footer |= part.has_footer;
    window.last_step = last_step(known);
    if !window.sources.contains(&part.file) {
        window.sources.push(part.file);
    }
    if repeated > 0 {
        warnings.push(format!("{place}: {repeated} energies stand in an earlier file already; used once"));
    } else if known.starts && before.1 <= before.0 {
        warnings.push(format!(
            "{place}: the run was restarted before step {}, its last; steps from {} on were simulated twice, and \
             both are used",
            before.0, before.1
        ));
    }
}

/// All λ that occur, in the direction in which most windows go.
fn path_of_states(windows: &[Window]) -> Vec<f64> {
    let mut states: Vec<f64> = Vec::new();
    let mut direction = 0;
    for window in windows {
        let Some((one, two)) = window.part.lambdas else { continue };
        states.extend([one, two]);
        states.extend(window.part.idws);
        let signs = [two.partial_cmp(&one), window.part.idws.and_then(|idws| one.partial_cmp(&idws))];
        direction += signs.into_iter().flatten().map(|sign| sign as i32).sum::<i32>();
    }
    states.sort_by(f64::total_cmp);
    states.dedup();
    if direction < 0 {
        states.reverse();
    }
    states
}

impl Window {
    /// The λ of the energies backwards where no header says it: the neighbour on the other side.
    fn infer_idws(&mut self, states: &[f64], place: &str, warnings: &mut Vec<String>) {
        let part = &mut self.part;
        let Some((one, two)) = part.lambdas else { return };
        let behind = states
            .iter()
            .copied()
            .filter(|state| *state != one && (*state > one) != (two > one))
            .min_by(|a, b| (a - one).abs().total_cmp(&(b - one).abs()));
        match behind {
            Some(lambda) => warnings.push(format!(
                "{place}: the λ of the energies `FepE_back` is not in the file; taken to be {lambda}, the neighbour"
            )),
            None => {
                part.back = Energies::default();
                warnings.push(format!(
                    "{place}: the λ of the energies `FepE_back` is not in the file and no λ lies behind {one}; \
                     they are left out"
                ));
            }
        }
        part.idws = behind;
    }

    /// The samples: a series from restart to restart, or nothing where there are none that can be used.
    fn series(
        &self,
        files: &[Text],
        states: &[f64],
        temperature_k: f64,
        unpaired: &mut usize,
        warnings: &mut Vec<String>,
    ) -> Vec<Series> {
        let part = &self.part;
        let place = part.place(files);
        let Some((one, two)) = part.lambdas else {
            let n = part.n_energies();
            warnings.push(format!(
                "{place}: neither beginning nor end of this window is there; its {n} energies are left out"
            ));
            return Vec::new();
        };
        let name = format!("the window from λ = {one} to {two}");
        if part.n_energies() == 0 {
            if part.has_footer || part.n_early() > 0 || !part.starts {
                warnings.push(format!("{place}: {name} has no energies after its equilibration; left out"));
            }
            return Vec::new();
        }
        if !part.has_footer {
            warnings.push(format!(
                "{place}: {name} was cut off after step {}; what is there is used",
                self.last_step
            ));
        }
        let index = |lambda: f64| states.iter().position(|state| *state == lambda);
        let (Some(from), Some(to)) = (index(one), index(two)) else { return Vec::new() };
        let mut columns = vec![(to, &part.forward)];
        if let Some(idws) = part.idws.and_then(index) {
            columns.push((idws, &part.back));
        }
        let n = columns.iter().map(|(_, energies)| energies.step.len()).min().unwrap_or(0);
        *unpaired += columns.iter().map(|(_, energies)| energies.step.len() - n).sum::<usize>();
        let steps = &part.forward.step[..n];
        let ends = (1..=n).filter(|end| steps.get(*end).is_none_or(|next| *next <= steps[end - 1]));
        let mut begin = 0;
        ends.map(|end| {
            let range = std::mem::replace(&mut begin, end)..end;
            self.stretch(range, files, states, from, &columns, temperature_k)
        })
        .collect()
    }

    /// Samples in order of time, between two restarts.
    fn stretch(
        &self,
        range: Range<usize>,
        files: &[Text],
        states: &[f64],
        from: usize,
        columns: &[(usize, &Energies)],
        temperature_k: f64,
    ) -> Series {
        let beta = KJ_PER_KCAL / (GAS_CONSTANT * temperature_k);
        let (n, width) = (range.len(), states.len());
        let (mut u_kt, mut computed) = (vec![f64::NAN; n * width], vec![false; n * width]);
        for (row, sample) in range.clone().enumerate() {
            let row = row * width;
            (u_kt[row + from], computed[row + from]) = (0.0, true);
            for (state, energies) in columns {
                (u_kt[row + state], computed[row + state]) = (beta * energies.value[sample], true);
            }
        }
        let forward = &self.part.forward;
        let source = |file: u32| self.sources.iter().position(|source| *source == file as usize).unwrap_or(0);
        Series {
            sources: self.sources.iter().map(|file| files[*file].path.clone()).collect(),
            format: Format::Namd,
            temperature_k,
            components: vec!["fep-lambda".into()],
            states: states.iter().map(|state| vec![*state]).collect(),
            time: forward.step[range.clone()].iter().map(|step| *step as f64).collect(),
            time_unit: "step",
            state_of: vec![from; n],
            u_kt,
            computed: Some(computed),
            dudl_kt: Vec::new(),
            origin: forward.origin[range]
                .iter()
                .map(|origin| Origin { source: source(origin.source) as u32, line: origin.line })
                .collect(),
            warnings: Vec::new(),
        }
    }
}

#[cfg(test)]
#[path = "namd_tests.rs"]
mod tests;
