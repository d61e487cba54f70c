//! The classical road: windows along λ with replica exchange, and switching between its ends.
//!
//! MBAR, Bennett's ratio and thermodynamic integration see the same samples, so they are not independent of
//! each other; Crooks' theorem has data of its own.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::force_field::Parameters;
use crate::free_energy::alchemical::{Estimator, Severity, Verdict};
use crate::potential::MolecularMechanics;
use crate::random::Streams;
use crate::run::control::Control;
use crate::run::ensemble::EnsembleSettings;
use crate::run::parts::fractions;
use crate::run::solvation::Road;
use crate::run::solvation::switching::{Switched, SwitchingSettings, switch};
use crate::run::solvation::windows::{Enough, PILOT_LAMBDAS, Pilot, Sampled, WindowSettings, Windows, pilot};
use crate::units::Temperature;

/// What the classical road does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassicalSettings {
    /// Standard error of MBAR in kT at which windows are sampled well enough.
    pub std_error_kt: f64,
    /// Windows along λ.
    pub windows: WindowSettings,
    /// Switching between the ends; `n_processes = 0` leaves it out.
    pub switching: SwitchingSettings,
    /// How molecules move; its number of frames and their interval mean nothing here.
    pub motion: EnsembleSettings,
}

impl Default for ClassicalSettings {
    fn default() -> Self {
        Self {
            std_error_kt: 0.01,
            windows: WindowSettings::default(),
            switching: SwitchingSettings::default(),
            motion: EnsembleSettings::default(),
        }
    }
}

/// Everything that the classical road found.
#[derive(Debug, Clone)]
pub struct Classical {
    /// `mbar`, `bar`, `ti`, and where λ was switched `crooks`, `jarzynski_forward`, `jarzynski_reverse`.
    pub roads: Vec<Road>,
    /// Where windows were placed.
    pub pilot: Pilot,
    /// Samples of the windows.
    pub sampled: Sampled,
    /// Works.
    pub switched: Option<Switched>,
}

/// Takes the road; `directory` is that of the part and keeps what an interruption must not lose.
#[expect(clippy::too_many_arguments, reason = "each of them is a different thing")]
pub fn classical(
    parameters: &Parameters,
    mechanics: &MolecularMechanics,
    start_nm: &[f64],
    temperature: Temperature,
    settings: &ClassicalSettings,
    streams: Streams,
    directory: &Path,
    control: &Control,
) -> Result<Classical> {
    let windows = |lambdas: Vec<f64>, part: u64| {
        let own = streams.derive(part);
        let (motion, windows) = (&settings.motion, &settings.windows);
        Windows::new(parameters, mechanics, start_nm, lambdas, temperature, motion, windows, own)
    };
    let pilot = pilot(&windows(PILOT_LAMBDAS.to_vec(), 10)?, f64::INFINITY, control, directory)?;
    let enough = Enough { std_error_kt: settings.std_error_kt, wall_seconds: f64::INFINITY };
    let sampled = windows(pilot.windows.clone(), 11)?.until(enough, directory, control)?;
    let mut roads = roads(&pilot, &sampled);
    let switched = if settings.switching.n_processes > 0 {
        let mut progress = fractions(control, directory, "switching");
        let switched = switch(
            parameters,
            mechanics,
            start_nm,
            temperature,
            &settings.motion,
            &settings.switching,
            streams.derive(12),
            &mut progress,
        )?;
        control.progress().end("works in both directions");
        roads.extend(switched.roads(&settings.switching));
        Some(switched)
    } else {
        None
    };
    disagreement(&mut roads);
    Ok(Classical { roads, pilot, sampled, switched })
}

/// The estimators of windows as rows of the table.
pub fn roads(pilot: &Pilot, sampled: &Sampled) -> Vec<Road> {
    let n_windows = sampled.dataset.states.len();
    let row = |(name, estimator, method): (&str, Estimator, &str)| {
        let path = sampled.analysis.estimates.iter().find(|path| path.estimator == estimator)?;
        let (value_kt, std_error_kt) = path.total();
        let n: usize = path.n_samples.iter().sum();
        Some(Road {
            name: name.into(),
            method: format!(
                "{method}, {n_windows} windows with replica exchange, {} walkers of {:.0} ps, {n} independent samples",
                n_windows * sampled.n_ladders,
                sampled.time_ps
            ),
            value_kt,
            std_error_kt,
            n_energy_evaluations: pilot.n_energy_evaluations + sampled.n_energy_evaluations,
            wall_seconds: pilot.wall_seconds + sampled.wall_seconds,
            verdicts: (sampled.analysis.verdicts.iter())
                .filter(|verdict| verdict.severity > Severity::Note)
                .cloned()
                .collect(),
        })
    };
    let all = [
        ("mbar", Estimator::Mbar, "MBAR"),
        ("bar", Estimator::Bar, "Bennett's ratio between neighbours"),
        ("ti", Estimator::Ti, "thermodynamic integration, cubic spline"),
    ];
    all.into_iter().filter_map(row).collect()
}

/// Crooks' and MBAR's free energies have samples of their own and must agree: beyond four combined errors one of them
/// is wrong.
fn disagreement(roads: &mut [Road]) {
    let of = |name: &str| {
        roads.iter().find(|road| road.name == name).map(|road| (road.value_kt, road.std_error_kt))
    };
    let (Some(mbar), Some(crooks)) = (of("mbar"), of("crooks")) else { return };
    let n_sigma = (mbar.0 - crooks.0).abs() / mbar.1.hypot(crooks.1);
    if n_sigma <= 4.0 {
        return;
    }
    let message =
        format!("MBAR and Crooks are {n_sigma:.1} combined errors apart: one of them was sampled badly");
    for road in roads.iter_mut().filter(|road| ["mbar", "crooks"].contains(&road.name.as_str())) {
        road.verdicts.push(Verdict::new(Severity::Untrustworthy, "roads_disagree", message.clone()));
    }
}
