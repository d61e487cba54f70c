//! Averages with errors, how fast the simulation was, and whether to trust it.
//!
//! Written at every checkpoint, so that averages can be watched while a simulation runs. The standard
//! error of a mean of N values is s/√(N/g) with the statistical inefficiency g of the series, averaged over
//! walkers (Chodera et al. 2007); it knows of slow motion only as far as the energy feels it.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::free_energy::alchemical::{Severity, Verdict};
use crate::run::directory::{read_json, write_atomic, write_json};
use crate::run::simulate::records::{Records, Series};
use crate::run::simulate::stage::{Checkpoint, Simulation};
use crate::run::summary::entry;
use crate::sampling::{Exchange, ThermodynamicState};
use crate::trajectory::statistical_inefficiency;

/// Mean of correlated series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Average {
    /// Of all values.
    pub mean: f64,
    /// Standard error.
    pub std_error: f64,
    /// g, in values.
    pub inefficiency: f64,
    /// How many independent values they are worth.
    pub n_effective: f64,
}

impl Average {
    /// Of series that are independent of each other; NaN where there are no values.
    pub fn of<'a>(series: impl Iterator<Item = &'a [f64]> + Clone) -> Self {
        let n = series.clone().map(<[f64]>::len).sum::<usize>() as f64;
        let mean = series.clone().flatten().sum::<f64>() / n;
        let variance = series.clone().flatten().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let (mut sum, mut count) = (0.0, 0.0);
        for values in series.filter(|values| !values.is_empty()) {
            sum += statistical_inefficiency(values);
            count += 1.0;
        }
        let inefficiency = sum / count;
        let n_effective = n / inefficiency;
        Self { mean, std_error: (variance / n_effective).sqrt(), inefficiency, n_effective }
    }
}

/// Averages at one state.
struct StateAverages {
    potential: Average,
    temperature: Average,
    configurational: Average,
}

impl StateAverages {
    fn of(series: &[Series]) -> Self {
        Self {
            potential: Average::of(series.iter().map(|series| &series.potential[..])),
            temperature: Average::of(series.iter().map(|series| &series.temperature_k[..])),
            configurational: Average::of(series.iter().map(|series| &series.configurational_k[..])),
        }
    }
}

/// Writes `summary.json`, `verdict.json`, `states.csv` and, with exchanges, `exchange.csv` and
/// `round_trips.csv` into the directory of the simulation.
pub fn write(
    simulation: &Simulation,
    checkpoint: &Checkpoint,
    records: &Records,
    states: &[ThermodynamicState],
) -> Result<()> {
    let averages: Vec<StateAverages> =
        (0..states.len()).map(|state| StateAverages::of(records.series(state))).collect();
    let directory = &simulation.directory;
    let table = states_table(states, &averages, checkpoint.exchange.as_ref());
    write_atomic(&directory.join("states.csv"), table.as_bytes())?;
    let recorded_ps = simulation.schedule.time_ps(checkpoint.walkers.step);
    if let Some(exchange) = &checkpoint.exchange {
        let (pairs, trips) = exchange_tables(exchange, recorded_ps);
        write_atomic(&directory.join("exchange.csv"), pairs.as_bytes())?;
        write_atomic(&directory.join("round_trips.csv"), trips.as_bytes())?;
    }
    let mut entries = Map::new();
    averages_of(simulation, states, &averages, checkpoint, &mut entries);
    speed(simulation, checkpoint, &averages, &mut entries);
    if let Some(exchange) = &checkpoint.exchange {
        exchanges(exchange, recorded_ps, &mut entries);
    }
    write_json(&directory.join("summary.json"), &Value::Object(entries))?;
    let verdict = verdict(simulation, checkpoint, &averages);
    write_json(&directory.join("verdict.json"), &verdict)
}

fn averages_of(
    simulation: &Simulation,
    states: &[ThermodynamicState],
    averages: &[StateAverages],
    checkpoint: &Checkpoint,
    entries: &mut Map<String, Value>,
) {
    let mut add = |name: &str, value: f64, error: Option<f64>, unit: &str, method: &str| {
        entries.insert(name.to_string(), entry(value, error, unit, method));
    };
    let (Some(state), Some(first)) = (states.first(), averages.first()) else { return };
    let at = format!("at {:.2} K", state.temperature_k());
    let at = if simulation.config.lambda_path().is_some() {
        format!("{at} and λ = {}", state.lambda)
    } else {
        at
    };
    let of = |average: &Average, what: &str| {
        format!("mean of {what} {at}; error from {:.1} effective samples", average.n_effective)
    };
    let potential = &first.potential;
    let method = of(potential, "recorded energies");
    add("potential_energy", potential.mean, Some(potential.std_error), "kJ/mol", &method);
    if simulation.config.dynamics.integrator == super::config::Integrator::Langevin {
        let average = &first.temperature;
        let method = of(average, "recorded kinetic energies");
        add("kinetic_temperature", average.mean, Some(average.std_error), "K", &method);
    }
    if simulation.molecule.constraints.is_empty() {
        let average = &first.configurational;
        let method = of(average, "the virial Σ x·∂U/∂x = (3N − 3) kT");
        add("configurational_temperature", average.mean, Some(average.std_error), "K", &method);
    }
    let interval = simulation.config.dynamics.record_every.as_ps();
    let method = "of the potential energy, averaged over walkers";
    add("statistical_inefficiency", potential.inefficiency * interval, None, "ps", method);
    let method = format!("recorded energies {at} over their statistical inefficiency");
    add("effective_samples", potential.n_effective, None, "", &method);
    if averages.len() > 1 {
        let least = averages.iter().map(|state| state.potential.n_effective).fold(f64::INFINITY, f64::min);
        add("least_effective_samples", least, None, "", "least over all states");
    }
    for (idx, [tried, accepted]) in checkpoint.pivots.iter().enumerate().filter(|(_, count)| count[0] > 0) {
        let pivots = &simulation.molecule.pivots;
        // Monte Carlo counts its pivots together.
        let name = if checkpoint.pivots.len() == pivots.len() { pivots[idx].name.as_str() } else { "all" };
        let method = format!("share of accepted pivots about {name}, of {tried}");
        add(&format!("pivot_acceptance_{idx}"), *accepted as f64 / *tried as f64, None, "", &method);
    }
    let [sum, n] = checkpoint.move_acceptance;
    if n > 0.0 {
        add("move_acceptance", sum / n, None, "", "mean probability over all moves");
    }
}

fn speed(
    simulation: &Simulation,
    checkpoint: &Checkpoint,
    averages: &[StateAverages],
    entries: &mut Map<String, Value>,
) {
    let mut add = |name: &str, value: f64, unit: &str, method: &str| {
        entries.insert(name.to_string(), entry(value, None, unit, method));
    };
    let n_walkers = checkpoint.walkers.n_walkers() as f64;
    let ns = checkpoint.walkers.step as f64 * simulation.schedule.time_step_ps * 1e-3 * n_walkers;
    let (wall, cpu) = (checkpoint.wall_seconds, checkpoint.cpu_seconds);
    let effective: f64 = averages.iter().map(|state| state.potential.n_effective).sum();
    add("simulated_time", ns, "ns", "all walkers together, with equilibration");
    add("force_evaluations", checkpoint.n_force_evaluations as f64, "", "conformations, with equilibration");
    add("wall_seconds", wall, "s", "wall clock, summed over resumed parts");
    add("cpu_seconds", cpu, "s", "time of the processors, summed over resumed parts");
    let method = "all walkers together, over wall clock";
    add("ns_per_day", ns / wall * 86_400.0, "ns/day", method);
    let method = "all walkers together, over time of the processors";
    add("ns_per_day_per_core", ns / cpu * 86_400.0, "ns/day", method);
    let method = "of all states together, over wall clock with equilibration";
    add("effective_samples_per_second", effective / wall, "/s", method);
}

fn exchanges(exchange: &Exchange, recorded_ps: f64, entries: &mut Map<String, Value>) {
    let mut add = |name: &str, value: f64, error: Option<f64>, unit: &str, method: &str| {
        entries.insert(name.to_string(), entry(value, error, unit, method));
    };
    let acceptance = exchange.pairs().iter().map(|pair| pair.acceptance());
    let least = acceptance.clone().fold(f64::INFINITY, f64::min);
    let mean = acceptance.sum::<f64>() / exchange.pairs().len() as f64;
    add("exchange_acceptance", mean, None, "", "mean probability over pairs of neighbours");
    add("exchange_least_acceptance", least, None, "", "least over pairs of neighbours");
    let trips = exchange.n_round_trips() as f64;
    let method = "journeys of walkers from the first state to the last and back";
    add("round_trips", trips, None, "", method);
    let total_ps = recorded_ps * exchange.n_walkers() as f64;
    let time = total_ps / trips;
    // Round trips are rare events: their number has the error of a Poisson law.
    let method = "time of all walkers over their round trips; error of a Poisson law";
    add("round_trip_time", time, Some(time / trips.sqrt()), "ps", method);
}

fn states_table(
    states: &[ThermodynamicState],
    averages: &[StateAverages],
    exchange: Option<&Exchange>,
) -> String {
    let number = |value: f64| if value.is_finite() { value.to_string() } else { String::new() };
    let mut table = String::from(
        "state,temperature_K,lambda,potential_kJ_per_mol,std_error_kJ_per_mol,statistical_inefficiency_frames,\
         effective_samples,kinetic_temperature_K,kinetic_temperature_std_error_K,configurational_temperature_K,\
         configurational_temperature_std_error_K,acceptance_to_next\n",
    );
    for (idx, (state, average)) in states.iter().zip(averages).enumerate() {
        let acceptance =
            exchange.and_then(|exchange| exchange.pairs().get(idx)).map(|pair| pair.acceptance());
        let cells = [
            state.temperature_k(),
            state.lambda,
            average.potential.mean,
            average.potential.std_error,
            average.potential.inefficiency,
            average.potential.n_effective,
            average.temperature.mean,
            average.temperature.std_error,
            average.configurational.mean,
            average.configurational.std_error,
            acceptance.unwrap_or(f64::NAN),
        ];
        let cells: Vec<String> = cells.into_iter().map(number).collect();
        table += &format!("{idx},{}\n", cells.join(","));
    }
    table
}

fn exchange_tables(exchange: &Exchange, recorded_ps: f64) -> (String, String) {
    let mut pairs = String::from("lower,upper,offered,accepted,acceptance\n");
    for (idx, pair) in exchange.pairs().iter().enumerate() {
        let (offered, accepted) = (pair.n_offered, pair.n_accepted);
        pairs += &format!("{idx},{},{offered},{accepted},{}\n", idx + 1, pair.acceptance());
    }
    let mut trips = String::from("walker,round_trips,mean_round_trip_time_ps\n");
    for (walker, journey) in exchange.journeys().iter().enumerate() {
        let n = journey.n_round_trips;
        let time = if n > 0 { (recorded_ps / n as f64).to_string() } else { String::new() };
        trips += &format!("{walker},{n},{time}\n");
    }
    (pairs, trips)
}

/// Reasons for doubt, in words.
/// Adds to `verdict.json` what is to be said about the free energy along λ.
pub fn add_verdicts(directory: &Path, verdicts: &[Verdict]) -> Result<()> {
    let path = directory.join("verdict.json");
    let mut verdict: Value = read_json(&path)?;
    let mut sentence = verdict["verdict"].as_str().unwrap_or_default().to_string();
    for verdict in verdicts {
        sentence += " ";
        sentence += &verdict.message;
    }
    let trustworthy = verdicts.iter().all(|verdict| verdict.severity < Severity::Untrustworthy);
    verdict["trustworthy"] = json!(trustworthy && verdict["trustworthy"].as_bool().unwrap_or(true));
    verdict["verdict"] = json!(sentence);
    write_json(&path, &verdict)
}

fn verdict(simulation: &Simulation, checkpoint: &Checkpoint, averages: &[StateAverages]) -> Value {
    let settings = &simulation.config.verdict;
    let mut doubts = Vec::new();
    let least = (averages.iter().enumerate())
        .map(|(state, average)| {
            let n = average.potential.n_effective;
            (if n.is_nan() { 0.0 } else { n }, state)
        })
        .min_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((n, state)) = least.filter(|(n, _)| *n < settings.min_effective_samples) {
        doubts.push(format!(
            "state {state} has {n:.0} effective samples, fewer than {}: simulate longer",
            settings.min_effective_samples
        ));
    }
    if let Some(exchange) = &checkpoint.exchange
        && exchange.n_round_trips() < settings.min_round_trips
    {
        doubts.push(format!(
            "walkers made {} round trips along the ladder, fewer than {}: simulate longer, or use more states",
            exchange.n_round_trips(),
            settings.min_round_trips
        ));
    }
    let sentence = match doubts.is_empty() {
        true => "Every state has enough effective samples".to_string(),
        false => format!("Not to be trusted: {}", doubts.join("; ")),
    };
    json!({ "verdict": format!("{sentence}."), "trustworthy": doubts.is_empty() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams, fill_normal};

    #[test]
    fn an_average_of_correlated_series_has_the_error_of_their_effective_number() {
        let (rho, n, n_walkers) = (0.8_f64, 20_000, 4);
        let series: Vec<Vec<f64>> = (0..n_walkers)
            .map(|walker| {
                let mut noise = vec![0.0; n];
                fill_normal(&mut Streams::new(3).stream(Purpose::Walker, walker), &mut noise);
                let mut x = noise[0];
                let step = |z: &f64| {
                    x = rho * x + (1.0 - rho * rho).sqrt() * z;
                    5.0 + x
                };
                noise.iter().map(step).collect()
            })
            .collect();
        let average = Average::of(series.iter().map(|series| &series[..]));
        let exact = ((1.0 + rho) / (1.0 - rho) / (n as f64 * n_walkers as f64)).sqrt();
        assert!((average.std_error / exact - 1.0).abs() < 0.1, "{average:?} {exact}");
        assert!((average.mean - 5.0).abs() < 4.0 * exact);
        assert!(Average::of(std::iter::empty()).mean.is_nan());
    }
}
