//! The same coordinate of several conformations as one number.
//!
//! Every energy term is written once, over [`Lane`]. In double precision it is the reference; in single
//! precision with 16 lanes it is what dynamics runs. Functions are `#[inline(always)]` so that they are
//! compiled inside a caller that has the instruction set switched on.

use std::ops::{Add, Mul, Neg, Sub};

/// Several conformations' value of one quantity.
pub trait Lane:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Neg<Output = Self>
{
    /// One of the values.
    type Scalar: Copy + Default + Send + Sync + 'static;
    /// What a comparison gives.
    type Mask: Copy;
    /// How many values.
    const WIDTH: usize;
    /// Whether series that are exact to single precision may be used.
    const SINGLE: bool;

    /// A constant in the precision of the lanes.
    fn scalar(value: f64) -> Self::Scalar;
    /// The same value everywhere.
    fn splat(value: Self::Scalar) -> Self;
    /// Rounds `WIDTH` numbers.
    fn from_f64(values: &[f64]) -> Self;
    /// Writes `WIDTH` numbers.
    fn to_f64(self, values: &mut [f64]);
    /// Adds to `WIDTH` numbers, in double precision.
    fn add_to(self, values: &mut [f64]);
    /// self × b + c
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// The larger of two.
    fn max(self, other: Self) -> Self;
    /// |self|
    fn abs(self) -> Self;
    /// √self
    fn sqrt(self) -> Self;
    /// 1/√self for normal positive numbers.
    fn rsqrt(self) -> Self;
    /// 1/self for normal numbers.
    fn reciprocal(self) -> Self;
    /// eˣ; 0 for very negative x.
    fn exp(self) -> Self;
    /// ln x for x > 0.
    fn ln(self) -> Self;
    /// The angle in [0, π] of a vector with y ≥ 0.
    fn angle(y: Self, x: Self) -> Self;
    /// self < other
    fn less(self, other: Self) -> Self::Mask;
    /// Both hold.
    fn and(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// `yes` where the mask holds.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    /// Whether it holds anywhere.
    fn any(mask: Self::Mask) -> bool;

    /// The same constant everywhere.
    #[inline(always)]
    fn constant(value: f64) -> Self {
        Self::splat(Self::scalar(value))
    }

    /// Zero.
    #[inline(always)]
    fn zero() -> Self {
        Self::constant(0.0)
    }

    /// tanh x, from e²ˣ; saturates beyond ±9 in single precision as tanh itself does.
    #[inline(always)]
    fn tanh(self) -> Self {
        let one = Self::constant(1.0);
        let limit = Self::constant(if Self::SINGLE { 10.0 } else { 22.0 });
        let size = -((-self.abs()).max(-limit));
        let e = (size + size).exp();
        let t = one - Self::constant(2.0) * (e + one).reciprocal();
        Self::select(self.less(Self::zero()), -t, t)
    }
}

/// Lanes without instructions of their own: plain arrays.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub struct Plain<T, const N: usize>([T; N]);

macro_rules! plain {
    ($scalar:ty, $single:literal) => {
        impl<const N: usize> Add for Plain<$scalar, N> {
            type Output = Self;
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                Self(std::array::from_fn(|i| self.0[i] + other.0[i]))
            }
        }
        impl<const N: usize> Sub for Plain<$scalar, N> {
            type Output = Self;
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                Self(std::array::from_fn(|i| self.0[i] - other.0[i]))
            }
        }
        impl<const N: usize> Mul for Plain<$scalar, N> {
            type Output = Self;
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                Self(std::array::from_fn(|i| self.0[i] * other.0[i]))
            }
        }
        impl<const N: usize> Neg for Plain<$scalar, N> {
            type Output = Self;
            #[inline(always)]
            fn neg(self) -> Self {
                Self(self.0.map(|x| -x))
            }
        }
        impl<const N: usize> Lane for Plain<$scalar, N> {
            type Scalar = $scalar;
            type Mask = [bool; N];
            const WIDTH: usize = N;
            const SINGLE: bool = $single;

            #[inline(always)]
            fn scalar(value: f64) -> $scalar {
                value as $scalar
            }
            #[inline(always)]
            fn splat(value: $scalar) -> Self {
                Self([value; N])
            }
            #[inline(always)]
            fn from_f64(values: &[f64]) -> Self {
                Self(std::array::from_fn(|i| values[i] as $scalar))
            }
            #[inline(always)]
            fn to_f64(self, values: &mut [f64]) {
                for (value, lane) in values.iter_mut().zip(self.0) {
                    *value = f64::from(lane);
                }
            }
            #[inline(always)]
            fn add_to(self, values: &mut [f64]) {
                for (value, lane) in values.iter_mut().zip(self.0) {
                    *value += f64::from(lane);
                }
            }
            #[inline(always)]
            fn mul_add(self, b: Self, c: Self) -> Self {
                self * b + c
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                Self(std::array::from_fn(|i| if self.0[i] > other.0[i] { self.0[i] } else { other.0[i] }))
            }
            #[inline(always)]
            fn abs(self) -> Self {
                Self(self.0.map(<$scalar>::abs))
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                Self(self.0.map(<$scalar>::sqrt))
            }
            #[inline(always)]
            fn rsqrt(self) -> Self {
                Self(self.0.map(|x| 1.0 / x.sqrt()))
            }
            #[inline(always)]
            fn reciprocal(self) -> Self {
                Self(self.0.map(|x| 1.0 / x))
            }
            #[inline(always)]
            fn exp(self) -> Self {
                Self(self.0.map(<$scalar>::exp))
            }
            #[inline(always)]
            fn ln(self) -> Self {
                Self(self.0.map(<$scalar>::ln))
            }
            #[inline(always)]
            fn angle(y: Self, x: Self) -> Self {
                Self(std::array::from_fn(|i| y.0[i].atan2(x.0[i])))
            }
            #[inline(always)]
            fn less(self, other: Self) -> [bool; N] {
                std::array::from_fn(|i| self.0[i] < other.0[i])
            }
            #[inline(always)]
            fn and(a: [bool; N], b: [bool; N]) -> [bool; N] {
                std::array::from_fn(|i| a[i] && b[i])
            }
            #[inline(always)]
            fn select(mask: [bool; N], yes: Self, no: Self) -> Self {
                Self(std::array::from_fn(|i| if mask[i] { yes.0[i] } else { no.0[i] }))
            }
            #[inline(always)]
            fn any(mask: [bool; N]) -> bool {
                mask.contains(&true)
            }
        }
    };
}

plain!(f32, true);
plain!(f64, false);

/// Coefficients of eʳ = 1 + r + r² p(r), |r| ≤ ln(2)/2, and of ln(1 + m) (Cephes, expf and logf),
/// and of atan (Cephes, atanf).
#[allow(clippy::excessive_precision, reason = "the published coefficients, digit by digit")]
mod cephes {
    pub const EXP: [f32; 6] =
        [1.987_569_15e-4, 1.398_199_95e-3, 8.333_451_9e-3, 4.166_579_6e-2, 1.666_666_55e-1, 5.000_000_1e-1];
    pub const LN: [f32; 9] = [
        7.037_683_6e-2,
        -1.151_461_03e-1,
        1.167_699_87e-1,
        -1.242_014_08e-1,
        1.424_932_28e-1,
        -1.666_805_77e-1,
        2.000_071_48e-1,
        -2.499_999_4e-1,
        3.333_333_1e-1,
    ];
    pub const ATAN: [f32; 4] = [8.053_744_5e-2, -1.387_768_56e-1, 1.997_771_06e-1, -3.333_294_91e-1];
    pub const LN2_HIGH: f32 = 0.693_359_375;
    pub const LN2_LOW: f32 = -2.121_944_4e-4;
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! Lanes in registers. The intrinsics are reached only through [`crate::simd::simd`], which has
    //! found the instruction set, by way of functions that have it switched on.

    use super::{Lane, cephes};
    use std::arch::x86_64::*;
    use std::ops::{Add, Mul, Neg, Sub};

    /// 16 single-precision numbers in one register.
    #[derive(Clone, Copy)]
    #[repr(transparent)]
    pub struct Avx512(__m512);

    /// 16 single-precision numbers in two registers.
    #[derive(Clone, Copy)]
    #[repr(align(64))]
    pub struct Avx2([__m256; 2]);

    macro_rules! operator {
        ($trait:ident, $method:ident, $avx512:ident, $avx2:ident) => {
            impl $trait for Avx512 {
                type Output = Self;
                #[inline(always)]
                fn $method(self, other: Self) -> Self {
                    // SAFETY: see the module.
                    Self(unsafe { $avx512(self.0, other.0) })
                }
            }
            impl $trait for Avx2 {
                type Output = Self;
                #[inline(always)]
                fn $method(self, other: Self) -> Self {
                    // SAFETY: see the module.
                    unsafe { Self([$avx2(self.0[0], other.0[0]), $avx2(self.0[1], other.0[1])]) }
                }
            }
        };
    }
    operator!(Add, add, _mm512_add_ps, _mm256_add_ps);
    operator!(Sub, sub, _mm512_sub_ps, _mm256_sub_ps);
    operator!(Mul, mul, _mm512_mul_ps, _mm256_mul_ps);

    impl Neg for Avx512 {
        type Output = Self;
        #[inline(always)]
        fn neg(self) -> Self {
            // SAFETY: see the module.
            Self(unsafe { _mm512_xor_ps(self.0, _mm512_set1_ps(-0.0)) })
        }
    }
    impl Neg for Avx2 {
        type Output = Self;
        #[inline(always)]
        fn neg(self) -> Self {
            self.map(|x| {
                // SAFETY: see the module.
                unsafe { _mm256_xor_ps(x, _mm256_set1_ps(-0.0)) }
            })
        }
    }

    impl Avx2 {
        #[inline(always)]
        fn map(self, f: impl Fn(__m256) -> __m256) -> Self {
            Self([f(self.0[0]), f(self.0[1])])
        }
        #[inline(always)]
        fn zip(self, other: Self, f: impl Fn(__m256, __m256) -> __m256) -> Self {
            Self([f(self.0[0], other.0[0]), f(self.0[1], other.0[1])])
        }
    }

    /// atan2 of a vector with y ≥ 0, from operations that both widths have: the larger of |x| and y
    /// divides the smaller, and the argument of the polynomial is below tan(π/8).
    #[inline(always)]
    fn angle<L: Lane<Scalar = f32>>(y: L, x: L) -> L {
        let constant = |value: f32| L::splat(value);
        let size = x.abs();
        let steep = size.less(y);
        let large = size.max(y).max(constant(f32::MIN_POSITIVE));
        let small = L::select(steep, size, y);
        let ratio = small * large.reciprocal();
        let beyond = constant(0.414_213_57).less(ratio);
        let one = constant(1.0);
        let t = L::select(beyond, (ratio - one) * (ratio + one).reciprocal(), ratio);
        let z = t * t;
        let mut p = constant(cephes::ATAN[0]);
        for c in &cephes::ATAN[1..] {
            p = p.mul_add(z, constant(*c));
        }
        let value = (p * z).mul_add(t, t);
        let value = L::select(beyond, value + constant(std::f32::consts::FRAC_PI_4), value);
        let value = L::select(steep, constant(std::f32::consts::FRAC_PI_2) - value, value);
        L::select(x.less(L::zero()), constant(std::f32::consts::PI) - value, value)
    }

    impl Lane for Avx512 {
        type Scalar = f32;
        type Mask = __mmask16;
        const WIDTH: usize = 16;
        const SINGLE: bool = true;

        #[inline(always)]
        fn scalar(value: f64) -> f32 {
            value as f32
        }
        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: see the module.
            Self(unsafe { _mm512_set1_ps(value) })
        }
        #[inline(always)]
        fn from_f64(values: &[f64]) -> Self {
            assert!(values.len() >= 16);
            // SAFETY: the length was checked; see the module.
            unsafe {
                let low = _mm512_cvtpd_ps(_mm512_loadu_pd(values.as_ptr()));
                let high = _mm512_cvtpd_ps(_mm512_loadu_pd(values.as_ptr().add(8)));
                Self(_mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high))
            }
        }
        #[inline(always)]
        fn to_f64(self, values: &mut [f64]) {
            assert!(values.len() >= 16);
            // SAFETY: the length was checked; see the module.
            unsafe {
                let low = _mm512_cvtps_pd(_mm512_castps512_ps256(self.0));
                let high = _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(self.0));
                _mm512_storeu_pd(values.as_mut_ptr(), low);
                _mm512_storeu_pd(values.as_mut_ptr().add(8), high);
            }
        }
        #[inline(always)]
        fn add_to(self, values: &mut [f64]) {
            assert!(values.len() >= 16);
            // SAFETY: the length was checked; see the module.
            unsafe {
                let low = _mm512_cvtps_pd(_mm512_castps512_ps256(self.0));
                let high = _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(self.0));
                let (first, second) = (values.as_mut_ptr(), values.as_mut_ptr().add(8));
                _mm512_storeu_pd(first, _mm512_add_pd(_mm512_loadu_pd(first), low));
                _mm512_storeu_pd(second, _mm512_add_pd(_mm512_loadu_pd(second), high));
            }
        }
        #[inline(always)]
        fn mul_add(self, b: Self, c: Self) -> Self {
            // SAFETY: see the module.
            Self(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
        }
        #[inline(always)]
        fn max(self, other: Self) -> Self {
            // SAFETY: see the module.
            Self(unsafe { _mm512_max_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn abs(self) -> Self {
            // SAFETY: see the module.
            Self(unsafe { _mm512_abs_ps(self.0) })
        }
        #[inline(always)]
        fn sqrt(self) -> Self {
            self * self.max(Self::splat(f32::MIN_POSITIVE)).rsqrt()
        }
        #[inline(always)]
        fn rsqrt(self) -> Self {
            // 14 bits and one Newton step: 1 ulp or so, a quarter of the time of the exact instruction.
            // SAFETY: see the module.
            let y = Self(unsafe { _mm512_rsqrt14_ps(self.0) });
            let half = Self::splat(0.5) * y;
            let residual = Self(unsafe { _mm512_fnmadd_ps((self * y).0, y.0, Self::splat(1.0).0) });
            half.mul_add(residual, y)
        }
        #[inline(always)]
        fn reciprocal(self) -> Self {
            // SAFETY: see the module.
            let y = Self(unsafe { _mm512_rcp14_ps(self.0) });
            let residual = Self(unsafe { _mm512_fnmadd_ps(self.0, y.0, Self::splat(1.0).0) });
            y.mul_add(residual, y)
        }
        #[inline(always)]
        fn exp(self) -> Self {
            // SAFETY: see the module.
            unsafe {
                let x = _mm512_max_ps(self.0, _mm512_set1_ps(-100.0));
                let k = _mm512_roundscale_ps::<0>(_mm512_mul_ps(x, _mm512_set1_ps(std::f32::consts::LOG2_E)));
                let r = _mm512_fnmadd_ps(k, _mm512_set1_ps(cephes::LN2_HIGH), x);
                let r = Self(_mm512_fnmadd_ps(k, _mm512_set1_ps(cephes::LN2_LOW), r));
                let mut p = Self::splat(cephes::EXP[0]);
                for c in &cephes::EXP[1..] {
                    p = p.mul_add(r, Self::splat(*c));
                }
                let value = (p * r).mul_add(r, r) + Self::splat(1.0);
                Self(_mm512_scalef_ps(value.0, k))
            }
        }
        #[inline(always)]
        fn ln(self) -> Self {
            // SAFETY: see the module.
            unsafe {
                let shifted = _mm512_sub_epi32(_mm512_castps_si512(self.0), _mm512_set1_epi32(0x3f35_04f3));
                let exponent = Self(_mm512_cvtepi32_ps(_mm512_srai_epi32::<23>(shifted)));
                let mantissa = _mm512_add_epi32(
                    _mm512_and_si512(shifted, _mm512_set1_epi32(0x007f_ffff)),
                    _mm512_set1_epi32(0x3f35_04f3),
                );
                ln_of_parts(Self(_mm512_castsi512_ps(mantissa)) - Self::splat(1.0), exponent)
            }
        }
        #[inline(always)]
        fn angle(y: Self, x: Self) -> Self {
            angle(y, x)
        }
        #[inline(always)]
        fn less(self, other: Self) -> __mmask16 {
            // SAFETY: see the module.
            unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0) }
        }
        #[inline(always)]
        fn and(a: __mmask16, b: __mmask16) -> __mmask16 {
            a & b
        }
        #[inline(always)]
        fn select(mask: __mmask16, yes: Self, no: Self) -> Self {
            // SAFETY: see the module.
            Self(unsafe { _mm512_mask_blend_ps(mask, no.0, yes.0) })
        }
        #[inline(always)]
        fn any(mask: __mmask16) -> bool {
            mask != 0
        }
    }

    /// ln((1 + m) 2ᵉ)
    #[inline(always)]
    fn ln_of_parts<L: Lane<Scalar = f32>>(m: L, exponent: L) -> L {
        let mut p = L::splat(cephes::LN[0]);
        for c in &cephes::LN[1..] {
            p = p.mul_add(m, L::splat(*c));
        }
        let square = m * m;
        let tail = (p * m).mul_add(square, exponent * L::splat(cephes::LN2_LOW)) - square * L::splat(0.5);
        exponent.mul_add(L::splat(cephes::LN2_HIGH), m + tail)
    }

    impl Lane for Avx2 {
        type Scalar = f32;
        type Mask = [__m256; 2];
        const WIDTH: usize = 16;
        const SINGLE: bool = true;

        #[inline(always)]
        fn scalar(value: f64) -> f32 {
            value as f32
        }
        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: see the module.
            Self([unsafe { _mm256_set1_ps(value) }; 2])
        }
        #[inline(always)]
        fn from_f64(values: &[f64]) -> Self {
            assert!(values.len() >= 16);
            // SAFETY: the length was checked; see the module.
            let half = |at: usize| unsafe {
                let low = _mm256_cvtpd_ps(_mm256_loadu_pd(values.as_ptr().add(at)));
                let high = _mm256_cvtpd_ps(_mm256_loadu_pd(values.as_ptr().add(at + 4)));
                _mm256_set_m128(high, low)
            };
            Self([half(0), half(8)])
        }
        #[inline(always)]
        fn to_f64(self, values: &mut [f64]) {
            assert!(values.len() >= 16);
            for (part, values) in self.0.into_iter().zip(values.chunks_exact_mut(8)) {
                // SAFETY: chunks have 8 numbers; see the module.
                unsafe {
                    _mm256_storeu_pd(values.as_mut_ptr(), _mm256_cvtps_pd(_mm256_castps256_ps128(part)));
                    let high = _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(part));
                    _mm256_storeu_pd(values.as_mut_ptr().add(4), high);
                }
            }
        }
        #[inline(always)]
        fn add_to(self, values: &mut [f64]) {
            let mut own = [0.0; 16];
            self.to_f64(&mut own);
            for (value, own) in values.iter_mut().zip(own) {
                *value += own;
            }
        }
        #[inline(always)]
        fn mul_add(self, b: Self, c: Self) -> Self {
            // SAFETY: see the module.
            unsafe {
                Self([_mm256_fmadd_ps(self.0[0], b.0[0], c.0[0]), _mm256_fmadd_ps(self.0[1], b.0[1], c.0[1])])
            }
        }
        #[inline(always)]
        fn max(self, other: Self) -> Self {
            // SAFETY: see the module.
            self.zip(other, |a, b| unsafe { _mm256_max_ps(a, b) })
        }
        #[inline(always)]
        fn abs(self) -> Self {
            // SAFETY: see the module.
            self.map(|x| unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), x) })
        }
        #[inline(always)]
        fn sqrt(self) -> Self {
            // SAFETY: see the module.
            self.map(|x| unsafe { _mm256_sqrt_ps(x) })
        }
        #[inline(always)]
        fn rsqrt(self) -> Self {
            // 12 bits and one Newton step would leave 3e-7: the exact instructions, which AVX2 pipelines.
            self.sqrt().reciprocal()
        }
        #[inline(always)]
        fn reciprocal(self) -> Self {
            // SAFETY: see the module.
            self.map(|x| unsafe { _mm256_div_ps(_mm256_set1_ps(1.0), x) })
        }
        #[inline(always)]
        fn exp(self) -> Self {
            let x = self.max(Self::splat(-87.0)).zip(Self::splat(88.0), |a, b| {
                // SAFETY: see the module.
                unsafe { _mm256_min_ps(a, b) }
            });
            let k = (x * Self::splat(std::f32::consts::LOG2_E)).map(|x| {
                // SAFETY: see the module.
                unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x) }
            });
            let r = x - k * Self::splat(cephes::LN2_HIGH) - k * Self::splat(cephes::LN2_LOW);
            let mut p = Self::splat(cephes::EXP[0]);
            for c in &cephes::EXP[1..] {
                p = p.mul_add(r, Self::splat(*c));
            }
            let value = (p * r).mul_add(r, r) + Self::splat(1.0);
            let power = k.map(|k| {
                // SAFETY: see the module.
                unsafe {
                    let bits = _mm256_add_epi32(_mm256_cvtps_epi32(k), _mm256_set1_epi32(127));
                    _mm256_castsi256_ps(_mm256_slli_epi32::<23>(bits))
                }
            });
            value * power
        }
        #[inline(always)]
        fn ln(self) -> Self {
            let shift = |x: __m256| {
                // SAFETY: see the module.
                unsafe { _mm256_sub_epi32(_mm256_castps_si256(x), _mm256_set1_epi32(0x3f35_04f3)) }
            };
            let exponent = self.map(|x| {
                // SAFETY: see the module.
                unsafe { _mm256_cvtepi32_ps(_mm256_srai_epi32::<23>(shift(x))) }
            });
            let mantissa = self.map(|x| {
                // SAFETY: see the module.
                unsafe {
                    let low = _mm256_and_si256(shift(x), _mm256_set1_epi32(0x007f_ffff));
                    _mm256_castsi256_ps(_mm256_add_epi32(low, _mm256_set1_epi32(0x3f35_04f3)))
                }
            });
            ln_of_parts(mantissa - Self::splat(1.0), exponent)
        }
        #[inline(always)]
        fn angle(y: Self, x: Self) -> Self {
            angle(y, x)
        }
        #[inline(always)]
        fn less(self, other: Self) -> [__m256; 2] {
            // SAFETY: see the module.
            self.zip(other, |a, b| unsafe { _mm256_cmp_ps::<_CMP_LT_OQ>(a, b) }).0
        }
        #[inline(always)]
        fn and(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
            // SAFETY: see the module.
            Self(a).zip(Self(b), |a, b| unsafe { _mm256_and_ps(a, b) }).0
        }
        #[inline(always)]
        fn select(mask: [__m256; 2], yes: Self, no: Self) -> Self {
            // SAFETY: see the module.
            unsafe {
                Self([
                    _mm256_blendv_ps(no.0[0], yes.0[0], mask[0]),
                    _mm256_blendv_ps(no.0[1], yes.0[1], mask[1]),
                ])
            }
        }
        #[inline(always)]
        fn any(mask: [__m256; 2]) -> bool {
            // SAFETY: see the module.
            unsafe { _mm256_movemask_ps(mask[0]) | _mm256_movemask_ps(mask[1]) != 0 }
        }
    }
}
