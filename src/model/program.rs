//! A network as a short list of operations, written once for every device.
//!
//! A value has `rows × items` numbers per conformation: rows are features or xyz, items are beads,
//! pairs, or one for the whole molecule. Two executors run a program: [`super::fused`] on the CPU,
//! chunk by chunk in cache with hand-written derivatives, and [`super::tensor`] through candle, which
//! is the reference in tests and what CUDA runs. A new network is a function that builds a program.
//!
//! What training needs is ∂/∂θ of v·∇ₓU + eU. It is obtained without differentiating twice: a reverse
//! pass gives δ = ∂U/∂y of every value y, a forward pass gives the tangent ẏ along v, and one more
//! reverse pass the gradient, in which δ serves as the adjoint of ẏ. So each operation needs its value,
//! tangent, and adjoint rules, and only [`Unary`] operations a second derivative.

use std::sync::Arc;

/// Index of a value of a program.
pub type Value = usize;

/// A slice of the parameter vector, as a row-major matrix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameter {
    /// First number in the parameter vector.
    pub offset: usize,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// How it starts.
    pub init: Init,
}

impl Parameter {
    /// How many numbers.
    pub fn len(&self) -> usize {
        self.rows * self.columns
    }

    /// True for a matrix without elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Initial values of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All zero.
    Zero,
    /// Normal with this standard deviation.
    Normal(f32),
    /// All equal.
    Constant(f32),
}

/// An elementwise function y = f(x) with two derivatives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unary {
    /// x σ(x)
    Silu,
    /// log(1 + eˣ)
    Softplus,
    /// x / √(1 + x²/c²), linear near 0 and bounded by c.
    SoftClip {
        /// The bound c.
        bound: f32,
    },
    /// x²/(2 (1 + x²/c²)), quadratic near 0 and bounded by c²/2.
    SaturatingSquare {
        /// c
        bound: f32,
    },
    /// 1/√x for x > 0.
    InverseSqrt,
    /// −log x for x > 0.
    NegativeLog,
}

/// One operation. Operands come earlier in the list.
#[derive(Debug, Clone)]
pub enum Op {
    /// The coordinates: 3 rows (xyz) and one item per bead, or a vector of one item.
    Coordinates,
    /// Rows `start..` of the per-conformation time vector (see `TimeTable`); one item.
    Time {
        /// First row of the time vector.
        start: usize,
    },
    /// W x + plus; `plus` has the rows of the result and as many items, or one, which then serves all.
    Linear {
        /// The operand.
        x: Value,
        /// W: rows × rows of x.
        weight: Parameter,
        /// What is added, if anything.
        plus: Option<Value>,
    },
    /// A parameter of one column as a value with one item.
    Bias {
        /// rows × 1.
        parameter: Parameter,
    },
    /// x + y; y may have one row or one item, which then serves all.
    Add(Value, Value),
    /// x y, elementwise; y may have one row or one item, which then serves all.
    Multiply(Value, Value),
    /// c x, with a constant c.
    Scale(Value, f32),
    /// x + c, with a constant c.
    Shift(Value, f32),
    /// f(x).
    Unary(Value, Unary),
    /// Item e of the result is item `index[e]` of x.
    Gather {
        /// The operand.
        x: Value,
        /// One entry per item of the result.
        index: Arc<[usize]>,
    },
    /// Item i of the result is the sum of items e of x with `index[e] == i`.
    ScatterSum {
        /// The operand.
        x: Value,
        /// One entry per item of x.
        index: Arc<[usize]>,
    },
    /// Item e of the result is x_i + s x_j for the pair `pairs[e]` = [i, j].
    GatherPairs {
        /// The operand.
        x: Value,
        /// One pair per item of the result.
        pairs: Arc<[[usize; 2]]>,
        /// s, 1 or −1.
        sign: f32,
    },
    /// The transpose of `GatherPairs`: item e of x is added to item i of the result, and s times it to
    /// item j.
    ScatterPairs {
        /// The operand.
        x: Value,
        /// One pair per item of x.
        pairs: Arc<[[usize; 2]]>,
        /// s, 1 or −1.
        sign: f32,
    },
    /// The sum over rows.
    SumRows(Value),
    /// Rows of several values with equal items, one after the other.
    Concat(Vec<Value>),
    /// Rows `start..start + rows` of x: a view, nothing is copied.
    Rows {
        /// The operand.
        x: Value,
        /// First row.
        start: usize,
    },
    /// The same numbers under another rows × items: a view, nothing is copied.
    Reshape(Value),
    /// x × y for values of 3 rows.
    Cross(Value, Value),
}

/// An operation with the shape of its result and what it depends on.
#[derive(Debug, Clone)]
pub struct Node {
    /// What is done.
    pub op: Op,
    /// Rows of the result.
    pub rows: usize,
    /// Items of the result.
    pub items: usize,
    /// Does it change with the coordinates?
    pub on_x: bool,
    /// Does it change with time?
    pub on_t: bool,
    /// Does it change with the parameters?
    pub on_parameters: bool,
}

/// A scalar function of coordinates, time vector and parameters; the last value is the energy.
#[derive(Debug, Clone, Default)]
pub struct Program {
    nodes: Vec<Node>,
    n_parameters: usize,
    n_time_rows: usize,
    offset_parameters: Option<std::ops::Range<usize>>,
    states: std::ops::Range<usize>,
}

impl Program {
    /// The operations in order; the last one is the energy, one row and one item.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Length of the parameter vector.
    pub fn n_parameters(&self) -> usize {
        self.n_parameters
    }

    /// Length of the time vector that each conformation brings.
    pub fn n_time_rows(&self) -> usize {
        self.n_time_rows
    }

    /// Rows of the time vector that ask for the energy of one state: 1 for that state and 0 for the others, or 0 for all of
    /// them together. Empty where the energy has no states.
    pub fn states(&self) -> std::ops::Range<usize> {
        self.states.clone()
    }

    /// Parameters in the order of the vector.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter> + '_ {
        self.nodes.iter().filter_map(|node| match &node.op {
            Op::Linear { weight, .. } => Some(*weight),
            Op::Bias { parameter } => Some(*parameter),
            _ => None,
        })
    }

    /// Matrices whose columns multiply rows of the time vector, each with the first of these rows.
    pub fn functions_of_time(&self) -> impl Iterator<Item = (Parameter, usize)> + '_ {
        self.nodes.iter().filter_map(|node| match &node.op {
            Op::Linear { x, weight, .. } => match self.nodes[*x].op {
                Op::Time { start } => Some((*weight, start)),
                _ => None,
            },
            _ => None,
        })
    }

    /// Parameters in which the energy is linear and that add to it a function of time alone, if there are any.
    pub fn offset_parameters(&self) -> Option<std::ops::Range<usize>> {
        self.offset_parameters.clone()
    }

    /// Says that the last row of a linear layer, one of functions of time, does nothing but add to the energy.
    pub fn last_row_is_offset(&mut self, layer: Value) {
        if let Op::Linear { weight, .. } = &self.nodes[layer].op {
            let end = weight.offset + weight.len();
            self.offset_parameters = Some(end - weight.columns..end);
        }
    }

    /// Rows of a value.
    pub fn rows(&self, value: Value) -> usize {
        self.nodes[value].rows
    }

    /// Items of a value.
    pub fn items(&self, value: Value) -> usize {
        self.nodes[value].items
    }

    /// The coordinates: so many of each item, so many items.
    pub fn coordinates(&mut self, (rows, items): (usize, usize)) -> Value {
        self.push(Op::Coordinates, rows, items)
    }

    /// How many coordinates an item has, and how many items there are.
    pub fn coordinate_shape(&self) -> (usize, usize) {
        let coordinates = self.nodes.iter().find(|node| matches!(node.op, Op::Coordinates));
        coordinates.map_or((0, 0), |node| (node.rows, node.items))
    }

    /// `rows` further rows of the time vector.
    pub fn time(&mut self, rows: usize) -> Value {
        let start = self.n_time_rows;
        self.n_time_rows += rows;
        self.push(Op::Time { start }, rows, 1)
    }

    /// Further rows of the time vector that ask for the energy of one of so many states.
    pub fn choice_of_state(&mut self, n_states: usize) -> Value {
        self.states = self.n_time_rows..self.n_time_rows + n_states;
        self.time(n_states)
    }

    /// W x + plus with a new W of `rows` rows.
    pub fn linear(&mut self, x: Value, rows: usize, plus: Option<Value>, init: Init) -> Value {
        let weight = self.new_parameter(rows, self.rows(x), init);
        let items = self.items(x);
        if let Some(plus) = plus {
            assert!(self.rows(plus) == rows && (self.items(plus) == items || self.items(plus) == 1));
        }
        self.push(Op::Linear { x, weight, plus }, rows, items)
    }

    /// A new vector of parameters.
    pub fn bias(&mut self, rows: usize, init: Init) -> Value {
        let parameter = self.new_parameter(rows, 1, init);
        self.push(Op::Bias { parameter }, rows, 1)
    }

    /// x + y.
    pub fn add(&mut self, x: Value, y: Value) -> Value {
        self.assert_broadcast(x, y);
        self.push(Op::Add(x, y), self.rows(x), self.items(x))
    }

    /// x − y.
    pub fn subtract(&mut self, x: Value, y: Value) -> Value {
        let negative = self.scale(y, -1.0);
        self.add(x, negative)
    }

    /// x y, elementwise.
    pub fn multiply(&mut self, x: Value, y: Value) -> Value {
        self.assert_broadcast(x, y);
        self.push(Op::Multiply(x, y), self.rows(x), self.items(x))
    }

    /// c x.
    pub fn scale(&mut self, x: Value, factor: f32) -> Value {
        self.push(Op::Scale(x, factor), self.rows(x), self.items(x))
    }

    /// x + c.
    pub fn shift(&mut self, x: Value, constant: f32) -> Value {
        self.push(Op::Shift(x, constant), self.rows(x), self.items(x))
    }

    /// f(x).
    pub fn unary(&mut self, x: Value, function: Unary) -> Value {
        self.push(Op::Unary(x, function), self.rows(x), self.items(x))
    }

    /// Items of x by index.
    pub fn gather(&mut self, x: Value, index: impl Into<Arc<[usize]>>) -> Value {
        let index = index.into();
        let (rows, items) = (self.rows(x), index.len());
        self.push(Op::Gather { x, index }, rows, items)
    }

    /// Sums of items of x into `items` items.
    pub fn scatter_sum(&mut self, x: Value, index: impl Into<Arc<[usize]>>, items: usize) -> Value {
        let index = index.into();
        assert_eq!(index.len(), self.items(x));
        self.push(Op::ScatterSum { x, index }, self.rows(x), items)
    }

    /// x_i + s x_j for each pair [i, j].
    pub fn gather_pairs(&mut self, x: Value, pairs: impl Into<Arc<[[usize; 2]]>>, sign: f32) -> Value {
        let pairs = pairs.into();
        let (rows, items) = (self.rows(x), pairs.len());
        self.push(Op::GatherPairs { x, pairs, sign }, rows, items)
    }

    /// Sums over pairs into `items` items: x_e to item i and s x_e to item j.
    pub fn scatter_pairs(
        &mut self,
        x: Value,
        pairs: impl Into<Arc<[[usize; 2]]>>,
        sign: f32,
        items: usize,
    ) -> Value {
        let pairs = pairs.into();
        assert_eq!(pairs.len(), self.items(x));
        self.push(Op::ScatterPairs { x, pairs, sign }, self.rows(x), items)
    }

    /// The sum over rows.
    pub fn sum_rows(&mut self, x: Value) -> Value {
        self.push(Op::SumRows(x), 1, self.items(x))
    }

    /// The sum over items.
    pub fn sum_items(&mut self, x: Value) -> Value {
        let index = vec![0; self.items(x)];
        self.scatter_sum(x, index, 1)
    }

    /// Rows one after the other.
    pub fn concat(&mut self, values: Vec<Value>) -> Value {
        let rows = values.iter().map(|&value| self.rows(value)).sum();
        let items = self.items(values[0]);
        assert!(values.iter().all(|&value| self.items(value) == items));
        self.push(Op::Concat(values), rows, items)
    }

    /// A view of some rows.
    pub fn slice_rows(&mut self, x: Value, start: usize, rows: usize) -> Value {
        assert!(start + rows <= self.rows(x));
        self.push(Op::Rows { x, start }, rows, self.items(x))
    }

    /// A view under another shape.
    pub fn reshape(&mut self, x: Value, rows: usize, items: usize) -> Value {
        assert_eq!(rows * items, self.rows(x) * self.items(x));
        self.push(Op::Reshape(x), rows, items)
    }

    /// x × y.
    pub fn cross(&mut self, x: Value, y: Value) -> Value {
        assert!(self.rows(x) == 3 && self.rows(y) == 3 && self.items(x) == self.items(y));
        self.push(Op::Cross(x, y), 3, self.items(x))
    }

    /// x·y over rows.
    pub fn dot(&mut self, x: Value, y: Value) -> Value {
        let products = self.multiply(x, y);
        self.sum_rows(products)
    }

    fn new_parameter(&mut self, rows: usize, columns: usize, init: Init) -> Parameter {
        let parameter = Parameter { offset: self.n_parameters, rows, columns, init };
        self.n_parameters += parameter.len();
        parameter
    }

    fn assert_broadcast(&self, x: Value, y: Value) {
        let fits = |of_y: usize, of_x: usize| of_y == of_x || of_y == 1;
        assert!(fits(self.rows(y), self.rows(x)) && fits(self.items(y), self.items(x)));
    }

    fn push(&mut self, op: Op, rows: usize, items: usize) -> Value {
        let (mut on_x, mut on_t, mut on_parameters) = match &op {
            Op::Coordinates => (true, false, false),
            Op::Time { .. } => (false, true, false),
            Op::Linear { .. } | Op::Bias { .. } => (false, false, true),
            _ => (false, false, false),
        };
        for operand in operands(&op) {
            let node = &self.nodes[operand];
            on_x |= node.on_x;
            on_t |= node.on_t;
            on_parameters |= node.on_parameters;
        }
        self.nodes.push(Node { op, rows, items, on_x, on_t, on_parameters });
        self.nodes.len() - 1
    }
}

/// The values that an operation reads.
pub fn operands(op: &Op) -> Vec<Value> {
    match op {
        Op::Coordinates | Op::Time { .. } | Op::Bias { .. } => vec![],
        Op::Linear { x, plus, .. } => std::iter::once(*x).chain(*plus).collect(),
        Op::Add(x, y) | Op::Multiply(x, y) | Op::Cross(x, y) => vec![*x, *y],
        Op::Scale(x, _) | Op::Shift(x, _) | Op::Unary(x, _) | Op::SumRows(x) | Op::Reshape(x) => vec![*x],
        Op::Gather { x, .. } | Op::ScatterSum { x, .. } | Op::Rows { x, .. } => vec![*x],
        Op::GatherPairs { x, .. } | Op::ScatterPairs { x, .. } => vec![*x],
        Op::Concat(values) => values.clone(),
    }
}
