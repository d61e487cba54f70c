//! All estimators that the data allow, side by side, with what is needed to judge them.

pub use super::workflow::analyse;
use super::{Severity, Verdict};
use serde::Serialize;

/// Roads from samples to free energies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Estimator {
    /// Multistate Bennett acceptance ratio.
    Mbar,
    /// Bennett's acceptance ratio between neighbours.
    Bar,
    /// Thermodynamic integration.
    Ti,
    /// Exponential averages from each state to the next.
    ExpForward,
    /// Exponential averages from each state to the one before.
    ExpReverse,
    /// Second-order cumulant expansion, forward.
    GaussianForward,
    /// Second-order cumulant expansion, backward.
    GaussianReverse,
}

/// What correlated samples count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decorrelation {
    /// Samples before equilibrium are left out; the others count 1/g each, with g the statistical inefficiency of
    /// their window, so that none is thrown away.
    Weights,
    /// As alchemlyb 2.5 does: `decorrelate_u_nk(method = "dE", remove_burnin = True)`, `decorrelate_dhdl`.
    Alchemlyb,
    /// All samples count as independent.
    None,
}

/// How TI integrates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TiRule {
    /// Straight lines between nodes.
    Trapezoid,
    /// Natural cubic splines, one per straight piece of the path.
    Spline,
    /// Gauss–Legendre, when the nodes are its nodes.
    Gauss,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub struct AnalysisSettings {
    /// Roads to take; all that the data allow when empty.
    pub estimators: Vec<Estimator>,
    /// What correlated samples count.
    pub decorrelation: Decorrelation,
    /// Of TI.
    pub ti_rule: TiRule,
    /// Bootstrap resamples, 0 for none.
    pub n_bootstrap: usize,
    /// Of the bootstrap.
    pub seed: u64,
    /// Points of the forward and backward convergence, 0 for none.
    pub n_convergence: usize,
}

impl Default for AnalysisSettings {
    fn default() -> Self {
        Self {
            estimators: Vec::new(),
            decorrelation: Decorrelation::Weights,
            ti_rule: TiRule::Trapezoid,
            n_bootstrap: 0,
            seed: 0,
            n_convergence: 10,
        }
    }
}

/// Free energies of all states by one estimator, kT: NaN with an infinite error where undetermined.
#[derive(Debug, Clone, PartialEq)]
pub struct PathEstimate {
    /// By which road.
    pub estimator: Estimator,
    /// f_i − f_0.
    pub delta_f: Vec<f64>,
    /// Standard error of f_i − f_0.
    pub std_error: Vec<f64>,
    /// f_{i+1} − f_i: contribution of each step.
    pub steps: Vec<f64>,
    /// Standard error of each step.
    pub step_errors: Vec<f64>,
    /// Covariance of f_i − f_0, `[i][j]`; empty when the estimator gives none.
    pub covariance: Vec<f64>,
    /// The same errors as `std_error` from the bootstrap; empty without one.
    pub bootstrap_error: Vec<f64>,
    /// How the errors were obtained.
    pub error_method: String,
    /// Samples of each state that were used (after decorrelation; effective numbers are rounded).
    pub n_samples: Vec<usize>,
    /// Largest relative component of the gradient that is left, for MBAR.
    pub max_gradient: Option<f64>,
    /// ⟨u_i⟩_i − ⟨u_0⟩_0, for MBAR: the enthalpy in kT. Empty where it makes no sense, as with energies that are
    /// known only relative to the own state of each sample; there it is given only where the definitions of other
    /// programs are asked for.
    pub delta_h: Vec<f64>,
    /// Its error.
    pub delta_h_error: Vec<f64>,
    /// T ΔS = ΔH − ΔF in kT.
    pub delta_ts: Vec<f64>,
    /// Its error.
    pub delta_ts_error: Vec<f64>,
}

impl PathEstimate {
    /// Nothing yet.
    pub(super) fn empty(estimator: Estimator) -> Self {
        Self {
            estimator,
            delta_f: Vec::new(),
            std_error: Vec::new(),
            steps: Vec::new(),
            step_errors: Vec::new(),
            covariance: Vec::new(),
            bootstrap_error: Vec::new(),
            error_method: String::new(),
            n_samples: Vec::new(),
            max_gradient: None,
            delta_h: Vec::new(),
            delta_h_error: Vec::new(),
            delta_ts: Vec::new(),
            delta_ts_error: Vec::new(),
        }
    }

    /// What has no error is not determined, whatever number came out: NaN, for every estimator.
    pub(super) fn determined(mut self) -> Self {
        let pairs = [(&mut self.delta_f, &mut self.std_error), (&mut self.steps, &mut self.step_errors)];
        for (value, error) in pairs.into_iter().flat_map(|(values, errors)| values.iter_mut().zip(errors)) {
            if !(value.is_finite() && error.is_finite()) {
                (*value, *error) = (f64::NAN, f64::INFINITY);
            }
        }
        self
    }

    /// f_last − f_first and its error.
    pub fn total(&self) -> (f64, f64) {
        let value = |values: &[f64]| values.last().copied().unwrap_or(f64::NAN);
        (value(&self.delta_f), value(&self.std_error))
    }
}

impl Estimator {
    /// What it is called in tables and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mbar => "MBAR",
            Self::Bar => "BAR",
            Self::Ti => "TI",
            Self::ExpForward => "EXP forward",
            Self::ExpReverse => "EXP reverse",
            Self::GaussianForward => "Gaussian forward",
            Self::GaussianReverse => "Gaussian reverse",
        }
    }
}

/// One time series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WindowStatistics {
    /// Its state.
    pub state: usize,
    /// File names.
    pub sources: Vec<String>,
    /// Samples read.
    pub n_samples: usize,
    /// Samples left out at the beginning.
    pub n_equilibration: usize,
    /// Time at which the rest begins.
    pub equilibrated_at: f64,
    /// Statistical inefficiency of the rest.
    pub inefficiency: f64,
    /// Independent samples.
    pub n_effective: f64,
    /// The series that was looked at: `u(next) − u`, `∂u/∂λ`, ….
    pub series: String,
    /// Mean derivative along each component, kT, with errors; empty without derivatives.
    pub mean_dudl: Vec<f64>,
    /// Standard errors.
    pub mean_dudl_error: Vec<f64>,
}

/// Free energy of the whole path from the first and the last part of every window.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConvergencePoint {
    /// Share of the samples.
    pub fraction: f64,
    /// From the first samples, kT.
    pub forward: f64,
    /// Its error.
    pub forward_error: f64,
    /// From the last samples.
    pub backward: f64,
    /// Its error.
    pub backward_error: f64,
}

/// Free energy of the whole path from one of several consecutive blocks of every window.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlockPoint {
    /// Middle of the block as a share of the samples.
    pub fraction: f64,
    /// kT.
    pub delta_f: f64,
    /// Its error.
    pub std_error: f64,
}

/// Everything that is known about the data.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    /// One per estimator that was possible.
    pub estimates: Vec<PathEstimate>,
    /// One per time series.
    pub windows: Vec<WindowStatistics>,
    /// MBAR's overlap matrix `[i][j]`; empty without MBAR.
    pub overlap: Vec<Vec<f64>>,
    /// Linked groups of states; one when all are connected.
    pub groups: Vec<Vec<usize>>,
    /// Forward and backward convergence, by `convergence_estimator`.
    pub convergence: Vec<ConvergencePoint>,
    /// Which estimator made `convergence` and `blocks`.
    pub convergence_estimator: Option<Estimator>,
    /// Block averages.
    pub blocks: Vec<BlockPoint>,
    /// In order of importance.
    pub verdicts: Vec<Verdict>,
}

impl Analysis {
    /// Whether no verdict says not to trust the numbers.
    pub fn is_trustworthy(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.severity < Severity::Untrustworthy)
    }
}
