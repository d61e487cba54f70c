//! A run directory with plausible numbers in every file, for the tests of the report.

use std::f64::consts::PI;
use std::fmt::Write;
use std::path::Path;

pub const SETS: [&str; 6] = ["data", "train", "iid", "langevin", "equilibrium", "smc"];

/// Numbers that look random and are always the same.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 11) as f64) / (1u64 << 53) as f64
    }

    /// Mean 0 and variance 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// Writes a run with a variant that has α_R at 62 %.
pub fn write_run(directory: &Path) {
    write_one(directory, 0.116, true);
    write_one(&directory.join("variants/dsm_alone"), 0.62, false);
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn write_one(directory: &Path, alpha: f64, main: bool) {
    if main {
        write(&directory.join("plan.toml"), PLAN);
        write(&directory.join("provenance.json"), PROVENANCE);
    }
    write_training(directory, main);
    write_sampling(directory);
    write_estimates(directory, alpha, main);
    write_comparison(directory, alpha, main);
    write_summary(directory, alpha, main);
}

const PLAN: &str = r#"name = "alanine_dipeptide"
[report]
literature = "alanine_dipeptide"
title = "Alanine dipeptide, five beads, implicit solvent, 300 K"
label = "DSM + DiffCLF"
[[collective_variables]]
name = "phi"
kind = "dihedral"
[[collective_variables]]
name = "psi"
kind = "dihedral"
[[states]]
name = "alpha_r"
label = "α_R"
[[states]]
name = "phi_positive"
label = "φ > 0"
[[states]]
name = "beta"
label = "β and PII"
"#;

const PROVENANCE: &str = r#"{"kirkwood_version": "0.1.0", "git_commit": "be29638aa1b2c3d4e5f60718293a4b5c6d7e8f90",
"command": "kirkwood run examples/alanine_dipeptide/run.toml", "seed": 7, "threads": 2, "device": "cpu",
"host": "node17", "cpu": "2 cores of a synthetic machine", "started_utc": "2026-01-05T10:00:00Z",
"finished_utc": "2026-01-05T10:11:21Z", "seconds": {"load": 4.2, "train": 213.0, "sample": 264.0, "estimate": 121.5, "compare": 66.2},
"inputs": [{"path": "data/aldp.xtc", "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "bytes": 13824412}],
"system": {"atoms": 22, "beads": 5, "frames": 100000}}"#;

fn write_training(directory: &Path, main: bool) {
    let mut noise = Noise(1);
    let mut text = String::from(
        "step,stage,loss,denoising_score_matching,diffusive_classification,validation_dsm,learning_rate,gradient_norm,seconds\n",
    );
    for step in (10..=12_000).step_by(10) {
        let x = f64::from(step) / 12_000.0;
        let dsm = 0.580 + 0.4 * (-x * 30.0).exp() + 0.012 * noise.normal() + 0.01 * (1.0 - x);
        let second = step > 8000 && main;
        let class = if second {
            format!("{:.5}", 0.655 + 0.02 * (-(x - 0.667) * 40.0).exp() + 0.004 * noise.normal())
        } else {
            String::new()
        };
        let validation =
            if step % 500 == 0 { format!("{:.5}", 0.582 + 0.03 * (-x * 12.0).exp()) } else { String::new() };
        let rate = 3e-3 * 0.5 * (1.0 + (PI * x).cos()) + 1e-6;
        let _ = writeln!(
            text,
            "{step},{},{dsm:.5},{dsm:.5},{class},{validation},{rate:.3e},{:.4},{:.2}",
            if second { "joint" } else { "score_matching" },
            0.3 + 0.8 * (-x * 8.0).exp() + 0.05 * noise.uniform(),
            x * 213.0
        );
    }
    write(&directory.join("train/loss.csv"), &text);
    let mut text = String::from("log_snr,dsm_per_dof\n");
    for i in 0..=16 {
        let l = -6.0 + f64::from(i);
        let worse = if main { 0.0 } else { 0.01 };
        let _ = writeln!(text, "{l},{:.4}", 0.30 + worse + 0.62 / (1.0 + (-(l - 1.0) * 0.6).exp()));
    }
    write(&directory.join("train/validation.csv"), &text);
}

fn write_sampling(directory: &Path) {
    let mut noise = Noise(2);
    let mut text = String::from(
        "level,t,log_snr,ess,ess_without_resampling,unique_ancestors,log_z_kT,std_error_kT,acceptance,step_size,n_energy_evaluations,resampled\n",
    );
    let mut exchange = String::from("level,t,log_snr,swap_acceptance,move_acceptance,step_size\n");
    for level in 0..48 {
        let x = f64::from(level) / 47.0;
        let (t, log_snr) = (1.0 * 1e-5f64.powf(x), -6.0 + 17.0 * x);
        let resampled = level % 9 == 8;
        let ess = 4096.0 * (1.0 - 0.055 * f64::from(level % 9)) * (1.0 - 0.02 * noise.uniform());
        let _ = writeln!(
            text,
            "{level},{t:.4e},{log_snr:.4},{ess:.1},{:.1},{:.0},{:.4},{:.4},{:.3},{:.4e},{},{resampled}",
            4096.0 * (-3.5 * x).exp(),
            4096.0 * (-1.8 * x).exp(),
            0.1 * x * noise.normal(),
            0.05 * x,
            0.62 + 0.1 * noise.normal() * 0.3,
            0.4 * 0.004f64.powf(x),
            (level + 1) * 81_920
        );
        let _ = writeln!(
            exchange,
            "{level},{t:.4e},{log_snr:.4},{:.3},{:.3},{:.4e}",
            0.55 + 0.2 * (x * 6.0).sin() + 0.01 * noise.normal(),
            0.6 + 0.02 * noise.normal(),
            0.4 * 0.004f64.powf(x)
        );
    }
    write(&directory.join("sample/smc_levels.csv"), &text);
    write(&directory.join("sample/replica_exchange.csv"), &exchange);
    write(
        &directory.join("sample/diagnostics.json"),
        r#"{"langevin_round_trips": {"value": 212, "std_error": 15, "unit": "", "method": "α_R to β and back"},
            "replica_exchange_round_trips": {"value": 481, "std_error": null, "unit": "", "method": "noise end to data end and back"},
            "energy_evaluations": {"value": 9.83e7, "std_error": null, "unit": "", "method": "all samplers"}}"#,
    );
}

fn write_estimates(directory: &Path, alpha: f64, main: bool) {
    let shift = if main { 0.04 } else { 7.1 };
    let mut text = String::from(r#"{"roads": ["#);
    let roads = [
        ("smc", "Sequential Monte Carlo", 0.02, 0.061),
        ("mbar", "MBAR over 24 levels", 0.0, 0.018),
        ("ti", "Thermodynamic integration", -0.03, 0.027),
    ];
    for (i, (name, label, offset, error)) in roads.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        let _ = write!(
            text,
            r#"{comma}{{"name": "{name}", "label": "{label}", "value_kT": {}, "std_error_kT": {error}, "n_samples": {}, "n_energy_evaluations": {}, "seconds": {}, "method": "block bootstrap (200 resamples)"}}"#,
            shift + offset,
            4096 * (i + 1),
            3_932_160 * (i + 1),
            41.5 + 20.0 * i as f64
        );
    }
    let _ = write!(
        text,
        r#"], "agreement": [{{"a": "smc", "b": "mbar", "difference_kT": 0.02, "combined_std_error_kT": 0.064, "within_2_sigma": true}},
        {{"a": "smc", "b": "ti", "difference_kT": 0.05, "combined_std_error_kT": 0.067, "within_2_sigma": true}},
        {{"a": "mbar", "b": "ti", "difference_kT": 0.03, "combined_std_error_kT": 0.032, "within_2_sigma": true}}],
        "verdict": "{}", "trustworthy": {main}}}"#,
        if main {
            "The three roads agree within two combined standard errors, and the value is within 0.3 kT of 0: the energy is normalised alike at all noise levels."
        } else {
            "The three roads agree within two combined standard errors, and the value is 7.1 kT: the constant of this energy depends on the noise level."
        }
    );
    write(&directory.join("estimate/free_energy.json"), &text);

    let mut text = String::from(
        "t,log_snr,free_energy_mbar_kT,std_error_mbar_kT,free_energy_smc_kT,std_error_smc_kT,free_energy_ti_kT,std_error_ti_kT,du_dt_kT,du_dt_std_error_kT\n",
    );
    let n = 24;
    for level in 0..n {
        let x = f64::from(level) / f64::from(n - 1);
        let t = 1e-5f64.powf(x);
        let f = shift * x + 0.12 * (x * 7.0).sin() * x * (1.0 - x) * 4.0;
        let _ = writeln!(
            text,
            "{t:.4e},{:.3},{f:.4},{:.4},{:.4},{:.4},{:.4},{:.4},{:.4},{:.4}",
            -6.0 + 17.0 * x,
            0.018 * x.sqrt(),
            f + 0.02 * x,
            0.061 * x.sqrt(),
            f - 0.03 * x,
            0.027 * x.sqrt(),
            0.4 * (x * 7.0).cos() / t,
            0.05 / t
        );
    }
    write(&directory.join("estimate/path.csv"), &text);

    let names: Vec<String> = (0..n).map(|i| i.to_string()).collect();
    let mut text = names.join(",") + "\n";
    for i in 0..n {
        let row: Vec<f64> = (0..n).map(|j| (-f64::from(i - j).powi(2) / 4.5).exp()).collect();
        let sum: f64 = row.iter().sum();
        text += &row.iter().map(|value| format!("{:.5}", value / sum)).collect::<Vec<_>>().join(",");
        text.push('\n');
    }
    write(&directory.join("estimate/overlap.csv"), &text);

    let mut surface = String::from("phi_rad,psi_rad,pmf_kT,std_error_kT\n");
    let grid = surface_of(alpha, 0.0029, 400_000.0, &mut Noise(77));
    let top = grid.iter().map(|p| p.2).fold(0.0, f64::max);
    for (phi, psi, p) in &grid {
        if *p > 0.0 {
            let _ = writeln!(surface, "{phi:.5},{psi:.5},{:.4},0.05", -(p / top).ln());
        }
    }
    write(&directory.join("estimate/pmf_PHI_PSI.csv"), &surface);
    for (name, axis) in [("PHI", 0), ("PSI", 1)] {
        let text = profile(&grid, axis, &format!("{}_rad", name.to_lowercase()), 0.6);
        write(&directory.join(format!("estimate/pmf_{name}.csv")), &text);
    }
}

/// (φ, ψ, probability) on 64 × 64 bins, with the counting noise of `n` frames.
fn surface_of(alpha: f64, positive: f64, n: f64, noise: &mut Noise) -> Vec<(f64, f64, f64)> {
    let wrapped = |d: f64| (d + PI).rem_euclid(2.0 * PI) - PI;
    let basins = [
        (-1.30, 2.70, 0.40, 0.42, 0.55 * (1.0 - alpha - positive)),
        (-2.55, 2.75, 0.35, 0.38, 0.45 * (1.0 - alpha - positive)),
        (-1.35, -0.40, 0.33, 0.42, alpha),
        (0.95, 0.80, 0.18, 0.30, positive),
    ];
    let width = 2.0 * PI / 64.0;
    let centers: Vec<f64> = (0..64).map(|i| -PI + (f64::from(i) + 0.5) * width).collect();
    let mut grid = Vec::new();
    for &phi in &centers {
        for &psi in &centers {
            let density: f64 = basins
                .iter()
                .map(|(m, k, s, r, w)| {
                    let (a, b) = (wrapped(phi - m) / s, wrapped(psi - k) / r);
                    w * (-0.5 * (a * a + b * b)).exp() / (2.0 * PI * s * r)
                })
                .sum();
            let expected = n * density * width * width;
            let count = (expected + expected.sqrt() * noise.normal()).round().max(0.0);
            grid.push((phi, psi, count / n));
        }
    }
    grid
}

fn profile(grid: &[(f64, f64, f64)], axis: usize, column: &str, error_scale: f64) -> String {
    let mut text = format!("{column},pmf_kT,std_error_kT\n");
    let center = |point: &(f64, f64, f64)| if axis == 0 { point.0 } else { point.1 };
    let mut centers: Vec<f64> = grid.iter().map(center).collect();
    centers.sort_by(f64::total_cmp);
    centers.dedup();
    let sums: Vec<f64> =
        centers.iter().map(|c| grid.iter().filter(|p| center(p) == *c).map(|p| p.2).sum()).collect();
    let top = sums.iter().copied().fold(0.0, f64::max);
    for (c, p) in centers.iter().zip(&sums) {
        if *p > 0.0 {
            let error = error_scale * (1.0 / (50_000.0 * p)).sqrt().min(1.0);
            let _ = writeln!(text, "{c:.5},{:.4},{error:.4}", -(p / top).ln());
        } else {
            let _ = writeln!(text, "{c:.5},,");
        }
    }
    text
}

fn write_comparison(directory: &Path, alpha: f64, main: bool) {
    let mut populations = String::from("state,set,value,std_error\n");
    let mut metrics = String::from("set,metric,value,std_error,method\n");
    for (i, set) in SETS.iter().enumerate() {
        let of_data = *set == "data" || *set == "train";
        let alpha = if of_data || *set == "iid" { 0.116 } else { alpha };
        let positive = if of_data { 0.0029 } else { 0.0021 };
        let grid = surface_of(alpha, positive, 50_000.0, &mut Noise(100 + i as u64));
        let mut text = String::from("phi_rad,psi_rad,probability\n");
        for (phi, psi, p) in &grid {
            let _ = writeln!(text, "{phi:.6},{psi:.6},{p:.6e}");
        }
        write(&directory.join(format!("compare/histogram_{set}.csv")), &text);
        for (name, axis) in [("PHI", 0), ("PSI", 1)] {
            let text = profile(&grid, axis, &format!("{}_rad", name.to_lowercase()), 2.0);
            write(&directory.join(format!("compare/pmf_{name}_{set}.csv")), &text);
        }
        for (state, value, error) in [
            ("alpha_r", alpha, 0.004),
            ("phi_positive", positive, 0.0002),
            ("beta", 1.0 - alpha - positive, 0.004),
        ] {
            let _ = writeln!(populations, "{state},{set},{value},{error}");
        }
        if !of_data {
            let js = if main || *set == "iid" { 0.0105 + 0.0002 * i as f64 } else { 0.22 };
            for (metric, value, error) in [
                ("js", js, 0.0003),
                ("js_train", js + 0.0003, 0.0003),
                ("js_floor", 0.0094, 0.0003),
                ("js_excess", js - 0.0094, 0.0004),
                ("pmf_error", 12.0 * js, 0.004),
                ("pmf_error_train", 12.2 * js, 0.004),
                ("pmf_error_floor", 0.110, 0.002),
                ("pmf_error_excess", 12.0 * js - 0.110, 0.005),
                ("mjs", 0.021, 0.001),
            ] {
                let _ = writeln!(metrics, "{set},{metric},{value:.6},{error},20 blocks of samples");
            }
        }
    }
    write(&directory.join("compare/populations.csv"), &populations);
    write(&directory.join("compare/metrics.csv"), &metrics);
    let mut text = String::from(
        "kind,name,wasserstein_nm_iid,wasserstein_nm_langevin,wasserstein_nm_equilibrium,wasserstein_nm_smc\n",
    );
    for (kind, name, value) in [
        ("bond", "C–N", 2.1e-5),
        ("bond", "N–CA", 3.0e-5),
        ("bond", "CA–C", 2.6e-5),
        ("bond", "C–N (2)", 2.2e-5),
        ("pair", "C–C", 3.1e-4),
        ("pair", "N–N", 2.7e-4),
    ] {
        let _ = writeln!(text, "{kind},{name},{value},{},{},{}", 1.2 * value, 1.1 * value, 1.3 * value);
    }
    write(&directory.join("compare/distances.csv"), &text);
}

fn write_summary(directory: &Path, alpha: f64, main: bool) {
    let mut entries = Vec::new();
    let mut add = |name: String, value: f64, error: f64, unit: &str, method: &str| {
        entries.push(format!(
            r#""{name}": {{"value": {value}, "std_error": {error}, "unit": "{unit}", "method": "{method}"}}"#
        ));
    };
    for (i, set) in SETS.iter().enumerate().skip(2) {
        let js = if main || *set == "iid" { 0.0105 + 0.0002 * i as f64 } else { 0.22 };
        add(
            format!("js_{set}"),
            js,
            0.0003,
            "nat",
            "64 × 64 bins, 50000 against 50000 test frames; 20 blocks",
        );
        add(format!("js_train_{set}"), js + 0.0003, 0.0003, "nat", "against training frames");
        add(format!("js_excess_{set}"), js - 0.0094, 0.0004, "nat", "above the floor");
        add(format!("pmf_error_{set}"), 12.0 * js, 0.004, "kT^2", "63 edges");
        add(format!("pmf_error_excess_{set}"), 12.0 * js - 0.11, 0.005, "kT^2", "above the floor");
    }
    add("js_floor".into(), 0.0094, 0.0003, "nat", "20 random splits");
    add("pmf_error_floor".into(), 0.110, 0.002, "kT^2", "20 random splits");
    for (set, alpha, positive) in [
        ("data", 0.116, 0.0029),
        ("iid", 0.116, 0.0021),
        ("langevin", alpha, 0.0021),
        ("equilibrium", alpha, 0.0021),
        ("smc", alpha, 0.0022),
        ("mbar", alpha, 0.0023),
    ] {
        add(format!("population_alpha_r_{set}"), alpha, 0.004, "1", "20 blocks");
        add(format!("population_phi_positive_{set}"), positive, 0.0002, "1", "20 blocks");
    }
    for (road, value, error) in [("smc", 0.06, 0.061), ("mbar", 0.04, 0.018), ("ti", 0.01, 0.027)] {
        add(
            format!("path_free_energy_{road}"),
            value + if main { 0.0 } else { 7.06 },
            error,
            "kT",
            "block bootstrap",
        );
    }
    add("ess_smc".into(), 3411.0, 55.0, "particles", "Kish");
    add("train_seconds".into(), 213.0, 0.0, "s", "wall time");
    add("total_seconds".into(), 669.1, 0.0, "s", "wall time");
    add("peak_memory_mib".into(), 812.0, 0.0, "MiB", "maximum resident set");
    write(&directory.join("summary.json"), &format!("{{{}}}", entries.join(",\n")));
}
