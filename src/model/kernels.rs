//! Inner loops of the fused executor: matrix products and elementwise functions in f32.
//!
//! Each loop is compiled for AVX-512, AVX2 + FMA and the baseline, and chosen once at run time, so a
//! binary built on one machine is fast on another. Layout: `[row][item][lane]`, a lane being one
//! conformation; so every inner loop runs over contiguous memory.

use super::program::Unary;
use crate::simd::{Simd, simd, vectorised};

/// eˣ to 2 ulp on the whole range of f32 without branches, so that loops over it vectorise.
///
/// x = k log 2 + r with |r| ≤ log(2)/2 and a polynomial for eʳ (Cephes, expf).
#[inline(always)]
#[allow(clippy::excessive_precision, reason = "the published coefficients, digit by digit")]
fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // Adding 1.5 · 2²³ rounds to the nearest integer k, and leaves k in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = x - k * 0.693_359_375 - k * -2.121_944_4e-4;
    let mut p = 1.987_569_15e-4;
    p = p * r + 1.398_199_95e-3;
    p = p * r + 8.333_451_9e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_55e-1;
    p = p * r + 5.000_000_1e-1;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    (p * r * r + r + 1.0) * power
}

/// log x for x > 0, as loops over it vectorise (Cephes, logf).
#[inline(always)]
#[allow(clippy::excessive_precision, reason = "the published coefficients, digit by digit")]
fn log(x: f32) -> f32 {
    let bits = x.to_bits() as i32;
    // Split so that the mantissa lies in [√½, √2).
    let shifted = bits - 0x3f35_04f3;
    let exponent = (shifted >> 23) as f32;
    let m = f32::from_bits(((shifted & 0x007f_ffff) + 0x3f35_04f3) as u32) - 1.0;
    let mut p = 7.037_683_6e-2;
    for c in [
        -1.151_461_03e-1,
        1.167_699_87e-1,
        -1.242_014_08e-1,
        1.424_932_28e-1,
        -1.666_805_77e-1,
        2.000_071_48e-1,
        -2.499_999_4e-1,
        3.333_333_1e-1,
    ] {
        p = p * m + c;
    }
    let square = m * m;
    m + (p * m * square - 0.5 * square + exponent * -2.121_944_4e-4) + exponent * 0.693_359_375
}

impl Unary {
    /// What the derivatives need besides x: σ(x), or 1/√(1 + x²/c²), …
    #[inline(always)]
    fn auxiliary(self, x: f32) -> f32 {
        match self {
            Self::Silu | Self::Softplus => 1.0 / (1.0 + exp(-x)),
            Self::SoftClip { bound } => 1.0 / (1.0 + x * x / (bound * bound)).sqrt(),
            Self::SaturatingSquare { bound } => 1.0 / (1.0 + x * x / (bound * bound)),
            Self::InverseSqrt => 1.0 / x.sqrt(),
            Self::NegativeLog => 1.0 / x,
        }
    }

    #[inline(always)]
    fn value(self, x: f32, aux: f32) -> f32 {
        match self {
            Self::Silu | Self::SoftClip { .. } => x * aux,
            Self::Softplus => x.max(0.0) + log(1.0 + exp(-x.abs())),
            Self::SaturatingSquare { .. } => 0.5 * x * x * aux,
            Self::InverseSqrt => aux,
            Self::NegativeLog => -log(x),
        }
    }

    #[inline(always)]
    fn first(self, x: f32, aux: f32) -> f32 {
        match self {
            Self::Silu => aux * (1.0 + x * (1.0 - aux)),
            Self::Softplus => aux,
            Self::SoftClip { .. } => aux * aux * aux,
            Self::SaturatingSquare { .. } => x * aux * aux,
            Self::InverseSqrt => -0.5 * aux * aux * aux,
            Self::NegativeLog => -aux,
        }
    }

    #[inline(always)]
    fn second(self, x: f32, aux: f32) -> f32 {
        match self {
            Self::Silu => aux * (1.0 - aux) * (2.0 + x * (1.0 - 2.0 * aux)),
            Self::Softplus => aux * (1.0 - aux),
            Self::SoftClip { bound } => -3.0 * x / (bound * bound) * aux.powi(5),
            Self::SaturatingSquare { bound } => aux * aux * (1.0 - 4.0 * x * x / (bound * bound) * aux),
            Self::InverseSqrt => 0.75 * aux.powi(5),
            Self::NegativeLog => aux * aux,
        }
    }
}

/// One loop for each function, so that the choice is made outside.
macro_rules! for_each_function {
    ($function:expr, |$f:ident| $loop:expr) => {
        match $function {
            Unary::Silu => {
                let $f = Unary::Silu;
                $loop
            }
            Unary::Softplus => {
                let $f = Unary::Softplus;
                $loop
            }
            Unary::SoftClip { bound } => {
                let $f = Unary::SoftClip { bound };
                $loop
            }
            Unary::SaturatingSquare { bound } => {
                let $f = Unary::SaturatingSquare { bound };
                $loop
            }
            Unary::InverseSqrt => {
                let $f = Unary::InverseSqrt;
                $loop
            }
            Unary::NegativeLog => {
                let $f = Unary::NegativeLog;
                $loop
            }
        }
    };
}

vectorised! {
    /// y = f(x), with the auxiliary number that the derivatives reuse.
    pub fn unary_value(function: Unary, x: &[f32], y: &mut [f32], aux: &mut [f32]) {
        for_each_function!(function, |f| {
            for ((&x, y), aux) in x.iter().zip(y).zip(aux) {
                *aux = f.auxiliary(x);
                *y = f.value(x, *aux);
            }
        });
    }
}

vectorised! {
    /// out = f'(x) in where `fresh`, else out += f'(x) in.
    pub fn unary_first(function: Unary, x: &[f32], aux: &[f32], input: &[f32], out: &mut [f32], fresh: bool) {
        for_each_function!(function, |f| {
            let all = x.iter().zip(aux).zip(input).zip(out);
            if fresh {
                all.for_each(|(((&x, &aux), &input), out)| *out = f.first(x, aux) * input);
            } else {
                all.for_each(|(((&x, &aux), &input), out)| *out += f.first(x, aux) * input);
            }
        });
    }
}

/// Numbers of an elementwise function that its second-order rule reads.
#[derive(Debug, Clone, Copy)]
pub struct SecondOrder<'a> {
    /// x
    pub x: &'a [f32],
    /// What [`unary_value`] kept.
    pub aux: &'a [f32],
    /// γ, the adjoint of f(x).
    pub gamma: &'a [f32],
    /// ẋ
    pub tangent: &'a [f32],
    /// δ, the adjoint of the tangent of f(x).
    pub delta: &'a [f32],
}

vectorised! {
    /// out = f'(x) γ + f''(x) ẋ δ where `fresh`, else added.
    pub fn unary_second(function: Unary, of: SecondOrder, out: &mut [f32], fresh: bool) {
        for_each_function!(function, |f| {
            let rest = of.gamma.iter().zip(of.tangent).zip(of.delta).zip(out);
            let all = of.x.iter().zip(of.aux).zip(rest);
            if fresh {
                all.for_each(|((&x, &aux), (((&gamma, &tangent), &delta), out))| {
                    *out = f.first(x, aux) * gamma + f.second(x, aux) * tangent * delta;
                });
            } else {
                all.for_each(|((&x, &aux), (((&gamma, &tangent), &delta), out))| {
                    *out += f.first(x, aux) * gamma + f.second(x, aux) * tangent * delta;
                });
            }
        });
    }
}

vectorised! {
    /// out += in.
    pub fn add(input: &[f32], out: &mut [f32]) {
        for (out, &input) in out.iter_mut().zip(input) {
            *out += input;
        }
    }
}

vectorised! {
    /// out = c in where `fresh`, else out += c in.
    pub fn scale(factor: f32, input: &[f32], out: &mut [f32], fresh: bool) {
        if fresh {
            out.iter_mut().zip(input).for_each(|(out, &input)| *out = factor * input);
        } else {
            out.iter_mut().zip(input).for_each(|(out, &input)| *out += factor * input);
        }
    }
}

vectorised! {
    /// out = x y where `fresh`, else out += x y.
    pub fn product(x: &[f32], y: &[f32], out: &mut [f32], fresh: bool) {
        if fresh {
            out.iter_mut().zip(x).zip(y).for_each(|((out, &x), &y)| *out = x * y);
        } else {
            out.iter_mut().zip(x).zip(y).for_each(|((out, &x), &y)| *out += x * y);
        }
    }
}

vectorised! {
    /// out −= x y, for cross products.
    pub fn subtract_product(x: &[f32], y: &[f32], out: &mut [f32]) {
        for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
            *out -= x * y;
        }
    }
}

vectorised! {
    /// Item e of out = (where `fresh`, else +=) item `index[e]` of x; items are of `lanes` numbers.
    pub fn gather(x: &[f32], index: &[usize], lanes: usize, out: &mut [f32], fresh: bool) {
        let n_rows = out.len() / (index.len() * lanes);
        let from = x.len() / n_rows;
        for (x, out) in x.chunks_exact(from).zip(out.chunks_exact_mut(index.len() * lanes)) {
            for (&i, out) in index.iter().zip(out.chunks_exact_mut(lanes)) {
                let x = &x[i * lanes..][..lanes];
                if fresh {
                    out.copy_from_slice(x);
                } else {
                    out.iter_mut().zip(x).for_each(|(out, x)| *out += x);
                }
            }
        }
    }
}

vectorised! {
    /// Item `index[e]` of out += item e of x.
    pub fn scatter(x: &[f32], index: &[usize], lanes: usize, out: &mut [f32]) {
        let n_rows = x.len() / (index.len() * lanes);
        let to = out.len() / n_rows;
        for (x, out) in x.chunks_exact(index.len() * lanes).zip(out.chunks_exact_mut(to)) {
            for (&i, x) in index.iter().zip(x.chunks_exact(lanes)) {
                out[i * lanes..][..lanes].iter_mut().zip(x).for_each(|(out, x)| *out += x);
            }
        }
    }
}

vectorised! {
    /// Item e of out = (where `fresh`, else +=) items i + s j of x, for pairs [i, j].
    pub fn gather_pairs(
        x: &[f32], pairs: &[[usize; 2]], sign: f32, lanes: usize, out: &mut [f32], fresh: bool,
    ) {
        let n_rows = out.len() / (pairs.len() * lanes);
        let from = x.len() / n_rows;
        for (x, out) in x.chunks_exact(from).zip(out.chunks_exact_mut(pairs.len() * lanes)) {
            for (&[i, j], out) in pairs.iter().zip(out.chunks_exact_mut(lanes)) {
                let (x, y) = (&x[i * lanes..][..lanes], &x[j * lanes..][..lanes]);
                if fresh {
                    out.iter_mut().zip(x).zip(y).for_each(|((out, x), y)| *out = x + sign * y);
                } else {
                    out.iter_mut().zip(x).zip(y).for_each(|((out, x), y)| *out += x + sign * y);
                }
            }
        }
    }
}

vectorised! {
    /// Item i of out += item e of x and item j += s times it, for pairs [i, j].
    pub fn scatter_pairs(x: &[f32], pairs: &[[usize; 2]], sign: f32, lanes: usize, out: &mut [f32]) {
        let n_rows = x.len() / (pairs.len() * lanes);
        let to = out.len() / n_rows;
        for (x, out) in x.chunks_exact(pairs.len() * lanes).zip(out.chunks_exact_mut(to)) {
            for (&[i, j], x) in pairs.iter().zip(x.chunks_exact(lanes)) {
                out[i * lanes..][..lanes].iter_mut().zip(x).for_each(|(out, x)| *out += x);
                out[j * lanes..][..lanes].iter_mut().zip(x).for_each(|(out, x)| *out += sign * x);
            }
        }
    }
}

/// A row-major matrix within a larger one.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// Its numbers, from the first element on.
    pub data: &'a [f32],
    /// Distance of two rows.
    pub stride: usize,
}

/// What a product is added to.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// Nothing: C = A B.
    Zero,
    /// What C holds: C += A B.
    Kept,
    /// Another matrix: C = D + A B.
    From(Matrix<'a>),
}

/// The shape of a product of m × k by k × n.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
}

/// C = start + A B, all row-major.
///
/// Blocks of C of up to 24 vectors stay in registers while k runs; A is broadcast, B is read along rows.
/// The operands of one chunk lie in the L1 and L2 caches, so nothing is packed.
pub fn multiply(shape: Shape, a: Matrix, b: Matrix, start: Start, c: &mut [f32], c_stride: usize) {
    let Shape { m, n, k } = shape;
    if m == 0 || n == 0 {
        return;
    }
    let holds = |matrix: Matrix, rows: usize, columns: usize| {
        rows == 0 || matrix.data.len() >= (rows - 1) * matrix.stride + columns
    };
    assert!(holds(a, m, k), "A is too small");
    assert!(holds(b, k, n), "B is too small");
    assert!(holds(Matrix { data: c, stride: c_stride }, m, n), "C is too small");
    if let Start::From(d) = start {
        assert!(holds(d, m, n), "D is too small");
    }
    #[cfg(target_arch = "x86_64")]
    match simd() {
        _ if k == 0 => {}
        // SAFETY: `simd` has found the features; the asserts bound every access.
        Simd::Avx512 => return unsafe { x86::multiply_avx512(shape, a, b, start, c, c_stride) },
        // SAFETY: as above.
        Simd::Avx2 => return unsafe { x86::multiply_avx2(shape, a, b, start, c, c_stride) },
        Simd::Baseline => {}
    }
    multiply_portable(shape, a, b, start, c, c_stride);
}

/// The same without vector intrinsics; also the reference of the others.
pub fn multiply_portable(shape: Shape, a: Matrix, b: Matrix, start: Start, c: &mut [f32], c_stride: usize) {
    let Shape { m, n, k } = shape;
    for row in 0..m {
        let out = &mut c[row * c_stride..][..n];
        match start {
            Start::Zero => out.fill(0.0),
            Start::Kept => {}
            Start::From(d) => out.copy_from_slice(&d.data[row * d.stride..][..n]),
        }
        for inner in 0..k {
            let factor = a.data[row * a.stride + inner];
            for (out, &value) in out.iter_mut().zip(&b.data[inner * b.stride..][..n]) {
                *out += factor * value;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Matrix, Shape, Start};
    use std::arch::x86_64::*;

    /// Addresses and strides of a block; a null start is zero.
    #[derive(Clone, Copy)]
    struct Block {
        k: usize,
        a: *const f32,
        a_stride: usize,
        b: *const f32,
        b_stride: usize,
        start: *const f32,
        start_stride: usize,
        c: *mut f32,
        c_stride: usize,
    }

    impl Block {
        /// The whole product.
        fn new(k: usize, a: Matrix, b: Matrix, start: Start, c: &mut [f32], c_stride: usize) -> Self {
            let c = c.as_mut_ptr();
            let (start, start_stride) = match start {
                Start::Zero => (std::ptr::null(), 0),
                Start::Kept => (c.cast_const(), c_stride),
                Start::From(d) => (d.data.as_ptr(), d.stride),
            };
            let (a, a_stride, b, b_stride) = (a.data.as_ptr(), a.stride, b.data.as_ptr(), b.stride);
            Self { k, a, a_stride, b, b_stride, start, start_stride, c, c_stride }
        }

        /// The block whose first element stands at `row` and `column` of the product.
        ///
        /// # Safety
        ///
        /// The element exists.
        #[inline]
        unsafe fn at(self, row: usize, column: usize) -> Self {
            // SAFETY: the element exists, so its row of A, its column of B and its places in C and the start do.
            unsafe {
                let start = if self.start.is_null() {
                    self.start
                } else {
                    self.start.add(row * self.start_stride + column)
                };
                Self {
                    a: self.a.add(row * self.a_stride),
                    b: self.b.add(column),
                    start,
                    c: self.c.add(row * self.c_stride + column),
                    ..self
                }
            }
        }
    }

    /// A block of `M` rows by `V` vectors of 16 columns, the last of them masked.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
    unsafe fn block512<const M: usize, const V: usize>(block: Block, mask: __mmask16) {
        let Block { k, a, a_stride, b, b_stride, start, start_stride, c, c_stride } = block;
        // SAFETY: the caller has checked the extents; the mask covers the last vector of a row.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); V]; M];
            if !start.is_null() {
                for (row, sums) in sums.iter_mut().enumerate() {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        let address = start.add(row * start_stride + 16 * v);
                        *sum = if v + 1 == V {
                            _mm512_maskz_loadu_ps(mask, address)
                        } else {
                            _mm512_loadu_ps(address)
                        };
                    }
                }
            }
            for inner in 0..k {
                let mut columns = [_mm512_setzero_ps(); V];
                for (v, column) in columns.iter_mut().enumerate() {
                    let address = b.add(inner * b_stride + 16 * v);
                    *column = if v + 1 == V {
                        _mm512_maskz_loadu_ps(mask, address)
                    } else {
                        _mm512_loadu_ps(address)
                    };
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let factor = _mm512_set1_ps(*a.add(row * a_stride + inner));
                    for (sum, &column) in sums.iter_mut().zip(&columns) {
                        *sum = _mm512_fmadd_ps(factor, column, *sum);
                    }
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                for (v, &sum) in sums.iter().enumerate() {
                    let address = c.add(row * c_stride + 16 * v);
                    if v + 1 == V {
                        _mm512_mask_storeu_ps(address, mask, sum);
                    } else {
                        _mm512_storeu_ps(address, sum);
                    }
                }
            }
        }
    }

    /// Blocks of `V` vectors and at most `tallest` rows, as even in height as possible.
    #[inline(always)]
    fn heights(m: usize, tallest: usize) -> impl Iterator<Item = (usize, usize)> {
        let n_blocks = m.div_ceil(tallest);
        (0..n_blocks).map(move |block| {
            let row = block * m / n_blocks;
            (row, (block + 1) * m / n_blocks - row)
        })
    }

    #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
    pub(super) unsafe fn multiply_avx512(
        shape: Shape,
        a: Matrix,
        b: Matrix,
        start: Start,
        c: &mut [f32],
        c_stride: usize,
    ) {
        let Shape { m, n, k } = shape;
        let product = Block::new(k, a, b, start, c, c_stride);
        let mut column = 0;
        while column < n {
            let width = (n - column).min(64);
            let tail = if width.is_multiple_of(16) { !0 } else { (1_u16 << (width % 16)) - 1 };
            let vectors = width.div_ceil(16);
            for (row, height) in heights(m, [14, 12, 8, 6][vectors - 1]) {
                // SAFETY: row + height ≤ m and column + width ≤ n.
                unsafe {
                    let block = product.at(row, column);
                    macro_rules! run {
                        ($($V:literal: $($M:literal)*;)*) => {
                            match (vectors, height) {
                                $($(($V, $M) => block512::<$M, $V>(block, tail),)*)*
                                _ => unreachable!("heights are bounded"),
                            }
                        };
                    }
                    run! {
                        1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14;
                        2: 1 2 3 4 5 6 7 8 9 10 11 12;
                        3: 1 2 3 4 5 6 7 8;
                        4: 1 2 3 4 5 6;
                    }
                }
            }
            column += width;
        }
    }

    /// A block of `M` rows by 16 columns in two vectors of 8.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn block256<const M: usize>(block: Block) {
        let Block { k, a, a_stride, b, b_stride, start, start_stride, c, c_stride } = block;
        // SAFETY: the caller has checked the extents.
        unsafe {
            let mut sums = [[_mm256_setzero_ps(); 2]; M];
            if !start.is_null() {
                for (row, sums) in sums.iter_mut().enumerate() {
                    let address = start.add(row * start_stride);
                    *sums = [_mm256_loadu_ps(address), _mm256_loadu_ps(address.add(8))];
                }
            }
            for inner in 0..k {
                let address = b.add(inner * b_stride);
                let columns = [_mm256_loadu_ps(address), _mm256_loadu_ps(address.add(8))];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let factor = _mm256_broadcast_ss(&*a.add(row * a_stride + inner));
                    sums[0] = _mm256_fmadd_ps(factor, columns[0], sums[0]);
                    sums[1] = _mm256_fmadd_ps(factor, columns[1], sums[1]);
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                for (v, &sum) in sums.iter().enumerate() {
                    _mm256_storeu_ps(c.add(row * c_stride + 8 * v), sum);
                }
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn multiply_avx2(
        shape: Shape,
        a: Matrix,
        b: Matrix,
        start: Start,
        c: &mut [f32],
        c_stride: usize,
    ) {
        let Shape { m, n, k } = shape;
        let whole = n - n % 16;
        let product = Block::new(k, a, b, start, c, c_stride);
        for (row, height) in heights(m, 6) {
            for column in (0..whole).step_by(16) {
                // SAFETY: row + height ≤ m and column + 16 ≤ n.
                unsafe {
                    let block = product.at(row, column);
                    match height {
                        6 => block256::<6>(block),
                        5 => block256::<5>(block),
                        4 => block256::<4>(block),
                        3 => block256::<3>(block),
                        2 => block256::<2>(block),
                        _ => block256::<1>(block),
                    }
                }
            }
        }
        if whole < n {
            let b = Matrix { data: if k == 0 { &[] } else { &b.data[whole..] }, stride: b.stride };
            let start = match start {
                Start::From(d) => Start::From(Matrix { data: &d.data[whole..], stride: d.stride }),
                start => start,
            };
            super::multiply_portable(Shape { m, n: n - whole, k }, a, b, start, &mut c[whole..], c_stride);
        }
    }

    /// Transposes blocks of 16 × 16 in registers; m and n are multiples of 16.
    #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
    pub(super) unsafe fn transpose512(m: usize, n: usize, input: &[f32], out: &mut [f32], stride: usize) {
        for i in (0..m).step_by(16) {
            for j in (0..n).step_by(16) {
                // SAFETY: the caller has checked that both matrices hold 16 more rows and columns.
                unsafe {
                    let from = input.as_ptr().add(i * n + j);
                    let to = out.as_mut_ptr().add(j * stride + i);
                    let mut rows = [_mm512_setzero_ps(); 16];
                    for (k, row) in rows.iter_mut().enumerate() {
                        *row = _mm512_loadu_ps(from.add(k * n));
                    }
                    // Pairs, then quadruples within 128-bit lanes; then the lanes themselves.
                    let mut pairs = rows;
                    for k in (0..16).step_by(2) {
                        pairs[k] = _mm512_unpacklo_ps(rows[k], rows[k + 1]);
                        pairs[k + 1] = _mm512_unpackhi_ps(rows[k], rows[k + 1]);
                    }
                    let mut quads = rows;
                    for k in (0..16).step_by(4) {
                        let [a, b, c, d] = [0, 1, 2, 3].map(|l| _mm512_castps_pd(pairs[k + l]));
                        quads[k] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
                        quads[k + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
                        quads[k + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
                        quads[k + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
                    }
                    // quads[4 g + l] holds columns l, 4 + l, 8 + l, 12 + l of rows 4 g to 4 g + 3.
                    for l in 0..4 {
                        let [a, b, c, d] = [0, 4, 8, 12].map(|g| quads[g + l]);
                        let even_low = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
                        let odd_low = _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
                        let even_high = _mm512_shuffle_f32x4::<0b10_00_10_00>(c, d);
                        let odd_high = _mm512_shuffle_f32x4::<0b11_01_11_01>(c, d);
                        let columns = [
                            _mm512_shuffle_f32x4::<0b10_00_10_00>(even_low, even_high),
                            _mm512_shuffle_f32x4::<0b10_00_10_00>(odd_low, odd_high),
                            _mm512_shuffle_f32x4::<0b11_01_11_01>(even_low, even_high),
                            _mm512_shuffle_f32x4::<0b11_01_11_01>(odd_low, odd_high),
                        ];
                        for (q, &column) in columns.iter().enumerate() {
                            _mm512_storeu_ps(to.add((4 * q + l) * stride), column);
                        }
                    }
                }
            }
        }
    }
}

/// `out[j][i] = in[i][j]` for an m × n matrix of contiguous rows; rows of `out` are `stride` apart.
pub fn transpose(m: usize, n: usize, input: &[f32], out: &mut [f32], stride: usize) {
    const BLOCK: usize = 16;
    assert!(input.len() >= m * n && (n == 0 || out.len() >= (n - 1) * stride + m), "matrices are too small");
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut, reason = "only x86 has a fast path"))]
    let mut done = 0;
    #[cfg(target_arch = "x86_64")]
    if simd() == Simd::Avx512 && n.is_multiple_of(BLOCK) {
        done = m - m % BLOCK;
        // SAFETY: `simd` has found the features; the assert bounds every access.
        unsafe { x86::transpose512(done, n, input, out, stride) };
    }
    for i0 in (done..m).step_by(BLOCK) {
        for j0 in (0..n).step_by(BLOCK) {
            for i in i0..(i0 + BLOCK).min(m) {
                for j in j0..(j0 + BLOCK).min(n) {
                    out[j * stride + i] = input[i * n + j];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams};
    use rand::Rng as _;

    const FUNCTIONS: [Unary; 6] = [
        Unary::Silu,
        Unary::Softplus,
        Unary::SoftClip { bound: 5.0 },
        Unary::SaturatingSquare { bound: 20.0 },
        Unary::InverseSqrt,
        Unary::NegativeLog,
    ];

    #[test]
    fn products_of_all_shapes_agree_with_the_portable_loop() {
        let mut rng = Streams::new(3).stream(Purpose::Walker, 0);
        for (m, n, k) in [
            (1, 16, 1),
            (7, 32, 5),
            (13, 48, 31),
            (128, 64, 19),
            (3, 19, 64),
            (9, 1, 2),
            (6, 150, 4),
            (5, 33, 0),
        ] {
            let mut random =
                |len: usize| -> Vec<f32> { (0..len).map(|_| rng.random::<f32>() - 0.5).collect() };
            let (a, b, d) = (random(m * (k + 3)), random(k * (n + 5)), random(m * (n + 2)));
            let (a, b) = (Matrix { data: &a, stride: k + 3 }, Matrix { data: &b, stride: n + 5 });
            for start in [Start::Zero, Start::Kept, Start::From(Matrix { data: &d, stride: n + 2 })] {
                let mut c = random(m * (n + 1));
                let mut expected = c.clone();
                let shape = Shape { m, n, k };
                multiply(shape, a, b, start, &mut c, n + 1);
                multiply_portable(shape, a, b, start, &mut expected, n + 1);
                for (c, expected) in c.iter().zip(&expected) {
                    assert!((c - expected).abs() < 1e-5, "{m} {n} {k}");
                }
            }
        }
    }

    #[test]
    fn derivatives_of_elementwise_functions_are_finite_differences() {
        for function in FUNCTIONS {
            for k in 0..80 {
                let positive = matches!(function, Unary::InverseSqrt | Unary::NegativeLog);
                let x = if positive { 0.3 + 0.1 * k as f32 } else { -8.0 + 0.2 * k as f32 };
                let first = |x: f32| function.first(x, function.auxiliary(x));
                let value = |x: f32| function.value(x, function.auxiliary(x));
                let h = 0.02;
                let difference = (value(x + h) - value(x - h)) / (2.0 * h);
                assert!((difference - first(x)).abs() < 3e-3 * (1.0 + difference.abs()), "{function:?} {x}");
                let difference = (first(x + h) - first(x - h)) / (2.0 * h);
                let second = function.second(x, function.auxiliary(x));
                assert!((difference - second).abs() < 1e-2 * (1.0 + difference.abs()), "{function:?} {x}");
            }
        }
    }

    #[test]
    fn exponential_and_logarithm_are_those_of_the_library() {
        for k in -800..800 {
            let x = k as f32 * 0.1;
            assert!((f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs() < 3e-7, "{x}");
        }
        for k in 1..2000 {
            let x = k as f32 * 0.013;
            assert!(
                (f64::from(log(x)) - f64::from(x).ln()).abs() < 3e-7 * (1.0 + f64::from(x).ln().abs()),
                "{x}"
            );
        }
        let (x, mut y, mut aux) = ([-120.0, -95.0, 95.0, 120.0], [0.0; 4], [0.0; 4]);
        unary_value(Unary::Silu, &x, &mut y, &mut aux);
        assert!(y.iter().all(|y| y.is_finite()) && y[3] == 120.0);
    }

    #[test]
    fn transposition_moves_every_element() {
        for (m, n) in [(19, 23), (16, 16), (35, 48), (5, 64)] {
            let input: Vec<f32> = (0..m * n).map(|i| i as f32).collect();
            let mut out = vec![0.0; n * (m + 1)];
            transpose(m, n, &input, &mut out, m + 1);
            assert!((0..m).all(|i| (0..n).all(|j| out[j * (m + 1) + i] == input[i * n + j])));
        }
    }
}
