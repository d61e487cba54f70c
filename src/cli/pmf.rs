//! `kirkwood pmf`: what can be typed after it, and how its result is shown.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use kirkwood::free_energy::pmf::{Method, Reference};
use kirkwood::run::pmf::{AxisRequest, Joining, Periodicity, PmfRequest, Source, pmf};
use kirkwood::units::{EnergyUnit, Temperature};
use kirkwood::{Error, Result};

use super::output;

/// Tables of collective variables and how they become a profile.
#[derive(Debug, Args)]
pub struct OfPmf {
    /// One table per simulation: PLUMED COLVAR, CSV, xvg, plain columns, npy; none with --umbrella or --hills
    #[arg(value_name = "FILES")]
    pub files: Vec<PathBuf>,

    /// The variable, or two as phi,psi: names or numbers of columns
    #[arg(long, value_name = "NAME[,NAME]", value_delimiter = ',', required = true)]
    pub cv: Vec<String>,

    /// Equal bins, for each variable or one number for both
    #[arg(long, value_name = "N[,N]", value_delimiter = ',', default_value = "50")]
    pub bins: Vec<usize>,

    /// Edges of bins instead: 0,0.1,0.3,1; of two variables with a slash between
    #[arg(long, value_name = "A,B,C[/A,B,C]", allow_hyphen_values = true, conflicts_with = "range")]
    pub edges: Option<String>,

    /// Ends of the bins, for each variable: 0:2 or 0:2,-1:1 [default: those of the data, or the period]
    #[arg(long, value_name = "LO:HI[,LO:HI]", allow_hyphen_values = true)]
    pub range: Option<String>,

    /// Periodic variables, with ends (pi may be used): --periodic, --periodic=-180:180, --periodic=-pi:pi,none
    /// [default: what PLUMED files say]
    #[arg(long, value_name = "LO:HI[,LO:HI]", num_args = 0..=1, require_equals = true, default_missing_value = "turn")]
    pub periodic: Option<String>,

    /// How the density is estimated
    #[arg(long, value_enum, default_value = "histogram")]
    pub method: OfDensity,

    /// Standard deviation of kernels, for each variable [default: the widest that hardly changes F]
    #[arg(long, value_name = "H[,H]", value_delimiter = ',')]
    pub bandwidth: Vec<f64>,

    /// Hard ends that a variable cannot pass, at which kernels are reflected: 0:inf for a distance
    #[arg(long, value_name = "LO:HI[,LO:HI]", allow_hyphen_values = true)]
    pub bounds: Option<String>,

    /// Polynomial pieces of the spline [default: by Akaike's criterion]
    #[arg(long, value_name = "N")]
    pub pieces: Option<usize>,

    /// Of the simulations, in K
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub temperature: Option<f64>,

    /// Columns of a bias whose sum acted, for example metad.rbias: samples weigh exp(+V/kT)
    #[arg(long, value_name = "COLUMN[,COLUMN]", value_delimiter = ',', conflicts_with_all = ["umbrella", "hills"])]
    pub bias: Vec<String>,

    /// List of umbrella windows: CSV with file,center,force_constant, or lines `file center k`; energy ½ k (s − center)²
    #[arg(long, value_name = "FILE", conflicts_with = "hills")]
    pub umbrella: Option<PathBuf>,

    /// Gaussians of metadynamics, summed up
    #[arg(long, value_name = "FILE")]
    pub hills: Option<PathBuf>,

    /// Columns of energies in several states, when each file is a simulation in one of them, in this order: u0,u1,u2
    #[arg(long, value_name = "COLUMN,COLUMN", value_delimiter = ',', conflicts_with_all = ["bias", "umbrella", "hills"])]
    pub state_energies: Vec<String>,

    /// The state, counted from 0, whose profile is wanted
    #[arg(long, value_name = "N", default_value_t = 0, requires = "state_energies")]
    pub target_state: usize,

    /// How umbrella windows are joined
    #[arg(long, value_enum, default_value = "mbar")]
    pub estimator: OfWindows,

    /// Where the profile is zero: minimum; a value, for the bin that holds it; or a range LO:HI, for its free energy,
    /// −ln of the mean density of the bins whose middles lie in it; of two variables with a comma
    #[arg(long, value_name = "WHERE", default_value = "minimum", allow_hyphen_values = true)]
    pub reference: String,

    /// Share of every file that is left out at the beginning
    #[arg(long, value_name = "F", default_value_t = 0.0, allow_negative_numbers = true)]
    pub discard: f64,

    /// Resamples for errors, 0 for none
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub bootstrap: usize,

    /// Seed of the resamples
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Unit of the result: kT, kJ/mol or kcal/mol
    #[arg(long, value_name = "UNIT", default_value = "kT")]
    pub unit: EnergyUnit,

    /// Unit of biases, hills and force constants in files: kJ/mol, kcal/mol or kT
    #[arg(long, value_name = "UNIT", default_value = "kJ/mol")]
    pub energy_unit: EnergyUnit,

    /// The first variable is a distance r: show F + 2 ln r, which is flat where particles do not interact
    #[arg(long)]
    pub distance: bool,

    /// Directory for report.html, pmf.csv, pmf.parquet, pmf.json, pmf.png and pmf.svg
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Threads of the processor; results do not depend on it [default: all]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub threads: Option<usize>,
}

/// Density estimates.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OfDensity {
    /// Mean density of every bin
    Histogram,
    /// Gaussian kernels, von Mises for periodic variables
    Kernel,
    /// Cubic spline of F, by maximum likelihood
    Spline,
}

/// Ways to join windows.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OfWindows {
    /// Multistate Bennett acceptance ratio
    Mbar,
    /// Weighted histograms
    Wham,
}

impl OfPmf {
    fn request(&self) -> Result<PmfRequest> {
        let source = match (&self.umbrella, &self.hills) {
            (Some(list), _) => Source::Umbrella(list.clone()),
            (_, Some(hills)) => Source::Hills(hills.clone()),
            _ if !self.state_energies.is_empty() => {
                Source::States { columns: self.state_energies.clone(), target: self.target_state }
            }
            _ if self.bias.is_empty() => Source::Unbiased,
            _ => Source::Bias(self.bias.clone()),
        };
        let bounds = match &self.bounds {
            Some(text) => self.of_each("bounds", text, |text| ends("bounds", text))?,
            None => Vec::new(),
        };
        let method = match self.method {
            OfDensity::Histogram => Method::Histogram,
            OfDensity::Kernel => Method::Kernel { bandwidth: self.bandwidth.clone(), bounds },
            OfDensity::Spline => Method::Spline { n_intervals: self.pieces },
        };
        let used = |given: bool, name: &str, only: &str| match given {
            true => {
                let message = format!("it belongs to --method {only}");
                Err(Error::config(name, message, format!("add --method {only}")))
            }
            false => Ok(()),
        };
        let is_kernel = matches!(self.method, OfDensity::Kernel);
        used(!is_kernel && !self.bandwidth.is_empty(), "bandwidth", "kernel")?;
        used(!is_kernel && self.bounds.is_some(), "bounds", "kernel")?;
        used(!matches!(self.method, OfDensity::Spline) && self.pieces.is_some(), "pieces", "spline")?;
        Ok(PmfRequest {
            files: self.files.clone(),
            axes: self.axes()?,
            method,
            temperature: temperature("temperature", self.temperature)?,
            source,
            joining: match self.estimator {
                OfWindows::Mbar => Joining::Mbar,
                OfWindows::Wham => Joining::Wham,
            },
            reference: self.reference()?,
            discard: self.discard,
            n_bootstrap: self.bootstrap,
            seed: self.seed,
            unit: self.unit,
            energy_unit: self.energy_unit,
            without_jacobian: self.distance,
            out: self.out.clone(),
        })
    }

    fn axes(&self) -> Result<Vec<AxisRequest>> {
        let n = self.cv.len();
        if self.bins.len() != 1 && self.bins.len() != n {
            let message = format!("{} numbers for {n} variables", self.bins.len());
            return Err(Error::config("bins", message, "give one, or one per variable"));
        }
        let ranges = match &self.range {
            Some(text) => self.of_each("range", text, |text| ends("range", text))?,
            None => Vec::new(),
        };
        let edges: Vec<Vec<f64>> = match &self.edges {
            Some(text) => {
                let of_one = |part: &str| part.split(',').map(|text| number("edges", text)).collect();
                let parts: Result<Vec<Vec<f64>>> = text.split('/').map(of_one).collect();
                parts?
            }
            None => Vec::new(),
        };
        if !edges.is_empty() && edges.len() != n {
            let message = format!("edges of {} variables, and {n} variables", edges.len());
            return Err(Error::config("edges", message, "write those of two variables with a slash between"));
        }
        let periodicity = match self.periodic.as_deref() {
            None => vec![Periodicity::FromFile; n],
            Some("turn") => vec![Periodicity::Turn; n],
            Some(text) => self.of_each("periodic", text, |text| match text.trim() {
                "none" | "no" => Ok(Periodicity::No),
                "turn" => Ok(Periodicity::Turn),
                text => ends("periodic", text).map(|(low, high)| Periodicity::Ends(low, high)),
            })?,
        };
        let axis = |(index, column): (usize, &String)| AxisRequest {
            column: column.clone(),
            n_bins: self.bins[index.min(self.bins.len() - 1)],
            edges: edges.get(index).cloned(),
            range: ranges.get(index).copied(),
            periodicity: periodicity[index],
        };
        Ok(self.cv.iter().enumerate().map(axis).collect())
    }

    /// One thing per variable, between commas; a single one is that of all.
    fn of_each<T: Clone>(&self, name: &str, text: &str, read: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
        let parts: Result<Vec<T>> = text.split(',').map(read).collect();
        let mut parts = parts?;
        if parts.len() == 1 {
            parts.resize(self.cv.len(), parts[0].clone());
        }
        if parts.len() != self.cv.len() {
            let message = format!("{} parts for {} variables", parts.len(), self.cv.len());
            return Err(Error::config(name, message, "give one part per variable, between commas"));
        }
        Ok(parts)
    }

    fn reference(&self) -> Result<Reference> {
        let text = self.reference.trim();
        if text.eq_ignore_ascii_case("minimum") {
            return Ok(Reference::Minimum);
        }
        let parts: Vec<&str> = text.split(',').collect();
        if parts.len() != self.cv.len() {
            let message = format!("`{text}` has {} parts for {} variables", parts.len(), self.cv.len());
            return Err(Error::config("reference", message, "minimum, VALUE or LO:HI, one per variable"));
        }
        if parts.iter().any(|part| part.contains(':')) {
            let ranges: Result<Vec<(f64, f64)>> = parts.iter().map(|part| ends("reference", part)).collect();
            return Ok(Reference::Region(ranges?));
        }
        let point: Result<Vec<f64>> = parts.iter().map(|part| number("reference", part)).collect();
        Ok(Reference::Point(point?))
    }
}

/// `LO:HI`.
fn ends(name: &str, text: &str) -> Result<(f64, f64)> {
    let Some((low, high)) = text.split_once(':') else {
        return Err(Error::config(name, format!("`{text}` is not LO:HI"), "for example 0:2.5"));
    };
    Ok((number(name, low)?, number(name, high)?))
}

/// A number, or π.
fn number(name: &str, text: &str) -> Result<f64> {
    let text = text.trim();
    let pi = std::f64::consts::PI;
    let value = match text {
        "pi" => Some(pi),
        "-pi" => Some(-pi),
        "2pi" => Some(2.0 * pi),
        _ => text.parse().ok().filter(|value: &f64| !value.is_nan()),
    };
    value.ok_or_else(|| Error::config(name, format!("`{text}` is not a number"), ""))
}

/// A temperature in K.
pub fn temperature(name: &str, kelvin: Option<f64>) -> Result<Option<Temperature>> {
    let of = |kelvin: f64| {
        Temperature::from_kelvin(kelvin)
            .ok_or_else(|| Error::config(name, format!("{kelvin} K is not a temperature"), "for example 300"))
    };
    kelvin.map(of).transpose()
}

/// Computes and prints.
pub fn perform(of_pmf: &OfPmf, json: bool) -> Result<ExitCode> {
    super::use_threads(of_pmf.threads);
    let outcome = pmf(&of_pmf.request()?)?;
    let text = match json {
        true => output::pretty(&outcome.to_json()),
        false => outcome.table() + &output::verdict_lines(&outcome.verdicts),
    };
    output::show(&outcome.warnings, &text);
    Ok(super::code(outcome.is_trustworthy()))
}
