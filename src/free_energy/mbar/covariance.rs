//! The asymptotic covariance of an MBAR solution, from products of weights alone.
//!
//! With w_an the normalised weight of sample n in state a, c_ka = Σ_n c_n p_kn w_an over the sampled
//! states k and L the Laplacian of the shared samples s_ij = Σ_n c_n p_in p_jn,
//! cov(f_a − f_0, f_b − f_0) = (w_a − w_0)·(w_b − w_0) + (c_a − c_0)ᵀ L⁻ (c_b − c_0), which is the
//! covariance of Kong et al. (2003) without its gauge. All of it follows from the K × K products of
//! weights; the Laplacian is solved without cancellation however small the overlap.

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};

/// Two states are linked when they share at least this many samples: with fewer, the standard error
/// of their difference exceeds 3 kT and rests on less than one sample.
pub(super) const MIN_SHARED_SAMPLES: f64 = 0.1;
/// A target potential whose weight lies in several unlinked groups of states to more than this share
/// has no free energy relative to any of them.
pub(super) const STRAY_WEIGHT: f64 = 0.05;

/// Two groups of states between which an overlap is missing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MissingOverlap {
    /// The pair of states, one of each group, that comes closest to an overlap.
    pub states: (usize, usize),
    /// The samples that the two share; far less than one.
    pub shared_samples: f64,
}

/// Products of weights, and what follows from them.
pub(super) struct Moments {
    sampled: Vec<usize>,
    counts: Vec<f64>,
    /// Σ_n c_n w_an w_bn over all states; NaN for states without a free energy.
    pub gram: DMatrix<f64>,
    /// s_ij over the sampled states.
    pub shared: DMatrix<f64>,
    /// Linked groups of sampled states, as positions in `sampled`.
    pub groups: Vec<Vec<usize>>,
    laplacians: Vec<Option<Cholesky<f64, Dyn>>>,
}

impl Moments {
    pub fn new(sampled: &[usize], counts: &[f64], gram: DMatrix<f64>, shared: DMatrix<f64>) -> Self {
        let groups = linked_groups(&shared);
        let laplacians = groups
            .iter()
            .map(|group| if group.len() > 1 { grounded_laplacian(&shared, group, 0.0) } else { None })
            .collect();
        Self { sampled: sampled.to_vec(), counts: counts.to_vec(), gram, shared, groups, laplacians }
    }

    /// The group of a sampled state.
    pub fn group_of(&self, state: usize) -> Option<usize> {
        let place = self.sampled.iter().position(|&k| k == state)?;
        self.groups.iter().position(|group| group.contains(&place))
    }

    /// c_ka of a state over the sampled states k.
    pub fn c_of_state(&self, state: usize) -> Vec<f64> {
        self.sampled.iter().zip(&self.counts).map(|(&k, count)| count * self.gram[(k, state)]).collect()
    }

    /// var(f_to − f_from); `None` without overlap.
    pub fn variance(&self, from: usize, to: usize) -> Option<f64> {
        let stray = match (self.group_of(from), self.group_of(to)) {
            (Some(a), Some(b)) if a != b => return None,
            (Some(_), Some(_)) => f64::INFINITY,
            _ => STRAY_WEIGHT,
        };
        let overlap = self.gram[(from, from)] + self.gram[(to, to)] - 2.0 * self.gram[(from, to)];
        self.variance_between(overlap, &self.c_of_state(from), &self.c_of_state(to), stray)
    }

    /// |w_a − w_b|² + (c_a − c_b)ᵀ L⁻ (c_a − c_b) for any two potentials.
    pub fn variance_between(&self, overlap: f64, c_from: &[f64], c_to: &[f64], stray: f64) -> Option<f64> {
        let d: Vec<f64> = c_to.iter().zip(c_from).map(|(to, from)| to - from).collect();
        if !overlap.is_finite() || d.iter().any(|d| !d.is_finite()) {
            return None;
        }
        Some((overlap + self.laplacian_form(&d, stray)?).max(0.0))
    }

    /// dᵀ L⁻ d; `None` when d has a net weight in a group, which nothing there holds in place.
    ///
    /// `stray` is the net weight that is still taken for none.
    pub fn laplacian_form(&self, d: &[f64], stray: f64) -> Option<f64> {
        let mut total = 0.0;
        for (group, laplacian) in self.groups.iter().zip(&self.laplacians) {
            let net: f64 = group.iter().map(|&i| d[i]).sum();
            if self.groups.len() > 1 && net.abs() > stray {
                return None;
            }
            if group.len() > 1 {
                let right = DVector::from_iterator(group.len() - 1, group[1..].iter().map(|&i| d[i]));
                total += right.dot(&laplacian.as_ref()?.solve(&right));
            }
        }
        Some(total)
    }

    /// The step −L⁻ g that takes a gradient away within each group, its first state held; a group without
    /// a factor stays.
    pub fn step(&self, gradient: &[f64], step: &mut [f64]) {
        step.fill(0.0);
        for (group, laplacian) in self.groups.iter().zip(&self.laplacians) {
            let Some(laplacian) = laplacian else { continue };
            let mut right = DVector::from_iterator(group.len() - 1, group[1..].iter().map(|&i| -gradient[i]));
            laplacian.solve_mut(&mut right);
            group[1..].iter().zip(right.iter()).for_each(|(&i, x)| step[i] = *x);
        }
    }

    /// cov(f_a − f_0, f_b − f_0), `[a][b]` of all states.
    ///
    /// A state that nothing links to state 0 has an infinite variance, and its covariances are NaN, as is
    /// everything of a state without a free energy.
    pub fn covariance(&self) -> Vec<f64> {
        let n = self.gram.nrows();
        // cov = ½ (var_a0 + var_b0 − var_ab) would lose digits; the two terms are bilinear instead.
        let z: Vec<Option<Vec<f64>>> = (0..n)
            .map(|state| self.variance(0, state).and_then(|_| self.half_form(&self.c_of_state(state))))
            .collect();
        let mut covariance = vec![f64::NAN; n * n];
        for a in 0..n {
            for b in 0..=a {
                let g = |i, j| self.gram[(i, j)];
                let value = match (&z[0], &z[a], &z[b]) {
                    (Some(origin), Some(za), Some(zb)) => {
                        let pairs = origin.iter().zip(za).zip(zb);
                        let form: f64 = pairs.map(|((origin, a), b)| (a - origin) * (b - origin)).sum();
                        g(a, b) - g(a, 0) - g(0, b) + g(0, 0) + form
                    }
                    _ if a == b && g(a, a).is_finite() => f64::INFINITY,
                    _ => f64::NAN,
                };
                // Not `max`, which would make a variance of 0 from NaN.
                let value = if a == b && value < 0.0 { 0.0 } else { value };
                covariance[a * n + b] = value;
                covariance[b * n + a] = value;
            }
        }
        covariance
    }

    /// A vector whose products with others of its kind are cᵀ L⁻ c.
    fn half_form(&self, c: &[f64]) -> Option<Vec<f64>> {
        let mut half = Vec::with_capacity(c.len());
        for (group, laplacian) in
            self.groups.iter().zip(&self.laplacians).filter(|(group, _)| group.len() > 1)
        {
            let mut right = DVector::from_iterator(group.len() - 1, group[1..].iter().map(|&i| c[i]));
            laplacian.as_ref()?.l_dirty().solve_lower_triangular_mut(&mut right);
            half.extend(right.iter());
        }
        Some(half)
    }

    /// For each group but one, where it comes closest to those before it.
    pub fn missing_overlaps(&self) -> Vec<MissingOverlap> {
        let mut joined: Vec<usize> = self.groups.first().cloned().unwrap_or_default();
        let mut left: Vec<&Vec<usize>> = self.groups.iter().skip(1).collect();
        let mut missing = Vec::new();
        while !left.is_empty() {
            let pairs = left.iter().enumerate().flat_map(|(g, group)| {
                let joined = &joined;
                group.iter().flat_map(move |&j| joined.iter().map(move |&i| (g, i, j)))
            });
            // Of pairs that share nothing at all, those next to each other in the order of states.
            let closest = pairs.max_by(|a, b| {
                let key = |&(_, i, j): &(usize, usize, usize)| self.shared[(i, j)];
                let distance = |&(_, i, j): &(usize, usize, usize)| i.abs_diff(j);
                key(a).total_cmp(&key(b)).then(distance(b).cmp(&distance(a))).then(b.cmp(a))
            });
            let Some((g, i, j)) = closest else { break };
            missing.push(MissingOverlap {
                states: (self.sampled[i.min(j)], self.sampled[i.max(j)]),
                shared_samples: self.shared[(i, j)],
            });
            joined.extend(left.remove(g));
        }
        missing
    }
}

/// Connected components of the graph of states that share enough samples.
fn linked_groups(shared: &DMatrix<f64>) -> Vec<Vec<usize>> {
    let n = shared.nrows();
    let mut group_of: Vec<Option<usize>> = vec![None; n];
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for seed in 0..n {
        if group_of[seed].is_some() {
            continue;
        }
        let group = groups.len();
        group_of[seed] = Some(group);
        let (mut members, mut next) = (vec![seed], 0);
        while next < members.len() {
            let i = members[next];
            for j in 0..n {
                if group_of[j].is_none() && shared[(i, j)] >= MIN_SHARED_SAMPLES {
                    group_of[j] = Some(group);
                    members.push(j);
                }
            }
            next += 1;
        }
        members.sort_unstable();
        groups.push(members);
    }
    groups
}

/// The Laplacian of a graph without its first row and column, factorised.
///
/// `damping` is added to the diagonal.
pub(super) fn grounded_laplacian(
    shared: &DMatrix<f64>,
    members: &[usize],
    damping: f64,
) -> Option<Cholesky<f64, Dyn>> {
    let rest = &members[1..];
    let mut laplacian = DMatrix::zeros(rest.len(), rest.len());
    for (row, &i) in rest.iter().enumerate() {
        for (column, &j) in rest.iter().enumerate() {
            laplacian[(row, column)] = -shared[(i, j)];
        }
        let degree: f64 = members.iter().filter(|&&j| j != i).map(|&j| shared[(i, j)]).sum();
        laplacian[(row, row)] = degree + damping;
    }
    Cholesky::new(laplacian)
}
