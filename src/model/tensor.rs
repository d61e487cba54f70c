//! Runs a [`Program`] over candle tensors, on any device and in f32 or f64.
//!
//! It is the plain reference that [`super::fused`] is compared with, and what CUDA runs. A value is a
//! tensor `[rows][items][conformation]`, so that a linear layer is one flat matrix product. Derivatives:
//!
//! - ∂U/∂x by candle's reverse pass, with parameters detached;
//! - along v or along time by dual numbers, a value with its tangent;
//! - ∂/∂θ of Σ (v·∇ₓU + e U) by one reverse pass through the dual numbers, since v·∇ₓU is the tangent
//!   of U. Differentiating twice in reverse would need four times the memory, and candle detaches it.
//!
//! Candle's `gather`, `scatter` and fused layers lack derivatives and its `silu` overflows in f32
//! (candle 0.11), so only elementary operations are used.

use candle_core::{DType, Device, Tensor, Var};

use super::compute::Compute;
use super::fused::Direction;
use super::program::{Node, Op, Program, Unary};
use crate::error::Result;

type TensorResult<T> = std::result::Result<T, candle_core::Error>;

/// A program with its parameters on a device.
#[derive(Debug)]
pub struct TensorProgram {
    program: Program,
    compute: Compute,
    parameters: Vec<Var>,
    /// The constant indices of each gather and scatter; two for pairs.
    indices: Vec<Vec<Tensor>>,
}

/// Coordinates and time vectors of a batch on a device.
#[derive(Debug, Clone)]
pub struct Batch {
    coordinates: Tensor,
    time: Tensor,
    n_conformations: usize,
}

/// A value with its derivative along a direction; `None` where it is zero.
#[derive(Clone)]
struct Dual {
    value: Tensor,
    tangent: Option<Tensor>,
}

impl TensorProgram {
    /// A program with this parameter vector.
    pub fn new<X: Copy + Into<f64>>(program: &Program, compute: &Compute, weights: &[X]) -> Result<Self> {
        let upload = |index: &mut dyn Iterator<Item = usize>| {
            Tensor::new(index.map(|i| i as u32).collect::<Vec<_>>(), &compute.device)
        };
        let index_of = |node: &Node| match &node.op {
            Op::Gather { index, .. } | Op::ScatterSum { index, .. } => {
                Ok(vec![upload(&mut index.iter().copied())?])
            }
            Op::GatherPairs { pairs, .. } | Op::ScatterPairs { pairs, .. } => {
                (0..2).map(|side| upload(&mut pairs.iter().map(|pair| pair[side]))).collect()
            }
            _ => Ok(vec![]),
        };
        let indices = program.nodes().iter().map(index_of).collect::<TensorResult<_>>()?;
        let mut this =
            Self { program: program.clone(), compute: compute.clone(), parameters: vec![], indices };
        this.set_weights(weights)?;
        Ok(this)
    }

    /// Where it is.
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    /// Replaces the parameter vector.
    pub fn set_weights<X: Copy + Into<f64>>(&mut self, weights: &[X]) -> Result<()> {
        assert_eq!(weights.len(), self.program.n_parameters());
        self.parameters = self
            .program
            .parameters()
            .map(|p| {
                let values = weights[p.offset..][..p.len()].iter().map(|&w| w.into());
                Var::from_tensor(&self.upload(values.collect(), &[p.rows, p.columns])?)
            })
            .collect::<TensorResult<_>>()?;
        Ok(())
    }

    /// Coordinates `[conformation][bead][xyz]` and time vectors `[conformation][row]`, on the device.
    pub fn batch<X: Copy + Into<f64>, T: Copy + Into<f64>>(
        &self,
        coordinates: &[X],
        time: &[T],
    ) -> Result<Batch> {
        let n_rows = self.program.n_time_rows();
        let n_conformations = time.len() / n_rows;
        Ok(Batch {
            coordinates: self.upload_coordinates(coordinates, n_conformations)?,
            time: self.upload_time(time, n_conformations)?,
            n_conformations,
        })
    }

    /// U of each conformation.
    pub fn energies(&self, batch: &Batch) -> Result<Vec<f64>> {
        let energy = self.run(&self.detached(), dual(&batch.coordinates), dual(&batch.time), batch)?;
        Ok(download(&energy.value)?)
    }

    /// U of each conformation and ∂U/∂x, `[conformation][bead][xyz]`.
    pub fn evaluate(&self, batch: &Batch) -> Result<(Vec<f64>, Vec<f64>)> {
        let coordinates = Var::from_tensor(&batch.coordinates)?;
        let energy = self.run(&self.detached(), dual(coordinates.as_tensor()), dual(&batch.time), batch)?;
        let gradients = energy.value.sum_all()?.backward()?;
        let gradient = match gradients.get(&coordinates) {
            Some(gradient) => gradient.clone(),
            None => coordinates.zeros_like()?,
        };
        // [xyz][bead][conformation] → [conformation][bead][xyz]
        Ok((download(&energy.value)?, download(&gradient.permute((2, 1, 0))?.contiguous()?)?))
    }

    /// The derivative of U of each conformation: along v, `[conformation][bead][xyz]`, or along time with
    /// rates `[conformation][row]` of the time vector.
    pub fn tangent<X: Copy + Into<f64>>(
        &self,
        batch: &Batch,
        direction: Direction,
        rate: &[X],
    ) -> Result<Vec<f64>> {
        let (mut coordinates, mut time) = (dual(&batch.coordinates), dual(&batch.time));
        match direction {
            Direction::Coordinates => {
                coordinates.tangent = Some(self.upload_coordinates(rate, batch.n_conformations)?);
            }
            Direction::Time => time.tangent = Some(self.upload_time(rate, batch.n_conformations)?),
        }
        let energy = self.run(&self.detached(), coordinates, time, batch)?;
        match &energy.tangent {
            Some(tangent) => Ok(download(tangent)?),
            None => Ok(vec![0.0; batch.n_conformations]),
        }
    }

    /// ∂/∂θ of Σ (v·∇ₓU + e U) over conformations, as a vector like the parameters.
    pub fn parameter_gradient<X: Copy + Into<f64>>(
        &self,
        batch: &Batch,
        v: &[X],
        e: &[X],
    ) -> Result<Vec<f64>> {
        let parameters: Vec<Tensor> = self.parameters.iter().map(|p| p.as_tensor().clone()).collect();
        let coordinates = Dual {
            value: batch.coordinates.clone(),
            tangent: Some(self.upload_coordinates(v, batch.n_conformations)?),
        };
        let energy = self.run(&parameters, coordinates, dual(&batch.time), batch)?;
        let e = self.upload(e.iter().map(|&e| e.into()).collect(), &[1, 1, batch.n_conformations])?;
        let mut sum = (energy.value * e)?.sum_all()?;
        if let Some(tangent) = energy.tangent {
            sum = (sum + tangent.sum_all()?)?;
        }
        let gradients = sum.backward()?;
        let mut gradient = Vec::with_capacity(self.program.n_parameters());
        for parameter in &self.parameters {
            match gradients.get(parameter) {
                Some(part) => gradient.extend(download(part)?),
                None => gradient.resize(gradient.len() + parameter.elem_count(), 0.0),
            }
        }
        Ok(gradient)
    }

    /// Parameters as constants.
    fn detached(&self) -> Vec<Tensor> {
        self.parameters.iter().map(|parameter| parameter.as_detached_tensor()).collect()
    }

    fn upload(&self, values: Vec<f64>, shape: &[usize]) -> TensorResult<Tensor> {
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?;
        tensor.to_dtype(self.compute.dtype)?.to_device(&self.compute.device)
    }

    /// `[conformation][item][coordinate]` → `[coordinate][item][conformation]`
    fn upload_coordinates<X: Copy + Into<f64>>(&self, x: &[X], n: usize) -> TensorResult<Tensor> {
        let (rows, items) = self.program.coordinate_shape();
        let at = |row: usize, item: usize, k: usize| x[(k * items + item) * rows + row].into();
        let values = (0..rows)
            .flat_map(|row| (0..items).flat_map(move |item| (0..n).map(move |k| at(row, item, k))))
            .collect();
        self.upload(values, &[rows, items, n])
    }

    /// `[conformation][row]` → `[row][conformation]`
    fn upload_time<X: Copy + Into<f64>>(&self, time: &[X], n: usize) -> TensorResult<Tensor> {
        let n_rows = self.program.n_time_rows();
        let values = (0..n_rows).flat_map(|row| (0..n).map(move |k| time[k * n_rows + row].into())).collect();
        self.upload(values, &[n_rows, 1, n])
    }

    /// The energy with its tangent.
    fn run(&self, parameters: &[Tensor], x: Dual, time: Dual, batch: &Batch) -> TensorResult<Dual> {
        let mut values: Vec<Dual> = Vec::with_capacity(self.program.nodes().len());
        let mut parameters = parameters.iter();
        for (node, index) in self.program.nodes().iter().zip(&self.indices) {
            let (rows, items, n) = (node.rows, node.items, batch.n_conformations);
            let next = match &node.op {
                Op::Coordinates => x.clone(),
                Op::Time { start } => time.map(|time| time.narrow(0, *start, rows))?,
                Op::Bias { .. } => {
                    let parameter = parameters.next().expect("one tensor per parameter");
                    dual(&parameter.reshape((rows, 1, 1))?.broadcast_as((rows, 1, n))?)
                }
                Op::Linear { x, plus, .. } => {
                    let weight = parameters.next().expect("one tensor per parameter");
                    let product = values[*x].map(|x| {
                        let flat = x.contiguous()?.reshape((x.dim(0)?, items * n))?;
                        weight.matmul(&flat)?.reshape((rows, items, n))
                    })?;
                    match plus {
                        Some(plus) => product.add(&values[*plus])?,
                        None => product,
                    }
                }
                Op::Add(x, y) => values[*x].add(&values[*y])?,
                Op::Multiply(x, y) => {
                    values[*x].product(&values[*y], |x, y| x.broadcast_mul(y), (rows, items, n))?
                }
                Op::Cross(x, y) => values[*x].product(&values[*y], cross, (rows, items, n))?,
                Op::Scale(x, factor) => values[*x].map(|x| x.affine(f64::from(*factor), 0.0))?,
                Op::Shift(x, constant) => Dual {
                    value: values[*x].value.affine(1.0, f64::from(*constant))?,
                    tangent: values[*x].tangent.clone(),
                },
                Op::Unary(x, function) => values[*x].unary(*function)?,
                Op::Gather { x, .. } => values[*x].map(|x| x.contiguous()?.index_select(&index[0], 1))?,
                Op::GatherPairs { x, sign, .. } => values[*x].map(|x| {
                    let x = x.contiguous()?;
                    x.index_select(&index[0], 1)?
                        + x.index_select(&index[1], 1)?.affine(f64::from(*sign), 0.0)?
                })?,
                Op::ScatterSum { x, .. } if items == 1 => values[*x].map(|x| x.sum_keepdim(1))?,
                Op::ScatterSum { x, .. } => values[*x].map(|x| {
                    let zero = Tensor::zeros((rows, items, n), x.dtype(), x.device())?;
                    zero.index_add(&index[0], &x.contiguous()?, 1)
                })?,
                Op::ScatterPairs { x, sign, .. } => values[*x].map(|x| {
                    let zero = Tensor::zeros((rows, items, n), x.dtype(), x.device())?;
                    let first = zero.index_add(&index[0], &x.contiguous()?, 1)?;
                    first.index_add(&index[1], &x.affine(f64::from(*sign), 0.0)?, 1)
                })?,
                Op::SumRows(x) => values[*x].map(|x| x.sum_keepdim(0))?,
                Op::Concat(parts) => {
                    let parts: Vec<&Dual> = parts.iter().map(|&part| &values[part]).collect();
                    let value = Tensor::cat(&parts.iter().map(|p| &p.value).collect::<Vec<_>>(), 0)?;
                    let tangent = if parts.iter().any(|part| part.tangent.is_some()) {
                        let or_zero = |part: &&Dual| match &part.tangent {
                            Some(tangent) => Ok(tangent.clone()),
                            None => part.value.zeros_like(),
                        };
                        let tangents = parts.iter().map(or_zero).collect::<TensorResult<Vec<_>>>()?;
                        Some(Tensor::cat(&tangents, 0)?)
                    } else {
                        None
                    };
                    Dual { value, tangent }
                }
                Op::Rows { x, start } => values[*x].map(|x| x.narrow(0, *start, rows))?,
                Op::Reshape(x) => values[*x].map(|x| x.contiguous()?.reshape((rows, items, n)))?,
            };
            values.push(next);
        }
        Ok(values.pop().expect("a program ends with its energy"))
    }
}

fn dual(value: &Tensor) -> Dual {
    Dual { value: value.clone(), tangent: None }
}

impl Dual {
    /// A linear map.
    fn map(&self, f: impl Fn(&Tensor) -> TensorResult<Tensor>) -> TensorResult<Self> {
        Ok(Self { value: f(&self.value)?, tangent: self.tangent.as_ref().map(&f).transpose()? })
    }

    /// x + y, with y broadcast.
    fn add(&self, y: &Self) -> TensorResult<Self> {
        let value = self.value.broadcast_add(&y.value)?;
        let tangent = match (&self.tangent, &y.tangent) {
            (Some(x), Some(y)) => Some(x.broadcast_add(y)?),
            (None, Some(y)) => Some(y.broadcast_as(value.shape())?),
            (x, None) => x.clone(),
        };
        Ok(Self { value, tangent })
    }

    /// A map that is linear in each factor.
    fn product(
        &self,
        y: &Self,
        f: impl Fn(&Tensor, &Tensor) -> TensorResult<Tensor>,
        shape: (usize, usize, usize),
    ) -> TensorResult<Self> {
        let terms = [
            self.tangent.as_ref().map(|tangent| f(tangent, &y.value)).transpose()?,
            y.tangent.as_ref().map(|tangent| f(&self.value, tangent)).transpose()?,
        ];
        let tangent = match terms {
            [Some(a), Some(b)] => Some((a + b)?),
            [a, b] => a.or(b),
        };
        debug_assert!(tangent.as_ref().is_none_or(|t| t.dims3().unwrap() == shape));
        Ok(Self { value: f(&self.value, &y.value)?, tangent })
    }

    /// f(x), and f'(x) ẋ.
    fn unary(&self, function: Unary) -> TensorResult<Self> {
        let x = &self.value;
        let one_plus = |bound: f32| x.sqr()?.affine(1.0 / f64::from(bound).powi(2), 1.0);
        // Value and derivative, which is itself differentiated by the reverse pass.
        let wanted = self.tangent.is_some();
        let (value, derivative) = match function {
            Unary::Silu => {
                let sigmoid = sigmoid(x)?;
                let value = (x * &sigmoid)?;
                let derivative = wanted.then(|| (&sigmoid + &value)? - (&value * &sigmoid)?).transpose()?;
                (value, derivative)
            }
            Unary::Softplus => {
                let value = (x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
                (value, wanted.then(|| sigmoid(x)).transpose()?)
            }
            Unary::SoftClip { bound } => {
                let aux = one_plus(bound)?.sqrt()?.recip()?;
                ((x * &aux)?, wanted.then(|| aux.sqr()? * &aux).transpose()?)
            }
            Unary::SaturatingSquare { bound } => {
                let aux = one_plus(bound)?.recip()?;
                ((x.sqr()? * &aux)?.affine(0.5, 0.0)?, wanted.then(|| x * aux.sqr()?).transpose()?)
            }
            Unary::InverseSqrt => {
                let aux = x.sqrt()?.recip()?;
                let derivative = wanted.then(|| (aux.sqr()? * &aux)?.affine(-0.5, 0.0)).transpose()?;
                (aux, derivative)
            }
            Unary::NegativeLog => (x.log()?.neg()?, wanted.then(|| x.recip()?.neg()).transpose()?),
        };
        let tangent = match (&self.tangent, derivative) {
            (Some(tangent), Some(derivative)) => Some((tangent * derivative)?),
            _ => None,
        };
        Ok(Self { value, tangent })
    }
}

/// 1/(1 + e⁻ˣ) = (1 + tanh(x/2))/2, whose derivative is finite for every x.
fn sigmoid(x: &Tensor) -> TensorResult<Tensor> {
    x.affine(0.5, 0.0)?.tanh()?.affine(0.5, 0.5)
}

/// x × y over rows.
fn cross(x: &Tensor, y: &Tensor) -> TensorResult<Tensor> {
    let row = |t: &Tensor, k: usize| t.narrow(0, k % 3, 1);
    let component = |k: usize| (row(x, k + 1)? * row(y, k + 2)?)? - (row(x, k + 2)? * row(y, k + 1)?)?;
    Tensor::cat(&[component(0)?, component(1)?, component(2)?], 0)
}

fn download(tensor: &Tensor) -> TensorResult<Vec<f64>> {
    tensor.to_dtype(DType::F64)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()
}
