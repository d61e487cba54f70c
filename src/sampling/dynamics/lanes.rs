//! Arithmetic on several conformations side by side.
//!
//! Sums and products are rounded one by one, without fused multiply-add, so that every instruction set
//! gives the same bits.

use std::ops::{Add, AddAssign, Mul, Sub, SubAssign};

/// Lanes of one [`Pack`]: half a block, so that the unknowns of a cluster of constraints fit the registers.
pub(super) const WIDTH: usize = 8;

/// The same number of [`WIDTH`] conformations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pack(pub(super) [f64; WIDTH]);

impl Pack {
    #[inline(always)]
    pub(super) fn splat(value: f64) -> Self {
        Self([value; WIDTH])
    }

    #[inline(always)]
    pub(super) fn load(from: &[f64]) -> Self {
        let mut values = [0.0; WIDTH];
        values.copy_from_slice(&from[..WIDTH]);
        Self(values)
    }

    #[inline(always)]
    pub(super) fn store(self, to: &mut [f64]) {
        to[..WIDTH].copy_from_slice(&self.0);
    }

    #[inline(always)]
    pub(super) fn reciprocal(self) -> Self {
        let mut values = self.0;
        values.iter_mut().for_each(|value| *value = 1.0 / *value);
        Self(values)
    }

    #[inline(always)]
    pub(super) fn scaled(self, factor: f64) -> Self {
        self * Self::splat(factor)
    }

    /// The larger of |self| and `other`, NaN where self is.
    #[inline(always)]
    pub(super) fn abs_max(self, other: Self) -> Self {
        let mut values = other.0;
        for (value, own) in values.iter_mut().zip(self.0) {
            *value = if own.abs() <= *value { *value } else { own.abs() };
        }
        Self(values)
    }

    /// Whether all lanes are at most `limit`; NaN is not.
    #[inline(always)]
    pub(super) fn all_at_most(self, limit: f64) -> bool {
        let mut above = 0_u64;
        for value in self.0 {
            above |= u64::from(!(value <= limit));
        }
        above == 0
    }
}

macro_rules! operator {
    ($trait:ident $function:ident $operator:tt) => {
        impl $trait for Pack {
            type Output = Self;
            #[inline(always)]
            fn $function(self, other: Self) -> Self {
                let mut values = self.0;
                for (value, other) in values.iter_mut().zip(other.0) {
                    *value = *value $operator other;
                }
                Self(values)
            }
        }
    };
}
operator!(Add add +);
operator!(Sub sub -);
operator!(Mul mul *);

impl AddAssign for Pack {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Pack {
    #[inline(always)]
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

/// Three coordinates.
pub(super) type Vector = [Pack; 3];

#[inline(always)]
pub(super) fn dot(a: &Vector, b: &Vector) -> Pack {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}
