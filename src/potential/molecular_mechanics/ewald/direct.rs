//! Pairs within the cutoff, from a list of cells: the time grows as the number of atoms.
//!
//! Atoms are sorted by cells about half a cutoff wide. Each looks at the later atoms of its own cell and at the
//! half of the neighbouring cells that no other pair of cells sees, each with the shift of its image. A fixed
//! number of tasks, which does not depend on the threads, adds forces in its own memory; they are summed in order.

use rayon::prelude::*;

use super::cell::Cell;
use super::screening::Screening;

/// What the direct sum knows about the atoms.
pub struct Atoms {
    /// √C q
    pub charges: Vec<f64>,
    /// σ/2 in nm.
    pub half_sigma: Vec<f64>,
    /// 2 √ε
    pub depth: Vec<f64>,
    /// Partners of each atom that do not interact here, in both directions: `partners[starts[i]..starts[i + 1]]`.
    pub starts: Vec<usize>,
    pub partners: Vec<u32>,
    pub cutoff_nm: f64,
    /// Begin and 1/(end − begin) of the switching of Lennard-Jones.
    pub switching: Option<[f64; 2]>,
}

/// An atom at its place in the order of cells.
#[derive(Clone, Copy, Default)]
struct Site {
    x: [f64; 3],
    charge: f64,
    half_sigma: f64,
    depth: f64,
    atom: u32,
    cell: u32,
}

#[derive(Default)]
struct Task {
    energy: f64,
    forces: Vec<[f64; 3]>,
    /// For each atom the last one that excluded it.
    excluded_by: Vec<u32>,
    neighbours: Vec<(usize, usize, [f64; 3])>,
}

/// Memory of the direct sum.
#[derive(Default)]
pub struct DirectMemory {
    cell_of: Vec<u32>,
    wrapped: Vec<[f64; 3]>,
    starts: Vec<usize>,
    sites: Vec<Site>,
    tasks: Vec<Task>,
}

/// How the box is divided.
struct Grid {
    n: [usize; 3],
    /// Neighbouring cells on the half that counts, the cell itself left out.
    offsets: Vec<[i64; 3]>,
}

impl Grid {
    fn new(cell: &Cell, cutoff_nm: f64, n_atoms: usize) -> Self {
        let most = 2.0 * (n_atoms as f64).cbrt().ceil();
        let widths = cell.widths();
        let n = widths.map(|width| (2.0 * width / cutoff_nm).floor().clamp(1.0, most) as usize);
        let reach: [i64; 3] =
            std::array::from_fn(|k| (cutoff_nm * n[k] as f64 / widths[k] * (1.0 - 1e-12)).ceil() as i64);
        let mut offsets = Vec::new();
        for i in 0..=reach[0] {
            for j in -reach[1]..=reach[1] {
                for k in -reach[2]..=reach[2] {
                    if [i, j, k] > [0, 0, 0] {
                        offsets.push([i, j, k]);
                    }
                }
            }
        }
        Self { n, offsets }
    }

    fn index(&self, s: [f64; 3]) -> usize {
        let [i, j, k]: [usize; 3] =
            std::array::from_fn(|axis| ((s[axis] * self.n[axis] as f64) as usize).min(self.n[axis] - 1));
        (i * self.n[1] + j) * self.n[2] + k
    }

    /// Another cell's index, and the box vectors to add to its atoms.
    fn neighbour(&self, index: usize, offset: [i64; 3]) -> (usize, [f64; 3]) {
        let at = [index / (self.n[1] * self.n[2]), index / self.n[2] % self.n[1], index % self.n[2]];
        let mut shift = [0.0; 3];
        let moved: [usize; 3] = std::array::from_fn(|axis| {
            let (n, to) = (self.n[axis] as i64, at[axis] as i64 + offset[axis]);
            shift[axis] = to.div_euclid(n) as f64;
            to.rem_euclid(n) as usize
        });
        ((moved[0] * self.n[1] + moved[1]) * self.n[2] + moved[2], shift)
    }
}

impl Atoms {
    /// The energy of all pairs in kJ/mol; forces are added to `forces`, if there are any.
    pub fn energy<S: Screening>(
        &self,
        screening: &S,
        cell: &Cell,
        x: &[[f64; 3]],
        forces: Option<&mut [[f64; 3]]>,
        memory: &mut DirectMemory,
    ) -> f64 {
        let n_atoms = x.len();
        let grid = Grid::new(cell, self.cutoff_nm, n_atoms);
        let DirectMemory { cell_of, wrapped, starts, sites, tasks } = memory;
        wrapped.clear();
        wrapped.extend(x.iter().map(|x| cell.fractional(*x)));
        cell_of.clear();
        cell_of.extend(wrapped.iter().map(|s| grid.index(*s) as u32));
        starts.clear();
        starts.resize(grid.n.iter().product::<usize>() + 1, 0);
        cell_of.iter().for_each(|&index| starts[index as usize + 1] += 1);
        (1..starts.len()).for_each(|index| starts[index] += starts[index - 1]);
        sites.resize(n_atoms, Site::default());
        for (atom, (&index, s)) in cell_of.iter().zip(&*wrapped).enumerate() {
            let place = &mut starts[index as usize];
            sites[*place] = Site {
                x: cell.cartesian(*s),
                charge: self.charges[atom],
                half_sigma: self.half_sigma[atom],
                depth: self.depth[atom],
                atom: atom as u32,
                cell: index,
            };
            *place += 1;
        }
        // Every start has moved to the next one.
        starts.rotate_right(1);
        starts[0] = 0;

        let n_tasks = (n_atoms / 1024).clamp(1, 16);
        tasks.resize_with(n_tasks, Task::default);
        let (sites, starts) = (&*sites, &*starts);
        let wants_forces = forces.is_some();
        tasks.par_iter_mut().enumerate().for_each(|(idx, task)| {
            let range = idx * n_atoms / n_tasks..(idx + 1) * n_atoms / n_tasks;
            if wants_forces {
                self.rows::<S, true>(screening, cell, &grid, sites, starts, range, task);
            } else {
                self.rows::<S, false>(screening, cell, &grid, sites, starts, range, task);
            }
        });
        if let Some(forces) = forces {
            for (place, site) in sites.iter().enumerate() {
                let force = &mut forces[site.atom as usize];
                for task in &*tasks {
                    (0..3).for_each(|axis| force[axis] += task.forces[place][axis]);
                }
            }
        }
        tasks.iter().map(|task| task.energy).sum()
    }

    /// The pairs that begin with some of the sites.
    #[expect(clippy::too_many_arguments, reason = "what the sum needs, prepared by its only caller")]
    fn rows<S: Screening, const FORCES: bool>(
        &self,
        screening: &S,
        cell: &Cell,
        grid: &Grid,
        sites: &[Site],
        starts: &[usize],
        range: std::ops::Range<usize>,
        task: &mut Task,
    ) {
        let Task { energy, forces, excluded_by, neighbours } = task;
        if FORCES {
            forces.clear();
            forces.resize(sites.len(), [0.0; 3]);
        }
        excluded_by.clear();
        excluded_by.resize(sites.len(), u32::MAX);
        *energy = 0.0;
        let mut current = u32::MAX;
        for place in range {
            let site = sites[place];
            if site.cell != current {
                current = site.cell;
                neighbours.clear();
                neighbours.extend(grid.offsets.iter().filter_map(|offset| {
                    let (index, shift) = grid.neighbour(current as usize, *offset);
                    let (begin, end) = (starts[index], starts[index + 1]);
                    (begin < end).then(|| (begin, end, cell.cartesian(shift)))
                }));
            }
            let atom = site.atom as usize;
            for partner in &self.partners[self.starts[atom]..self.starts[atom + 1]] {
                excluded_by[*partner as usize] = site.atom;
            }
            let own = (place + 1, starts[current as usize + 1], [0.0; 3]);
            let mut force = [0.0; 3];
            for &(begin, end, shift) in std::iter::once(&own).chain(&*neighbours) {
                let origin: [f64; 3] = std::array::from_fn(|axis| site.x[axis] - shift[axis]);
                for (other_place, other) in (begin..end).zip(&sites[begin..end]) {
                    let d: [f64; 3] = std::array::from_fn(|axis| origin[axis] - other.x[axis]);
                    let square = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
                    if square >= self.cutoff_nm * self.cutoff_nm
                        || excluded_by[other.atom as usize] == site.atom
                    {
                        continue;
                    }
                    let [value, slope] = self.pair(screening, &site, other, square);
                    *energy += value;
                    if FORCES {
                        let target = &mut forces[other_place];
                        for axis in 0..3 {
                            let component = slope * d[axis];
                            force[axis] -= component;
                            target[axis] += component;
                        }
                    }
                }
            }
            if FORCES {
                (0..3).for_each(|axis| forces[place][axis] += force[axis]);
            }
        }
    }

    /// The energy of a pair and its slope divided by the distance.
    #[inline(always)]
    fn pair<S: Screening>(&self, screening: &S, one: &Site, other: &Site, square: f64) -> [f64; 2] {
        let square = square.max(super::SMALLEST_SQUARE);
        let inverse = 1.0 / square.sqrt();
        let inverse_square = inverse * inverse;
        let [coulomb, coulomb_slope] = screening.pair(square, inverse);
        let product = one.charge * other.charge;
        let (mut energy, mut slope) = (product * coulomb, product * coulomb_slope);
        let depth = one.depth * other.depth;
        if depth != 0.0 {
            let sigma = one.half_sigma + other.half_sigma;
            let ratio = sigma * sigma * inverse_square;
            let sixth = ratio * ratio * ratio;
            let mut lennard_jones = depth * sixth * (sixth - 1.0);
            let mut lennard_jones_slope = depth * sixth * (6.0 - 12.0 * sixth) * inverse_square;
            if let Some([begin, per_width]) = self.switching {
                let t = ((square * inverse - begin) * per_width).max(0.0);
                let [switch, change] = switch(t);
                lennard_jones_slope =
                    lennard_jones_slope * switch + lennard_jones * change * per_width * inverse;
                lennard_jones *= switch;
            }
            energy += lennard_jones;
            slope += lennard_jones_slope;
        }
        [energy, slope]
    }
}

/// 1 − 10 t³ + 15 t⁴ − 6 t⁵, which goes from 1 to 0 with t, and its slope.
#[inline(always)]
pub fn switch(t: f64) -> [f64; 2] {
    [1.0 + t * t * t * (t * (15.0 - 6.0 * t) - 10.0), t * t * (t * (60.0 - 30.0 * t) - 30.0)]
}
