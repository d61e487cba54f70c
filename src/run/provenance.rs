//! Where the numbers of a run come from: version, command, machine, inputs and time spent.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The content of `provenance.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// The version of this program.
    pub kirkwood_version: String,
    /// The commit it was built from, where the build said so (`KIRKWOOD_COMMIT`).
    pub git_commit: Option<String>,
    /// The command as it was typed.
    pub command: String,
    /// SHA-256 of `plan.toml`: two runs with the same one compute the same thing.
    pub plan_sha256: String,
    /// The seed of all random numbers.
    pub seed: u64,
    /// How many threads the latest part used; results do not depend on it.
    pub threads: usize,
    /// The device of the tensors.
    pub device: String,
    /// The name of the machine.
    pub host: String,
    /// Its processor.
    pub cpu: String,
    /// When the run began.
    pub started_utc: String,
    /// When it was finished; absent before.
    pub finished_utc: Option<String>,
    /// Wall-clock seconds by stage, summed over resumed parts; variants as `variants/NAME/STAGE`.
    pub seconds: BTreeMap<String, f64>,
    /// The largest memory that any process of this run held, in MiB.
    pub peak_memory_mib: f64,
    /// The files that were read.
    pub inputs: Vec<Input>,
    /// What was simulated, in words: atoms, beads, temperature.
    pub system: String,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Where it was.
    pub path: PathBuf,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

impl Provenance {
    /// This process, now.
    pub fn begin(command: &str, plan: &str) -> Self {
        Self {
            kirkwood_version: env!("CARGO_PKG_VERSION").to_string(),
            git_commit: option_env!("KIRKWOOD_COMMIT").map(str::to_string),
            command: command.to_string(),
            plan_sha256: hex(&Sha256::digest(plan.as_bytes())),
            threads: rayon::current_num_threads(),
            host: host(),
            cpu: cpu(),
            started_utc: utc_now(),
            ..Self::default()
        }
    }

    /// The first file that is not as it was read, or that only one of the two lists has; `None` where `inputs` are those of
    /// the run.
    pub fn changed_input<'a>(&'a self, inputs: &'a [Input]) -> Option<&'a Path> {
        let new = inputs.iter().find(|input| !self.inputs.contains(input));
        let gone = || self.inputs.iter().find(|input| !inputs.contains(input));
        new.or_else(gone).map(|input| input.path.as_path())
    }
}

impl Input {
    /// Reads each of these files once.
    pub fn of_all<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<Vec<Self>> {
        paths.into_iter().map(|path| Self::of(path)).collect()
    }

    /// Reads a file once to name it by its content.
    pub fn of(path: &Path) -> Result<Self> {
        let mut file = std::fs::File::open(path).map_err(Error::io("read", path))?;
        let (mut digest, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
        loop {
            let n = file.read(&mut buffer).map_err(Error::io("read", path))?;
            if n == 0 {
                break;
            }
            digest.update(&buffer[..n]);
            bytes += n as u64;
        }
        Ok(Self { path: path.to_path_buf(), sha256: hex(&digest.finalize()), bytes })
    }
}

/// The largest memory that this process has held, in MiB; 0 where the system does not tell.
pub fn peak_memory_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap_or(0.0) / 1024.0
}

/// Seconds of processor time that this process has used, all threads together; 0 where the system does
/// not tell.
pub fn cpu_seconds() -> f64 {
    // Fields 14 and 15 count from the process's name, which may contain spaces, in ticks of 10 ms.
    let status = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = status.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// The time, as `2026-01-31T08:05:09Z`.
pub fn utc_now() -> String {
    utc(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs())
}

/// Seconds since 1970 as a date of the Gregorian calendar.
fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March put the leap day last; 400 of them have 146,097 days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "unknown".into() } else { name.into() }
}

fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {cores} threads", model.unwrap_or(std::env::consts::ARCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_767_225_599), "2025-12-31T23:59:59Z");
    }

    #[test]
    fn an_input_is_named_by_its_content() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a");
        std::fs::write(&path, "abc").unwrap();
        let input = Input::of(&path).unwrap();
        // The digest of FIPS 180-2, appendix B.1.
        assert_eq!(input.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(input.bytes, 3);
    }

    #[test]
    fn inputs_are_compared_by_name_and_content() {
        let input = |path: &str, sha256: &str| Input { path: path.into(), sha256: sha256.into(), bytes: 3 };
        let (a, b) = (input("a", "1"), input("b", "2"));
        let provenance = Provenance { inputs: vec![a.clone(), b.clone()], ..Provenance::default() };
        assert_eq!(provenance.changed_input(&[a.clone(), b.clone()]), None);
        assert_eq!(provenance.changed_input(&[a.clone(), input("b", "3")]), Some(Path::new("b")));
        assert_eq!(provenance.changed_input(&[a.clone(), b, input("c", "4")]), Some(Path::new("c")));
        assert_eq!(provenance.changed_input(&[a]), Some(Path::new("b")));
    }
}
