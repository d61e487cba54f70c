//! Output (`mdout`) of AMBER's sander and pmemd.
//!
//! A run states its settings (`2. CONTROL DATA`: `clambda`, `temp0`, `dt`, `bar_intervall`, the list of λ whose
//! energies are computed), then prints results (`4. RESULTS`): per record of `NSTEP` the derivative `DV/DL`, and
//! before it an `MBAR Energy analysis` with one energy per λ, all in kcal/mol. A reduced energy is the difference
//! from the energy at the λ of the simulation, over kT, as in alchemlyb; what is common to all states cancels.
//!
//! Averages and fluctuations repeat the form of a record and are no samples; a step printed for both regions of a
//! thermodynamic integration is one sample. Energies printed as asterisks did not fit their field: +∞ in kT. The
//! record of step 0 is a sample of `DV/DL` without energies, so that such files give two series: one of
//! energies, one of derivatives.

mod control;
#[cfg(test)]
mod tests;

use rayon::prelude::*;

use control::{Control, section, value_of};

use super::series::{Format, Origin, Series};
use super::text::{self, Lines, Text, number};
use crate::error::Result;
use crate::units::GAS_CONSTANT;

/// kJ in a kcal.
const KJ_PER_KCAL: f64 = 4.184;

/// λ are printed with four digits: what is closer than this is the same.
const SAME_LAMBDA: f64 = 0.6e-4;

/// Whether a file that begins so is an output of AMBER.
pub(super) fn is_format(head: &[u8]) -> bool {
    let contains = |what: &[u8]| head.windows(what.len()).any(|window| window == what);
    contains(b"CONTROL  DATA  FOR  THE  RUN")
        || (contains(b"Amber ") && (contains(b"SANDER") || contains(b"PMEMD")))
}

/// Reads outputs, one run after the other; runs of one λ in order of their time, however the files are named.
pub(super) fn read(files: &[Text], temperature_k: Option<f64>) -> Result<Vec<Series>> {
    let runs: Vec<Vec<Run>> = files
        .par_iter()
        .enumerate()
        .map(|(source, file)| Parser::new(file, source).runs())
        .collect::<Result<_>>()?;
    let runs: Vec<Run> = runs.into_iter().flatten().collect();
    let lambdas: Vec<f64> = runs.iter().map(|run| run.clambda).collect();
    let first_of_lambda = |run: &Run| lambdas.iter().position(|lambda| *lambda == run.clambda);
    let mut order: Vec<&Run> = runs.iter().collect();
    order.sort_by(|a, b| first_of_lambda(a).cmp(&first_of_lambda(b)).then(a.begin_ps.total_cmp(&b.begin_ps)));
    let mut series = Vec::new();
    for run in order {
        series.extend(run.series(&files[run.source], temperature_k)?);
    }
    Ok(series)
}

/// Values at steps: one derivative, or one energy per state.
#[derive(Default)]
struct Samples {
    step: Vec<i64>,
    line: Vec<u32>,
    value: Vec<f64>,
}

/// One run of the program.
#[derive(Default)]
struct Run {
    source: usize,
    first_line: u32,
    clambda: f64,
    temperature_k: Option<f64>,
    dt_ps: f64,
    begin_ps: f64,
    lambdas: Vec<f64>,
    /// Energies in kcal/mol, one per λ.
    energies: Samples,
    /// kcal/mol.
    derivatives: Samples,
    warnings: Vec<String>,
}

impl Run {
    /// The samples: one series where energies and derivatives are of the same steps, otherwise one of each.
    fn series(&self, file: &Text, given_k: Option<f64>) -> Result<Vec<Series>> {
        let temperature_k = text::temperature(&file.path, self.temperature_k, given_k)?;
        let beta = KJ_PER_KCAL / (GAS_CONSTANT * temperature_k);
        let (state, lambdas) = match nearest(&self.lambdas, self.clambda) {
            Some(state) => (state, self.lambdas.clone()),
            None => (0, vec![self.clambda]),
        };
        let of = |samples: &Samples| Series {
            sources: vec![file.path.clone()],
            format: Format::Amber,
            temperature_k,
            components: vec!["lambdas".into()],
            states: lambdas.iter().map(|lambda| vec![*lambda]).collect(),
            time: samples.step.iter().map(|step| self.begin_ps + *step as f64 * self.dt_ps).collect(),
            time_unit: "ps",
            state_of: vec![state; samples.step.len()],
            u_kt: Vec::new(),
            computed: None,
            dudl_kt: Vec::new(),
            origin: samples.line.iter().map(|line| Origin { source: 0, line: *line }).collect(),
            warnings: Vec::new(),
        };
        let mut energies = of(&self.energies);
        for row in self.energies.value.chunks_exact(lambdas.len()) {
            // A sample whose own energy did not fit its field keeps the energies as they stand.
            let reference = if row[state].is_finite() { row[state] } else { 0.0 };
            energies.u_kt.extend(row.iter().map(|energy| beta * (energy - reference)));
        }
        let mut derivatives = of(&self.derivatives);
        derivatives.dudl_kt = self.derivatives.value.iter().map(|value| beta * value).collect();
        let mut series = if self.energies.step == self.derivatives.step {
            energies.dudl_kt = derivatives.dudl_kt;
            vec![energies]
        } else {
            vec![energies, derivatives]
        };
        series.retain(|series| series.n_samples() > 0);
        if let Some(first) = series.first_mut() {
            first.warnings = self.warnings.clone();
        }
        Ok(series)
    }
}

/// A pass over the lines of one file.
struct Parser<'a> {
    file: &'a Text,
    source: usize,
    lines: std::iter::Peekable<Lines<'a>>,
}

impl<'a> Parser<'a> {
    fn new(file: &'a Text, source: usize) -> Self {
        Self { file, source, lines: file.lines().peekable() }
    }

    fn place(&self, line: u32) -> String {
        format!("`{}` line {line}", self.file.path.display())
    }

    /// All runs of the file.
    fn runs(mut self) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        let mut last = 0;
        while let Some((line, bytes, _)) = self.lines.next() {
            last = line;
            if section(bytes) == Some(2) {
                runs.push(self.run(line)?);
            }
        }
        if runs.is_empty() {
            return Err(self.file.error(
                last,
                "a section `2.  CONTROL  DATA  FOR  THE  RUN` of AMBER",
                "the end of the file",
                "the run may have stopped before it began; leave this file out",
            ));
        }
        for run in runs.iter_mut().skip(1) {
            let text = format!(
                "{}: another run begins here (concatenated output); both are used",
                self.place(run.first_line)
            );
            run.warnings.push(text);
        }
        Ok(runs)
    }

    /// One run, from its control section on.
    fn run(&mut self, first_line: u32) -> Result<Run> {
        let mut control = Control::default();
        let mut line = first_line;
        let mut begins = None;
        let mut reached = 2;
        while reached < 4 {
            let Some((at, bytes, _)) = self.lines.next() else {
                let wanted = ["`3.  ATOMIC COORDINATES AND VELOCITIES`", "`4.  RESULTS`"][reached - 2];
                return Err(self.file.error(
                    line,
                    format!("a section {wanted} of AMBER"),
                    "the end of the file",
                    "the run may have stopped before its first step; leave this file out",
                ));
            };
            line = at;
            match section(bytes) {
                Some(4) if reached == 2 => {
                    return Err(self.file.error(
                        at,
                        "a section `3.  ATOMIC COORDINATES AND VELOCITIES` before the results",
                        "none",
                        "the file is incomplete",
                    ));
                }
                Some(number @ (3 | 4)) => reached = number as usize,
                _ if reached == 2
                    && bytes.trim_ascii_start().starts_with(b"MBAR - lambda values considered") =>
                {
                    control.labels_line = at;
                    while let Some((_, bytes, _)) = self.lines.peek().copied()
                        && control.take_labels(bytes)
                    {
                        self.lines.next();
                    }
                }
                _ if reached == 2 && !bytes.starts_with(b"|") => control.take(bytes),
                _ if reached == 3 && bytes.trim_ascii_start().starts_with(b"begin time") => {
                    begins = value_of(bytes, b"coords").flatten();
                }
                _ => {}
            }
        }
        let mut run = self.header(first_line, &control)?;
        self.results(&mut run, &control, line)?;
        self.begin_time(&mut run, begins);
        Ok(run)
    }

    /// A run with the settings of its control section and no samples yet.
    fn header(&self, first_line: u32, control: &Control) -> Result<Run> {
        let missing = |what: &str, hint: &str| {
            self.file.error(first_line, format!("`{what} = …` in the control section"), "none", hint)
        };
        let clambda = control
            .get("clambda")
            .ok_or_else(|| missing("clambda", "is this a run without free energies (`icfe = 0`)?"))?;
        let dt_ps = control
            .get("dt")
            .filter(|dt| dt.is_finite())
            .ok_or_else(|| missing("dt", "is this molecular dynamics (`imin = 0`)?"))?;
        let mut run = Run {
            source: self.source,
            first_line,
            clambda,
            temperature_k: control.get("temp0"),
            dt_ps,
            ..Run::default()
        };
        if control.get("ifmbar").unwrap_or(0.0) == 0.0 {
            return Ok(run);
        }
        if control.get("mbar_states").is_some_and(|n| n != control.labels.len() as f64) {
            return Err(self.file.error(
                control.labels_line.max(first_line),
                format!("{} λ (`mbar_states`)", control.get("mbar_states").unwrap_or(0.0)),
                format!("{} in the list of λ values", control.labels.len()),
                "",
            ));
        }
        run.lambdas = control.labels.iter().filter_map(|label| number(label)).collect();
        if !run.lambdas.iter().any(|lambda| (lambda - clambda).abs() < SAME_LAMBDA) {
            run.warnings.push(format!(
                "{}: λ = {clambda} of the simulation is not among those of the MBAR energies ({}): the energies \
                 are left out, the derivatives are used",
                self.place(control.labels_line),
                run.lambdas.iter().map(f64::to_string).collect::<Vec<_>>().join(", "),
            ));
            run.lambdas.clear();
        }
        Ok(run)
    }

    /// The samples of a run, up to the end of its results.
    fn results(&mut self, run: &mut Run, control: &Control, results_line: u32) -> Result<()> {
        let interval = (control.get("bar_intervall").unwrap_or(0.0) as i64).max(1);
        let n_states = run.lambdas.len();
        // Blocks of energies whose step is not known yet, and a broken block that must be the last.
        let mut pending = 0;
        let mut broken: Option<u32> = None;
        // The next record is an average; the step of the last one that was.
        let mut in_averages = false;
        let mut averaged = None;
        let mut finished = false;
        let mut last_line = results_line;
        while let Some((line, bytes, _)) = self.lines.peek().copied() {
            last_line = line;
            match bytes.first() {
                Some(b' ') if bytes.starts_with(b" NSTEP") => {
                    let record = self.record();
                    let Some((step, derivative, at)) = record else { continue };
                    if std::mem::take(&mut in_averages) {
                        averaged = Some(step);
                    }
                    if averaged == Some(step) {
                        continue;
                    }
                    if pending > 0 {
                        let last = step.saturating_sub(step.rem_euclid(interval));
                        let n = run.energies.step.len();
                        for back in 0..pending {
                            run.energies.step[n - 1 - back] =
                                last.saturating_sub(interval.saturating_mul(back as i64));
                        }
                        pending = 0;
                    }
                    if run.derivatives.step.last() != Some(&step)
                        && let Some(derivative) = derivative
                    {
                        if derivative.is_nan() {
                            run.warnings.push(format!("{}: DV/DL is not a number", self.place(at)));
                        }
                        run.derivatives.step.push(step);
                        run.derivatives.line.push(at);
                        run.derivatives.value.push(derivative);
                    }
                    continue;
                }
                Some(b'M') if n_states > 0 && bytes.starts_with(b"MBAR Energy analysis") => {
                    if let Some(at) = broken {
                        return Err(self.incomplete(at, control));
                    }
                    if self.block(run, control) {
                        pending += 1;
                    } else {
                        broken = Some(line);
                    }
                    continue;
                }
                Some(b' ') if bytes.starts_with(b"   ") => {
                    let title = bytes.trim_ascii_start();
                    in_averages |= title.starts_with(b"A V E R A G E S")
                        || title.starts_with(b"R M S  F L U C T")
                        || title.starts_with(b"DV/DL, AVERAGES OVER");
                    match section(bytes) {
                        Some(5) => finished = true,
                        Some(1 | 2) => break,
                        _ => {}
                    }
                }
                _ => {}
            }
            self.lines.next();
        }
        if let Some(at) = broken {
            if finished {
                return Err(self.incomplete(at, control));
            }
            run.warnings.push(format!("{}: incomplete MBAR energies at the end, left out", self.place(at)));
        }
        // Energies after the last record go on at the pace of those before.
        let n = run.energies.step.len();
        if pending > 0 {
            let known = n - pending;
            let pace = if known >= 2 {
                run.energies.step[known - 1] - run.energies.step[known - 2]
            } else {
                interval
            };
            for index in known..n {
                run.energies.step[index] = if index > 0 { run.energies.step[index - 1] } else { 0 } + pace;
            }
        }
        if !finished {
            let text =
                format!("{}: the run ended before its end (no section TIMINGS)", self.place(last_line));
            run.warnings.push(text);
        }
        if run.derivatives.step.is_empty() && run.energies.step.is_empty() {
            return Err(self.file.error(
                last_line,
                "energies at several λ (`MBAR Energy analysis`) or derivatives (`DV/DL`)",
                "neither in the results",
                "was this run made with `icfe = 1`, and did it reach its first record?",
            ));
        }
        let (n_energies, n_derivatives) = (run.energies.step.len(), run.derivatives.step.len());
        if !finished && n_energies > n_derivatives && n_derivatives > 0 {
            let text = format!(
                "{}: {n_energies} samples of energies, {n_derivatives} of DV/DL",
                self.place(last_line)
            );
            run.warnings.push(text);
        }
        if run.derivatives.step.is_empty() {
            run.warnings.push(format!("{}: no derivatives (DV/DL) in this run", self.place(results_line)));
        } else if n_states > 0 && run.energies.step.is_empty() {
            run.warnings.push(format!("{}: no MBAR energies in this run", self.place(results_line)));
        }
        Ok(())
    }

    /// Step, derivative and line of the record that begins at the next line; `None` where it is cut off. The
    /// derivative is NaN where no number stands in its place.
    fn record(&mut self) -> Option<(i64, Option<f64>, u32)> {
        let (_, head, complete) = self.lines.next()?;
        let step = value_of(head, b"NSTEP").flatten().filter(|_| complete)?;
        while let Some((at, bytes, complete)) = self.lines.peek().copied() {
            let ends =
                bytes.starts_with(b" ---") || bytes.starts_with(b" NSTEP") || bytes.starts_with(b"MBAR");
            if ends || section(bytes).is_some() {
                return Some((step as i64, None, at));
            }
            self.lines.next();
            if complete
                && bytes.starts_with(b" DV/DL")
                && let Some(value) = value_of(bytes, b" DV/DL")
            {
                return Some((step as i64, Some(value.unwrap_or(f64::NAN)), at));
            }
        }
        None
    }

    /// Reads one block of energies into the run, with step 0 for now; `false`, and nothing read, where λ lack.
    fn block(&mut self, run: &mut Run, control: &Control) -> bool {
        let (line, ..) = self.lines.next().expect("peeked");
        let n_states = control.labels.len();
        let start = run.energies.value.len();
        run.energies.value.resize(start + n_states, f64::NAN);
        let row = &mut run.energies.value[start..];
        let (mut seen, mut is_complete) = (0, true);
        while let Some((_, bytes, complete)) = self.lines.peek().copied() {
            let ends =
                bytes.starts_with(b" ---") || bytes.starts_with(b"MBAR") || bytes.starts_with(b" NSTEP");
            if ends || section(bytes).is_some() {
                break;
            }
            self.lines.next();
            let Some((label, value)) = bytes.strip_prefix(b"Energy at").and_then(|rest| {
                let equal = rest.iter().position(|byte| *byte == b'=')?;
                Some((rest[..equal].trim_ascii(), rest[equal + 1..].trim_ascii()))
            }) else {
                continue;
            };
            if !complete {
                break;
            }
            // The lines are in the order of the list.
            is_complete &= control.labels.get(seen).is_some_and(|expected| expected == label);
            let Some(energy) = row.get_mut(seen) else { continue };
            *energy = match number(value) {
                Some(value) => value,
                None if value.starts_with(b"*") => f64::INFINITY,
                None => f64::NAN,
            };
            seen += 1;
        }
        if seen < n_states || !is_complete {
            run.energies.value.truncate(start);
            return false;
        }
        run.energies.step.push(0);
        run.energies.line.push(line);
        true
    }

    fn incomplete(&self, line: u32, control: &Control) -> crate::error::Error {
        let labels: Vec<_> = control.labels.iter().map(|label| String::from_utf8_lossy(label)).collect();
        self.file.error(
            line,
            format!("energies at λ = {}", labels.join(", ")),
            "a block that lacks some of them",
            "the file may be damaged; remove the block",
        )
    }

    /// Fixes the time of step 0: the time read with the coordinates, unless the first record says another (new
    /// velocities start at 0) or it is not stated. Records round to 0.001 ps.
    fn begin_time(&self, run: &mut Run, stated: Option<f64>) {
        let first = self.file.lines().skip(run.first_line as usize).find_map(|(_, bytes, _)| {
            let step = bytes.starts_with(b" NSTEP").then(|| value_of(bytes, b"NSTEP"))??;
            Some(value_of(bytes, b"TIME(PS)")?? - step? * run.dt_ps)
        });
        run.begin_ps = match (stated, first) {
            (Some(stated), Some(first)) if (stated - first).abs() > 2e-3 => first,
            (Some(begin), _) | (None, Some(begin)) => begin,
            (None, None) => 0.0,
        };
    }
}

/// The state of a λ, where one is near enough.
fn nearest(lambdas: &[f64], lambda: f64) -> Option<usize> {
    let distance = |state: &usize| (lambdas[*state] - lambda).abs();
    let best = (0..lambdas.len()).min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
    (distance(&best) < SAME_LAMBDA).then_some(best)
}
