//! From what was asked for and what the files say to axes.

use crate::error::{Error, Result};
use crate::free_energy::pmf::Axis;
use crate::run::series::Series;

/// Whether a variable is periodic.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Periodicity {
    /// Where a PLUMED file says so.
    #[default]
    FromFile,
    /// No.
    No,
    /// Yes, around a full turn in radians or degrees, whichever the numbers are, unless the file has the ends.
    Turn,
    /// Yes, between two ends.
    Ends(f64, f64),
}

/// The bins of one variable.
#[derive(Debug, Clone, PartialEq)]
pub struct AxisRequest {
    /// Name or number of its column.
    pub column: String,
    /// Equal bins.
    pub n_bins: usize,
    /// Given bins instead.
    pub edges: Option<Vec<f64>>,
    /// Ends of the bins; those of the data when absent.
    pub range: Option<(f64, f64)>,
    /// Whether it is periodic.
    pub periodicity: Periodicity,
}

/// Periods that data of a periodic variable may span, when it was unwrapped along the trajectory.
const MOST_PERIODS: f64 = 20.0;

impl AxisRequest {
    /// The axis, from all values of the variable.
    pub fn axis(&self, series: &[Series], values: &[f64]) -> Result<Axis> {
        let (low, high) = extent(values);
        let ends = self.ends(series, low, high)?;
        if let Some((from, to)) = ends
            && (high - low) / (to - from) > MOST_PERIODS
        {
            let message = format!("values from {low} to {high} span many periods from {from} to {to}");
            return Err(Error::config(
                "periodic",
                message,
                "degrees taken for radians? give the ends: --periodic=-180:180",
            ));
        }
        if let Some(edges) = &self.edges {
            let axis = Axis::with_edges(edges.clone(), ends.is_some()).map_err(|error| {
                Error::config("edges", error.to_string(), "for example --edges 0,0.1,0.3,1")
            })?;
            if let Some((from, to)) = ends
                && (axis.span() - (to - from)).abs() > 1e-6 * (to - from)
            {
                let message = format!(
                    "edges from {} to {} are not one period of {}",
                    axis.low(),
                    axis.high(),
                    to - from
                );
                return Err(Error::config("edges", message, "edges of a periodic variable span its period"));
            }
            return Ok(axis);
        }
        let (from, to) = match (ends, self.range) {
            (Some(ends), Some((from, to)))
                if ((to - from) - (ends.1 - ends.0)).abs() > 1e-6 * (ends.1 - ends.0) =>
            {
                // A part of the circle: values are wrapped into the period before, and the part is not periodic.
                return Err(Error::config(
                    "range",
                    format!("{from} to {to} is not one period of {}", ends.1 - ends.0),
                    "a periodic variable is shown over its whole period; leave the range out",
                ));
            }
            (_, Some(range)) => range,
            (Some(ends), None) => ends,
            (None, None) if low < high => (low, high),
            (None, None) => {
                let message = format!("all values of `{}` are {low}", self.column);
                return Err(Error::config(
                    "cv",
                    message,
                    "is it the right column? A range can be given with --range",
                ));
            }
        };
        Axis::new(from, to, self.n_bins, ends.is_some()).map_err(|_| {
            let message = format!("{from} to {to} in {} bins", self.n_bins);
            Error::config("range", message, "ends are finite and ascending, and there is at least one bin")
        })
    }

    /// Ends of the period; `None` for a variable that is not periodic.
    fn ends(&self, series: &[Series], low: f64, high: f64) -> Result<Option<(f64, f64)>> {
        let of_file = || -> Option<(f64, f64)> {
            series.iter().find_map(|series| series.domains.get(series.name_of(&self.column).ok()?).copied())
        };
        match self.periodicity {
            Periodicity::No => Ok(None),
            Periodicity::FromFile => Ok(of_file()),
            Periodicity::Ends(from, to) if from.is_finite() && to.is_finite() && from < to => {
                let span = to - from;
                match of_file().filter(|(low, high)| ((high - low) - span).abs() > 1e-6 * span) {
                    Some((low, high)) => {
                        let message = format!("`{}` has the period {low} to {high} in its file", self.column);
                        Err(Error::config("periodic", message, "leave --periodic out"))
                    }
                    None => Ok(Some((from, to))),
                }
            }
            Periodicity::Ends(from, to) => {
                let message = format!("{from} to {to} is no period");
                Err(Error::config("periodic", message, "for example --periodic=-180:180"))
            }
            Periodicity::Turn => {
                let (pi, slack) = (std::f64::consts::PI, 1e-3);
                let inside = |from: f64, to: f64| low >= from - slack && high <= to + slack;
                let known = [(-pi, pi), (0.0, 2.0 * pi), (-180.0, 180.0), (0.0, 360.0)];
                let guessed = known.into_iter().find(|(from, to)| inside(*from, *to));
                of_file().or(guessed).map(Some).ok_or_else(|| {
                    let message = format!("values from {low} to {high} are no angles in radians or degrees");
                    Error::config("periodic", message, "give the ends, for example --periodic=-180:180")
                })
            }
        }
    }
}

fn extent(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(*x), high.max(*x)))
}
