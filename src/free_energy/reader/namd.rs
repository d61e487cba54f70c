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

mod parts;
#[cfg(test)]
mod tests;

use std::ops::Range;

use rayon::prelude::*;

use parts::{Energies, Part, natural_key, parts};

use super::series::{Format, Origin, Series};
use super::text::{self, Text};
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
    let found: Vec<_> = order.par_iter().map(|file| parts(&files[*file], *file)).collect::<Result<_>>()?;
    for (parts, damaged) in found {
        warnings.extend(damaged);
        for part in parts {
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
