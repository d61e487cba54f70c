//! What the stages of a Boltzmann generator work with, and how they hand conformations to each other.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::bias::Bias;
use super::plan::{Plan, State};
use crate::error::{Error, Result};
use crate::model::EnergyModel;
use crate::potential::{
    AtLambda, GeometricPath, Piece, PotentialPath as _, Precision, ReducedPotential as _, Rescaled,
    Restricted, Route, Sequence,
};
use crate::random::Streams;
use crate::run::config::{Config, DataSettings};
use crate::run::control::Control;
use crate::run::directory::{Layout, RunDirectory, read_json, write_atomic, write_json};
use crate::run::source::Source;
use crate::run::stages::load::Data;
use crate::run::stages::{Context, train};
use crate::run::summary::{entry, read_rows};
use crate::run::{plan as learning, simulate::molecule::read_frames};
use crate::system::Stereochemistry;
use crate::trajectory::{Ensemble, write_trajectory};

/// The atoms of every trajectory of a run, in the stage `frames`.
pub const TOPOLOGY: &str = "topology.pdb";
/// The terms of a bias, beside it.
pub const BIAS: &str = "bias.json";
/// Frames that were simulated, beside it.
pub const FRAMES: &str = "frames.dcd";

/// A run and where it stands.
pub struct Work<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// Where the stages stand.
    pub layout: Layout,
    /// The run directory.
    pub run: &'a RunDirectory,
    /// Progress, and the wish to stop.
    pub control: &'a Control,
}

/// Frames, model and region: what is known once the frames are there.
pub struct Learned {
    /// The plan of learning from the frames.
    pub plan: learning::Plan,
    /// The frames, split.
    pub data: Data,
}

impl Work<'_> {
    /// Random numbers of a part alone.
    pub fn streams(&self, part: u64) -> Streams {
        Streams::new(self.plan.config.seed).derive(0x4247_0000 + part)
    }

    /// Shows that a part begins.
    pub fn begin(&self, part: &str, length: u64) {
        self.control.progress().begin(part, length);
    }

    /// A callback for long algorithms: shows the fraction done and passes on the wish to stop.
    pub fn fraction<'c>(&'c self, length: u64) -> impl FnMut(f64) -> Result<()> + 'c {
        move |fraction| {
            self.control.progress().advance((fraction * length as f64) as u64, "");
            self.control.check(self.run.path())
        }
    }

    /// The energy by which the frames were simulated, where it is not the physical one.
    pub fn biased(&self) -> Result<Option<State>> {
        if self.plan.config.data.bias.torsions.is_empty() {
            return Ok(None);
        }
        let bias: Bias = read_json(&self.layout.finished("frames")?.join(BIAS))?;
        let base = &self.plan.base;
        base.with(bias.added_to(&base.parameters)).map(Some)
    }

    /// Reads the frames of a finished stage `frames` and splits them.
    pub fn learned(&self) -> Result<Learned> {
        // The plan of the model stands in the run directory and would take relative paths from there.
        let frames = self.layout.finished("frames")?;
        let frames = std::path::absolute(&frames).map_err(Error::io("locate", &frames))?;
        let config = &self.plan.config;
        let simulated = config.data.trajectory.is_empty();
        let learning = Config {
            name: config.name.clone(),
            seed: config.seed,
            device: config.device.clone(),
            data: DataSettings {
                weights: None,
                topology: Some(frames.join(TOPOLOGY)),
                trajectory: if simulated {
                    vec![frames.join(FRAMES)]
                } else {
                    config.data.trajectory.clone()
                },
                temperature: config.data.temperature,
                selection: None,
                centers: Vec::new(),
                array_unit: config.data.array_unit,
                frames: config.data.frames,
                split: config.data.split,
            },
            collective_variables: config.collective_variables.clone(),
            states: config.states.clone(),
            model: config.model.clone(),
            train: config.train.clone(),
            sample: Default::default(),
            estimate: Default::default(),
            compare: Default::default(),
            report: Default::default(),
            variants: Default::default(),
        };
        let text = toml::to_string(&learning)
            .map_err(|error| Error::config("", format!("the plan cannot be written: {error}"), ""))?;
        let source = Source::from_text(&self.run.path().join("plan.toml"), text)?;
        let plan = learning::Plan::of_source(&source)?;
        let data = Data::load(&plan)?;
        Ok(Learned { plan, data })
    }
}

impl Learned {
    /// What the stage of training receives.
    pub fn context<'c>(&'c self, work: &'c Work<'_>) -> Context<'c> {
        Context {
            plan: &self.plan,
            data: &self.data,
            layout: &work.layout,
            control: work.control,
            run: work.run,
            label: "",
        }
    }

    /// The trained energy and the stereoisomer that all frames are.
    pub fn energies<'w>(&self, work: &'w Work<'_>) -> Result<Energies<'w>> {
        let model = train::load_model(&self.context(work))?;
        let topology = &work.plan.base.parameters.topology;
        let frames = self.data.frames.positions_nm();
        let region = Stereochemistry::from_frames(topology.n_atoms(), &topology.bonds, frames)?;
        Ok(Energies { plan: work.plan, model, region })
    }
}

/// The learned energy and the physical ones on the same conformations, in reduced length.
pub struct Energies<'w> {
    plan: &'w Plan,
    /// The learned energy.
    pub model: EnergyModel,
    /// Outside of it the physical energy is infinite.
    pub region: Stereochemistry,
}

impl Energies<'_> {
    /// The learned energy at the data end.
    pub fn learned(&self, x: &[f64]) -> Result<Vec<f64>> {
        let n = x.len() / self.model.space().dimension();
        let mut u = vec![0.0; n];
        self.model.energies(&vec![self.model.range().0; n], x, &mut u)?;
        Ok(u)
    }

    /// The energy of a physical state, in double precision; +∞ outside of the region.
    pub fn physical(&self, state: &State, x: &[f64]) -> Result<Vec<f64>> {
        let at = state.at(Precision::Double);
        let rescaled = Rescaled::new(&at, self.model.length_scale_nm)?;
        let restricted = Restricted { inner: &rescaled, region: &self.region };
        let mut u = vec![0.0; x.len() / self.model.space().dimension()];
        restricted.energies(x, &mut u)?;
        Ok(u)
    }

    /// log-weights that take samples with the weight exp(log_weight) in the learned law to the physical one.
    pub fn to_physical(&self, x: &[f64], log_weights: Option<&[f64]>) -> Result<Vec<f64>> {
        let (learned, physical) = (self.learned(x)?, self.physical(&self.plan.base, x)?);
        Ok((0..learned.len())
            .map(|idx| {
                let weight = log_weights.map_or(0.0, |weights| weights[idx]) + learned[idx] - physical[idx];
                if weight.is_nan() { f64::NEG_INFINITY } else { weight }
            })
            .collect())
    }

    /// Which share of conformations lies in the region.
    pub fn share_within(&self, x: &[f64]) -> f64 {
        let d = self.model.space().dimension();
        let within = x.chunks_exact(d).filter(|x| self.region.contains(x)).count();
        within as f64 / (x.len() / d).max(1) as f64
    }

    /// Calls `use_it` with the path from noise (λ = 0) to the learned data end (1) to the physical energy (2).
    pub fn along<T>(&self, use_it: impl FnOnce(&Sequence) -> Result<T>) -> Result<T> {
        let at = self.plan.base.at(Precision::Single);
        let rescaled = Rescaled::new(&at, self.model.length_scale_nm)?;
        let restricted = Restricted { inner: &rescaled, region: &self.region };
        let data_end = AtLambda { path: &self.model, lambda: self.model.range().0 };
        let line = GeometricPath::new(&data_end, &restricted)?;
        let sequence = Sequence::new(vec![
            Piece { path: &self.model, route: Route::LogSnr { noise: *self.model.noise() } },
            Piece { path: &line, route: Route::Linear { from: 0.0, to: 1.0 } },
        ])?;
        use_it(&sequence)
    }

    /// Conformations in nm.
    pub fn positions_nm(&self, x: &[f64]) -> Vec<f64> {
        x.iter().map(|x| x * self.model.length_scale_nm).collect()
    }

    /// Conformations in reduced length.
    pub fn reduced(&self, positions_nm: &[f64]) -> Vec<f64> {
        positions_nm.iter().map(|nm| nm / self.model.length_scale_nm).collect()
    }
}

/// What stands beside a set of conformations, in `NAME.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Record {
    /// Independent groups of equal size into which the conformations fall in order.
    pub n_groups: usize,
    /// Evaluations of the learned energy that the set took.
    pub n_learned_evaluations: u64,
    /// Evaluations of the physical energy that the set took.
    pub n_physical_evaluations: u64,
    /// Wall clock.
    pub seconds: f64,
    /// Numbers for `summary.json`.
    pub numbers: Map<String, Value>,
}

impl Record {
    /// Adds a number for `summary.json`.
    pub fn note(&mut self, name: &str, value: f64, std_error: Option<f64>, unit: &str, method: &str) {
        self.numbers.insert(name.into(), entry(value, std_error, unit, method));
    }
}

/// Conformations with their weights in the physical law.
pub struct Drawn {
    /// nm
    pub positions_nm: Vec<f64>,
    /// Unnormalised log-weights; `None`: all are equal.
    pub log_weights: Option<Vec<f64>>,
    /// Unnormalised log-weights in the learned law, where they differ.
    pub learned_log_weights: Option<Vec<f64>>,
    /// How it was made.
    pub record: Record,
}

#[derive(Serialize, Deserialize)]
struct Weights {
    log_weight: Option<f64>,
    learned_log_weight: Option<f64>,
}

impl Drawn {
    /// Writes `NAME.dcd`, `NAME.csv` and at last `NAME.json`.
    pub fn save(&self, work: &Work, directory: &Path, name: &str) -> Result<()> {
        let topology = &work.plan.base.parameters.topology;
        let path = directory.join(format!("{name}.dcd"));
        if let Some(bad) = self.positions_nm.iter().position(|x| !x.is_finite()) {
            let frame = bad / (3 * topology.n_atoms());
            let expected = "finite positions; the learned energy may have no normaliser: train longer";
            let found = self.positions_nm[bad].to_string();
            return Err(Error::file(path, format!("frame {frame}"), expected, found));
        }
        write_trajectory(&path, topology, &Ensemble::new(topology.n_atoms(), self.positions_nm.clone())?)?;
        if let Some(log_weights) = &self.log_weights {
            // A weight of zero is an empty cell.
            let cell = |weight: f64| if weight.is_finite() { weight.to_string() } else { String::new() };
            let mut table = String::from("log_weight,learned_log_weight\n");
            for (idx, weight) in log_weights.iter().enumerate() {
                let learned = self.learned_log_weights.as_ref().map_or(0.0, |learned| learned[idx]);
                table += &format!("{},{}\n", cell(*weight), cell(learned));
            }
            write_atomic(&directory.join(format!("{name}.csv")), table.as_bytes())?;
        }
        write_json(&record_path(directory, name), &self.record)
    }

    /// Reads what was saved; `None` where there is no such set.
    pub fn load(work: &Work, directory: &Path, name: &str) -> Result<Option<Self>> {
        let record = record_path(directory, name);
        if !record.is_file() {
            return Ok(None);
        }
        let n_atoms = work.plan.base.parameters.n_atoms();
        let frames = read_frames(&directory.join(format!("{name}.dcd")), n_atoms)?.centered();
        let rows: Vec<Weights> = read_rows(&directory.join(format!("{name}.csv")))?;
        let column = |of_row: fn(&Weights) -> Option<f64>| {
            let values = || rows.iter().map(|row| of_row(row).unwrap_or(f64::NEG_INFINITY)).collect();
            (!rows.is_empty()).then(values)
        };
        Ok(Some(Self {
            positions_nm: frames.positions_nm().to_vec(),
            log_weights: column(|row| row.log_weight),
            learned_log_weights: column(|row| row.learned_log_weight),
            record: read_json(&record)?,
        }))
    }

    /// The same, of a stage that has to have made it.
    pub fn require(work: &Work, stage: &str, name: &str) -> Result<Self> {
        let directory = work.layout.finished(stage)?;
        Self::load(work, &directory, name)?.ok_or_else(|| {
            Error::file(record_path(&directory, name), "", "what this stage writes", "no such file")
        })
    }
}

/// Whether a set was saved to its end.
pub fn is_saved(directory: &Path, name: &str) -> bool {
    record_path(directory, name).is_file()
}

fn record_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.json"))
}

/// The numbers of all sets of a stage.
pub fn numbers(directory: &Path) -> Result<Vec<Map<String, Value>>> {
    let entries = std::fs::read_dir(directory).map_err(Error::io("list", directory))?;
    let mut names: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_record(path)).collect();
    names.sort();
    names.iter().map(|path| read_json::<Record>(path).map(|record| record.numbers)).collect()
}

/// A set is a trajectory with a record of the same name.
fn is_record(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json") && path.with_extension("dcd").is_file()
}
