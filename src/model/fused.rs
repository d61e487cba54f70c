//! Runs a [`Program`] on the CPU, a chunk of conformations at a time, all in cache.
//!
//! A [`Workspace`] holds every intermediate value of one chunk as `[row][item][lane]`; it is allocated
//! once and used again. The passes and what they cost, in matrix products per weight matrix:
//!
//! | pass | gives | products |
//! |---|---|---|
//! | [`Workspace::forward`] | U | 1 |
//! | [`Workspace::reverse`] | δ = ∂U/∂y, so ∂U/∂x | 1 |
//! | [`Workspace::tangent`] | ẏ along v, or along t: so ∂U/∂t | 1 |
//! | [`Workspace::reverse_tangent`] | ∂/∂θ of v·∇ₓU + e U | 3 |
//! | [`Workspace::reverse_energy`] | ∂/∂θ of e U alone, after `forward` | 2 |
//!
//! Sums over conformations are taken in an order that does not depend on the number of threads.

use super::kernels::{self, Matrix, SecondOrder, Shape, Start};
use super::program::{Init, Node, Op, Program, Value, operands};
use crate::random::{Purpose, Streams};
use rand_distr::{Distribution, StandardNormal};

/// A parameter vector with the transposed matrices that reverse passes read.
#[derive(Debug, Clone)]
pub struct Weights {
    values: Vec<f32>,
    transposed: Vec<f32>,
}

impl Weights {
    /// Weights from a parameter vector.
    pub fn new(program: &Program, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), program.n_parameters());
        let mut weights = Self { transposed: vec![0.0; values.len()], values };
        weights.refresh(program);
        weights
    }

    /// Initial weights, each matrix from its own stream.
    pub fn initial(program: &Program, streams: &Streams) -> Self {
        let mut values = vec![0.0; program.n_parameters()];
        for (idx, parameter) in program.parameters().enumerate() {
            let slice = &mut values[parameter.offset..][..parameter.len()];
            match parameter.init {
                Init::Zero => {}
                Init::Constant(value) => slice.fill(value),
                Init::Normal(deviation) => {
                    let mut rng = streams.stream(Purpose::Weights, idx as u64);
                    slice.iter_mut().for_each(|w| {
                        let z: f32 = StandardNormal.sample(&mut rng);
                        *w = deviation * z;
                    });
                }
            }
        }
        Self::new(program, values)
    }

    /// The parameter vector.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Changes the parameter vector.
    pub fn update(&mut self, program: &Program, change: impl FnOnce(&mut [f32])) {
        change(&mut self.values);
        self.refresh(program);
    }

    fn refresh(&mut self, program: &Program) {
        for p in program.parameters() {
            let range = p.offset..p.offset + p.len();
            let (rows, columns) = (p.rows, p.columns);
            kernels::transpose(rows, columns, &self.values[range.clone()], &mut self.transposed[range], rows);
        }
    }
}

/// Zeros from a 64-byte boundary on, so that no vector of a chunk straddles two cache lines.
#[derive(Debug)]
struct Arena(Vec<Line>);

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

impl Arena {
    fn new(len: usize) -> Self {
        Self(vec![Line([0.0; 16]); len.div_ceil(16)])
    }
}

impl std::ops::Deref for Arena {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a line is 16 numbers without padding.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), 16 * self.0.len()) }
    }
}

impl std::ops::DerefMut for Arena {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), 16 * self.0.len()) }
    }
}

/// Along what a tangent is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The coordinates, with v in [`Workspace::coordinate_tangent_mut`].
    Coordinates,
    /// The time vector, with its rate in [`Workspace::set_time_tangent`].
    Time,
}

/// The smallest chunk: one cache line, which is the widest vector of a CPU.
pub const MIN_LANES: usize = 16;

/// One arena fills half of a 2 MiB L2 cache.
const ARENA_BYTES: usize = 1 << 20;

/// Conformations per chunk, 64, 32 or [`MIN_LANES`]: the largest for which an arena of a [`Workspace`] takes
/// at most 1 MiB, and [`MIN_LANES`] for larger programs.
pub fn lanes_for(program: &Program) -> usize {
    let is_view = |node: &&Node| matches!(node.op, Op::Rows { .. } | Op::Reshape(_));
    let per_lane: usize =
        program.nodes().iter().filter(|node| !is_view(node)).map(|node| node.rows * node.items).sum();
    let fits = |lanes: &usize| lanes * per_lane * size_of::<f32>() <= ARENA_BYTES;
    [64, 32].into_iter().find(fits).unwrap_or(MIN_LANES)
}

/// Every intermediate value of one chunk.
#[derive(Debug)]
pub struct Workspace {
    lanes: usize,
    offsets: Vec<usize>,
    auxiliary_offsets: Vec<usize>,
    coordinates: usize,
    n_coordinates: usize,
    time_nodes: Vec<(Value, usize, usize)>,
    value: Arena,
    auxiliary: Arena,
    tangent: Arena,
    delta: Arena,
    gamma: Arena,
    scratch: Arena,
    /// The value that owns the memory of a view; of other values, themselves.
    roots: Vec<Value>,
    /// Is some view only a part of the rows of this value?
    in_parts: Vec<bool>,
    /// Adjoints that hold a number already, in the pass that runs.
    written: Vec<bool>,
}

impl Workspace {
    /// Memory for chunks of `lanes` conformations, a multiple of [`MIN_LANES`].
    pub fn new(program: &Program, lanes: usize) -> Self {
        assert!(lanes.is_multiple_of(MIN_LANES) && lanes > 0);
        let nodes = program.nodes();
        let (mut offsets, mut auxiliary_offsets): (Vec<usize>, Vec<usize>) = (vec![], vec![]);
        let (mut size, mut auxiliary_size, mut scratch_size) = (0, 0, 0);
        let (mut coordinates, mut n_coordinates, mut time_nodes) = (0, 0, vec![]);
        let (mut roots, mut in_parts): (Vec<Value>, Vec<bool>) = (vec![], vec![false; nodes.len()]);
        for (value, node) in nodes.iter().enumerate() {
            let len = node.rows * node.items * lanes;
            auxiliary_offsets.push(auxiliary_size);
            roots.push(match &node.op {
                Op::Rows { x, .. } | Op::Reshape(x) => roots[*x],
                _ => value,
            });
            match &node.op {
                Op::Rows { x, start } => {
                    in_parts[roots[*x]] = true;
                    offsets.push(offsets[*x] + start * node.items * lanes);
                    continue;
                }
                Op::Reshape(x) => {
                    offsets.push(offsets[*x]);
                    continue;
                }
                Op::Coordinates => (coordinates, n_coordinates) = (value, node.rows * node.items),
                Op::Time { start } => time_nodes.push((value, *start, node.rows)),
                Op::Unary(..) => auxiliary_size += len,
                Op::Linear { x, .. } => {
                    scratch_size = scratch_size.max(nodes[*x].rows * nodes[*x].items * lanes);
                }
                _ => {}
            }
            offsets.push(size);
            size += len;
        }
        Self {
            lanes,
            offsets,
            auxiliary_offsets,
            coordinates,
            n_coordinates,
            time_nodes,
            value: Arena::new(size),
            auxiliary: Arena::new(auxiliary_size),
            tangent: Arena::new(size),
            delta: Arena::new(size),
            gamma: Arena::new(size),
            scratch: Arena::new(scratch_size),
            written: vec![false; nodes.len()],
            roots,
            in_parts,
        }
    }

    /// Conformations per chunk.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// Where the coordinates of a chunk go: `[xyz][bead][lane]`.
    pub fn coordinates_mut(&mut self) -> &mut [f32] {
        &mut self.value[self.offsets[self.coordinates]..][..self.n_coordinates * self.lanes]
    }

    /// v for [`Direction::Coordinates`].
    pub fn coordinate_tangent_mut(&mut self) -> &mut [f32] {
        &mut self.tangent[self.offsets[self.coordinates]..][..self.n_coordinates * self.lanes]
    }

    /// Sets the time vector of one lane.
    pub fn set_time(&mut self, lane: usize, time: &[f32]) {
        Self::scatter_time(&self.time_nodes, &self.offsets, self.lanes, &mut self.value, lane, time);
    }

    /// Sets the time vectors of all lanes, `[lane][row]`; of a single one, for every lane.
    pub fn set_times(&mut self, times: &[f32]) {
        let lanes = self.lanes;
        let n_rows = self.time_nodes.iter().map(|&(_, _, rows)| rows).sum::<usize>();
        for &(value, start, rows) in &self.time_nodes {
            let out = self.value[self.offsets[value]..][..rows * lanes].chunks_exact_mut(lanes).enumerate();
            if times.len() == n_rows {
                out.for_each(|(row, out)| out.fill(times[start + row]));
            } else {
                // By rows, so that what is written is contiguous.
                out.for_each(|(row, out)| {
                    let column = times[start + row..].iter().step_by(n_rows);
                    out.iter_mut().zip(column).for_each(|(out, &time)| *out = time);
                });
            }
        }
    }

    /// Makes these rows of the time vectors 1 in the one that is chosen for each lane, and 0 in the others; lanes without a
    /// choice have the first one.
    pub fn choose(&mut self, rows: std::ops::Range<usize>, chosen: &[usize]) {
        let lanes = self.lanes;
        let is_of_rows = |node: &&(Value, usize, usize)| node.1 == rows.start && node.2 == rows.len();
        if let Some(&(value, ..)) = self.time_nodes.iter().find(is_of_rows) {
            let out = &mut self.value[self.offsets[value]..][..rows.len() * lanes];
            out.fill(0.0);
            for lane in 0..lanes {
                out[chosen.get(lane).unwrap_or(&chosen[0]) * lanes + lane] = 1.0;
            }
        }
    }

    /// Sets the rate of the time vector of one lane, for [`Direction::Time`].
    pub fn set_time_tangent(&mut self, lane: usize, rate: &[f32]) {
        Self::scatter_time(&self.time_nodes, &self.offsets, self.lanes, &mut self.tangent, lane, rate);
    }

    fn scatter_time(
        nodes: &[(Value, usize, usize)],
        offsets: &[usize],
        lanes: usize,
        arena: &mut [f32],
        lane: usize,
        time: &[f32],
    ) {
        for &(value, start, rows) in nodes {
            for row in 0..rows {
                arena[offsets[value] + row * lanes + lane] = time[start + row];
            }
        }
    }

    /// U of each lane, after [`Workspace::forward`].
    pub fn energies(&self) -> &[f32] {
        &self.value[self.offsets[self.offsets.len() - 1]..][..self.lanes]
    }

    /// ∂U along the direction of each lane, after [`Workspace::tangent`].
    pub fn energy_tangents(&self) -> &[f32] {
        &self.tangent[self.offsets[self.offsets.len() - 1]..][..self.lanes]
    }

    /// ∂U/∂x as `[xyz][bead][lane]`, after [`Workspace::reverse`].
    pub fn coordinate_gradient(&self) -> &[f32] {
        &self.delta[self.offsets[self.coordinates]..][..self.n_coordinates * self.lanes]
    }

    /// All values, from coordinates and time vectors to U.
    pub fn forward(&mut self, program: &Program, weights: &Weights) {
        let lanes = self.lanes;
        for (value, node) in program.nodes().iter().enumerate() {
            let (before, rest) = self.value.split_at_mut(self.offsets[value]);
            let len = node.rows * node.items * lanes;
            let of = |operand: Value| {
                let n = &program.nodes()[operand];
                &before[self.offsets[operand]..][..n.rows * n.items * lanes]
            };
            match &node.op {
                Op::Coordinates | Op::Time { .. } | Op::Rows { .. } | Op::Reshape(_) => {}
                Op::Bias { parameter } => {
                    let parameters = &weights.values[parameter.offset..][..parameter.len()];
                    for (row, &parameter) in rest[..len].chunks_exact_mut(lanes).zip(parameters) {
                        row.fill(parameter);
                    }
                }
                Op::Linear { x, weight, plus } => {
                    let out = &mut rest[..len];
                    let columns = node.items * lanes;
                    let start =
                        start_of(plus.map(|plus| (of(plus), program.items(plus))), node.items, lanes, out);
                    let rows = rows_to_multiply(&program.nodes()[*x], of(*x), columns);
                    let a = Matrix {
                        data: &weights.values[weight.offset..][..weight.len()][rows.start..],
                        stride: weight.columns,
                    };
                    let b = Matrix { data: &of(*x)[rows.start * columns..], stride: columns };
                    let shape = Shape { m: node.rows, n: columns, k: rows.len() };
                    kernels::multiply(shape, a, b, start, out, columns);
                }
                Op::Unary(x, function) => {
                    let auxiliary = &mut self.auxiliary[self.auxiliary_offsets[value]..][..len];
                    kernels::unary_value(*function, of(*x), &mut rest[..len], auxiliary);
                }
                Op::Shift(x, constant) => {
                    let constant = *constant;
                    rest[..len].iter_mut().zip(of(*x)).for_each(|(out, x)| *out = x + constant);
                }
                op => {
                    linear_rule(op, node, lanes, program, &of, &of, &mut rest[..len]);
                }
            }
        }
    }

    /// δ = ∂U/∂y of every value that depends on the coordinates.
    pub fn reverse(&mut self, program: &Program, weights: &Weights) {
        let last = self.begin_reverse();
        self.delta[last..][..self.lanes].fill(1.0);
        for value in (0..program.nodes().len()).rev() {
            if program.nodes()[value].on_x {
                self.settle(program, value, Pass::Delta);
                let wanted = |operand: Value| program.nodes()[operand].on_x;
                self.adjoint(program, weights, value, &wanted, Pass::Delta);
            }
        }
    }

    /// Adds to `gradient` ∂/∂θ of Σ e U over lanes, after [`Workspace::forward`].
    pub fn reverse_energy(&mut self, program: &Program, weights: &Weights, e: &[f32], gradient: &mut [f32]) {
        let last = self.begin_reverse();
        set_slopes(&mut self.delta[last..][..self.lanes], e);
        for value in (0..program.nodes().len()).rev() {
            if program.nodes()[value].on_parameters {
                self.settle(program, value, Pass::Delta);
                self.parameter_gradient(program, value, false, gradient);
                let wanted = |operand: Value| program.nodes()[operand].on_parameters;
                self.adjoint(program, weights, value, &wanted, Pass::Delta);
            }
        }
    }

    /// Adds to `gradient` ∂/∂θ of Σ (v·∇ₓU + e U) over lanes, after [`Workspace::forward`],
    /// [`Workspace::reverse`] and [`Workspace::tangent`] along the coordinates.
    pub fn reverse_tangent(&mut self, program: &Program, weights: &Weights, e: &[f32], gradient: &mut [f32]) {
        let last = self.begin_reverse();
        set_slopes(&mut self.gamma[last..][..self.lanes], e);
        for value in (0..program.nodes().len()).rev() {
            if program.nodes()[value].on_parameters {
                self.settle(program, value, Pass::Gamma);
                self.parameter_gradient(program, value, true, gradient);
                let wanted = |operand: Value| program.nodes()[operand].on_parameters;
                self.adjoint(program, weights, value, &wanted, Pass::Gamma);
            }
        }
    }

    /// Forgets which adjoints hold numbers, except that of U; returns where that is.
    fn begin_reverse(&mut self) -> usize {
        self.written.fill(false);
        let last = self.offsets.len() - 1;
        self.written[self.roots[last]] = true;
        self.offsets[last]
    }

    /// The adjoint of a value that nothing has reached is zero.
    fn settle(&mut self, program: &Program, value: Value, pass: Pass) {
        let root = self.roots[value];
        if !std::mem::replace(&mut self.written[root], true) {
            let arena = if pass == Pass::Delta { &mut self.delta } else { &mut self.gamma };
            let len = program.rows(root) * program.items(root) * self.lanes;
            arena[self.offsets[root]..][..len].fill(0.0);
        }
    }

    /// Tangents ẏ of every value that depends on the direction.
    pub fn tangent(&mut self, program: &Program, weights: &Weights, direction: Direction) {
        let lanes = self.lanes;
        let active = |operand: Value| match direction {
            Direction::Coordinates => program.nodes()[operand].on_x,
            Direction::Time => program.nodes()[operand].on_t,
        };
        for (value, node) in program.nodes().iter().enumerate() {
            if !active(value) {
                continue;
            }
            let (before, rest) = self.tangent.split_at_mut(self.offsets[value]);
            let len = node.rows * node.items * lanes;
            let size = |operand: Value| program.rows(operand) * program.items(operand) * lanes;
            let tangent_of = |operand: Value| &before[self.offsets[operand]..][..size(operand)];
            let value_of = |operand: Value| &self.value[self.offsets[operand]..][..size(operand)];
            match &node.op {
                Op::Coordinates | Op::Time { .. } | Op::Rows { .. } | Op::Reshape(_) => continue,
                _ => {}
            }
            let out = &mut rest[..len];
            match &node.op {
                Op::Linear { x, weight, plus } => {
                    let columns = node.items * lanes;
                    let plus = plus.filter(|&plus| active(plus));
                    let start = start_of(
                        plus.map(|plus| (tangent_of(plus), program.items(plus))),
                        node.items,
                        lanes,
                        out,
                    );
                    // Without a tangent of x the product is empty.
                    let (rows, data) = match active(*x) {
                        true => {
                            (rows_to_multiply(&program.nodes()[*x], tangent_of(*x), columns), tangent_of(*x))
                        }
                        false => (0..0, &[][..]),
                    };
                    let a = Matrix {
                        data: &weights.values[weight.offset..][..weight.len()][rows.start..],
                        stride: weight.columns,
                    };
                    let b = Matrix { data: &data[rows.start * columns..], stride: columns };
                    let shape = Shape { m: node.rows, n: columns, k: rows.len() };
                    kernels::multiply(shape, a, b, start, out, columns);
                }
                Op::Unary(x, function) => {
                    let auxiliary = &self.auxiliary[self.auxiliary_offsets[value]..][..len];
                    kernels::unary_first(*function, value_of(*x), auxiliary, tangent_of(*x), out, true);
                }
                Op::Shift(x, _) => out.copy_from_slice(tangent_of(*x)),
                Op::Multiply(x, y) => {
                    let mut fresh = true;
                    for (x, numbers, other) in
                        [(*x, tangent_of(*x), value_of(*y)), (*y, value_of(*x), tangent_of(*y))]
                    {
                        if active(x) {
                            multiply_rule(program, node, lanes, *y, numbers, other, out, fresh);
                            fresh = false;
                        }
                    }
                }
                Op::Cross(x, y) => {
                    let mut fresh = true;
                    for (x, a, b) in [(*x, tangent_of(*x), value_of(*y)), (*y, value_of(*x), tangent_of(*y))]
                    {
                        if active(x) {
                            cross(a, b, out, fresh);
                            fresh = false;
                        }
                    }
                }
                Op::Add(x, y) => {
                    if active(*x) {
                        out.copy_from_slice(tangent_of(*x));
                    } else {
                        out.fill(0.0);
                    }
                    if active(*y) {
                        for_broadcast(node.rows, node.items, program, *y, lanes, |at, from, len| {
                            kernels::add(&tangent_of(*y)[from..from + len], &mut out[at..at + len]);
                        });
                    }
                }
                Op::Concat(values) => {
                    let mut at = 0;
                    for &value in values {
                        let out = &mut out[at..at + size(value)];
                        if active(value) {
                            out.copy_from_slice(tangent_of(value));
                        } else {
                            out.fill(0.0);
                        }
                        at += size(value);
                    }
                }
                op => linear_rule(op, node, lanes, program, &tangent_of, &value_of, out),
            }
        }
    }

    /// Hands the adjoint of one value on to its operands.
    fn adjoint(
        &mut self,
        program: &Program,
        weights: &Weights,
        value: Value,
        wanted: &dyn Fn(Value) -> bool,
        pass: Pass,
    ) {
        let node = &program.nodes()[value];
        if matches!(
            node.op,
            Op::Coordinates | Op::Time { .. } | Op::Bias { .. } | Op::Rows { .. } | Op::Reshape(_)
        ) || !operands(&node.op).into_iter().any(wanted)
        {
            return;
        }
        let lanes = self.lanes;
        let (rows, items) = (node.rows, node.items);
        let (len, columns) = (rows * items * lanes, items * lanes);
        let size = |operand: Value| program.rows(operand) * program.items(operand) * lanes;
        let offsets = &self.offsets;
        // δ is read by the pass over γ, and written by the pass over δ itself.
        let (arena, delta): (&mut [f32], &[f32]) = match pass {
            Pass::Delta => (&mut self.delta, &[]),
            Pass::Gamma => (&mut self.gamma, &self.delta),
        };
        let (before, rest) = arena.split_at_mut(offsets[value]);
        let incoming = &rest[..len];
        let range = |operand: Value| offsets[operand]..offsets[operand] + size(operand);
        let value_of = |operand: Value| &self.value[range(operand)];
        let tangent_of = |operand: Value| {
            let moves = pass == Pass::Gamma && program.nodes()[operand].on_x;
            moves.then(|| &self.tangent[range(operand)])
        };
        let delta_here = if pass == Pass::Gamma && node.on_x { &delta[offsets[value]..][..len] } else { &[] };
        let (roots, in_parts, written) = (&self.roots, &self.in_parts, &mut self.written);
        // Room for the adjoint of an operand, and whether it is to be overwritten rather than added to.
        let mut claim = |before: &mut [f32], operand: Value| {
            let root = roots[operand];
            let first = !std::mem::replace(&mut written[root], true);
            if first && in_parts[root] {
                before[range(root)].fill(0.0);
            }
            first && !in_parts[root]
        };
        match &node.op {
            Op::Linear { x, weight, plus } => {
                if wanted(*x) {
                    let a = Matrix {
                        data: &weights.transposed[weight.offset..][..weight.len()],
                        stride: weight.rows,
                    };
                    let b = Matrix { data: incoming, stride: columns };
                    let start = if claim(before, *x) { Start::Zero } else { Start::Kept };
                    let shape = Shape { m: weight.columns, n: columns, k: weight.rows };
                    kernels::multiply(shape, a, b, start, &mut before[range(*x)], columns);
                }
                if let Some(plus) = plus.filter(|&plus| wanted(plus)) {
                    let fresh = claim(before, plus);
                    add_broadcast(node, program, plus, lanes, incoming, &mut before[range(plus)], fresh);
                }
            }
            Op::Unary(x, function) => {
                let auxiliary = &self.auxiliary[self.auxiliary_offsets[value]..][..len];
                let fresh = claim(before, *x);
                let out = &mut before[range(*x)];
                let (tangent, x, aux) = (tangent_of(*x), value_of(*x), auxiliary);
                match tangent {
                    Some(tangent) => {
                        let of = SecondOrder { x, aux, gamma: incoming, tangent, delta: delta_here };
                        kernels::unary_second(*function, of, out, fresh);
                    }
                    None => kernels::unary_first(*function, x, aux, incoming, out, fresh),
                }
            }
            Op::Scale(x, factor) => {
                let fresh = claim(before, *x);
                kernels::scale(*factor, incoming, &mut before[range(*x)], fresh);
            }
            Op::Shift(x, _) => {
                let fresh = claim(before, *x);
                add_or_copy(incoming, &mut before[range(*x)], fresh);
            }
            Op::Add(x, y) => {
                if wanted(*x) {
                    let fresh = claim(before, *x);
                    add_or_copy(incoming, &mut before[range(*x)], fresh);
                }
                if wanted(*y) {
                    let fresh = claim(before, *y);
                    add_broadcast(node, program, *y, lanes, incoming, &mut before[range(*y)], fresh);
                }
            }
            Op::Multiply(x, y) => {
                // The adjoint of x takes y and, through the tangent, ẏ with δ; and the other way round.
                let terms = |of: Value| {
                    let second = tangent_of(of).map(|tangent| (delta_here, tangent));
                    std::iter::once((incoming, value_of(of))).chain(second)
                };
                if wanted(*x) {
                    let mut fresh = claim(before, *x);
                    let out = &mut before[range(*x)];
                    for (adjoint, factor) in terms(*y) {
                        multiply_rule(program, node, lanes, *y, adjoint, factor, out, fresh);
                        fresh = false;
                    }
                }
                if wanted(*y) {
                    let mut fresh = claim(before, *y);
                    let out = &mut before[range(*y)];
                    if size(*y) < len && fresh {
                        out.fill(0.0);
                        fresh = false;
                    }
                    for (adjoint, factor) in terms(*x) {
                        for_broadcast(rows, items, program, *y, lanes, |at, to, len| {
                            let (adjoint, factor) = (&adjoint[at..at + len], &factor[at..at + len]);
                            kernels::product(adjoint, factor, &mut out[to..to + len], fresh);
                        });
                        fresh = false;
                    }
                }
            }
            Op::Cross(x, y) => {
                // z = x × y: the adjoint of x is y × ẑ, that of y is ẑ × x.
                if wanted(*x) {
                    let fresh = claim(before, *x);
                    cross(value_of(*y), incoming, &mut before[range(*x)], fresh);
                    if let Some(tangent) = tangent_of(*y) {
                        cross(tangent, delta_here, &mut before[range(*x)], false);
                    }
                }
                if wanted(*y) {
                    let fresh = claim(before, *y);
                    cross(incoming, value_of(*x), &mut before[range(*y)], fresh);
                    if let Some(tangent) = tangent_of(*x) {
                        cross(delta_here, tangent, &mut before[range(*y)], false);
                    }
                }
            }
            Op::Gather { x, .. } | Op::GatherPairs { x, .. } => {
                let fresh = claim(before, *x);
                let out = &mut before[range(*x)];
                if fresh {
                    out.fill(0.0);
                }
                match &node.op {
                    Op::Gather { index, .. } => kernels::scatter(incoming, index, lanes, out),
                    Op::GatherPairs { pairs, sign, .. } => {
                        kernels::scatter_pairs(incoming, pairs, *sign, lanes, out);
                    }
                    _ => {}
                }
            }
            Op::ScatterSum { x, index } => {
                let fresh = claim(before, *x);
                kernels::gather(incoming, index, lanes, &mut before[range(*x)], fresh);
            }
            Op::ScatterPairs { x, pairs, sign } => {
                let fresh = claim(before, *x);
                kernels::gather_pairs(incoming, pairs, *sign, lanes, &mut before[range(*x)], fresh);
            }
            Op::SumRows(x) => {
                let fresh = claim(before, *x);
                for out in before[range(*x)].chunks_exact_mut(columns) {
                    add_or_copy(incoming, out, fresh);
                }
            }
            Op::Concat(values) => {
                let mut at = 0;
                for &operand in values {
                    if wanted(operand) {
                        let fresh = claim(before, operand);
                        add_or_copy(&incoming[at..at + size(operand)], &mut before[range(operand)], fresh);
                    }
                    at += size(operand);
                }
            }
            Op::Coordinates | Op::Time { .. } | Op::Bias { .. } | Op::Rows { .. } | Op::Reshape(_) => {}
        }
    }

    /// Adds the gradient of the parameters of one operation.
    fn parameter_gradient(
        &mut self,
        program: &Program,
        value: Value,
        with_tangent: bool,
        gradient: &mut [f32],
    ) {
        let node = &program.nodes()[value];
        let lanes = self.lanes;
        let columns = node.items * lanes;
        let len = node.rows * columns;
        let arena = if with_tangent { &self.gamma } else { &self.delta };
        let adjoint = &arena[self.offsets[value]..][..len];
        match &node.op {
            Op::Bias { parameter } => {
                let gradient = &mut gradient[parameter.offset..][..parameter.len()];
                for (gradient, row) in gradient.iter_mut().zip(adjoint.chunks_exact(columns)) {
                    *gradient += row.iter().sum::<f32>();
                }
            }
            Op::Linear { x, weight, .. } => {
                let gradient = &mut gradient[weight.offset..][..weight.len()];
                let operand = *x;
                let range = self.offsets[*x]..self.offsets[*x] + weight.columns * columns;
                let mut add = |adjoint: &[f32], x: &[f32], scratch: &mut [f32]| {
                    let rows = rows_to_multiply(&program.nodes()[operand], x, columns);
                    let (n, x) = (rows.len(), &x[rows.start * columns..rows.end * columns]);
                    kernels::transpose(n, columns, x, scratch, n);
                    let a = Matrix { data: adjoint, stride: columns };
                    let b = Matrix { data: scratch, stride: n };
                    let shape = Shape { m: weight.rows, n, k: columns };
                    kernels::multiply(shape, a, b, Start::Kept, &mut gradient[rows.start..], weight.columns);
                };
                add(adjoint, &self.value[range.clone()], &mut self.scratch);
                if with_tangent && program.nodes()[*x].on_x {
                    let delta = &self.delta[self.offsets[value]..][..len];
                    add(delta, &self.tangent[range], &mut self.scratch);
                }
            }
            _ => {}
        }
    }
}

/// Which adjoint a reverse pass carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// δ = ∂U/∂y.
    Delta,
    /// γ = ∂(v·∇ₓU + eU)/∂y.
    Gamma,
}

/// Slopes without those that count for nothing beside others but whose products with weights would be
/// subnormal, on which processors are slow: a classification between distant times has slopes of 1e-40.
fn set_slopes(out: &mut [f32], slopes: &[f32]) {
    for (out, &slope) in out.iter_mut().zip(slopes) {
        *out = if slope.abs() < 1e-24 { 0.0 } else { slope };
    }
}

/// The rows of the operand of a linear layer that matter: of functions of time, of which conformations at
/// similar times need few, those from the first to the last that is not zero.
fn rows_to_multiply(node: &Node, x: &[f32], columns: usize) -> std::ops::Range<usize> {
    if !matches!(node.op, Op::Time { .. }) {
        return 0..node.rows;
    }
    let mut used = (0..node.rows).filter(|row| x[row * columns..][..columns].iter().any(|&x| x != 0.0));
    let first = used.next().unwrap_or(0);
    first..used.next_back().unwrap_or(first) + 1
}

/// What the product of a linear layer is added to; a `plus` of one item is first copied to every item.
fn start_of<'a>(plus: Option<(&'a [f32], usize)>, items: usize, lanes: usize, out: &mut [f32]) -> Start<'a> {
    match plus {
        None => Start::Zero,
        Some((data, plus_items)) if plus_items == items => {
            Start::From(Matrix { data, stride: items * lanes })
        }
        Some((data, _)) => {
            for (out, plus) in out.chunks_exact_mut(items * lanes).zip(data.chunks_exact(lanes)) {
                out.chunks_exact_mut(lanes).for_each(|out| out.copy_from_slice(plus));
            }
            Start::Kept
        }
    }
}

/// Values of operations that are linear in each operand.
fn linear_rule<'a>(
    op: &Op,
    node: &Node,
    lanes: usize,
    program: &Program,
    of: &dyn Fn(Value) -> &'a [f32],
    factor_of: &dyn Fn(Value) -> &'a [f32],
    out: &mut [f32],
) {
    let (rows, items) = (node.rows, node.items);
    let columns = items * lanes;
    match op {
        Op::Add(x, y) => {
            out.copy_from_slice(of(*x));
            let y_numbers = of(*y);
            for_broadcast(rows, items, program, *y, lanes, |at, from, len| {
                kernels::add(&y_numbers[from..from + len], &mut out[at..at + len]);
            });
        }
        Op::Multiply(x, y) => multiply_rule(program, node, lanes, *y, of(*x), factor_of(*y), out, true),
        Op::Scale(x, factor) => kernels::scale(*factor, of(*x), out, true),
        Op::Gather { x, index } => kernels::gather(of(*x), index, lanes, out, true),
        Op::ScatterSum { x, index } => {
            out.fill(0.0);
            kernels::scatter(of(*x), index, lanes, out);
        }
        Op::GatherPairs { x, pairs, sign } => kernels::gather_pairs(of(*x), pairs, *sign, lanes, out, true),
        Op::ScatterPairs { x, pairs, sign } => {
            out.fill(0.0);
            kernels::scatter_pairs(of(*x), pairs, *sign, lanes, out);
        }
        Op::SumRows(x) => {
            for (row, numbers) in of(*x).chunks_exact(columns).enumerate() {
                add_or_copy(numbers, out, row == 0);
            }
        }
        Op::Concat(values) => {
            let mut at = 0;
            for &value in values {
                let numbers = of(value);
                out[at..at + numbers.len()].copy_from_slice(numbers);
                at += numbers.len();
            }
        }
        Op::Cross(x, y) => cross(of(*x), factor_of(*y), out, true),
        _ => unreachable!("operations with their own rule"),
    }
}

/// out = x y where `fresh`, else out += x y; y is broadcast.
#[allow(clippy::too_many_arguments, reason = "shapes and operands")]
fn multiply_rule(
    program: &Program,
    node: &Node,
    lanes: usize,
    y: Value,
    x_numbers: &[f32],
    y_numbers: &[f32],
    out: &mut [f32],
    fresh: bool,
) {
    for_broadcast(node.rows, node.items, program, y, lanes, |at, from, len| {
        let (x, y) = (&x_numbers[at..at + len], &y_numbers[from..from + len]);
        kernels::product(x, y, &mut out[at..at + len], fresh);
    });
}

/// The adjoint of a broadcast operand: sums over what it served.
fn add_broadcast(
    node: &Node,
    program: &Program,
    y: Value,
    lanes: usize,
    incoming: &[f32],
    out: &mut [f32],
    fresh: bool,
) {
    if fresh && out.len() < incoming.len() {
        out.fill(0.0);
    }
    let fresh = fresh && out.len() == incoming.len();
    for_broadcast(node.rows, node.items, program, y, lanes, |at, to, len| {
        add_or_copy(&incoming[at..at + len], &mut out[to..to + len], fresh);
    });
}

fn add_or_copy(input: &[f32], out: &mut [f32], fresh: bool) {
    if fresh {
        out.copy_from_slice(input);
    } else {
        kernels::add(input, out);
    }
}

/// Calls `f(offset in the full shape, offset in y, length)` for stretches where both are contiguous.
fn for_broadcast(
    rows: usize,
    items: usize,
    program: &Program,
    y: Value,
    lanes: usize,
    mut f: impl FnMut(usize, usize, usize),
) {
    let (y_rows, y_items) = (program.rows(y), program.items(y));
    let columns = items * lanes;
    match (y_rows == rows, y_items == items) {
        (true, true) => f(0, 0, rows * columns),
        (false, true) => (0..rows).for_each(|row| f(row * columns, 0, columns)),
        (_, false) => {
            for row in 0..rows {
                let from = if y_rows == rows { row * lanes } else { 0 };
                (0..items).for_each(|item| f(row * columns + item * lanes, from, lanes));
            }
        }
    }
}

/// out = x × y where `fresh`, else out += x × y.
fn cross(x: &[f32], y: &[f32], out: &mut [f32], fresh: bool) {
    let n = x.len() / 3;
    for axis in 0..3 {
        let (j, k) = ((axis + 1) % 3, (axis + 2) % 3);
        let out = &mut out[axis * n..][..n];
        kernels::product(&x[j * n..][..n], &y[k * n..][..n], out, fresh);
        kernels::subtract_product(&x[k * n..][..n], &y[j * n..][..n], out);
    }
}
