//! Invariant features of a molecule with all its atoms: the coordinates in which force fields are simple.
//!
//! | feature | atoms | at small noise the energy is |
//! |---|---|---|
//! | √(D + e) | bonds | quadratic |
//! | cosine of the angle, smoothed | two bonds | nearly quadratic |
//! | signed volume of three bonds | an atom with three neighbours | quadratic (planar) or odd (chiral) |
//! | the same of sums over branches | an atom with three branches, two bonds deep and whole | odd |
//! | volume of a bond and sums over what is behind it | paths of three bonds with groups at an end | odd |
//! | 1/√(D + e) | pairs three or more bonds apart | linear: Coulomb, generalised Born |
//! | its sixth and twelfth power | the same | linear: Lennard-Jones |
//! | cos nφ, sin nφ smoothed, n ≤ 3 | paths of three bonds | linear |
//!
//! Volumes of sums over branches tell mirror images, and to which side a group is turned, from noise that has drowned
//! the volumes of single bonds: long arms carry more signal.
//!
//! Here D is the squared distance. Noise makes D grow by 6 g² and its fluctuations by as much, so e = 3 g² keeps
//! each of them smooth at every noise level; far out in noise they are all functions of D alone. Powers and
//! multiples of dihedrals enter the energy only linearly, the rest also a network.

use super::features::Features;
use super::program::{Program, Unary, Value};

/// e of a squared distance, per g².
const SMOOTHING: f64 = 3.0;
/// e of a squared distance without noise: a thousandth of the length scale.
const SMALLEST: f64 = 1e-6;
/// e of |n₁|²|n₂|² in a dihedral per g², and without noise: bonds have about half a unit of length.
const DIHEDRAL_SMOOTHING: f64 = 0.05;
const SMALLEST_DIHEDRAL: f64 = 1e-5;

/// Which internal coordinates of a molecule are features.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AtomicFeatures {
    /// Atoms.
    pub n_atoms: usize,
    /// All pairs: bonds, then those across an angle, then the others.
    pub pairs: Vec<[usize; 2]>,
    /// How many of the pairs are bonds.
    pub n_bonds: usize,
    /// How many pairs are closer than three bonds.
    pub n_close: usize,
    /// Angles i–j–k as the pairs (i, j), (j, k), (i, k).
    pub angles: Vec<[usize; 3]>,
    /// A centre and three of its neighbours.
    pub volumes: Vec<[usize; 4]>,
    /// Paths of three bonds; the first `n_rotors` turn about different bonds.
    pub dihedrals: Vec<[usize; 4]>,
    /// How many bonds have atoms on either side.
    pub n_rotors: usize,
    /// Volumes of three sums of bonds.
    pub branches: Vec<[Arm; 3]>,
}

/// Σ (r_atom − r_origin).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arm {
    /// Where it begins.
    pub origin: usize,
    /// To which atoms it leads.
    pub atoms: Vec<usize>,
}

/// Atoms on the side of `first` of the bond from `origin`.
fn side(neighbours: &[Vec<usize>], origin: usize, first: usize) -> Vec<usize> {
    let mut found = vec![first];
    let mut next = 0;
    while let Some(&atom) = found.get(next) {
        for &other in &neighbours[atom] {
            if other != origin && !found.contains(&other) {
                found.push(other);
            }
        }
        next += 1;
    }
    found.sort_unstable();
    found
}

impl AtomicFeatures {
    /// The features of a molecule.
    pub fn new(n_atoms: usize, bonds: &[[usize; 2]], dihedrals: &[[usize; 4]]) -> Self {
        let mut neighbours = vec![vec![]; n_atoms];
        for &[i, j] in bonds {
            neighbours[i].push(j);
            neighbours[j].push(i);
        }
        neighbours.iter_mut().for_each(|of| of.sort_unstable());
        let angle_atoms: Vec<[usize; 3]> = (0..n_atoms)
            .flat_map(|j| choose(&neighbours[j]).map(move |[i, k]| [i, j, k]).collect::<Vec<_>>())
            .collect();
        let is_bond = |i: usize, j: usize| neighbours[i].contains(&j);
        let across = |i: usize, j: usize| neighbours[i].iter().any(|&k| is_bond(k, j));
        let all = || (0..n_atoms).flat_map(|i| (i + 1..n_atoms).map(move |j| [i, j]));
        let mut pairs: Vec<[usize; 2]> = all().filter(|&[i, j]| is_bond(i, j)).collect();
        let n_bonds = pairs.len();
        pairs.extend(all().filter(|&[i, j]| !is_bond(i, j) && across(i, j)));
        let n_close = pairs.len();
        pairs.extend(all().filter(|&[i, j]| !is_bond(i, j) && !across(i, j)));

        let index = |i: usize, j: usize| {
            pairs.iter().position(|pair| *pair == [i.min(j), i.max(j)]).expect("all pairs are there")
        };
        let angles = angle_atoms.iter().map(|&[i, j, k]| [index(i, j), index(j, k), index(i, k)]).collect();
        let mut volumes = vec![];
        for (centre, of) in neighbours.iter().enumerate() {
            for (a, &i) in of.iter().enumerate() {
                for [j, k] in choose(&of[a + 1..]) {
                    volumes.push([centre, i, j, k]);
                }
            }
        }
        let near = |centre: usize, first: usize| -> Vec<usize> {
            let mut found: Vec<usize> =
                neighbours[first].iter().copied().filter(|&atom| atom != centre).collect();
            found.push(first);
            found.sort_unstable();
            found
        };
        let far = |centre: usize, first: usize| side(&neighbours, centre, first);
        let arms = |&[centre, i, j, k]: &[usize; 4], branch: &dyn Fn(usize, usize) -> Vec<usize>| {
            [i, j, k].map(|first| Arm { origin: centre, atoms: branch(centre, first) })
        };
        let mut branches: Vec<[Arm; 3]> = volumes.iter().map(|volume| arms(volume, &near)).collect();
        branches.extend(volumes.iter().map(|volume| arms(volume, &far)));
        branches.extend(dihedrals.iter().map(|&[i, j, k, l]| {
            let along = Arm { origin: j, atoms: vec![k] };
            [Arm { origin: j, atoms: far(j, i) }, along, Arm { origin: k, atoms: far(k, l) }]
        }));
        // Without groups there is nothing new, and in a ring an arm leads back to its beginning.
        let mut kept: Vec<[Arm; 3]> = vec![];
        for arms in branches {
            let overlap = |a: &Arm, b: &Arm| a.atoms.iter().any(|atom| b.atoms.contains(atom));
            let origins = arms.iter().map(|arm| arm.origin);
            let returns = origins.clone().any(|origin| {
                arms.iter()
                    .any(|arm| arm.atoms.len() > 1 && arm.origin != origin && arm.atoms.contains(&origin))
            });
            let [a, b, c] = &arms;
            let is_new = arms.iter().any(|arm| arm.atoms.len() > 1) && !kept.contains(&arms);
            if is_new && !returns && !overlap(a, b) && !overlap(b, c) && !overlap(a, c) {
                kept.push(arms);
            }
        }
        let branches = kept;
        let mut axes: Vec<[usize; 2]> = vec![];
        let (mut first, mut others) = (vec![], vec![]);
        for dihedral in dihedrals {
            let axis = [dihedral[1].min(dihedral[2]), dihedral[1].max(dihedral[2])];
            if axes.contains(&axis) {
                others.push(*dihedral);
            } else {
                axes.push(axis);
                first.push(*dihedral);
            }
        }
        let n_rotors = first.len();
        first.extend(others);
        Self { n_atoms, pairs, n_bonds, n_close, angles, volumes, dihedrals: first, n_rotors, branches }
    }

    /// Features that a network sees: all but powers and multiples.
    pub fn n_inputs(&self) -> usize {
        self.n_stiff() + self.pairs.len() - self.n_close + 2 * self.n_rotors + self.branches.len()
    }

    /// Bonds, angles and volumes, which come first.
    pub fn n_stiff(&self) -> usize {
        self.n_bonds + self.angles.len() + self.volumes.len()
    }

    /// As part of a program: rows are features, one item. `variance` is the time row g².
    pub fn program(&self, program: &mut Program, x: Value, variance: Value) -> Value {
        let p = program;
        let (n_pairs, n_far) = (self.pairs.len(), self.pairs.len() - self.n_close);
        let softening = |p: &mut Program, per_variance: f64, least: f64| {
            let scaled = p.scale(variance, per_variance as f32);
            p.shift(scaled, least as f32)
        };
        let smoothing = softening(p, SMOOTHING, SMALLEST);
        let pairs: Vec<[usize; 2]> = self.pairs.iter().map(|&[i, j]| [j, i]).collect();
        let r = p.gather_pairs(x, pairs, -1.0);
        let squares = p.dot(r, r);
        let softened = p.add(squares, smoothing);
        let inverse = p.unary(softened, Unary::InverseSqrt);
        let column = |p: &mut Program, value: Value, n: usize| p.reshape(value, n, 1);

        let mut parts = vec![];
        let (lengths, inverses) = (column(p, softened, n_pairs), column(p, inverse, n_pairs));
        if self.n_bonds > 0 {
            let (a, b) = (p.slice_rows(lengths, 0, self.n_bonds), p.slice_rows(inverses, 0, self.n_bonds));
            parts.push(p.multiply(a, b));
        }
        if !self.angles.is_empty() {
            let ends: Vec<[usize; 2]> = self.angles.iter().map(|&[a, b, _]| [a, b]).collect();
            let (first, second): (Vec<usize>, Vec<usize>) = ends.iter().map(|&[a, b]| (a, b)).unzip();
            let opposite: Vec<usize> = self.angles.iter().map(|&[_, _, c]| c).collect();
            let sum = p.gather_pairs(squares, ends, 1.0);
            let opposite = p.gather(squares, opposite);
            let twice = p.subtract(sum, opposite);
            let (first, second) = (p.gather(inverse, first), p.gather(inverse, second));
            let scale = p.multiply(first, second);
            let cosine = p.multiply(twice, scale);
            parts.push(column(p, cosine, self.angles.len()));
        }
        let bonds_of = |p: &mut Program, quadruples: &[[usize; 4]], ends: [[usize; 2]; 3]| {
            ends.map(|[from, to]| {
                let pairs: Vec<[usize; 2]> = quadruples.iter().map(|q| [q[to], q[from]]).collect();
                p.gather_pairs(x, pairs, -1.0)
            })
        };
        if !self.volumes.is_empty() {
            let [a, b, c] = bonds_of(p, &self.volumes, [[0, 1], [0, 2], [0, 3]]);
            let normal = p.cross(a, b);
            let volume = p.dot(normal, c);
            parts.push(column(p, volume, self.volumes.len()));
        }
        if n_far > 0 {
            parts.push(p.slice_rows(inverses, self.n_close, n_far));
        }
        let mut multiples = vec![];
        let n = self.dihedrals.len();
        if n > 0 {
            let [b1, b2, b3] = bonds_of(p, &self.dihedrals, [[0, 1], [1, 2], [2, 3]]);
            let (n1, n2) = (p.cross(b1, b2), p.cross(b2, b3));
            let cosine = p.dot(n1, n2);
            let square = p.dot(b2, b2);
            let shifted = p.shift(square, SMALLEST as f32);
            let root = p.unary(shifted, Unary::InverseSqrt);
            let length = p.multiply(square, root);
            let sine = p.dot(b1, n2);
            let sine = p.multiply(sine, length);
            let (cosine_squared, sine_squared) = (p.multiply(cosine, cosine), p.multiply(sine, sine));
            let sum = p.add(cosine_squared, sine_squared);
            let dihedral_smoothing = softening(p, DIHEDRAL_SMOOTHING, SMALLEST_DIHEDRAL);
            let sum = p.add(sum, dihedral_smoothing);
            let scale = p.unary(sum, Unary::InverseSqrt);
            let (cosine, sine) = (p.multiply(cosine, scale), p.multiply(sine, scale));
            let (c1, s1) = (column(p, cosine, n), column(p, sine, n));
            let (c2, s2) = angle_sum(p, [c1, s1], [c1, s1]);
            let (c3, s3) = angle_sum(p, [c1, s1], [c2, s2]);
            for circle in [c1, s1] {
                parts.push(p.slice_rows(circle, 0, self.n_rotors));
            }
            let rest = n - self.n_rotors;
            if rest > 0 {
                multiples.extend([c1, s1].map(|circle| p.slice_rows(circle, self.n_rotors, rest)));
            }
            multiples.extend([c2, s2, c3, s3]);
        }
        if !self.branches.is_empty() {
            let sums = [0, 1, 2].map(|corner| {
                let mut pairs = vec![];
                let mut index = vec![];
                for (feature, arms) in self.branches.iter().enumerate() {
                    let Arm { origin, atoms } = &arms[corner];
                    pairs.extend(atoms.iter().map(|&atom| [atom, *origin]));
                    index.resize(pairs.len(), feature);
                }
                let bonds = p.gather_pairs(x, pairs, -1.0);
                p.scatter_sum(bonds, index, self.branches.len())
            });
            let normal = p.cross(sums[0], sums[1]);
            let volume = p.dot(normal, sums[2]);
            parts.push(column(p, volume, self.branches.len()));
        }
        if n_far > 0 {
            let far = p.slice_rows(inverses, self.n_close, n_far);
            let second = p.multiply(far, far);
            let fourth = p.multiply(second, second);
            let sixth = p.multiply(second, fourth);
            let twelfth = p.multiply(sixth, sixth);
            parts.extend([sixth, twelfth]);
        }
        parts.extend(multiples);
        p.concat(parts)
    }
}

/// Pairs of a list.
fn choose(of: &[usize]) -> impl Iterator<Item = [usize; 2]> + '_ {
    (0..of.len()).flat_map(move |a| (a + 1..of.len()).map(move |b| [of[a], of[b]]))
}

/// Cosine and sine of a sum of angles.
fn angle_sum(p: &mut Program, [ca, sa]: [Value; 2], [cb, sb]: [Value; 2]) -> (Value, Value) {
    let (cc, ss) = (p.multiply(ca, cb), p.multiply(sa, sb));
    let (cs, sc) = (p.multiply(ca, sb), p.multiply(sa, cb));
    (p.subtract(cc, ss), p.add(cs, sc))
}

impl Features for AtomicFeatures {
    fn len(&self) -> usize {
        let n_far = self.pairs.len() - self.n_close;
        self.n_stiff() + 3 * n_far + 6 * self.dihedrals.len() + self.branches.len()
    }

    fn n_particles(&self) -> usize {
        self.n_atoms
    }

    fn evaluate(&self, x: &[f64], spread: f64, out: &mut [f64]) {
        let point = |i: usize| nalgebra::Vector3::new(x[3 * i], x[3 * i + 1], x[3 * i + 2]);
        let variance = spread * spread;
        let smoothing = SMOOTHING * variance + SMALLEST;
        let square = |pair: usize| {
            let [i, j] = self.pairs[pair];
            (point(j) - point(i)).norm_squared()
        };
        let length = |pair: usize| (square(pair) + smoothing).sqrt();
        let mut out = out.iter_mut();
        let mut push = |value: f64| *out.next().expect("room for every feature") = value;
        (0..self.n_bonds).for_each(|bond| push(length(bond)));
        for &[a, b, c] in &self.angles {
            push((square(a) + square(b) - square(c)) / (length(a) * length(b)));
        }
        for &[centre, i, j, k] in &self.volumes {
            let base = point(centre);
            push((point(i) - base).cross(&(point(j) - base)).dot(&(point(k) - base)));
        }
        let far = self.n_close..self.pairs.len();
        far.clone().for_each(|pair| push(1.0 / length(pair)));
        let circle = |&[i, j, k, l]: &[usize; 4]| {
            let (b1, b2, b3) = (point(j) - point(i), point(k) - point(j), point(l) - point(k));
            let (n1, n2) = (b1.cross(&b2), b2.cross(&b3));
            let length = b2.norm_squared() / (b2.norm_squared() + SMALLEST).sqrt();
            let value = nalgebra::Complex::new(n1.dot(&n2), length * b1.dot(&n2));
            value / (value.norm_sqr() + DIHEDRAL_SMOOTHING * variance + SMALLEST_DIHEDRAL).sqrt()
        };
        let circles: Vec<nalgebra::Complex<f64>> = self.dihedrals.iter().map(circle).collect();
        let (rotors, rest) = circles.split_at(self.n_rotors);
        rotors.iter().for_each(|z| push(z.re));
        rotors.iter().for_each(|z| push(z.im));
        for arms in &self.branches {
            let [a, b, c] = [0, 1, 2].map(|k| {
                let bonds = arms[k].atoms.iter().map(|&atom| point(atom) - point(arms[k].origin));
                bonds.sum::<nalgebra::Vector3<f64>>()
            });
            push(a.cross(&b).dot(&c));
        }
        far.clone().for_each(|pair| push(length(pair).powi(-6)));
        far.for_each(|pair| push(length(pair).powi(-12)));
        rest.iter().for_each(|z| push(z.re));
        rest.iter().for_each(|z| push(z.im));
        for multiple in [2, 3] {
            circles.iter().for_each(|z| push(z.powi(multiple).re));
            circles.iter().for_each(|z| push(z.powi(multiple).im));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fused::{MIN_LANES, Weights, Workspace};
    use crate::model::network::Architecture;
    use crate::model::program::Init;
    use crate::potential::Noise;
    use crate::random::{Purpose, Streams, fill_normal};

    /// Ethane with carbons 0 and 1; bonds in the order of a file, some backwards.
    fn ethane() -> AtomicFeatures {
        let bonds = vec![[2, 0], [0, 3], [0, 4], [5, 1], [1, 6], [1, 7], [1, 0]];
        let molecule = Architecture::new(vec![0; 8], bonds, Noise::default());
        AtomicFeatures::new(8, &molecule.bonds, &molecule.dihedrals)
    }

    #[test]
    fn ethane_has_its_internal_coordinates() {
        let f = ethane();
        // 12 angles across 12 pairs that are no bonds, and the 9 pairs of hydrogens of different carbons.
        assert_eq!((f.n_bonds, f.n_close, f.pairs.len(), f.angles.len()), (7, 19, 28, 12));
        assert_eq!((f.dihedrals.len(), f.n_rotors, f.volumes.len()), (9, 1, 8));
        // Of the four volumes of a carbon, three have the other carbon as a corner, with its hydrogens.
        assert_eq!((f.branches.len(), &f.branches[0][0].atoms), (6, &vec![1, 5, 6, 7]));
        assert_eq!((f.n_stiff(), f.n_inputs(), f.len()), (27, 44, 27 + 27 + 54 + 6));
        for &[a, b, c] in &f.angles {
            let mut ends = [f.pairs[a], f.pairs[b]].concat();
            assert!(a < 7 && b < 7 && (7..19).contains(&c));
            // What is left of two bonds without the atom between them.
            let [i, j] = f.pairs[c];
            ends.retain(|&atom| atom != i && atom != j);
            assert!(ends.len() == 2 && ends[0] == ends[1] && ends[0] < 2);
        }
    }

    /// In butane each path of three carbons turns whole groups about a bond, and whole branches are more than near ones.
    #[test]
    fn long_arms_lead_to_whole_groups() {
        let mut bonds = vec![[0, 1], [1, 2], [2, 3]];
        let hydrogens = [(0, 3), (1, 2), (2, 2), (3, 3)];
        let mut next = 4;
        for (carbon, n) in hydrogens {
            bonds.extend((next..next + n).map(|hydrogen| [carbon, hydrogen]));
            next += n;
        }
        let molecule = Architecture::new(vec![0; 14], bonds, Noise::default());
        let f = AtomicFeatures::new(14, &molecule.bonds, &molecule.dihedrals);
        let is_there = |wanted: [(usize, &[usize]); 3]| {
            f.branches.iter().any(|arms| {
                arms.iter()
                    .zip(wanted)
                    .all(|(arm, (origin, atoms))| arm.origin == origin && arm.atoms == atoms)
            })
        };
        // About the middle bond with a methyl group at either end; about the first with hydrogens and all behind C2.
        assert!(is_there([(1, &[0, 4, 5, 6]), (1, &[2]), (2, &[3, 11, 12, 13])]));
        let behind = [2, 3, 9, 10, 11, 12, 13];
        let about_first = |hydrogen: usize| {
            is_there([(0, &[hydrogen]), (0, &[1]), (1, &behind)])
                || is_there([(1, &behind), (1, &[0]), (0, &[hydrogen])])
        };
        assert!((4..7).all(about_first));
        // The first carbon as a centre: its only branch two bonds deep, and whole.
        let from_first = |atoms: &[usize]| is_there([(0, atoms), (0, &[4]), (0, &[5])]);
        assert!(from_first(&[1, 2, 7, 8]) && from_first(&[1, 2, 3, 7, 8, 9, 10, 11, 12, 13]));
        let all = f.branches.iter();
        assert!(all.clone().all(|arms| arms.iter().any(|arm| arm.atoms.len() > 1)));
        assert_eq!(
            all.clone().filter(|arms| all.clone().filter(|other| other == arms).count() > 1).count(),
            0
        );
    }

    #[test]
    fn a_ring_of_three_has_angles_but_no_distant_pairs() {
        let molecule = Architecture::new(vec![0; 3], vec![[0, 1], [1, 2], [2, 0]], Noise::default());
        let f = AtomicFeatures::new(3, &molecule.bonds, &molecule.dihedrals);
        assert_eq!((f.n_bonds, f.n_close, f.angles.len(), f.len()), (3, 3, 3, 6));
    }

    /// With values that are known: a planar zigzag of unit bonds at right angles has φ = 180°.
    #[test]
    fn features_have_their_meaning() {
        let molecule = Architecture::new(vec![0; 4], vec![[0, 1], [1, 2], [2, 3]], Noise::default());
        let f = AtomicFeatures::new(4, &molecule.bonds, &molecule.dihedrals);
        let x = [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, -2.0, 0.0];
        let mut out = vec![0.0; f.len()];
        f.evaluate(&x, 0.0, &mut out);
        // 2 cos of each angle; then 1/r of the ends, cos φ and sin φ, powers, and multiples.
        let far: f64 = 10.0_f64.powf(-0.5);
        let expected =
            [1.0, 1.0, 2.0, 0.0, 0.0, far, -1.0, 0.0, far.powi(6), far.powi(12), 1.0, 0.0, -1.0, 0.0];
        assert!(out.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-5), "{out:?}");
    }

    #[test]
    fn the_program_computes_the_features() {
        let f = ethane();
        let mut program = Program::default();
        let variance = program.time(1);
        let x = program.coordinates((3, 8));
        let values = f.program(&mut program, x, variance);
        assert_eq!(program.rows(values), f.len());
        program.linear(values, 1, None, Init::Zero);
        let mut frame = vec![0.0; 24];
        fill_normal(&mut Streams::new(2).stream(Purpose::Start, 0), &mut frame);
        let mut workspace = Workspace::new(&program, MIN_LANES);
        for deviation in [0.0, 0.7] {
            let mut expected = vec![0.0; f.len()];
            f.evaluate(&frame, deviation, &mut expected);
            for (k, expected) in expected.into_iter().enumerate() {
                let mut weights = vec![0.0; f.len()];
                weights[k] = 1.0;
                for (i, &x) in frame.iter().enumerate() {
                    workspace.coordinates_mut()[(i % 3 * 8 + i / 3) * MIN_LANES..][..MIN_LANES]
                        .fill(x as f32);
                }
                (0..MIN_LANES).for_each(|lane| workspace.set_time(lane, &[(deviation * deviation) as f32]));
                workspace.forward(&program, &Weights::new(&program, weights));
                let found = f64::from(workspace.energies()[0]);
                assert!((found - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{k}: {found} {expected}");
            }
        }
    }
}
