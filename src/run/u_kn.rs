//! MBAR on a matrix u_kn in a file, as other programs leave it: `kirkwood estimate --u-kn U.npy --n-k N.npy`.
//!
//! The matrix is `[state][sample]` in kT, samples in the order of their states. It is held in memory once, in
//! half of that in single precision, or not at all: a matrix larger than memory is read again for each of the
//! four or five sweeps that a solution takes.

use crate::error::{Error, Result};
use crate::free_energy::alchemical::{Severity, Verdict};
use crate::free_energy::mbar::bootstrap::{Resampling, bootstrap_free_energies};
use crate::free_energy::mbar::{Extrapolation, Reach};
use crate::free_energy::reduced_energies::npy::{NpyEnergies, read_counts};
use crate::free_energy::reduced_energies::parquet::ParquetEnergies;
use crate::free_energy::reduced_energies::source::EnergySource;
use crate::free_energy::{Mbar, ReducedEnergies};
use crate::random::Streams;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Share of the free memory that a matrix may take before it is streamed.
const LARGEST_SHARE: f64 = 0.5;
/// Overlap of neighbours below which free energies are doubtful (Klimovich, Shirts and Mobley 2015).
const LOW_OVERLAP: f64 = 0.03;
/// Effective samples below which a state's free energy rests on too few of them.
const FEW_SAMPLES: f64 = 10.0;

/// Effective samples above which a state does well on the samples of others.
const FEW_NEIGHBOURS: f64 = 50.0;

/// What to solve and how.
#[derive(Debug, Clone, PartialEq)]
pub struct UknRequest {
    /// u_kn in kT: `.npy` with `[state][sample]`, or `.parquet` with a row per sample and a column per state.
    pub u_kn: PathBuf,
    /// `.npy` with the number of samples of each state; samples stand in the order of states.
    pub n_k: PathBuf,
    /// Bootstrap resamples of single samples within each state, 0 for none.
    pub n_bootstrap: usize,
    /// Of the bootstrap.
    pub seed: u64,
    /// Whether to read the energies anew for each sweep; by the memory that is free when `None`.
    pub streaming: Option<bool>,
    /// Whether to keep energies in single precision; results are double precision in any case.
    pub f32_storage: bool,
    /// Whether disconnected states are only a warning.
    pub allow_disconnected: bool,
}

/// Free energies with errors, and what must be known to trust them. What is undetermined is NaN or infinite,
/// and `null` in JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UknOutcome {
    /// f_k − f_0, kT.
    pub f_k: Vec<f64>,
    /// σ(f_k − f_0), kT.
    pub df_k: Vec<f64>,
    /// Largest |Σ_n w_kn − 1| over the sampled states: the equations are satisfied to this.
    pub max_gradient: f64,
    /// Newton steps on all samples.
    pub iterations: usize,
    /// Seconds to read and check the energies.
    pub load_s: f64,
    /// Seconds to solve.
    pub solve_s: f64,
    /// Seconds for the covariance, which the last sweep of the solution has prepared.
    pub cov_s: f64,
    /// Seconds for the bootstrap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_s: Option<f64>,
    /// σ(f_k − f_0) by the bootstrap, kT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub df_boot: Option<Vec<f64>>,
    /// cov(f_i − f_0, f_j − f_0), `[i][j]`, kT².
    pub covariance: Vec<Vec<f64>>,
    /// Sampled states in groups that share samples.
    pub components: Vec<Vec<usize>>,
    /// Kish's effective number of samples in each state.
    pub n_effective: Vec<f64>,
    /// Number of samples.
    pub n_samples: usize,
    /// Whether energies were read anew for each sweep.
    pub streamed: bool,
    /// In order of importance.
    pub verdicts: Vec<Verdict>,
}

impl UknOutcome {
    /// Whether no verdict says not to trust the numbers.
    pub fn is_trustworthy(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.severity < Severity::Untrustworthy)
    }
}

/// Reads, solves and judges.
pub fn solve(request: &UknRequest) -> Result<UknOutcome> {
    let clock = Instant::now();
    let n_k = read_counts(&request.n_k)?;
    let (energies, streamed) = load(request, n_k)?;
    let load_s = clock.elapsed().as_secs_f64();

    let clock = Instant::now();
    let mbar = Mbar::new(&energies)?;
    let solve_s = clock.elapsed().as_secs_f64();

    let clock = Instant::now();
    let n_states = energies.n_states();
    let mut covariance: Vec<Vec<f64>> =
        mbar.covariance_matrix().chunks_exact(n_states).map(<[f64]>::to_vec).collect();
    let reached: Vec<Option<Extrapolation>> = (0..n_states).map(|k| mbar.extrapolation(k)).collect();
    let hopeless = |k: usize| reached[k].is_some_and(|found| found.reach == Reach::Hopeless);
    for (a, b) in (0..n_states).flat_map(|a| (0..n_states).map(move |b| (a, b))) {
        if (a, b) != (0, 0) && (hopeless(0) || hopeless(a) || hopeless(b)) {
            covariance[a][b] = if a == b { f64::INFINITY } else { f64::NAN };
        }
    }
    let df_k: Vec<f64> = (0..n_states).map(|k| covariance[k][k].sqrt()).collect();
    let cov_s = clock.elapsed().as_secs_f64();

    let clock = Instant::now();
    let mut verdicts = verdicts(&mbar, &reached, request.allow_disconnected);
    let df_boot = if request.n_bootstrap > 0 {
        let streams = Streams::new(request.seed);
        let found = bootstrap_free_energies(&mbar, Resampling::Samples, request.n_bootstrap, &streams)?;
        let singles: Vec<&str> =
            (0..n_states).filter(|&k| energies.n_k()[k] == 1).map(|k| energies.names()[k].as_str()).collect();
        if !singles.is_empty() {
            let message = format!(
                "bootstrap errors are too small: {} has a single sample, which every resample repeats",
                singles.join(", ")
            );
            verdicts.push(Verdict::new(Severity::Warning, "bootstrap_single_sample", message));
        }
        // Resamples of samples that do not reach a state do not reach it either.
        let known = found.std_errors.iter().zip(&df_k);
        Some(known.map(|(boot, df)| if df.is_finite() { *boot } else { f64::NAN }).collect())
    } else {
        None
    };
    let boot_s = df_boot.is_some().then(|| clock.elapsed().as_secs_f64());
    verdicts.sort_by_key(|verdict| std::cmp::Reverse(verdict.severity));
    say_how_states_are_counted(energies.names(), &mut verdicts);
    let mut f_k = mbar.free_energies_kt().to_vec();
    if !df_k[0].is_finite() {
        f_k.fill(f64::NAN);
    }
    Ok(UknOutcome {
        f_k,
        df_k,
        max_gradient: mbar.certificate().residual,
        iterations: mbar.certificate().iterations,
        load_s,
        solve_s,
        cov_s,
        boot_s,
        df_boot,
        covariance,
        components: mbar.groups(),
        n_effective: (0..n_states).map(|k| mbar.n_effective(k)).collect(),
        n_samples: energies.n_samples(),
        streamed,
        verdicts,
    })
}

/// The energies as the request wants to keep them, and whether they are streamed.
fn load(request: &UknRequest, n_k: Vec<usize>) -> Result<(ReducedEnergies, bool)> {
    let path = &request.u_kn;
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet")) {
        let source = ParquetEnergies::open(path)?;
        check_shape(path, &request.n_k, &n_k, &source)?;
        let names = source.names().to_vec();
        let streamed = streams(request, source.n_states() * source.n_samples() * 8);
        let energies = match (streamed, request.f32_storage) {
            (true, _) => ReducedEnergies::streamed(n_k, Arc::new(source)),
            (false, true) => ReducedEnergies::single_precision(n_k, &source),
            (false, false) => ReducedEnergies::ordered(n_k, source.load()?),
        };
        return Ok((energies.map_err(|error| in_file(path, error))?.with_names(names)?, streamed));
    }
    let source = NpyEnergies::open(path)?;
    check_shape(path, &request.n_k, &n_k, &source)?;
    let streamed = streams(request, source.n_bytes());
    let energies = match (streamed, request.f32_storage) {
        (true, _) => ReducedEnergies::streamed(n_k, Arc::new(source)),
        (false, true) => ReducedEnergies::single_precision(n_k, &source),
        (false, false) => ReducedEnergies::ordered(n_k, source.load()?),
    };
    Ok((energies.map_err(|error| in_file(path, error))?, streamed))
}

/// The same error with the file of the energies, when it is about these.
fn in_file(path: &Path, error: Error) -> Error {
    match error {
        Error::Invalid { expected, found, .. } => {
            Error::file(path, "u_kn", expected, found).with_hint("states and samples are counted from 0")
        }
        other => other,
    }
}

/// Errors unless the matrix has a row for each state and a column for each sample.
fn check_shape(path: &Path, n_k_path: &Path, n_k: &[usize], source: &dyn EnergySource) -> Result<()> {
    let wanted = (n_k.len(), n_k.iter().sum::<usize>());
    let found = (source.n_states(), source.n_samples());
    if wanted == found && wanted.1 > 0 {
        return Ok(());
    }
    let expected = format!(
        "shape [{}, {}], as `{}` has {} states with {} samples together",
        wanted.0,
        wanted.1,
        n_k_path.display(),
        wanted.0,
        wanted.1
    );
    let error = Error::file(path, "", expected, format!("shape [{}, {}]", found.0, found.1));
    let transposed = (found.1, found.0) == wanted && wanted.1 > 0;
    Err(if transposed { error.with_hint("save it transposed, `numpy.save(path, u_nk.T)`") } else { error })
}

fn streams(request: &UknRequest, n_bytes: usize) -> bool {
    let kept = if request.f32_storage { n_bytes / 2 } else { n_bytes } as f64;
    request.streaming.unwrap_or_else(|| free_memory().is_some_and(|free| kept > LARGEST_SHARE * free))
}

/// Memory in bytes that the system can give, where it says so.
fn free_memory() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit: Option<f64> = limit.and_then(|limit| limit.trim().parse().ok());
    Some(limit.unwrap_or(f64::INFINITY).min(1024.0 * kib))
}

fn verdicts(mbar: &Mbar<'_>, reached: &[Option<Extrapolation>], allow_disconnected: bool) -> Vec<Verdict> {
    let energies = mbar.energies();
    let name = |k: usize| energies.names()[k].as_str();
    let mut verdicts = Vec::new();
    if let Some(sentence) = mbar.disconnection() {
        let severity = if allow_disconnected { Severity::Warning } else { Severity::Untrustworthy };
        verdicts.push(Verdict::new(severity, "disconnected", sentence));
    }
    for (a, b, overlap) in weak_links(mbar) {
        let message = format!(
            "{} and {} hardly overlap (they share {overlap:.3} of the samples of one; {LOW_OVERLAP} is wanted), and nothing \
             else links them better: add a state between them",
            name(a),
            name(b)
        );
        verdicts.push(Verdict::new(Severity::Warning, "low_overlap", message));
    }
    for &k in energies.void_states() {
        let message = format!("{} has no result: some of its energies are not numbers", name(k));
        verdicts.push(Verdict::new(Severity::Warning, "void_state", message));
    }
    for k in (0..energies.n_states()).filter(|&k| mbar.free_energies_kt()[k] == f64::INFINITY) {
        let message = format!("{} has no result: its energy is +inf for every sample", name(k));
        verdicts.push(Verdict::new(Severity::Warning, "forbidden_state", message));
    }
    verdicts.extend(out_of_reach(energies.names(), reached));
    let few: Vec<String> = (0..energies.n_states())
        .filter(|k| energies.n_k()[*k] > 0 && mbar.n_effective(*k) < FEW_SAMPLES)
        .map(|k| format!("{} ({:.1})", name(k), mbar.n_effective(k)))
        .collect();
    if !few.is_empty() {
        let message =
            format!("free energies rest on fewer than {FEW_SAMPLES} effective samples in {}", few.join(", "));
        verdicts.push(Verdict::new(Severity::Warning, "few_effective_samples", message));
    }
    let single = |k: usize| energies.n_k()[k] > 0 && (energies.n_k()[k] as f64) < FEW_SAMPLES;
    let scarce: Vec<usize> =
        (0..energies.n_states()).filter(|&k| single(k) && mbar.n_effective(k) >= FEW_SAMPLES).collect();
    if !scarce.is_empty() {
        let doubtful = scarce.iter().any(|&k| mbar.n_effective(k) < FEW_NEIGHBOURS);
        let lists: Vec<String> =
            scarce.iter().map(|&k| format!("{} ({})", name(k), energies.n_k()[k])).collect();
        let message = format!(
            "few samples were drawn from {}: their free energies rest on the samples of other states, which overlap \
             with them",
            lists.join(", ")
        );
        let severity = if doubtful { Severity::Warning } else { Severity::Note };
        verdicts.push(Verdict::new(severity, "few_samples", message));
    }
    if energies.n_overflows() > 0 {
        let message = format!(
            "{} energies are -inf in states from which their samples do not come; they were taken for \
             overflows of +inf, weight zero",
            energies.n_overflows()
        );
        verdicts.push(Verdict::new(Severity::Note, "overflow", message));
    }
    verdicts
}

/// Says once, at the first mention, that states without names of their own are counted from 0.
fn say_how_states_are_counted(names: &[String], verdicts: &mut [Verdict]) {
    if names.first().is_none_or(|name| name != "state 0") {
        return;
    }
    if let Some(first) = verdicts.iter_mut().find(|verdict| verdict.message.contains("state ")) {
        first.message.push_str(" (states are counted from 0)");
    }
}

/// What is to be said about states without samples.
fn out_of_reach(names: &[String], reached: &[Option<Extrapolation>]) -> Vec<Verdict> {
    let cases = [
        (
            Reach::Hopeless,
            Severity::Untrustworthy,
            "out of reach of all samples, their free energies undetermined",
        ),
        (
            Reach::Doubtful,
            Severity::Warning,
            "hardly reached by any samples, so that their errors are likely to be too small",
        ),
    ];
    let mut verdicts = Vec::new();
    for (reach, severity, what) in cases {
        let states: Vec<String> = names
            .iter()
            .zip(reached)
            .filter_map(|(name, found)| found.filter(|found| found.reach == reach).map(|found| (name, found)))
            .map(|(name, found)| {
                format!(
                    "{name} ({:.1} effective samples, one with {:.0} % of the weight, tail index {:.2})",
                    found.n_effective,
                    100.0 * found.largest_share,
                    found.tail
                )
            })
            .collect();
        if !states.is_empty() {
            let message = format!(
                "states without samples are {what}: {}; a tail index above 0.5 means weights without a variance, \
                 above 1 without a mean: sample these states, or others on the way to them",
                states.join(", ")
            );
            verdicts.push(Verdict::new(severity, "extrapolation", message));
        }
    }
    verdicts
}

/// Links between sampled states that are weak, of those that hold the states together best: the samples that two
/// states share, of those of the state that has fewer. How many samples either has does not matter.
fn weak_links(mbar: &Mbar<'_>) -> Vec<(usize, usize, f64)> {
    let counts = mbar.counts();
    let mut weak = Vec::new();
    for group in mbar.groups() {
        // The tree of the strongest links that joins all states of the group.
        let (mut joined, mut left) = (vec![group[0]], group[1..].to_vec());
        while !left.is_empty() {
            let links = left.iter().flat_map(|&b| joined.iter().map(move |&a| (a, b)));
            let strength = |&(a, b): &(usize, usize)| mbar.shared_samples(a, b) / counts[a].min(counts[b]);
            let best = links.max_by(|x, y| strength(x).total_cmp(&strength(y)));
            let Some((a, b)) = best else { break };
            if strength(&(a, b)) < LOW_OVERLAP {
                weak.push((a.min(b), a.max(b), strength(&(a, b))));
            }
            joined.push(b);
            left.retain(|&k| k != b);
        }
    }
    weak
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, fill_normal};
    use parquet::data_type::{DoubleType, FloatType};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use std::fs::File;

    /// A `.npy` of version 1.
    fn write_npy(path: &Path, descr: &str, shape: &str, bytes: &[u8]) {
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
        while (header.len() + 11) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.as_bytes());
        file.extend(bytes);
        std::fs::write(path, file).unwrap();
    }

    struct Case {
        folder: tempfile::TempDir,
        u: Vec<f64>,
        n_k: Vec<i64>,
    }

    impl Case {
        /// Harmonic wells; f_k = k.
        fn wells(n_k: &[i64], spacing: f64) -> Self {
            let n: usize = n_k.iter().sum::<i64>() as usize;
            let mut x = vec![0.0; n];
            fill_normal(&mut Streams::new(1).stream(Purpose::Walker, 0), &mut x);
            let state_of = n_k.iter().enumerate().flat_map(|(k, &n)| std::iter::repeat_n(k, n as usize));
            x.iter_mut().zip(state_of).for_each(|(x, k)| *x += spacing * k as f64);
            let center = |k: usize| spacing * k as f64;
            let energy = |k: usize, x: f64| 0.5 * (x - center(k)).powi(2) + k as f64;
            let u = (0..n_k.len())
                .flat_map(|k| x.iter().map(move |&x| energy(k, x)).collect::<Vec<_>>())
                .collect();
            Self { folder: tempfile::tempdir().unwrap(), u, n_k: n_k.to_vec() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self) -> UknRequest {
            let bytes: Vec<u8> = self.u.iter().flat_map(|u| u.to_le_bytes()).collect();
            let (k, n) = (self.n_k.len(), self.u.len() / self.n_k.len());
            write_npy(&self.path("u.npy"), "<f8", &format!("{k}, {n}"), &bytes);
            let counts: Vec<u8> = self.n_k.iter().flat_map(|n| n.to_le_bytes()).collect();
            write_npy(&self.path("n.npy"), "<i8", &format!("{k},"), &counts);
            UknRequest {
                u_kn: self.path("u.npy"),
                n_k: self.path("n.npy"),
                n_bootstrap: 0,
                seed: 4,
                streaming: None,
                f32_storage: false,
                allow_disconnected: false,
            }
        }

        /// The same as a table of pandas would be, in three row groups, with an index that is no state.
        fn write_parquet(&self) -> PathBuf {
            let path = self.path("u.parquet");
            let schema =
                "message m { required double time; optional double a; required float b; required double c; }";
            let schema = std::sync::Arc::new(parse_message_type(schema).unwrap());
            let pandas = parquet::file::metadata::KeyValue::new(
                "pandas".to_string(),
                "{\"index_columns\": [\"time\"]}".to_string(),
            );
            let properties = parquet::file::properties::WriterProperties::builder();
            let properties = properties.set_key_value_metadata(Some(vec![pandas])).build();
            let file = File::create(&path).unwrap();
            let mut writer = SerializedFileWriter::new(file, schema, properties.into()).unwrap();
            let n = self.u.len() / 3;
            for rows in [0..n / 3, n / 3..n / 2, n / 2..n] {
                let mut group = writer.next_row_group().unwrap();
                for column in 0..4 {
                    let mut writer = group.next_column().unwrap().unwrap();
                    let values = &self.u[column.max(1) * n - n..column.max(1) * n][rows.clone()];
                    if column == 2 {
                        let values: Vec<f32> = values.iter().map(|&u| u as f32).collect();
                        writer.typed::<FloatType>().write_batch(&values, None, None).unwrap();
                    } else {
                        let present = vec![1; values.len()];
                        let levels = (column == 1).then_some(present.as_slice());
                        writer.typed::<DoubleType>().write_batch(values, levels, None).unwrap();
                    }
                    writer.close().unwrap();
                }
                group.close().unwrap();
            }
            writer.close().unwrap();
            path
        }
    }

    #[test]
    fn energies_kept_or_streamed_give_the_same_bits() {
        let case = Case::wells(&[3000, 5001, 0, 2500], 1.1);
        let mut request = UknRequest { n_bootstrap: 20, ..case.write() };
        let kept = solve(&request).unwrap();
        request.streaming = Some(true);
        let streamed = solve(&request).unwrap();
        assert!(streamed.streamed && !kept.streamed);
        let numbers = |o: &UknOutcome| {
            let boot = o.df_boot.clone().unwrap_or_default();
            [o.f_k.clone(), o.df_k.clone(), boot, o.covariance.concat()].concat()
        };
        assert_eq!(numbers(&kept), numbers(&streamed));
        for k in 1..4 {
            assert!(((kept.f_k[k] - k as f64) / kept.df_k[k]).abs() < 4.0, "{:?}", kept.f_k);
        }
        assert!(kept.max_gradient < 1e-10 && kept.is_trustworthy());
        // A bootstrap of 20 knows its deviation to 16 %.
        assert!((kept.df_boot.as_ref().unwrap()[3] / kept.df_k[3] - 1.0).abs() < 0.6);

        let single = solve(&UknRequest { f32_storage: true, streaming: None, ..request }).unwrap();
        for k in 1..4 {
            assert!((single.f_k[k] - kept.f_k[k]).abs() < 1e-6, "{:?} {:?}", single.f_k, kept.f_k);
        }
    }

    #[test]
    fn parquet_is_the_same_matrix() {
        let mut case = Case::wells(&[300, 200, 250], 1.0);
        // The second column is single precision.
        case.u[750..1500].iter_mut().for_each(|u| *u = f64::from(*u as f32));
        let request = case.write();
        let from_npy = solve(&request).unwrap();
        let request = UknRequest { u_kn: case.write_parquet(), ..request };
        for streaming in [None, Some(true)] {
            let found = solve(&UknRequest { streaming, ..request.clone() }).unwrap();
            assert_eq!((&found.f_k, &found.covariance), (&from_npy.f_k, &from_npy.covariance));
        }
    }

    #[test]
    fn clusters_28_sigma_apart_know_nothing_of_each_other() {
        let mut case = Case::wells(&[500, 500, 500, 500], 1.0);
        // The last two states and their samples, elsewhere.
        for k in 0..4 {
            for n in 0..2000 {
                if (k < 2) != (n < 1000) {
                    case.u[k * 2000 + n] += 0.5 * 28.0 * 28.0;
                }
            }
        }
        let outcome = solve(&UknRequest { n_bootstrap: 10, ..case.write() }).unwrap();
        assert_eq!(outcome.components, [vec![0, 1], vec![2, 3]]);
        assert!(!outcome.is_trustworthy());
        assert_eq!(outcome.verdicts[0].kind, "disconnected");
        assert!(
            outcome.verdicts[0].message.contains("missing between state 1 and state 2"),
            "{:?}",
            outcome.verdicts
        );
        let json = serde_json::to_value(&outcome).unwrap();
        assert!(json["df_k"][1].is_f64() && json["df_k"][2].is_null() && json["df_k"][3].is_null());
        assert!(json["df_boot"][1].is_f64() && json["df_boot"][2].is_null());
        let allowed = solve(&UknRequest { allow_disconnected: true, ..case.write() }).unwrap();
        assert!(allowed.is_trustworthy());
    }

    #[test]
    fn a_state_that_no_sample_reaches_has_no_error() {
        for (spacing, severity) in
            [(1.0, None), (2.2, Some(Severity::Warning)), (5.0, Some(Severity::Untrustworthy))]
        {
            let case = Case::wells(&[2000, 0], spacing);
            let outcome = solve(&UknRequest { n_bootstrap: 10, ..case.write() }).unwrap();
            let found = outcome.verdicts.first();
            assert_eq!(found.map(|verdict| verdict.severity), severity, "{:?}", outcome.verdicts);
            assert!(found.is_none_or(
                |verdict| verdict.kind == "extrapolation" && verdict.message.contains("state 1 (")
            ));
            let json = serde_json::to_value(&outcome).unwrap();
            let known = spacing < 5.0;
            assert!(json["df_k"][0] == 0.0 && json["f_k"][1].is_f64());
            assert!(json["df_k"][1].is_f64() == known && json["covariance"][1][1].is_f64() == known);
            assert!(json["df_boot"][1].is_f64() == known && outcome.is_trustworthy() == known);
        }
    }

    #[test]
    fn states_without_a_free_energy_are_null_throughout() {
        for (bad, everywhere, kind) in
            [(f64::NAN, false, "void_state"), (f64::INFINITY, true, "forbidden_state")]
        {
            for state in [0, 2] {
                let mut n_k = [300, 200, 250];
                n_k[state] = 0;
                let mut case = Case::wells(&n_k, 0.5);
                let n = case.u.len() / 3;
                case.u[state * n..][..if everywhere { n } else { 1 }].fill(bad);
                let outcome = solve(&UknRequest { n_bootstrap: 5, ..case.write() }).unwrap();
                let kinds: Vec<&str> = outcome.verdicts.iter().map(|verdict| verdict.kind.as_str()).collect();
                assert_eq!(kinds, [kind]);
                let json = serde_json::to_value(&outcome).unwrap();
                for k in 0..3 {
                    // Everything is relative to state 0.
                    let known = k != state && state != 0;
                    for number in
                        [&json["f_k"][k], &json["df_k"][k], &json["df_boot"][k], &json["covariance"][k][k]]
                    {
                        assert_eq!(number.is_f64(), known, "{bad} in state {state}: {k} {number}");
                    }
                }
                assert!(json["covariance"][1][state].is_null());
            }
        }
    }

    #[test]
    fn few_samples_are_not_taken_for_a_distance() {
        let verdicts = |n_k: &[i64], spacing| solve(&Case::wells(n_k, spacing).write()).unwrap().verdicts;
        for n_k in [[20_000, 1, 1, 1], [500, 500, 1, 500]] {
            let found = verdicts(&n_k, 0.3);
            assert!(found.len() == 1 && found[0].kind == "few_samples", "{found:?}");
            assert!(
                found[0].severity == Severity::Note && found[0].message.contains("state 2 (1)"),
                "{found:?}"
            );
        }
        assert!(verdicts(&[20_000, 100, 100, 100], 0.3).is_empty());
        // Of states that are far from each other nothing else is said.
        let found = verdicts(&[3000, 3000], 4.6);
        assert!(found.len() == 1 && found[0].kind == "low_overlap", "{found:?}");
    }

    #[test]
    fn it_is_said_once_that_states_are_counted_from_0() {
        let mut case = Case::wells(&[3000, 3000, 1], 4.6);
        let outcome = solve(&case.write()).unwrap();
        let said = |verdicts: &[Verdict]| {
            verdicts.iter().filter(|verdict| verdict.message.contains("counted from 0")).count()
        };
        assert!(outcome.verdicts.len() > 1 && said(&outcome.verdicts) == 1, "{:?}", outcome.verdicts);
        case.u[6001 + 3] = f64::NAN;
        assert!(solve(&case.write()).unwrap_err().to_string().contains("counted from 0"));
        // Columns of a table have names.
        let case = Case::wells(&[3000, 3000, 1], 4.6);
        let outcome = solve(&UknRequest { u_kn: case.write_parquet(), ..case.write() }).unwrap();
        assert!(outcome.verdicts.len() > 1 && said(&outcome.verdicts) == 0, "{:?}", outcome.verdicts);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named() {
        let message = |case: &Case| solve(&case.write()).unwrap_err().to_string();
        let mut case = Case::wells(&[30, 20, 0], 1.0);
        case.n_k = vec![30, 21, 0];
        let error = message(&case);
        assert!(error.contains("u.npy") && error.contains("[3, 51]") && error.contains("[3, 50]"), "{error}");
        case.n_k = vec![30, 21, -1];
        let error = message(&case);
        assert!(
            error.contains("n.npy") && error.contains("state 2") && error.contains("found -1"),
            "{error}"
        );
        case.n_k = vec![30, 20, 0];
        case.u[57] = f64::NAN;
        let error = message(&case);
        assert!(error.contains("u.npy") && error.contains("NaN for sample 7 in state 1"), "{error}");
        case.u[57] = 0.0;
        case.u[107] = f64::NAN;
        case.u[58] = f64::NEG_INFINITY;
        let outcome = solve(&case.write()).unwrap();
        let (f, df) = (&outcome.f_k, &outcome.df_k);
        assert!(f[2].is_nan() && df[2].is_nan() && df[1].is_finite(), "{f:?} {df:?}");
        let kinds: Vec<&str> = outcome.verdicts.iter().map(|verdict| verdict.kind.as_str()).collect();
        assert_eq!(kinds, ["void_state", "overflow"]);
    }
}
