//! Windows along λ by Hamiltonian replica exchange, until the free energy is known well enough.
//!
//! Several independent ladders, each with one walker per λ, exchange neighbours; of every record the three
//! numbers of U = U₀ + U₁ λ + U₂ λ² are kept, from which u at every λ and ∂u/∂λ follow exactly. Sampling goes in
//! rounds: after each one MBAR with its correlated error says how long the next has to be. Ladders never meet,
//! so that their scatter judges the error independently of any correlation time.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::force_field::Parameters;
use crate::free_energy::alchemical::{
    Analysis, AnalysisSettings, Dataset, Estimator, Severity, TiRule, Verdict, analyse,
};
use crate::free_energy::reader::{Format, Origin, Series};
use crate::potential::MolecularMechanics;
use crate::random::Streams;
use crate::run::control::Control;
use crate::run::directory::write_atomic;
use crate::run::ensemble::{EnsembleSettings, completed, dynamics, start};
use crate::run::simulate::mover::evaluate;
use crate::run::simulate::output::as_written;
use crate::sampling::dynamics::{Dynamics, DynamicsState};
use crate::sampling::{Exchange, Ladder, ThermodynamicState};
use crate::units::{Temperature, Time};

/// How walkers of windows move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WindowSettings {
    /// Walkers of all windows together, about: so many of them as fill whole ladders.
    pub n_walkers: usize,
    /// Time between records of a walker.
    pub record_every: Time,
    /// Time between offered exchanges.
    pub exchange_every: Time,
    /// Time of each walker before its first record.
    pub equilibration: Time,
    /// Time of each walker before the error is looked at for the first time, and at least between two looks.
    pub round: Time,
    /// Time of each walker at most.
    pub longest: Time,
}

impl Default for WindowSettings {
    fn default() -> Self {
        let time = |ps| Time::from_ps(ps).expect("a positive constant");
        Self {
            n_walkers: 64,
            record_every: time(0.5),
            exchange_every: time(0.1),
            equilibration: time(20.0),
            round: time(50.0),
            longest: time(100_000.0),
        }
    }
}

/// What is simulated.
pub struct Windows<'a> {
    mechanics: &'a MolecularMechanics,
    parameters: &'a Parameters,
    start_nm: &'a [f64],
    /// None of a single atom, which does not move.
    dynamics: Option<Dynamics<'a>>,
    streams: Streams,
    temperature: Temperature,
    lambdas: Vec<f64>,
    n_ladders: usize,
    record_every: u64,
    exchange_every: u64,
    equilibration: u64,
    time_step_ps: f64,
    round: usize,
    longest: usize,
}

/// Where it stands: everything that is needed to go on, to the bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowsState {
    walkers: DynamicsState,
    exchange: Exchange,
    /// U₀, U₁, U₂ in kJ/mol, `[record][ladder][window]`.
    samples: Vec<[f64; 3]>,
    /// Conformations of which an energy was computed, minimisation not counted.
    pub n_energy_evaluations: u64,
    /// Records of each walker after which the error is looked at next.
    next_look: usize,
    /// Wall clock, summed over resumed parts.
    pub wall_seconds: f64,
}

/// When sampling is enough.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Enough {
    /// Standard error of MBAR in kT.
    pub std_error_kt: f64,
    /// Wall clock at most; the result then depends on the speed of the machine.
    pub wall_seconds: f64,
}

/// Samples of windows and what they say.
#[derive(Debug, Clone)]
pub struct Sampled {
    /// The samples.
    pub dataset: Dataset,
    /// All estimators side by side.
    pub analysis: Analysis,
    /// Whether the ladders disagree, which is among the verdicts of the analysis.
    pub scatter: Option<Verdict>,
    /// Acceptance of exchanges between neighbours.
    pub acceptance: Vec<f64>,
    /// Time of each walker that was recorded, ps.
    pub time_ps: f64,
    /// Independent ladders.
    pub n_ladders: usize,
    /// Conformations of which an energy was computed.
    pub n_energy_evaluations: u64,
    /// Wall clock.
    pub wall_seconds: f64,
}

/// The file in which an unfinished run keeps its state.
const CHECKPOINT: &str = "windows.toml";

impl<'a> Windows<'a> {
    /// Windows at these λ, which rise from 0 to 1; `mechanics` has a path of charges or solvent.
    #[expect(clippy::too_many_arguments, reason = "each of them is a different thing")]
    pub fn new(
        parameters: &'a Parameters,
        mechanics: &'a MolecularMechanics,
        start_nm: &'a [f64],
        lambdas: Vec<f64>,
        temperature: Temperature,
        motion: &EnsembleSettings,
        settings: &WindowSettings,
        streams: Streams,
    ) -> Result<Self> {
        let step = motion.time_step.as_ps();
        let whole = |key: &str, time: Time, unit: f64| -> Result<u64> {
            let n = (time.as_ps() / unit).round();
            if (1.0..1e15).contains(&n) && (time.as_ps() / unit - n).abs() <= 1e-6 * n {
                return Ok(n as u64);
            }
            let message = format!("must be a whole number of {unit} ps");
            Err(Error::config(format!("windows.{key} = \"{time}\""), message, ""))
        };
        let exchange_every = whole("exchange_every", settings.exchange_every, step)?;
        let record = whole("record_every", settings.record_every, settings.exchange_every.as_ps())?;
        let records = |time: Time| (time.as_ps() / settings.record_every.as_ps()).ceil() as usize;
        let motion = EnsembleSettings { every: settings.exchange_every, ..motion.clone() };
        let n_ladders = (settings.n_walkers / lambdas.len().max(1)).max(1);
        Ok(Self {
            dynamics: match parameters.n_atoms() {
                1 => None,
                _ => Some(dynamics(parameters, mechanics, &motion, streams)?),
            },
            mechanics,
            parameters,
            start_nm,
            streams,
            temperature,
            n_ladders,
            lambdas,
            record_every: exchange_every * record,
            exchange_every,
            equilibration: records(settings.equilibration) as u64 * exchange_every * record,
            time_step_ps: step,
            // Fewer records than this have no correlation time.
            round: records(settings.round).max(20),
            longest: records(settings.longest).max(20),
        })
    }

    /// Independent ladders.
    pub fn n_ladders(&self) -> usize {
        self.n_ladders
    }

    fn begin(&self) -> Result<WindowsState> {
        let states = self.lambdas.iter().map(|&l| ThermodynamicState::new(self.temperature, l)).collect();
        let lambda = self.lambdas.repeat(self.n_ladders);
        let walkers = match &self.dynamics {
            Some(dynamics) => start(dynamics, self.start_nm, &lambda, self.temperature)?,
            None => DynamicsState {
                step: 0,
                positions_nm: vec![0.0; 3 * lambda.len()],
                velocities: vec![0.0; 3 * lambda.len()],
                kt_kj_per_mol: vec![self.temperature.kt_kj_per_mol(); lambda.len()],
                lambda,
            },
        };
        Ok(WindowsState {
            walkers,
            exchange: Exchange::new(Ladder::new(states)?, self.n_ladders)?,
            samples: Vec::new(),
            n_energy_evaluations: 0,
            next_look: self.round,
            wall_seconds: 0.0,
        })
    }

    /// Samples until it is enough; `directory` keeps the state of a run that was interrupted, and shows its samples.
    pub fn until(&self, enough: Enough, directory: &Path, control: &Control) -> Result<Sampled> {
        let path = directory.join(CHECKPOINT);
        let mut state = if path.is_file() { read_state(&path)? } else { self.begin()? };
        let (begun, before) = (Instant::now(), state.wall_seconds);
        let mut stored = Instant::now();
        control.progress().begin("windows", self.longest as u64);
        let mut length = self.longest;
        loop {
            state.wall_seconds = before + begun.elapsed().as_secs_f64();
            let n_records = self.n_records(&state);
            let is_late = state.wall_seconds > enough.wall_seconds;
            if n_records >= state.next_look || (is_late && n_records >= 20) {
                let error = self.error(&state)?;
                if error <= enough.std_error_kt || n_records >= self.longest || is_late {
                    break;
                }
                // Errors fall with the root of the time; 5 % more spare a look in vain.
                let wanted = 1.05 * n_records as f64 * (error / enough.std_error_kt).powi(2);
                let wanted = if wanted.is_finite() { wanted } else { 2.0 * n_records as f64 };
                let next = (wanted as usize).clamp(n_records + self.round / 2, 4 * n_records + self.round);
                state.next_look = next.min(self.longest);
                length = (wanted as usize).clamp(state.next_look, self.longest);
                control.progress().note(&format!(
                    "{:.0} ps of each of {} walkers: ± {error:.3} kT of ± {:.3} kT",
                    self.time_ps(n_records),
                    state.walkers.n_walkers(),
                    enough.std_error_kt
                ));
                control.progress().begin("windows", length as u64);
            }
            if is_late && state.wall_seconds > 2.0 * enough.wall_seconds {
                store(&path, &state)?;
                return Err(too_slow(enough.wall_seconds));
            }
            self.advance(&mut state)?;
            control.progress().advance(self.n_records(&state).min(length) as u64, "");
            if control.is_stopping() || stored.elapsed().as_secs_f64() > 60.0 {
                state.wall_seconds = before + begun.elapsed().as_secs_f64();
                store(&path, &state)?;
                stored = Instant::now();
                control.check(directory)?;
            }
        }
        control.progress().end(&format!("{:.0} ps of each walker", self.time_ps(self.n_records(&state))));
        let sampled = self.sampled(&state)?;
        if path.is_file() {
            std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        Ok(sampled)
    }

    /// A fixed number of records of each walker, without looking at the error.
    ///
    /// An error where it takes more than so many seconds.
    pub fn samples(
        &self,
        n_records: usize,
        wall_seconds: f64,
        control: &Control,
        directory: &Path,
    ) -> Result<WindowsState> {
        let begun = Instant::now();
        let mut state = self.begin()?;
        while self.n_records(&state) < n_records {
            self.advance(&mut state)?;
            control.check(directory)?;
            if begun.elapsed().as_secs_f64() > wall_seconds {
                return Err(too_slow(wall_seconds));
            }
        }
        state.wall_seconds = begun.elapsed().as_secs_f64();
        Ok(state)
    }

    fn n_records(&self, state: &WindowsState) -> usize {
        state.samples.len() / (self.n_ladders * self.lambdas.len())
    }

    fn time_ps(&self, n_records: usize) -> f64 {
        n_records as f64 * self.record_every as f64 * self.time_step_ps
    }

    /// Goes on to the next exchange, and records where it is time; while walkers equilibrate nothing is kept.
    fn advance(&self, state: &mut WindowsState) -> Result<()> {
        if let Some(dynamics) = &self.dynamics {
            let walkers = &mut state.walkers;
            let segment = dynamics.advance(walkers, self.exchange_every, &mut crate::sampling::silent)?;
            let segment = completed(segment, &self.parameters.topology)?;
            let n = walkers.n_walkers();
            state.n_energy_evaluations += segment.n_force_evaluations + n as u64;
            let energies = &segment.potential_energies[segment.potential_energies.len() - n..];
            let mut at_lambda = |lambda: &[f64], u: &mut [f64]| {
                evaluate(self.mechanics, lambda, &walkers.positions_nm, u, None);
                Ok(())
            };
            state.exchange.sweep(energies, &mut at_lambda, &self.streams)?;
            for (walker, place) in state.exchange.states_of_walkers().into_iter().enumerate() {
                walkers.lambda[walker] = self.lambdas[place];
            }
        } else {
            state.walkers.step += self.exchange_every;
        }
        let step = state.walkers.step;
        if step <= self.equilibration || !step.is_multiple_of(self.record_every) {
            return Ok(());
        }
        let Some(polynomials) = self.mechanics.lambda_polynomials(&state.walkers.positions_nm) else {
            return Err(Error::invalid("path of windows", "an energy quadratic in λ", "a soft core"));
        };
        state.n_energy_evaluations += polynomials.len() as u64;
        for ladder in 0..self.n_ladders {
            for window in 0..self.lambdas.len() {
                let polynomial = polynomials[state.exchange.walker_at(ladder, window)];
                state.samples.push(polynomial.map(as_written));
            }
        }
        Ok(())
    }

    /// ∂u/∂λ of all samples of each window, kT.
    pub fn derivatives_kt(&self, state: &WindowsState) -> Vec<Vec<f64>> {
        let n = self.lambdas.len();
        let of = |window: usize| {
            let samples = state.samples.iter().skip(window).step_by(n);
            samples.map(|sample| self.derivative_kt(sample, self.lambdas[window])).collect()
        };
        (0..n).map(of).collect()
    }

    fn derivative_kt(&self, [_, first, second]: &[f64; 3], lambda: f64) -> f64 {
        (first + 2.0 * second * lambda) / self.temperature.kt_kj_per_mol()
    }

    /// Name of the table of one window of one ladder.
    fn file(&self, window: usize, ladder: usize) -> String {
        let width = (self.lambdas.len() - 1).to_string().len();
        format!("u_kn_lambda_{window:0width$}_walker_{ladder}.csv")
    }

    /// Samples of some ladders as readers of other programs' files give them.
    fn series(&self, state: &WindowsState, ladders: impl Iterator<Item = usize>) -> Vec<Series> {
        let kt = self.temperature.kt_kj_per_mol();
        let n = self.lambdas.len();
        let mut all = Vec::new();
        for ladder in ladders {
            for window in 0..n {
                let place = ladder * n + window;
                let samples: Vec<&[f64; 3]> =
                    state.samples.iter().skip(place).step_by(n * self.n_ladders).collect();
                let u = |[a, b, c]: &[f64; 3], lambda: f64| (a + (b + c * lambda) * lambda) / kt;
                all.push(Series {
                    sources: vec![PathBuf::from(self.file(window, ladder))],
                    format: Format::Table,
                    temperature_k: self.temperature.as_kelvin(),
                    components: vec!["lambda".into()],
                    states: self.lambdas.iter().map(|&lambda| vec![lambda]).collect(),
                    time: (1..=samples.len()).map(|k| as_written(self.time_ps(k))).collect(),
                    time_unit: "ps",
                    state_of: vec![window; samples.len()],
                    u_kt: (samples.iter())
                        .flat_map(|sample| self.lambdas.iter().map(|&lambda| as_written(u(sample, lambda))))
                        .collect(),
                    computed: None,
                    dudl_kt: (samples.iter())
                        .map(|sample| as_written(self.derivative_kt(sample, self.lambdas[window])))
                        .collect(),
                    origin: (0..samples.len())
                        .map(|row| Origin { source: 0, line: row as u32 + 2 })
                        .collect(),
                    warnings: Vec::new(),
                });
            }
        }
        all
    }

    fn error(&self, state: &WindowsState) -> Result<f64> {
        let data = Dataset::assemble(self.series(state, 0..self.n_ladders))?;
        Ok(total(&data)?.1)
    }

    /// All estimators, and whether the ladders agree.
    fn sampled(&self, state: &WindowsState) -> Result<Sampled> {
        let dataset = Dataset::assemble(self.series(state, 0..self.n_ladders))?;
        let settings = AnalysisSettings {
            estimators: vec![Estimator::Mbar, Estimator::Bar, Estimator::Ti],
            ti_rule: TiRule::Spline,
            ..AnalysisSettings::default()
        };
        let mut analysis = analyse(&dataset, &settings)?;
        let of_ladder = |ladder: usize| total(&Dataset::assemble(self.series(state, ladder..ladder + 1))?);
        let ladders = (0..self.n_ladders).map(of_ladder).collect::<Result<Vec<_>>>()?;
        let scatter = scatter(&ladders);
        analysis.verdicts.extend(scatter.clone());
        analysis.verdicts.sort_by_key(|verdict| std::cmp::Reverse(verdict.severity));
        Ok(Sampled {
            dataset,
            analysis,
            scatter,
            acceptance: state.exchange.pairs().iter().map(|pair| pair.acceptance()).collect(),
            time_ps: self.time_ps(self.n_records(state)),
            n_ladders: self.n_ladders,
            n_energy_evaluations: state.n_energy_evaluations,
            wall_seconds: state.wall_seconds,
        })
    }
}

impl Sampled {
    /// Tables that `kirkwood estimate DIRECTORY/u_kn_*.csv` reads: one of each window of each ladder, and `states.csv`.
    pub fn write_tables(&self, directory: &Path) -> Result<()> {
        let data = &self.dataset;
        let mut states = String::from("state,temperature_K,lambda\n");
        for (idx, state) in data.states.iter().enumerate() {
            states += &format!("{idx},{},{}\n", data.temperature_k, state.lambda[0]);
        }
        write_atomic(&directory.join("states.csv"), states.as_bytes())?;
        let columns: Vec<String> = (0..data.states.len()).map(|k| format!("u_{k}")).collect();
        for window in &data.windows {
            let mut text = format!("time_ps,dU_dlambda_kT,{}\n", columns.join(","));
            for sample in window.samples.clone() {
                text += &format!("{},{}", data.time[sample], data.dudl_kt[sample]);
                (0..data.states.len()).for_each(|k| text += &format!(",{}", data.u_of_state(k)[sample]));
                text.push('\n');
            }
            let Some(name) = window.sources.first() else { continue };
            write_atomic(&directory.join(name), text.as_bytes())?;
        }
        Ok(())
    }
}

/// f(1) − f(0) by MBAR and its error in kT.
fn total(data: &Dataset) -> Result<(f64, f64)> {
    let settings =
        AnalysisSettings { estimators: vec![Estimator::Mbar], n_convergence: 0, ..Default::default() };
    let analysis = analyse(data, &settings)?;
    Ok(analysis.estimates.first().map_or((f64::NAN, f64::INFINITY), |path| path.total()))
}

/// Independent ladders must scatter as their errors say; where they do not, something slow was sampled badly.
///
/// χ²/ν with ν = n − 1 has the variance 2/ν; beyond four of its deviations errors are doubtful, beyond ten wrong.
fn scatter(ladders: &[(f64, f64)]) -> Option<Verdict> {
    let weights: Vec<f64> = ladders.iter().map(|(_, error)| 1.0 / (error * error).max(1e-12)).collect();
    let total: f64 = weights.iter().sum();
    let degrees = ladders.len() as f64 - 1.0;
    if degrees < 2.0 || !total.is_finite() || total == 0.0 {
        return None;
    }
    let mean = ladders.iter().zip(&weights).map(|((value, _), weight)| value * weight).sum::<f64>() / total;
    let square: f64 =
        ladders.iter().zip(&weights).map(|((value, _), weight)| weight * (value - mean).powi(2)).sum();
    let ratio = square / degrees;
    let excess = (ratio - 1.0) / (2.0 / degrees).sqrt();
    let severity = match excess {
        excess if excess > 10.0 => Severity::Untrustworthy,
        excess if excess > 4.0 => Severity::Warning,
        _ => return None,
    };
    Some(Verdict::new(
        severity,
        "ladders_disagree",
        format!(
            "{} independent ladders scatter {:.1} times as much as their errors say: a slow motion was sampled badly; \
             ask for a smaller error, which takes longer runs",
            ladders.len(),
            ratio.sqrt()
        ),
    ))
}

fn too_slow(wall_seconds: f64) -> Error {
    let message =
        format!("{wall_seconds:.0} s were not enough for the first samples of a molecule of this size");
    Error::config("--max-time", message, "give more time")
}

fn store(path: &Path, state: &WindowsState) -> Result<()> {
    let text =
        toml::to_string(state).map_err(|error| Error::io("write", path)(std::io::Error::other(error)))?;
    write_atomic(path, text.as_bytes())
}

fn read_state(path: &Path) -> Result<WindowsState> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let damaged = |error: toml::de::Error| {
        Error::file(path, "", "a checkpoint that kirkwood writes", error.message().to_string())
    };
    toml::from_str(&text).map_err(damaged)
}

/// Pilot samples: where ∂u/∂λ fluctuates how much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pilot {
    /// λ of the pilot windows.
    pub lambda: Vec<f64>,
    /// Standard deviation of ∂u/∂λ there, kT.
    pub deviation_kt: Vec<f64>,
    /// ∫ σ(∂u/∂λ) dλ, the thermodynamic length: about the number of standard deviations between the ends.
    pub length: f64,
    /// Where windows belong: equal lengths apart.
    pub windows: Vec<f64>,
    /// Conformations of which an energy was computed.
    pub n_energy_evaluations: u64,
    /// Wall clock.
    pub wall_seconds: f64,
}

/// λ of the pilot.
pub const PILOT_LAMBDAS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
/// Records of each walker of the pilot.
const PILOT_RECORDS: usize = 20;
/// Length between neighbouring windows: they exchange with 80 % and more.
const SPACING: f64 = 0.5;
/// Windows at least, for the spline of TI, and at most.
const N_WINDOWS: (usize, usize) = (8, 64);

/// Short runs at a few λ, and the windows that follow from them.
pub fn pilot(windows: &Windows, wall_seconds: f64, control: &Control, directory: &Path) -> Result<Pilot> {
    control.progress().begin("pilot", 1);
    let state = windows.samples(PILOT_RECORDS, wall_seconds, control, directory)?;
    let deviation = |values: &Vec<f64>| {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0)).sqrt()
    };
    let deviation_kt: Vec<f64> = windows.derivatives_kt(&state).iter().map(deviation).collect();
    let (length, placed) = place(&windows.lambdas, &deviation_kt);
    let sentence = format!("thermodynamic length {length:.2} kT: {} windows", placed.len());
    control.progress().end(&sentence);
    Ok(Pilot {
        lambda: windows.lambdas.clone(),
        deviation_kt,
        length,
        windows: placed,
        n_energy_evaluations: state.n_energy_evaluations,
        wall_seconds: state.wall_seconds,
    })
}

/// The thermodynamic length of a path, σ linear between the given λ, and windows at equal lengths along it.
fn place(lambda: &[f64], deviation: &[f64]) -> (f64, Vec<f64>) {
    const FINE: usize = 400;
    let at = |x: f64| {
        let k = lambda.iter().take(lambda.len() - 1).filter(|node| **node <= x).count().max(1) - 1;
        let share = (x - lambda[k]) / (lambda[k + 1] - lambda[k]);
        deviation[k] + share * (deviation[k + 1] - deviation[k])
    };
    let length: f64 = (0..FINE).map(|i| at((i as f64 + 0.5) / FINE as f64)).sum::<f64>() / FINE as f64;
    let wanted = (length / SPACING).ceil();
    let n = if wanted.is_finite() { wanted as usize + 1 } else { N_WINDOWS.1 };
    let n = n.clamp(N_WINDOWS.0, N_WINDOWS.1);
    // TI wants nodes where nothing fluctuates as well, and a pilot may be mistaken.
    let speed = |x: f64| at(x) + 0.3 * length + 1e-9;
    let mut sums = vec![0.0];
    for i in 0..FINE {
        sums.push(sums[i] + speed((i as f64 + 0.5) / FINE as f64));
    }
    let mut placed = vec![0.0];
    for k in 1..n - 1 {
        let target = sums[FINE] * k as f64 / (n - 1) as f64;
        let i = sums.partition_point(|sum| *sum < target).max(1) - 1;
        let x = (i as f64 + (target - sums[i]) / (sums[i + 1] - sums[i])) / FINE as f64;
        // Numbers that people read.
        placed.push((1e4 * x).round() / 1e4);
    }
    placed.push(1.0);
    (length, placed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::force_field::molecular_system::{SystemRequest, load};
    use crate::potential::AlchemicalPath;

    #[test]
    fn windows_lie_equally_far_apart_where_the_derivative_fluctuates() {
        let lambda = PILOT_LAMBDAS;
        let (length, even) = place(&lambda, &[6.0; 5]);
        assert!((length - 6.0).abs() < 1e-9);
        assert_eq!(even.len(), 13);
        assert!(even.windows(2).all(|pair| (pair[1] - pair[0] - 1.0 / 12.0).abs() < 1e-3), "{even:?}");
        let rising: Vec<f64> = lambda.iter().map(|l| 20.0 * l).collect();
        let (length, placed) = place(&lambda, &rising);
        assert!((length - 10.0).abs() < 1e-3);
        assert!(placed[1] > 0.1 && 1.0 - placed[placed.len() - 2] < 0.05, "{placed:?}");
        assert_eq!(place(&lambda, &[0.0; 5]).1.len(), N_WINDOWS.0);
        assert_eq!(place(&lambda, &[f64::NAN; 5]).1.len(), N_WINDOWS.1);
    }

    #[test]
    fn ladders_that_scatter_more_than_their_errors_are_doubted() {
        assert_eq!(scatter(&[(1.0, 0.1), (1.1, 0.1), (0.9, 0.1), (1.05, 0.1)]), None);
        let verdict = scatter(&[(1.0, 0.1), (2.0, 0.1), (0.0, 0.1), (1.0, 0.1)]).unwrap();
        assert_eq!(verdict.severity, Severity::Untrustworthy);
        assert_eq!(scatter(&[(1.0, 0.1), (9.0, 0.1)]), None);
    }

    #[test]
    fn an_interrupted_run_gives_the_same_bits() {
        let request = SystemRequest { topology: "n_methylacetamide_obc2".into(), ..Default::default() };
        let system = load(&request).unwrap();
        let mechanics =
            MolecularMechanics::along(&system.parameters, AlchemicalPath::ImplicitSolvent).unwrap();
        let x = system.positions_nm.unwrap();
        let ps = |ps| Time::from_ps(ps).unwrap();
        let settings = WindowSettings {
            n_walkers: 8,
            equilibration: ps(0.2),
            record_every: ps(0.2),
            round: ps(2.0),
            ..Default::default()
        };
        let temperature = Temperature::from_kelvin(300.0).unwrap();
        let windows = Windows::new(
            &system.parameters,
            &mechanics,
            &x,
            vec![0.0, 0.3, 0.7, 1.0],
            temperature,
            &EnsembleSettings::default(),
            &settings,
            Streams::new(4),
        )
        .unwrap();
        let control = Control::default();
        let home = tempfile::tempdir().unwrap();
        let whole = windows.samples(12, 1e9, &control, home.path()).unwrap();
        let mut cut = windows.samples(5, 1e9, &control, home.path()).unwrap();
        store(&home.path().join("a.toml"), &cut).unwrap();
        cut = read_state(&home.path().join("a.toml")).unwrap();
        while windows.n_records(&cut) < 12 {
            windows.advance(&mut cut).unwrap();
        }
        assert_eq!((cut.samples, cut.walkers), (whole.samples, whole.walkers));
    }
}
