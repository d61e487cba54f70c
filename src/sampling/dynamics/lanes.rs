//! Arithmetic on several conformations side by side, compiled for the vectors that the machine has.
//!
//! Sums and products are rounded one by one, without fused multiply-add, so that every instruction set
//! gives the same bits.

use std::ops::{Add, AddAssign, Mul, Sub, SubAssign};
use std::sync::OnceLock;

/// Whether the machine has (AVX-512, AVX2).
#[cfg(target_arch = "x86_64")]
pub(super) fn widest() -> (bool, bool) {
    static FOUND: OnceLock<(bool, bool)> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw");
        (avx2 && avx512, avx2)
    })
}

/// Compiles the body of a function for each instruction set and dispatches on [`widest`].
macro_rules! vectorised {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        $visibility fn $name($($argument: $type),*) {
            #[inline(always)]
            fn body($($argument: $type),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
                fn avx512($($argument: $type),*) { body($($argument),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $type),*) { body($($argument),*) }
                match $crate::sampling::dynamics::lanes::widest() {
                    // SAFETY: `widest` has found these features on this machine.
                    (true, _) => return unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    (_, true) => return unsafe { avx2($($argument),*) },
                    _ => {}
                }
            }
            body($($argument),*);
        }
    };
}
pub(super) use vectorised;

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
