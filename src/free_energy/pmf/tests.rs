//! Densities of known laws.

use super::*;
use crate::random::fill_normal;

fn normal(n: usize, stream: u64) -> Vec<f64> {
    let mut x = vec![0.0; n];
    fill_normal(&mut Streams::new(3).stream(Purpose::Walker, stream), &mut x);
    x
}

#[test]
fn a_gaussian_has_a_parabola() {
    let (n, axis) = (200_000, Axis::new(-3.0, 3.0, 31, false).unwrap());
    let binned = Binned::new(std::slice::from_ref(&axis), &normal(n, 0)).unwrap();
    let blocks = Blocks::contiguous(n, 50).unwrap();
    let pmf = Pmf::new(&binned, None, Reference::Bin(15), &blocks, 200, &Streams::new(0)).unwrap();
    let width = 6.0 / 31.0;
    let mut chi_squared = 0.0;
    for (center, (value, error)) in axis.centers().iter().zip(pmf.values_kt.iter().zip(&pmf.std_errors_kt)) {
        if *value == 0.0 {
            assert_eq!(*error, 0.0);
            continue;
        }
        // The mean of the density over a bin differs from its middle by h²/24 (x² − 1) of it.
        let middle = |x: f64| 0.5 * x * x - (width * width / 24.0 * (x * x - 1.0)).ln_1p();
        chi_squared += ((value - (middle(*center) - middle(0.0))) / error).powi(2);
    }
    assert!(chi_squared < 30.0 * 2.2, "{chi_squared}");
    assert!((pmf.coverage - 0.9973).abs() < 5e-4);
}

#[test]
fn weights_turn_one_law_into_another() {
    // Uniform angles weighted by exp(cos φ) have F = −cos φ; two periods of images fold back.
    let n = 90_000;
    let phi: Vec<f64> = (0..n)
        .map(|i| 30.0 * (f64::from(i) * 0.618_033_988_749_895).fract())
        .map(|x| x * std::f64::consts::TAU / 10.0)
        .collect();
    let weights: Vec<f64> = phi.iter().map(|phi| phi.cos().exp()).collect();
    let binned = Binned::new(&[Axis::angle(36)], &phi).unwrap();
    let blocks = Blocks::contiguous(n as usize, 10).unwrap();
    let pmf = Pmf::new(&binned, Some(&weights), Reference::Minimum, &blocks, 20, &Streams::new(0)).unwrap();
    for (center, value) in Axis::angle(36).centers().iter().zip(&pmf.values_kt) {
        assert!((value - (0.5_f64.to_radians().cos() - center.cos())).abs() < 0.015, "{center} {value}");
    }
}

#[test]
fn what_nothing_visited_is_nan_and_never_zero() {
    let axes = [Axis::new(0.0, 2.0, 2, false).unwrap(), Axis::new(0.0, 3.0, 3, false).unwrap()];
    let samples = [0.5, 0.5, 0.5, 0.5, 1.5, 2.5, 9.0, 0.5, f64::NAN, 0.0, 0.5, 3.0];
    let binned = Binned::new(&axes, &samples).unwrap();
    let blocks = Blocks::new(&[0, 1, 1, 1, 1, 1]).unwrap();
    let pmf = Pmf::new(&binned, None, Reference::Probability, &blocks, 50, &Streams::new(0)).unwrap();
    assert!((pmf.values_kt[0] - 2.0_f64.ln()).abs() < 1e-12);
    assert!((pmf.values_kt[5] - 4.0_f64.ln()).abs() < 1e-12);
    assert!((pmf.values_kt[2] - 4.0_f64.ln()).abs() < 1e-12, "the upper end belongs to the last bin");
    assert!([1, 3, 4].iter().all(|&bin| pmf.values_kt[bin].is_nan() && pmf.std_errors_kt[bin].is_nan()));
    assert!(pmf.std_errors_kt[5].is_nan(), "a single block says nothing about its spread");
    assert!((pmf.coverage - 4.0 / 6.0).abs() < 1e-12);
}

/// One Metropolis-free draw per sample from exp(κ cos(x − a)) by rejection.
fn von_mises(n: usize, kappa: f64, center: f64, stream: u64) -> Vec<f64> {
    use rand::Rng as _;
    let mut rng = Streams::new(8).stream(Purpose::Walker, stream);
    let mut x = Vec::with_capacity(n);
    while x.len() < n {
        let trial = rng.random_range(-std::f64::consts::PI..std::f64::consts::PI);
        if rng.random::<f64>() < (kappa * (f64::cos(trial - center) - 1.0)).exp() {
            x.push(trial);
        }
    }
    x
}

fn of(method: &Method, axes: &[Axis], values: &[f64], reference: &Reference) -> Pmf {
    let n = values.len() / axes.len();
    let (weights, g) = (vec![1.0; n], vec![1.0; n]);
    let density = Density::new(method, axes, values, &weights, &g).unwrap();
    let strata = Strata::new(&[n], &[1.0]).unwrap();
    let weigh = |count: Option<&[f64]>| Some(count.map_or_else(|| weights.clone(), <[f64]>::to_vec));
    Pmf::estimate(&density, &weigh, reference, &strata, 60, &Streams::new(0)).unwrap()
}

const KERNEL: Method = Method::Kernel { bandwidth: Vec::new(), bounds: Vec::new() };
const SPLINE: Method = Method::Spline { n_intervals: None };

#[test]
fn a_periodic_surface_is_found_by_every_method() {
    // F = −2 cos(x − 3) − cos(y + 3): its minimum lies across the seam of both axes. Bins of 30 degrees average the
    // density over sinc(15°)-like factors, which are exact for a kernel and a spline at their middle only.
    let n = 20_000;
    let (x, y) = (von_mises(n, 2.0, 3.0, 0), von_mises(n, 1.0, -3.0, 1));
    // Whole turns away from the axis are the same place.
    let turn = std::f64::consts::TAU;
    let values: Vec<f64> = x.iter().zip(&y).flat_map(|(x, y)| [x + turn, y - 2.0 * turn]).collect();
    let axes = [Axis::angle(24), Axis::angle(24)];
    for (method, bias) in [(Method::Histogram, 0.02), (KERNEL, 0.12), (SPLINE, 0.02)] {
        let pmf = of(&method, &axes, &values, &Reference::Point(vec![3.0, -3.0]));
        let centers = Binned::new(&axes, &[]).unwrap().centers();
        let exact = |c: &[f64]| -2.0 * (c[0] - 3.0).cos() - (c[1] + 3.0).cos();
        let zero = centers[pmf.values_kt.iter().position(|value| *value == 0.0).unwrap()].clone();
        let (mut outside, mut seen) = (0, 0);
        for (bin, center) in centers.iter().enumerate() {
            let (value, error) = (pmf.values_kt[bin], pmf.std_errors_kt[bin]);
            let difference = value - (exact(center) - exact(&zero));
            if error.is_finite() && error < 0.3 {
                seen += 1;
                outside += usize::from(difference.abs() > 3.0 * error + bias);
            }
        }
        assert!(seen > 250 && outside * 50 < seen, "{method:?}: {outside} of {seen}");
    }
}

#[test]
fn smooth_densities_of_a_double_well() {
    // Two Gaussians at ±1.5 of width 0.5.
    let n = 40_000;
    let x: Vec<f64> =
        normal(n, 5).iter().enumerate().map(|(i, z)| 0.5 * z + if i % 2 == 0 { 1.5 } else { -1.5 }).collect();
    let exact = |s: f64| -((-2.0 * (s - 1.5_f64).powi(2)).exp() + (-2.0 * (s + 1.5_f64).powi(2)).exp()).ln();
    let axis = Axis::new(-2.5, 2.5, 25, false).unwrap();
    let narrow = Method::Kernel { bandwidth: vec![0.05], bounds: Vec::new() };
    for (method, bias) in [(SPLINE, 0.03), (narrow, 0.06)] {
        let pmf = of(&method, std::slice::from_ref(&axis), &x, &Reference::Point(vec![0.0]));
        for (center, (value, error)) in
            axis.centers().iter().zip(pmf.values_kt.iter().zip(&pmf.std_errors_kt))
        {
            let difference = value - (exact(*center) - exact(0.0));
            assert!(
                *error < 0.2 && difference.abs() < 4.0 * error + bias,
                "{method:?} {center}: {difference} ± {error}"
            );
        }
    }
}

/// Σ over bins of the squared deviation in standard errors, the largest deviation in them, and the number of bins.
fn deviations(pmf: &Pmf, exact: impl Fn(f64) -> f64, most: f64) -> (f64, f64, f64) {
    let centers = pmf.axes[0].centers();
    let zero = pmf.values_kt.iter().position(|value| *value == 0.0).unwrap();
    let known =
        (0..centers.len()).filter(|bin| pmf.std_errors_kt[*bin] > 0.0 && pmf.std_errors_kt[*bin] < most);
    known.fold((0.0, 0.0, 0.0), |(sum, largest, n), bin| {
        let difference = pmf.values_kt[bin] - exact(centers[bin]) + exact(centers[zero]);
        let sigma = difference / pmf.std_errors_kt[bin];
        (sum + sigma * sigma, f64::max(largest, sigma.abs()), n + 1.0)
    })
}

#[test]
fn the_bandwidth_of_narrow_peaks_far_apart_is_that_of_the_peaks() {
    // Two Gaussians at ±2 of width 0.3: the rule of thumb, from the spread of both, would take 0.25.
    let n = 10_000;
    let exact =
        |s: f64| -((-(s - 2.0_f64).powi(2) / 0.18).exp() + (-(s + 2.0_f64).powi(2) / 0.18).exp()).ln();
    let axis = Axis::new(-3.0, 3.0, 60, false).unwrap();
    for stream in 0..3 {
        let x: Vec<f64> = normal(n, 20 + stream)
            .iter()
            .enumerate()
            .map(|(i, z)| 0.3 * z + if i % 2 == 0 { 2.0 } else { -2.0 })
            .collect();
        let reference = Reference::Point(vec![2.05]);
        let pmf = of(&KERNEL, std::slice::from_ref(&axis), &x, &reference);
        let (sum, largest, n_bins) = deviations(&pmf, exact, 0.3);
        assert!(n_bins > 25.0 && largest < 4.0 && sum < 2.0 * n_bins, "{sum} {largest} of {n_bins}: {pmf:?}");
        assert_eq!(pmf.oversmoothed, None);
        // The rule's own bandwidth is named, and errors contain what it does.
        let wide = Method::Kernel { bandwidth: vec![0.25], bounds: Vec::new() };
        let pmf = of(&wide, std::slice::from_ref(&axis), &x, &reference);
        let (_, bias) = pmf.oversmoothed.unwrap();
        assert!(bias > 0.2 && pmf.error_method.contains("2.500e-1"), "{bias}");
    }
}

#[test]
fn a_kernel_too_fine_for_its_axis_is_refused() {
    let axis = Axis::new(0.0, 1.0, 1_000_000, false).unwrap();
    let method = Method::Kernel { bandwidth: vec![0.01], bounds: Vec::new() };
    assert!(Density::new(&method, &[axis], &[0.2, 0.3], &[1.0; 2], &[1.0; 2]).is_err());
}

#[test]
fn kernels_are_reflected_at_a_hard_end() {
    // exp(−r) for r > 0: without reflection the density at the end is half of what it should be.
    use rand::Rng as _;
    let mut rng = Streams::new(1).stream(Purpose::Walker, 9);
    let x: Vec<f64> = (0..40_000).map(|_| -(1.0 - rng.random::<f64>()).ln()).collect();
    let axis = Axis::new(0.0, 2.0, 40, false).unwrap();
    let at_end = |bounds: Vec<(f64, f64)>| {
        let method = Method::Kernel { bandwidth: vec![0.1], bounds };
        of(&method, std::slice::from_ref(&axis), &x, &Reference::Point(vec![1.0])).values_kt[0]
    };
    // The middles of the bins are 0.025 and 1.025; the slope at the end of an even density is lost over h.
    assert!(
        (at_end(vec![(0.0, f64::INFINITY)]) + 1.0).abs() < 0.09,
        "{}",
        at_end(vec![(0.0, f64::INFINITY)])
    );
    assert!(at_end(Vec::new()) > -0.6, "{}", at_end(Vec::new()));
}

#[test]
fn unequal_bins_are_densities_and_regions_are_means() {
    let axis = Axis::with_edges(vec![0.0, 0.1, 0.5, 1.0], false).unwrap();
    let x: Vec<f64> = (0..1000).map(|i| (f64::from(i) + 0.5) / 1000.0).collect();
    let pmf = of(&Method::Histogram, std::slice::from_ref(&axis), &x, &Reference::Region(vec![(0.0, 0.4)]));
    assert!(pmf.values_kt.iter().all(|value| value.abs() < 1e-12), "{:?}", pmf.values_kt);
    assert!((pmf.probability[2] - 0.5).abs() < 1e-12);
    // An ideal gas, p ∝ r², is flat without its Jacobian; its probabilities stay what they are.
    let r: Vec<f64> = x.iter().map(|u| u.cbrt()).collect();
    let density = Density::histogram(Binned::new(&[axis], &r).unwrap()).without_jacobian(0).unwrap();
    let strata = Strata::new(&[1000], &[1.0]).unwrap();
    let weigh = |count: Option<&[f64]>| Some(count.map_or_else(|| vec![1.0; 1000], <[f64]>::to_vec));
    let pmf = Pmf::estimate(&density, &weigh, &Reference::Bin(2), &strata, 5, &Streams::new(0)).unwrap();
    assert!(pmf.values_kt[1].abs() < 0.01 && (pmf.probability[2] - 0.875).abs() < 0.002, "{pmf:?}");
}

#[test]
fn references_without_samples_are_refused() {
    let axis = Axis::new(0.0, 1.0, 2, false).unwrap();
    let density = Density::histogram(Binned::new(&[axis], &[0.1, 0.2, 0.3]).unwrap());
    let strata = Strata::new(&[3], &[1.0]).unwrap();
    let weigh = |count: Option<&[f64]>| Some(count.map_or_else(|| vec![1.0; 3], <[f64]>::to_vec));
    for reference in
        [Reference::Bin(1), Reference::Bin(2), Reference::Point(vec![7.0]), Reference::Region(vec![])]
    {
        assert!(Pmf::estimate(&density, &weigh, &reference, &strata, 5, &Streams::new(0)).is_err());
    }
}

/// Share of 95 % intervals that contain the truth, over series x' = ρ x + √(1 − ρ²) z of F = ½ x².
fn coverage(n_seeds: u64, method: &Method) -> f64 {
    let axis = Axis::new(-2.0, 2.0, 11, false).unwrap();
    let mean = |pair: &[f64]| {
        let at = |i: usize| pair[0] + (pair[1] - pair[0]) * (i as f64 + 0.5) / 50.0;
        -((0..50).map(|i| (-0.5 * at(i).powi(2)).exp()).sum::<f64>() / 50.0).ln()
    };
    let middle = |x: &f64| 0.5 * x * x;
    let exact: Vec<f64> = match method {
        Method::Histogram => axis.edges().windows(2).map(mean).collect(),
        _ => axis.centers().iter().map(middle).collect(),
    };
    let outcomes: Vec<(usize, usize)> = (0..n_seeds)
        .into_par_iter()
        .map(|seed| {
            let mut x = normal(3000, 1000 + seed);
            for i in 1..x.len() {
                x[i] = 0.7 * x[i - 1] + 0.51_f64.sqrt() * x[i];
            }
            let g = series::inefficiency(&x, &[None]);
            let (weights, axes) = (vec![1.0; x.len()], [axis.clone()]);
            let density = Density::new(method, &axes, &x, &weights, &vec![g; x.len()]).unwrap();
            let strata = Strata::new(&[x.len()], &[g]).unwrap();
            let weigh = |count: Option<&[f64]>| Some(count.map_or_else(|| weights.clone(), <[f64]>::to_vec));
            let pmf = Pmf::estimate(&density, &weigh, &Reference::Bin(5), &strata, 100, &Streams::new(seed))
                .unwrap();
            let inside = |bin: &usize| {
                (pmf.values_kt[*bin] - exact[*bin] + exact[5]).abs() < 1.96 * pmf.std_errors_kt[*bin]
            };
            let bins = (0..11).filter(|bin| *bin != 5);
            (bins.clone().filter(inside).count(), bins.count())
        })
        .collect();
    let sum = |of: fn(&(usize, usize)) -> usize| outcomes.iter().map(of).sum::<usize>() as f64;
    sum(|outcome| outcome.0) / sum(|outcome| outcome.1)
}

#[test]
fn error_bars_of_correlated_series_cover() {
    // Ten correlated bins of 150 seeds: about 500 independent ones, which tell a share to 1 %.
    for method in [Method::Histogram, SPLINE] {
        let share = coverage(150, &method);
        assert!((share - 0.95).abs() < 0.035, "{method:?}: {share}");
    }
}

/// The same with 2,000 seeds: `cargo test --release -- --ignored coverage`.
#[test]
#[ignore = "takes a minute"]
fn coverage_of_many_seeds() {
    for method in [Method::Histogram, KERNEL, SPLINE] {
        let share = coverage(2000, &method);
        assert!((share - 0.95).abs() < 0.02, "{method:?}: {share}");
    }
}
