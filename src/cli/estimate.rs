//! `kirkwood estimate` of files: what can be typed, and how the result is shown.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use kirkwood::free_energy::alchemical::{AnalysisSettings, Decorrelation, Estimator, TiRule};
use kirkwood::free_energy::reader::{Format, ReadOptions};
use kirkwood::run::alchemical::{EstimateRequest, estimate};
use kirkwood::run::simulate::plan::is_simulation;
use kirkwood::run::u_kn::{self, UknRequest};
use kirkwood::units::EnergyUnit;
use kirkwood::{Error, Result};

use super::arguments::OfRun;
use super::output;

/// Free energies from output files, from a matrix u_kn, or of the learned path of a run.
#[derive(Debug, Args)]
pub struct OfEstimate {
    /// Output files of GROMACS, AMBER, NAMD or GOMC, CSV or Parquet tables, or directories of them; or the
    /// configuration (TOML) or directory of a run, whose learned path is then estimated
    #[arg(required_unless_present_any = ["u_kn", "decorrelate"])]
    pub files: Vec<PathBuf>,

    /// Format of the files
    #[arg(long, value_enum, default_value = "auto", value_name = "FORMAT", help_heading = "Files")]
    pub format: OfFormat,

    /// Temperature in K, where the files lack it
    #[arg(long, value_name = "K", help_heading = "Files")]
    pub temperature: Option<f64>,

    /// Estimators, separated by commas: mbar, bar, ti, exp, gaussian [default: those of the first four that the data
    /// allow]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Estimation")]
    pub estimator: Vec<OfEstimator>,

    /// What correlated samples count: `weights` (burn-in left out, the rest counts 1/g each, with g the statistical
    /// inefficiency) or `alchemlyb` (thinned as its decorrelate_u_nk and decorrelate_dhdl do) [default: weights]
    #[arg(long, value_name = "HOW", num_args = 0..=1, default_missing_value = "weights", help_heading = "Estimation")]
    pub decorrelate: Option<String>,

    /// All samples count as independent, and none is left out
    #[arg(long, conflicts_with = "decorrelate", help_heading = "Estimation")]
    pub no_decorrelate: bool,

    /// How TI integrates
    #[arg(long, value_enum, value_name = "RULE", default_value = "trapezoid", help_heading = "Estimation")]
    pub ti_rule: OfRule,

    /// Bootstrap resamples, for errors beside the asymptotic ones
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Estimation")]
    pub bootstrap: usize,

    /// Unit of the results: kT, kJ/mol or kcal/mol
    #[arg(long, value_name = "UNIT", default_value = "kT", help_heading = "Results")]
    pub unit: EnergyUnit,

    /// States that share no samples are meant to be so: no exit code 3 for them
    #[arg(long, help_heading = "Results")]
    pub allow_disconnected: bool,

    /// A matrix u_kn (K × N, f64 or f32, .npy, or Parquet with a column per state) instead of files
    #[arg(long, value_name = "NPY", requires = "n_k", conflicts_with = "files", help_heading = "Matrix")]
    pub u_kn: Option<PathBuf>,

    /// How many of its columns come from each state (integers, .npy)
    #[arg(long, value_name = "NPY", requires = "u_kn", help_heading = "Matrix")]
    pub n_k: Option<PathBuf>,

    /// Where to write the result of --u-kn as JSON
    #[arg(long, value_name = "JSON", requires = "u_kn", help_heading = "Matrix")]
    pub output: Option<PathBuf>,

    /// Read u_kn block by block from the disk at each pass [default: when it is larger than half of the memory]
    #[arg(long, requires = "u_kn", help_heading = "Matrix")]
    pub streaming: bool,

    /// Hold u_kn in single precision; results stay double
    #[arg(long, requires = "u_kn", help_heading = "Matrix")]
    pub f32_storage: bool,

    /// Where results go: tables, figures and report.html of FILES; a run has its own directory
    #[arg(long, value_name = "DIR", help_heading = "Results")]
    pub out: Option<PathBuf>,

    /// Threads of the processor; results do not depend on it [default: all]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub threads: Option<usize>,

    /// Seed of all random numbers
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Where tensors live: cpu, cuda, cuda:1
    #[arg(long, value_name = "DEVICE", help_heading = "Learned path of a run")]
    pub device: Option<String>,

    /// Change one key of the configuration of a run
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Learned path of a run")]
    pub assignments: Vec<String>,

    /// Go on where an earlier run of the same plan stopped
    #[arg(long, help_heading = "Learned path of a run")]
    pub resume: bool,

    /// Which [variants.NAME] to run as well: all, none or a name
    #[arg(long, value_name = "NAME", default_value = "all", help_heading = "Learned path of a run")]
    pub variant: String,
}

/// Formats by name.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OfFormat {
    /// Found out from the files
    Auto,
    /// dhdl.xvg
    Gromacs,
    /// mdout
    Amber,
    /// fepout
    Namd,
    /// Free_Energy_*.dat
    Gomc,
    /// CSV of alchemlyb or kirkwood
    Table,
    /// Parquet of alchemlyb
    Parquet,
}

/// Estimators by name.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OfEstimator {
    /// Multistate Bennett acceptance ratio
    Mbar,
    /// Bennett's acceptance ratio
    Bar,
    /// Thermodynamic integration
    Ti,
    /// Exponential averages, both ways
    Exp,
    /// Second-order cumulants, both ways
    Gaussian,
}

/// Rules of integration.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OfRule {
    /// Straight lines
    Trapezoid,
    /// Natural cubic splines
    Spline,
    /// Gauss–Legendre nodes
    Gauss,
}

impl OfEstimate {
    /// The learned path of a run, when a configuration or a run directory was given.
    pub fn of_run(&self) -> Option<OfRun> {
        let [config] = &self.files[..] else { return None };
        let is_config = config.extension().is_some_and(|extension| extension == "toml");
        let is_run = config.join("plan.toml").is_file() && !is_simulation(config);
        (is_config || is_run).then(|| OfRun {
            config: config.clone(),
            out: self.out.clone(),
            device: self.device.clone(),
            threads: self.threads,
            seed: self.seed,
            assignments: self.assignments.clone(),
            resume: self.resume,
            variant: self.variant.clone(),
        })
    }

    fn request(&self) -> Result<EstimateRequest> {
        let mut files = self.files.clone();
        let decorrelation = match (self.no_decorrelate, self.decorrelate.as_deref()) {
            (true, _) => Decorrelation::None,
            (_, None | Some("weights")) => Decorrelation::Weights,
            (_, Some("alchemlyb")) => Decorrelation::Alchemlyb,
            // `--decorrelate FILE`: the option stands for its default, and what follows is a file.
            (_, Some(other)) if Path::new(other).exists() => {
                files.insert(0, other.into());
                Decorrelation::Weights
            }
            (_, Some(other)) => {
                let message = format!("\"{other}\" is neither a way to decorrelate nor a file");
                return Err(Error::config("decorrelate", message, "weights or alchemlyb"));
            }
        };
        let estimators = self.estimator.iter().flat_map(|estimator| match estimator {
            OfEstimator::Mbar => vec![Estimator::Mbar],
            OfEstimator::Bar => vec![Estimator::Bar],
            OfEstimator::Ti => vec![Estimator::Ti],
            OfEstimator::Exp => vec![Estimator::ExpForward, Estimator::ExpReverse],
            OfEstimator::Gaussian => vec![Estimator::GaussianForward, Estimator::GaussianReverse],
        });
        let command: Vec<String> = std::env::args().collect();
        Ok(EstimateRequest {
            read: ReadOptions {
                format: match self.format {
                    OfFormat::Auto => None,
                    OfFormat::Gromacs => Some(Format::Gromacs),
                    OfFormat::Amber => Some(Format::Amber),
                    OfFormat::Namd => Some(Format::Namd),
                    OfFormat::Gomc => Some(Format::Gomc),
                    OfFormat::Table => Some(Format::Table),
                    OfFormat::Parquet => Some(Format::Parquet),
                },
                temperature_k: self.temperature,
                files,
            },
            settings: AnalysisSettings {
                estimators: estimators.collect(),
                decorrelation,
                ti_rule: match self.ti_rule {
                    OfRule::Trapezoid => TiRule::Trapezoid,
                    OfRule::Spline => TiRule::Spline,
                    OfRule::Gauss => TiRule::Gauss,
                },
                n_bootstrap: self.bootstrap,
                seed: self.seed.unwrap_or(0),
                ..AnalysisSettings::default()
            },
            unit: self.unit,
            allow_disconnected: self.allow_disconnected,
            out: self.out.clone(),
            command: command.join(" "),
            about: None,
        })
    }
}

/// Computes and prints.
pub fn perform(of_estimate: &OfEstimate, json: bool) -> Result<ExitCode> {
    super::use_threads(of_estimate.threads);
    if let Some(temperature) = of_estimate.temperature.filter(|t| !(t.is_finite() && *t > 0.0)) {
        return Err(Error::config(
            "temperature",
            format!("{temperature} K is not above absolute zero"),
            "try 300",
        ));
    }
    if let (Some(u_kn), Some(n_k)) = (&of_estimate.u_kn, &of_estimate.n_k) {
        return perform_u_kn(of_estimate, u_kn, n_k, json);
    }
    let outcome = estimate(&of_estimate.request()?)?;
    let text = if json { output::pretty(&outcome.to_json()) } else { outcome.table() };
    output::print(&text);
    if !json {
        match &outcome.report {
            Some(report) => output::remark(format_args!("report: {}", report.display())),
            None => output::remark("(--out DIR writes tables, figures and report.html)"),
        }
    }
    Ok(super::code(outcome.trustworthy))
}

fn perform_u_kn(of_estimate: &OfEstimate, u_kn: &Path, n_k: &Path, json: bool) -> Result<ExitCode> {
    let outcome = u_kn::solve(&UknRequest {
        u_kn: u_kn.to_path_buf(),
        n_k: n_k.to_path_buf(),
        n_bootstrap: of_estimate.bootstrap,
        seed: of_estimate.seed.unwrap_or(0),
        streaming: of_estimate.streaming.then_some(true),
        f32_storage: of_estimate.f32_storage,
        allow_disconnected: of_estimate.allow_disconnected,
    })?;
    let result = serde_json::to_value(&outcome).unwrap_or_default();
    if let Some(path) = &of_estimate.output {
        kirkwood::run::directory::write_json(path, &result)?;
    }
    for verdict in &outcome.verdicts {
        output::remark(&verdict.message);
    }
    if json || of_estimate.output.is_none() {
        output::print(&output::pretty(&result));
    }
    Ok(super::code(outcome.is_trustworthy()))
}
