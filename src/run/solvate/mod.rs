//! `kirkwood solvate MOLECULE`: the free energy of bringing one molecule from vacuum into an implicit solvent.
//!
//! F(implicit solvent with its surface term) − F(vacuum without any solvent term) at the same volume, which is the
//! convention 1 M gas → 1 M solution (Ben-Naim). λ turns on the polar term with λ² and the surface term with λ.
//!
//! ```text
//! runs/solvate_NAME/
//!   config.toml  plan.toml  provenance.json  log.jsonl  summary.json  verdict.json
//!   pilot/    pilot.json        fluctuations of ∂u/∂λ, thermodynamic length, windows
//!   windows/  states.csv  u_kn_lambda_*_walker_*.csv  sampled.json      (`kirkwood estimate windows` reads them)
//!   report/   report.html  estimate.json  free_energies.csv  …
//! ```

pub mod solute;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::free_energy::alchemical::analysis::PathEstimate;
use crate::free_energy::alchemical::{
    AnalysisSettings, Dataset, Estimator, Severity, TiRule, Verdict, analyse,
};
use crate::free_energy::reader::{Format, ReadOptions, read};
use crate::potential::{AlchemicalPath, MolecularMechanics};
use crate::random::Streams;
use crate::report::alchemical::About;
use crate::report::number::two_digits;
use crate::run::alchemical::{self, EstimateRequest};
use crate::run::control::Control;
use crate::run::directory::{read_json, write_json};
use crate::run::ensemble::EnsembleSettings;
use crate::run::parts::{Description, Parts, outcome};
use crate::run::solvation::windows::{Enough, PILOT_LAMBDAS, Pilot, WindowSettings, Windows, pilot};
use crate::run::summary::entry;
use crate::run::{Outcome, Request, Variants};
use crate::units::{Energy, EnergyUnit, Temperature};
use solute::{Radii, Solute};

/// What was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct SolvateRequest {
    /// An AMBER topology, a PDB with `force_field`, a serialised OpenMM System, or the name of a shipped system.
    pub molecule: PathBuf,
    /// Start positions; for a serialised System its PDB.
    pub coordinates: Option<PathBuf>,
    /// Of a PDB.
    pub force_field: Option<String>,
    /// `obc1`, `obc2` or `gbn2`; absent: that of the molecule, or OBC2.
    pub solvent: Option<String>,
    /// Where Born radii come from.
    pub radii: Radii,
    /// Of both ends.
    pub temperature: Temperature,
    /// Standard error that is wanted.
    pub error: Energy,
    /// Of all random numbers.
    pub seed: u64,
    /// Wall clock at most, in seconds; what was sampled until then is reported with the error that it has.
    pub max_seconds: f64,
    /// Where the results go; absent: `runs/solvate_NAME`.
    pub out: Option<PathBuf>,
    /// Whether an unfinished run may be continued.
    pub resume: bool,
    /// The command as it was typed.
    pub command: String,
}

impl Default for SolvateRequest {
    fn default() -> Self {
        Self {
            molecule: PathBuf::new(),
            coordinates: None,
            force_field: None,
            solvent: None,
            radii: Radii::default(),
            temperature: Temperature::from_kelvin(300.0).expect("a positive constant"),
            error: Energy::from_kj_per_mol(0.1 * 4.184).expect("a finite constant"),
            seed: 1,
            max_seconds: 3600.0,
            out: None,
            resume: false,
            command: String::new(),
        }
    }
}

/// What a run is a function of; `--max-time` alone may cut it short.
#[derive(Debug, Serialize)]
struct Plan {
    molecule: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    coordinates: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    force_field: Option<String>,
    solvent: &'static str,
    radii: Radii,
    temperature: Temperature,
    error: Energy,
    seed: u64,
    windows: WindowSettings,
    motion: EnsembleSettings,
}

/// What the part `windows` found besides its tables.
#[derive(Debug, Serialize, Deserialize)]
struct SampledNotes {
    acceptance: Vec<f64>,
    time_ps: f64,
    n_ladders: usize,
    n_energy_evaluations: u64,
    wall_seconds: f64,
    scatter: Option<Verdict>,
}

/// Reads the molecule and computes its solvation free energy, or what is left of it.
pub fn solvate(request: &SolvateRequest, control: &Control) -> Result<Outcome> {
    let error_kj = request.error.as_kj_per_mol();
    if error_kj <= 0.0 {
        let place = format!("--error \"{}\"", request.error);
        return Err(Error::config(place, "must be more than 0", "0.1 kcal/mol for example"));
    }
    if request.max_seconds.is_nan() || request.max_seconds <= 0.0 {
        return Err(Error::config("--max-time", "must be more than 0", "1 h for example"));
    }
    let solute = Solute::read(request)?;
    let n_atoms = solute.parameters.n_atoms();
    let windows = WindowSettings {
        // Walkers of large molecules are slow enough that fewer fill the machine.
        n_walkers: if n_atoms <= 1000 { 64 } else { 32 },
        ..WindowSettings::default()
    };
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let plan = Plan {
        molecule: if request.molecule.is_file() {
            absolute(&request.molecule)
        } else {
            request.molecule.clone()
        },
        coordinates: request.coordinates.as_ref().map(absolute),
        force_field: request.force_field.clone(),
        solvent: solute.solvent,
        radii: request.radii,
        temperature: request.temperature,
        error: request.error,
        seed: request.seed,
        windows,
        motion: EnsembleSettings::default(),
    };
    let text = toml::to_string(&plan)
        .map_err(|error| Error::config("", format!("the plan cannot be written: {error}"), ""))?;
    let out =
        request.out.clone().unwrap_or_else(|| Path::new("runs").join(format!("solvate_{}", solute.name)));
    let about = Description {
        out: &out,
        plan: &text,
        written: &text,
        inputs: solute.inputs.clone(),
        seed: request.seed,
        device: "cpu",
        system: format!("{}, {n_atoms} atoms, from vacuum into {}", solute.name, solute.solvent),
    };
    let of_run = Request {
        config: request.molecule.clone(),
        out: Some(out.clone()),
        device: None,
        seed: Some(request.seed),
        assignments: Vec::new(),
        resume: request.resume,
        variants: Variants::None,
        command: request.command.clone(),
    };
    let Some(mut parts) = Parts::begin(&of_run, &about, control)? else {
        return outcome(&out, "already_finished");
    };
    solute.notes.iter().for_each(|note| control.progress().note(note));
    let mechanics = MolecularMechanics::along(&solute.parameters, AlchemicalPath::ImplicitSolvent)?;
    let streams = Streams::new(request.seed);
    let windows = |lambdas: Vec<f64>, settings: &WindowSettings, part: u64| {
        Windows::new(
            &solute.parameters,
            &mechanics,
            &solute.start_nm,
            lambdas,
            request.temperature,
            &plan.motion,
            settings,
            streams.derive(part),
        )
    };
    let directory = parts.part("pilot", |directory, control| {
        let windows = windows(PILOT_LAMBDAS.to_vec(), &plan.windows.of_pilot(), 0)?;
        let found = pilot(&windows, request.max_seconds, control, directory)?;
        write_json(&directory.join("pilot.json"), &found)
    })?;
    let pilot: Pilot = read_json(&directory.join("pilot.json"))?;
    let kt = request.temperature.kt_kj_per_mol();
    let enough = Enough {
        std_error_kt: error_kj / kt,
        wall_seconds: (request.max_seconds - pilot.wall_seconds).max(1.0),
    };
    let tables = parts.part("windows", |directory, control| {
        let sampled = windows(pilot.windows.clone(), &plan.windows, 1)?.until(enough, directory, control)?;
        sampled.write_tables(directory)?;
        let notes = SampledNotes {
            acceptance: sampled.acceptance,
            time_ps: sampled.time_ps,
            n_ladders: sampled.n_ladders,
            n_energy_evaluations: sampled.n_energy_evaluations,
            wall_seconds: sampled.wall_seconds,
            scatter: sampled.scatter,
        };
        write_json(&directory.join("sampled.json"), &notes)
    })?;
    let mut found = None;
    parts.part("report", |directory, _| {
        let estimated = Estimated::new(request, &solute, &pilot, &tables)?;
        estimated.write(directory, request)?;
        found = Some(estimated);
        Ok(())
    })?;
    let found = match found {
        Some(found) => found,
        None => Estimated::new(request, &solute, &pilot, &tables)?,
    };
    let sentence = found.sentence(request, &solute);
    parts.finish(&found.summary(), &sentence, found.outcome.trustworthy)?;
    outcome(&out, "finished")
}

/// The estimate from the tables of windows.
struct Estimated {
    outcome: alchemical::Outcome,
    about: About,
    notes: SampledNotes,
    pilot: Pilot,
    error_kt: f64,
}

impl Estimated {
    fn new(request: &SolvateRequest, solute: &Solute, pilot: &Pilot, tables: &Path) -> Result<Self> {
        let notes: SampledNotes = read_json(&tables.join("sampled.json"))?;
        let options = ReadOptions {
            format: Some(Format::Table),
            temperature_k: Some(request.temperature.as_kelvin()),
            files: u_kn_files(tables)?,
        };
        let dataset = Dataset::assemble(read(&options)?)?;
        let settings = AnalysisSettings {
            estimators: vec![Estimator::Mbar, Estimator::Bar, Estimator::Ti],
            ti_rule: TiRule::Spline,
            ..AnalysisSettings::default()
        };
        let mut analysis = analyse(&dataset, &settings)?;
        analysis.verdicts.extend(notes.scatter.clone());
        let error_kt = request.error.as_kj_per_mol() / request.temperature.kt_kj_per_mol();
        let reached = analysis.estimates.first().map_or(f64::INFINITY, |path| path.total().1);
        if reached > 1.1 * error_kt {
            let message = format!(
                "the error of {reached:.3} kT is larger than the {error_kt:.3} kT that were asked for: time was up"
            );
            analysis.verdicts.push(Verdict::new(Severity::Warning, "error_not_reached", message));
        }
        analysis.verdicts.sort_by_key(|verdict| std::cmp::Reverse(verdict.severity));
        let trustworthy = analysis.verdicts.iter().all(|verdict| verdict.severity < Severity::Untrustworthy);
        let outcome = alchemical::Outcome {
            dataset,
            analysis,
            unit: EnergyUnit::KcalPerMol,
            trustworthy,
            report: None,
        };
        let mut found = Self { outcome, about: About::default(), notes, pilot: pilot.clone(), error_kt };
        found.about = found.about(request, solute);
        Ok(found)
    }

    fn of(&self, estimator: Estimator) -> Option<&PathEstimate> {
        self.outcome.analysis.estimates.iter().find(|path| path.estimator == estimator)
    }

    /// MBAR's value and error in a unit.
    fn total(&self, unit: EnergyUnit) -> (f64, f64) {
        let (value, error) = self.of(Estimator::Mbar).map_or((f64::NAN, f64::INFINITY), PathEstimate::total);
        let factor = unit.per_kt(self.outcome.dataset.temperature_k);
        (factor * value, factor * error)
    }

    fn about(&self, request: &SolvateRequest, solute: &Solute) -> About {
        let values = [EnergyUnit::Kt, EnergyUnit::KjPerMol, EnergyUnit::KcalPerMol].map(|unit| {
            let (value, error) = self.total(unit);
            [unit.to_string(), two_digits(value, error)]
        });
        let n_walkers = self.notes.n_ladders * self.pilot.windows.len();
        let mut paragraphs = vec![
            format!(
                "The free energy of {} in {} (generalised Born with its surface term, an implicit model of water: no \
                 solvent molecules, no explicit structure of the solvent) minus that in vacuum without any solvent term, \
                 at {} and the same volume in both, which is the convention 1 M gas → 1 M solution. Internal degrees of \
                 freedom relax in either: both ends are ensembles.",
                solute.name, solute.solvent, request.temperature
            ),
            format!(
                "λ turns on the polar term with λ² and the surface term with λ. Pilot runs found a thermodynamic length of \
                 {:.2} kT; {} windows at equal lengths were sampled by {n_walkers} walkers in {} independent ladders of \
                 replica exchange for {:.0} ps each, until the standard error of MBAR was below {:.3} kT or time was up.",
                self.pilot.length,
                self.pilot.windows.len(),
                self.notes.n_ladders,
                self.notes.time_ps,
                self.error_kt
            ),
            "Torsions about double and amide bonds do not turn: the isomer is the one that was given, as are protonation \
             and tautomer."
                .into(),
        ];
        paragraphs.extend(solute.notes.iter().cloned());
        About {
            title: format!("Solvation free energy of {}", solute.name),
            subtitle: format!("vacuum → {} (implicit), 1 M → 1 M", solute.solvent),
            paragraphs,
            values: values.to_vec(),
        }
    }

    fn write(&self, directory: &Path, request: &SolvateRequest) -> Result<PathBuf> {
        let of_estimate = EstimateRequest {
            command: request.command.clone(),
            unit: EnergyUnit::KcalPerMol,
            about: Some(self.about.clone()),
            settings: AnalysisSettings { ti_rule: TiRule::Spline, ..AnalysisSettings::default() },
            ..EstimateRequest::default()
        };
        alchemical::files::write(directory, &self.outcome, &of_estimate)
    }

    fn sentence(&self, request: &SolvateRequest, solute: &Solute) -> String {
        let show = |unit: EnergyUnit| {
            let (value, error) = self.total(unit);
            format!("{} {unit}", two_digits(value, error))
        };
        let worst = self.outcome.analysis.verdicts.iter().find(|verdict| verdict.severity > Severity::Note);
        let but = worst
            .map_or_else(String::new, |verdict| format!(" But {}.", verdict.message.trim_end_matches('.')));
        format!(
            "{} from vacuum into {} (implicit solvent, 1 M → 1 M, {}): {} = {}.{but}",
            solute.name,
            solute.solvent,
            request.temperature,
            show(EnergyUnit::KcalPerMol),
            show(EnergyUnit::Kt)
        )
    }

    fn summary(&self) -> Map<String, Value> {
        let mut entries = Map::new();
        let n_windows = self.pilot.windows.len();
        let road = |name: &str| format!("{name}, {n_windows} windows, vacuum → implicit solvent, 1 M → 1 M");
        for (key, unit) in [
            ("solvation_free_energy", EnergyUnit::KcalPerMol),
            ("solvation_free_energy_kj_per_mol", EnergyUnit::KjPerMol),
            ("solvation_free_energy_kt", EnergyUnit::Kt),
        ] {
            let (value, error) = self.total(unit);
            entries.insert(key.into(), entry(value, Some(error), &unit.to_string(), &road("MBAR")));
        }
        let others = [
            ("delta_f_mbar", Estimator::Mbar, "MBAR"),
            ("delta_f_bar", Estimator::Bar, "Bennett's ratio between neighbours"),
            ("delta_f_ti", Estimator::Ti, "thermodynamic integration, cubic spline"),
        ];
        for (key, estimator, method) in others {
            let Some(path) = self.of(estimator) else { continue };
            let (value, error) = path.total();
            entries.insert(key.into(), entry(value, Some(error), "kT", &road(method)));
        }
        let count = |value: f64, unit: &str, method: &str| entry(value, None, unit, method);
        let evaluations = (self.pilot.n_energy_evaluations + self.notes.n_energy_evaluations) as f64;
        entries.insert("energy_evaluations".into(), count(evaluations, "", "pilot and windows"));
        entries.insert("thermodynamic_length".into(), count(self.pilot.length, "kT", "from pilot runs"));
        entries.insert("time_per_walker".into(), count(self.notes.time_ps, "ps", "recorded"));
        let seconds = self.pilot.wall_seconds + self.notes.wall_seconds;
        entries.insert("sampling_seconds".into(), count(seconds, "s", "wall clock of pilot and windows"));
        let least = self.notes.acceptance.iter().copied().fold(f64::INFINITY, f64::min);
        entries.insert("exchange_least_acceptance".into(), count(least, "", "neighbouring windows"));
        entries.insert("verdicts".into(), json!(self.outcome.analysis.verdicts));
        entries
    }
}

/// The tables of windows in order of their names.
fn u_kn_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .map_err(Error::io("list", directory))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("u_kn_")))
        .collect();
    files.sort();
    Ok(files)
}

/// A span of wall clock such as `10 min` or `2 h`, in seconds.
pub fn wall_seconds(text: &str) -> std::result::Result<f64, String> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let factor = match text[split..].trim() {
        "s" => 1.0,
        "min" | "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => {
            return Err(format!(
                "expected a time such as \"10 min\" (units: s, min, h, d), found \"{text}\""
            ));
        }
    };
    match text[..split].trim().parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number * factor),
        _ => Err(format!("expected a time above 0 such as \"10 min\", found \"{text}\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::force_field::Parameters;
    use crate::force_field::molecular_system::{SystemRequest, load};

    fn kcal(value: f64) -> Energy {
        Energy::from_kj_per_mol(4.184 * value).unwrap()
    }

    #[test]
    fn times_of_the_clock_have_units() {
        assert_eq!(wall_seconds("10 min").unwrap(), 600.0);
        assert_eq!(wall_seconds("0.5h").unwrap(), 1800.0);
        assert!(wall_seconds("10").unwrap_err().contains("units"));
        assert!(wall_seconds("-1 s").is_err() && wall_seconds("").is_err());
    }

    /// Born: −½ C (1 − 1/ε) q²/ρ̃ of a single ion, and the surface term f (ρ + probe)² (ρ/ρ̃)⁶.
    #[test]
    fn a_single_ion_has_borns_free_energy() {
        let home = tempfile::tempdir().unwrap();
        let request = SystemRequest { topology: "methanol_obc2".into(), ..Default::default() };
        let mut parameters = load(&request).unwrap().parameters;
        let solvent = parameters.implicit_solvent.as_mut().unwrap();
        let mut atom = solvent.atoms[4];
        atom.charge = 1.0;
        solvent.atoms = vec![atom];
        let surface = solvent.surface_area.unwrap();
        let born = atom.offset_radius_nm;
        let exact = -0.5 * solvent.coulomb * (1.0 - 1.0 / solvent.solvent_dielectric) / born
            + surface.factor * (atom.radius_nm + surface.probe_nm).powi(2) * (atom.radius_nm / born).powi(6);
        parameters.topology =
            crate::system::Topology::new(vec![parameters.topology.atoms[4].clone()], vec![]);
        let nonbonded = crate::force_field::Nonbonded {
            charges: vec![1.0],
            sigma_nm: vec![0.3],
            epsilon: vec![0.5],
            pair_table: None,
            exceptions: vec![],
            method: parameters.nonbonded.method,
        };
        let ion = Parameters {
            topology: parameters.topology.clone(),
            nonbonded,
            implicit_solvent: parameters.implicit_solvent.clone(),
            ..Parameters::default()
        };
        let mechanics = MolecularMechanics::along(&ion, AlchemicalPath::ImplicitSolvent).unwrap();
        let temperature = Temperature::from_kelvin(300.0).unwrap();
        let windows = Windows::new(
            &ion,
            &mechanics,
            &[0.0; 3],
            vec![0.0, 0.25, 0.5, 0.75, 1.0],
            temperature,
            &EnsembleSettings::default(),
            &WindowSettings::default(),
            Streams::new(1),
        )
        .unwrap();
        let enough = Enough { std_error_kt: 0.1, wall_seconds: 60.0 };
        let sampled = windows.until(enough, home.path(), &Control::default()).unwrap();
        for path in &sampled.analysis.estimates {
            let (value, error) = path.total();
            let exact = exact / temperature.kt_kj_per_mol();
            assert!((value - exact).abs() < 1e-4 && error < 1e-4, "{value} ± {error}, {exact}");
        }
    }

    #[test]
    fn methanol_is_solvated_and_a_second_call_finds_it_finished() {
        let home = tempfile::tempdir().unwrap();
        let request = SolvateRequest {
            molecule: "methanol_obc2".into(),
            error: kcal(0.05),
            out: Some(home.path().join("run")),
            ..SolvateRequest::default()
        };
        let first = solvate(&request, &Control::default()).unwrap();
        let value = |name: &str| first.summary[name]["value"].as_f64().unwrap();
        let error = first.summary["solvation_free_energy"]["std_error"].as_f64().unwrap();
        assert!(first.trustworthy && error <= 0.055, "{first:?}");
        assert!((value("delta_f_mbar") - value("solvation_free_energy_kt")).abs() < 1e-12);
        let page = std::fs::read_to_string(home.path().join("run/report/report.html")).unwrap();
        for words in ["1 M gas → 1 M solution", "implicit", "kcal/mol", "Solvation free energy of methanol"]
        {
            assert!(page.contains(words), "{words}");
        }
        let second = solvate(&request, &Control::default()).unwrap();
        assert_eq!((second.status, second.summary), ("already_finished", first.summary));
    }

    #[test]
    fn requests_without_sense_are_refused() {
        let request = SolvateRequest { molecule: "methanol".into(), error: kcal(0.0), ..Default::default() };
        assert!(solvate(&request, &Control::default()).unwrap_err().to_string().contains("--error"));
        let request = SolvateRequest { molecule: "nowhere.prmtop".into(), ..Default::default() };
        assert!(solvate(&request, &Control::default()).unwrap_err().to_string().contains("nowhere.prmtop"));
    }
}
