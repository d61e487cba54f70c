//! `kirkwood score`: is each of these conformations one that the training ensemble could contain?
//!
//! Every frame gets its learned energy at the data end and the norm of the learned force, and with each the share of held-out
//! frames of the run that have as much or more. Held-out frames are what the model has never seen, so that the shares of
//! new frames of the same ensemble are uniform: a calibrated p-value (conformal prediction, Vovk et al. 2005), whatever the
//! model is worth. What the model is worth decides how many foreign conformations are found. Both are tested at once:
//! p = min(1, 2 min(p_energy, p_force)).
//!
//! Where states were classified in training (`state_classification`), every frame gets the probability of each as well.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use statrs::distribution::{ContinuousCDF as _, Normal};

use crate::error::{Error, Result};
use crate::model::EnergyModel;
use crate::potential::PotentialPath as _;
use crate::random::{Purpose, Streams, fill_normal};
use crate::run::directory::write_atomic;
use crate::run::learned_run::LearnedRun;
use crate::run::plan::ELSEWHERE;
use crate::run::stages::load::Data;
use crate::run::stages::train::bead_names;
use crate::system::MappingSettings;
use crate::trajectory::{FrameRange, TrajectoryFiles, load};

/// An area under the curve so far from ½ is no matter of a few correlated frames.
const CLEAR_SHIFT: f64 = 0.2;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct ScoreRequest {
    /// A run directory with a trained model.
    pub run: PathBuf,
    /// The frames.
    pub trajectory: Vec<PathBuf>,
    /// Their atoms; those of the run where it is left out.
    pub topology: Option<PathBuf>,
    /// The atoms that are beads; those of the run where it is left out.
    pub selection: Option<String>,
    /// Whether the mirror image of every frame is scored in its place.
    pub mirror: bool,
    /// Every coordinate is displaced by a normal number of this deviation first, nm.
    pub displace_nm: f64,
    /// A frame of which p is less is foreign.
    pub threshold: f64,
}

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameScore {
    /// Learned energy, kT.
    pub energy_kt: f64,
    /// Root of the mean squared force per degree of freedom, kT/nm.
    pub force_kt_per_nm: f64,
    /// Share of held-out frames with at least this energy.
    pub p_energy: f64,
    /// Share of held-out frames with at least this force.
    pub p_force: f64,
    /// Both at once.
    pub p: f64,
}

/// How far a set of numbers lies from that of held-out frames.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Separation {
    /// Probability that a scored frame has more than a held-out one (ties count half): ½ for the same ensemble.
    pub auroc: f64,
    /// Largest difference of the cumulative distributions (Kolmogorov–Smirnov).
    pub ks: f64,
    /// Difference of the means over the pooled standard deviation (Cohen's d).
    pub cohens_d: f64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// Of each frame, in order.
    pub frames: Vec<FrameScore>,
    /// Names of the states that the energy was trained to tell from each other, the last one all else; none where it has no
    /// states.
    pub states: Vec<String>,
    /// p(state | frame), `[frame][state]`.
    pub state_probabilities: Vec<f64>,
    /// By energy.
    pub by_energy: Separation,
    /// By force.
    pub by_force: Separation,
    /// By p: how far −p of frames lies above that of held-out frames among each other.
    pub by_both: Separation,
    /// Held-out frames.
    pub n_held_out: usize,
    /// p below which a frame is foreign.
    pub threshold: f64,
    /// The share of foreign frames.
    pub share_foreign: f64,
    /// What the reader should know.
    pub warnings: Vec<String>,
}

/// Where settings stand that a reader of trajectories looks at; here they are options.
const PLACE: &str = "score";

fn as_option(error: Error) -> Error {
    match error {
        Error::Config { path, line, place, message, hint } => {
            let place = place.replacen(&format!("{PLACE}."), "--", 1);
            Error::Config { path, line, place, message, hint }
        }
        other => other,
    }
}

/// Scores frames by the model of a run.
pub fn score(request: &ScoreRequest) -> Result<Scores> {
    if !(request.threshold > 0.0 && request.threshold < 1.0) {
        let message = format!("must lie between 0 and 1, found {}", request.threshold);
        return Err(Error::config("--threshold", message, "for example 0.001"));
    }
    if !(request.displace_nm >= 0.0 && request.displace_nm.is_finite()) {
        let message = format!("must be at least 0, found {} nm", request.displace_nm);
        return Err(Error::config("--displace", message, "for example \"0.01 nm\""));
    }
    let LearnedRun { plan, model, card } = LearnedRun::open(&request.run)?;
    let data = Data::load(&plan)?;

    let settings = &plan.config.data;
    let files = TrajectoryFiles {
        topology: request.topology.clone().or_else(|| settings.topology.clone()),
        trajectories: request.trajectory.clone(),
        frames: FrameRange::default(),
        array_unit: settings.array_unit,
    };
    let mapping = match &request.selection {
        Some(selection) => MappingSettings { selection: Some(selection.clone()), centers: Vec::new() },
        None => MappingSettings { selection: settings.selection.clone(), centers: settings.centers.clone() },
    };
    let loaded = load(&files, PLACE, &mapping).map_err(as_option)?;
    let mut warnings = loaded.warnings;
    let names = bead_names(loaded.mapping.topology());
    let frames = loaded.ensemble.centered();
    let n_beads = model.architecture.n_beads;
    if frames.n_particles() != n_beads {
        let expected = format!("{n_beads} beads, as the model has: {}", card.bead_names.join(", "));
        return Err(Error::file(
            &request.trajectory[0],
            "",
            expected,
            format!("{} beads", frames.n_particles()),
        ));
    }
    if names != card.bead_names {
        warnings.push(format!(
            "the beads of the frames are {}, those of the model {}: they are compared by their order alone",
            names.join(", "),
            card.bead_names.join(", ")
        ));
    }
    let held_out = data.test();
    let calibration = evaluate(&model, held_out.positions_nm())?;
    let positions_nm = altered(frames.positions_nm(), request, plan.config.seed);
    let scored = evaluate(&model, &positions_nm)?;
    let mut scores = summarise(&calibration, &scored, request.threshold, warnings);
    if !scores.can_tell() {
        let (n, threshold) = (scores.n_held_out, request.threshold);
        let least = 2.0 / (n as f64 + 1.0);
        scores.warnings.push(format!(
            "{n} held-out frames cannot tell p below {least:.1e}: with a threshold of {threshold} no frame is foreign"
        ));
    }
    if plan.config.train.needs_states() {
        let named = plan.beads.states.iter().map(|state| state.name.as_str());
        scores.states = named.chain([ELSEWHERE]).map(String::from).collect();
        let x = reduced(&model, &positions_nm);
        let n = x.len() / model.space().dimension();
        scores.state_probabilities = model.state_probabilities(&vec![model.range().0; n], &x)?;
    }
    Ok(scores)
}

/// Energies in kT and forces in kT/nm.
struct Evaluated {
    energies: Vec<f64>,
    forces: Vec<f64>,
}

/// Positions as the request wants them: mirrored, displaced.
fn altered(positions_nm: &[f64], request: &ScoreRequest, seed: u64) -> Vec<f64> {
    let sign = if request.mirror { -1.0 } else { 1.0 };
    let mut altered: Vec<f64> = positions_nm.iter().map(|nm| sign * nm).collect();
    if request.displace_nm > 0.0 {
        let mut z = vec![0.0; altered.len()];
        fill_normal(&mut Streams::new(seed).stream(Purpose::Validation, 0), &mut z);
        altered.iter_mut().zip(&z).for_each(|(nm, z)| *nm += request.displace_nm * z);
    }
    altered
}

/// In reduced length and centred, as energies are of centred conformations.
fn reduced(model: &EnergyModel, positions_nm: &[f64]) -> Vec<f64> {
    let mut x: Vec<f64> = positions_nm.iter().map(|nm| nm / model.length_scale_nm).collect();
    x.chunks_exact_mut(model.space().dimension()).for_each(|x| model.space().project(x));
    x
}

fn evaluate(model: &EnergyModel, positions_nm: &[f64]) -> Result<Evaluated> {
    let (scale, x) = (model.length_scale_nm, reduced(model, positions_nm));
    let n = x.len() / model.space().dimension();
    let (mut energies, mut gradient) = (vec![0.0; n], vec![0.0; x.len()]);
    model.energies_and_gradients(&vec![model.range().0; n], &x, &mut energies, &mut gradient)?;
    let d = model.degrees_of_freedom() as f64;
    let norm = |g: &[f64]| (g.iter().map(|g| g * g).sum::<f64>() / d).sqrt() / scale;
    let forces = gradient.chunks_exact(model.space().dimension()).map(norm).collect();
    Ok(Evaluated { energies, forces })
}

fn summarise(calibration: &Evaluated, scored: &Evaluated, threshold: f64, warnings: Vec<String>) -> Scores {
    let sorted = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        values
    };
    let (energies, forces) = (sorted(&calibration.energies), sorted(&calibration.forces));
    let n = energies.len() as f64;
    // The frame itself counts as one of those with as much.
    let share = |known: &[f64], value: f64| {
        let below = known.partition_point(|known| *known < value) as f64;
        if value.is_finite() { (n - below + 1.0) / (n + 1.0) } else { 1.0 / (n + 1.0) }
    };
    let both = |p_energy: f64, p_force: f64| (2.0 * p_energy.min(p_force)).min(1.0);
    let frames: Vec<FrameScore> = (scored.energies.iter().zip(&scored.forces))
        .map(|(&energy_kt, &force_kt_per_nm)| {
            let (p_energy, p_force) = (share(&energies, energy_kt), share(&forces, force_kt_per_nm));
            FrameScore { energy_kt, force_kt_per_nm, p_energy, p_force, p: both(p_energy, p_force) }
        })
        .collect();
    // Of held-out frames among the others.
    let own: Vec<f64> = (calibration.energies.iter().zip(&calibration.forces))
        .map(|(energy, force)| {
            let of =
                |known: &[f64], value: f64| (n - known.partition_point(|known| *known < value) as f64) / n;
            -both(of(&energies, *energy), of(&forces, *force))
        })
        .collect();
    let found: Vec<f64> = frames.iter().map(|frame| -frame.p).collect();
    let foreign = frames.iter().filter(|frame| frame.p < threshold).count() as f64;
    Scores {
        states: Vec::new(),
        state_probabilities: Vec::new(),
        by_energy: separation(&energies, &scored.energies),
        by_force: separation(&forces, &scored.forces),
        by_both: separation(&sorted(&own), &found),
        n_held_out: energies.len(),
        threshold,
        share_foreign: foreign / frames.len() as f64,
        frames,
        warnings,
    }
}

/// `known` is sorted.
fn separation(known: &[f64], found: &[f64]) -> Separation {
    let mut sorted = found.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (n, m) = (known.len() as f64, sorted.len() as f64);
    let below = |set: &[f64], x: f64| set.partition_point(|y| *y < x) as f64;
    let up_to = |set: &[f64], x: f64| set.partition_point(|y| *y <= x) as f64;
    let auroc = sorted.iter().map(|&x| 0.5 * (below(known, x) + up_to(known, x))).sum::<f64>() / (n * m);
    let difference = |x: f64| (up_to(known, x) / n - up_to(&sorted, x) / m).abs();
    let ks = known.iter().chain(&sorted).map(|&x| difference(x)).fold(0.0, f64::max);
    let moments = |set: &[f64]| {
        let n = set.len() as f64;
        let mean = set.iter().sum::<f64>() / n;
        (mean, set.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0))
    };
    let ((mean, variance), (other, other_variance)) = (moments(known), moments(&sorted));
    let pooled = (((n - 1.0) * variance + (m - 1.0) * other_variance) / (n + m - 2.0)).sqrt();
    Separation { auroc, ks, cohens_d: (other - mean) / pooled }
}

impl Scores {
    /// One standard error of an area ½ of so many frames (Mann and Whitney).
    fn error_of_half(&self) -> f64 {
        let (n, m) = (self.n_held_out as f64, self.frames.len() as f64);
        ((n + m + 1.0) / (12.0 * n * m)).sqrt()
    }

    /// The verdict in one sentence.
    pub fn sentence(&self) -> String {
        let n = self.frames.len() as f64;
        // As many as chance would make foreign, with 3 of its standard errors.
        let expected = self.threshold + 3.0 * (self.threshold * (1.0 - self.threshold) / n).sqrt();
        let shift = (self.by_both.auroc - 0.5) / self.error_of_half();
        let whole = if !self.can_tell() {
            "no frame can be with so few held-out ones"
        } else if self.share_foreign <= expected {
            "as many as chance makes of frames of the training ensemble"
        } else if self.share_foreign < 0.5 {
            "more than chance makes of frames of the training ensemble"
        } else {
            "this is another ensemble"
        };
        let tail = Normal::standard().sf(shift.abs());
        format!(
            "{:.2} % of {} frames are foreign (p < {}): {whole}{}. AUROC {:.4} by both, {:.4} by energy, {:.4} by force \
             (½ for independent frames of the same ensemble; two-sided p of the shift {:.1e}).",
            100.0 * self.share_foreign,
            self.frames.len(),
            self.threshold,
            self.shift().unwrap_or_default(),
            self.by_both.auroc,
            self.by_energy.auroc,
            self.by_force.auroc,
            2.0 * tail
        )
    }

    /// Whether a frame can be foreign at this threshold: the least p is 2/(held-out frames + 1).
    fn can_tell(&self) -> bool {
        self.threshold >= 2.0 / (self.n_held_out as f64 + 1.0)
    }

    /// What is said of frames each of which the training ensemble could contain, but not all of them together: of another
    /// temperature, or few conformations again and again.
    fn shift(&self) -> Option<String> {
        let clear = |auroc: f64| (auroc - 0.5).abs() > f64::max(CLEAR_SHIFT, 5.0 * self.error_of_half());
        let said = |of: &Separation, what: &str| {
            let side = if of.auroc > 0.5 { "higher" } else { "lower" };
            clear(of.auroc).then(|| format!("{side} in {what}"))
        };
        let said: Vec<String> =
            [said(&self.by_energy, "energy"), said(&self.by_force, "force")].into_iter().flatten().collect();
        if said.is_empty() || self.share_foreign >= 0.5 {
            return None;
        }
        let said = said.join(" and ");
        Some(format!("; as a whole they are {said} than frames of it, and are not an ensemble like it"))
    }

    /// Whether no more frames are foreign than chance makes.
    pub fn is_familiar(&self) -> bool {
        let error = (self.threshold * (1.0 - self.threshold) / self.frames.len() as f64).sqrt();
        self.share_foreign <= self.threshold + 3.0 * error
    }

    /// The headline numbers.
    pub fn to_json(&self) -> Value {
        let of = |separation: &Separation| json!({ "auroc": separation.auroc, "ks": separation.ks, "cohens_d": separation.cohens_d });
        json!({
            "n_frames": self.frames.len(),
            "n_held_out": self.n_held_out,
            "threshold": self.threshold,
            "share_foreign": self.share_foreign,
            "energy": of(&self.by_energy),
            "force": of(&self.by_force),
            "both": of(&self.by_both),
            "verdict": self.sentence(),
            "warnings": self.warnings,
        })
    }

    /// A row per frame.
    pub fn write_csv(&self, path: &Path) -> Result<()> {
        let mut table = String::from("frame,energy_kT,force_kT_per_nm,p_energy,p_force,p,foreign");
        self.states.iter().for_each(|state| table += &format!(",p_{state}"));
        table.push('\n');
        for (idx, frame) in self.frames.iter().enumerate() {
            let _ = write!(
                table,
                "{idx},{},{},{},{},{},{}",
                frame.energy_kt,
                frame.force_kt_per_nm,
                frame.p_energy,
                frame.p_force,
                frame.p,
                frame.p < self.threshold
            );
            let n_states = self.states.len();
            let of_states = &self.state_probabilities[idx * n_states..(idx + 1) * n_states];
            of_states.iter().for_each(|p| table += &format!(",{p:.6}"));
            table.push('\n');
        }
        write_atomic(path, table.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams, fill_normal};

    fn normal(n: usize, seed: u64, shift: f64) -> Evaluated {
        let mut values = vec![0.0; 2 * n];
        fill_normal(&mut Streams::new(seed).stream(Purpose::Walker, 0), &mut values);
        let (energies, forces) = values.split_at(n);
        Evaluated { energies: energies.iter().map(|u| u + shift).collect(), forces: forces.to_vec() }
    }

    /// Frames of the same law have uniform p-values; two standard deviations apart the area is Φ(2/√2) = 0.9214, the
    /// largest difference of the distributions 2Φ(1) − 1 = 0.6827, and d is 2.
    #[test]
    fn shares_are_calibrated_and_separations_are_those_of_normal_laws() {
        let (known, same) = (normal(20_000, 1, 0.0), normal(20_000, 2, 0.0));
        let scores = summarise(&known, &same, 0.01, vec![]);
        for threshold in [0.01, 0.1, 0.5] {
            for p in [|frame: &FrameScore| frame.p_energy, |frame: &FrameScore| frame.p_force] {
                let share = scores.frames.iter().filter(|frame| p(frame) < threshold).count() as f64 / 2e4;
                // Both sets are finite.
                let error = (2.0 * threshold * (1.0 - threshold) / 2e4).sqrt();
                assert!((share - threshold).abs() < 4.0 * error, "{share} {threshold}");
            }
        }
        // Of two independent tests at half the level each.
        assert!((scores.share_foreign - (1.0 - 0.995 * 0.995)).abs() < 0.003, "{}", scores.share_foreign);
        assert!(scores.is_familiar() && (scores.by_energy.auroc - 0.5).abs() < 0.01);
        assert!((scores.by_both.auroc - 0.5).abs() < 0.01, "{:?}", scores.by_both);

        let far = summarise(&known, &normal(20_000, 3, 2.0), 0.01, vec![]);
        let found = far.by_energy;
        assert!((found.auroc - 0.9214).abs() < 0.01 && (found.ks - 0.6827).abs() < 0.015, "{found:?}");
        assert!((found.cohens_d - 2.0).abs() < 0.04 && !far.is_familiar(), "{found:?}");
        assert!(far.to_json()["share_foreign"].as_f64().unwrap() > 0.2);
    }

    /// Frames each of which could be of the ensemble, and that together are none: all of its lowest energies.
    #[test]
    fn an_ensemble_that_is_too_cold_is_told_although_no_frame_is_foreign() {
        let known = normal(5000, 6, 0.0);
        let cold = Evaluated { energies: vec![-3.0; 500], forces: normal(500, 7, 0.0).forces };
        let scores = summarise(&known, &cold, 0.001, vec![]);
        assert!(
            scores.is_familiar() && scores.sentence().contains("lower in energy than"),
            "{}",
            scores.sentence()
        );
        let same = summarise(&known, &normal(500, 8, 0.0), 0.001, vec![]);
        assert!(!same.sentence().contains("as a whole"), "{}", same.sentence());
        let few = summarise(&normal(500, 9, 0.0), &normal(500, 8, 0.0), 0.001, vec![]);
        assert!(few.sentence().contains("so few held-out"), "{}", few.sentence());
    }

    #[test]
    fn energies_that_are_not_finite_are_foreign() {
        let mut odd = normal(100, 4, 0.0);
        odd.energies[3] = f64::NAN;
        let mut scores = summarise(&normal(5000, 5, 0.0), &odd, 0.001, vec![]);
        assert!(scores.frames[3].p < 0.001);

        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("scores.csv");
        let table = |scores: &Scores| {
            scores.write_csv(&path).unwrap();
            std::fs::read_to_string(&path).unwrap()
        };
        let plain = table(&scores);
        assert!(plain.lines().all(|line| line.split(',').count() == 7));
        scores.states = vec!["alpha".into(), ELSEWHERE.into()];
        scores.state_probabilities = (0..200).map(|k| [0.25, 0.75][k % 2]).collect();
        let rows = table(&scores);
        assert!(rows.lines().next().unwrap().ends_with("foreign,p_alpha,p_elsewhere"));
        for (plain, row) in plain.lines().zip(rows.lines()).skip(1) {
            assert_eq!(row, format!("{plain},0.250000,0.750000"));
        }
    }

    /// From a configuration to columns of frames: states are those of the regions, which the untrained network does not know.
    #[test]
    fn frames_are_told_the_state_that_they_are_in() {
        use crate::run::control::Control;
        use crate::run::plan::Plan;
        use crate::run::{Request, stage};

        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/alanine_dipeptide");
        let home = tempfile::tempdir().unwrap();
        let mean_right = |name: &str, n_steps: usize| {
            let stages = format!(
                "train.stages=[{{ name = 'both', n_steps = {n_steps}, batch_size = 128, learning_rate = 5e-3, objectives = \
                 [{{ kind = 'denoising_score_matching' }}, {{ kind = 'state_classification', weight = 0.3 }}] }}]"
            );
            let settings = ["data.frames.stride=25", "train.ema_decay=0.98", "model.network.hidden=[32, 32]"];
            let request = Request {
                out: Some(home.path().join(name)),
                assignments: settings.iter().map(|s| s.to_string()).chain([stages]).collect(),
                ..Request::of(&example.join("small.toml"))
            };
            stage("train", &request, &Control::default()).unwrap();
            let run = home.path().join(name);
            let plan = Plan::resolve(&Request::of(&run)).unwrap();
            assert_eq!(plan.config.model.network["states"].as_integer(), Some(3));
            let scores = score(&ScoreRequest {
                run,
                trajectory: vec![example.join("data/implicit_300K_heavy.dcd")],
                topology: Some(example.join("data/heavy.pdb")),
                selection: None,
                mirror: false,
                displace_nm: 0.0,
                threshold: 0.01,
            })
            .unwrap();
            assert_eq!(scores.states, ["alpha_r", "phi_positive", ELSEWHERE]);
            let mut plan = plan;
            plan.config.data.frames = FrameRange::default();
            let frames = Data::load(&plan).unwrap().frames;
            let known = plan.beads.basins_of(&plan.beads.values(frames.positions_nm()).unwrap());
            // The mean probability of the state that a frame is in.
            let (mut right, mut counts) = ([0.0; 3], [0.0; 3]);
            for (p, known) in scores.state_probabilities.chunks_exact(3).zip(known) {
                assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-9);
                counts[known] += 1.0;
                right[known] += p[known];
            }
            [0, 1, 2].map(|k| right[k] / counts[k])
        };
        let (before, after) = (mean_right("untrained", 1), mean_right("trained", 600));
        // One frame in 700 has φ > 0, which is too few for so short a training.
        assert!(before[0].max(before[2]) < 0.6, "{before:?}");
        assert!(after[0].min(after[2]) > 0.85, "{after:?}");
    }
}
