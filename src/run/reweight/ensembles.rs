//! Which temperature each sample is from, and what the samples of all of them weigh.

use super::{ReweightRequest, Samples};
use crate::error::{Error, Result};
use crate::free_energy::ReducedEnergies;
use crate::free_energy::reweighting::Reweighted;
use crate::units::Temperature;

/// So many temperatures are no ladder: a column of them is that of the kinetic energy.
const MOST: usize = 256;

/// The temperatures of the simulations.
#[derive(Debug, Clone, PartialEq)]
pub enum Temperatures {
    /// One for each table, or one for all of them.
    OfTables(Vec<Temperature>),
    /// The column that has that of each row, in K.
    Column(String),
}

/// The temperatures at which samples were drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Ensembles {
    /// In ascending order, each once.
    pub temperatures: Vec<Temperature>,
    /// For each sample the place of its temperature.
    pub state_of: Vec<usize>,
}

impl Ensembles {
    /// Looks the temperature of every sample up.
    pub(super) fn new(request: &ReweightRequest, samples: &Samples) -> Result<Self> {
        let of_samples: Vec<Temperature> = match &request.temperature {
            Temperatures::OfTables(one) if one.len() == 1 => vec![one[0]; samples.lengths.iter().sum()],
            Temperatures::OfTables(each) => {
                if each.len() != samples.lengths.len() {
                    let message = format!("{} of them for {} tables", each.len(), samples.lengths.len());
                    let hint = "give one for all tables, or one for each in the same order, as 300,310,320";
                    return Err(Error::config("temperature", message, hint));
                }
                let of_table = |(t, n): (&Temperature, &usize)| vec![*t; *n];
                each.iter().zip(&samples.lengths).flat_map(of_table).collect()
            }
            Temperatures::Column(name) => of_column(name, samples)?,
        };
        let mut temperatures = of_samples.clone();
        temperatures.sort_by(|a, b| a.as_kelvin().total_cmp(&b.as_kelvin()));
        temperatures.dedup();
        if temperatures.len() > MOST {
            let message = format!("has {} different temperatures", temperatures.len());
            let hint = "name the column of the thermostat, not that of the kinetic energy";
            return Err(Error::config("temperature", message, hint));
        }
        let place = |t: &Temperature| temperatures.iter().position(|own| own == t).unwrap_or_default();
        let state_of = of_samples.iter().map(place).collect();
        Ok(Self { temperatures, state_of })
    }

    /// The one temperature, where there is one.
    pub fn single(&self) -> Option<Temperature> {
        (self.temperatures.len() == 1).then(|| self.temperatures[0])
    }

    /// How many samples are at each temperature.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.temperatures.len()];
        self.state_of.iter().for_each(|state| counts[*state] += 1);
        counts
    }

    /// Weights of samples of several temperatures at a target, from energies in kJ/mol of the simulations and of the
    /// target.
    pub(super) fn weights(
        &self,
        samples: &Samples,
        from_kj: &[f64],
        to_kj: &[f64],
        target: Temperature,
    ) -> Result<Reweighted> {
        let rows = self.temperatures.iter().map(|t| (from_kj, t.kt_kj_per_mol()));
        let u_kn = rows
            .chain([(to_kj, target.kt_kj_per_mol())])
            .flat_map(|(energies, kt)| energies.iter().map(move |u| u / kt))
            .collect();
        let names = self.temperatures.iter().map(Temperature::to_string).chain(["the target".into()]);
        let n_states = self.temperatures.len() + 1;
        let energies = ReducedEnergies::new(n_states, u_kn, self.state_of.clone())?;
        Reweighted::from_ensembles(energies.with_names(names.collect())?, &samples.lengths)
    }
}

fn of_column(name: &str, samples: &Samples) -> Result<Vec<Temperature>> {
    let mut found = Vec::new();
    for series in &samples.series {
        for (row, &kelvin) in series.column(name)?.iter().enumerate() {
            let temperature = Temperature::from_kelvin(kelvin).ok_or_else(|| {
                let expected = format!("a temperature in K in column `{name}`");
                Error::file(&series.path, series.place(row), expected, kelvin.to_string())
            })?;
            found.push(temperature);
        }
    }
    Ok(found)
}
