//! Which vector instructions this machine has, and how a loop is compiled for each of them.
//!
//! A binary built on one machine is fast on another: hot loops are compiled for AVX-512, AVX2 + FMA
//! and the baseline of the target, and chosen once at run time.

use std::sync::OnceLock;

/// The widest vectors that this machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Simd {
    /// 16 single-precision numbers.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 8 single-precision numbers, with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Whatever the target has by default.
    Baseline,
}

/// What this machine has, looked up once. `KIRKWOOD_SIMD=baseline|avx2` asks for less, for comparisons.
pub fn simd() -> Simd {
    static LEVEL: OnceLock<Simd> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            let asked = std::env::var("KIRKWOOD_SIMD").unwrap_or_default();
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw");
            if asked != "baseline" {
                if avx512 && asked != "avx2" {
                    return Simd::Avx512;
                }
                if avx2 {
                    return Simd::Avx2;
                }
            }
        }
        Simd::Baseline
    })
}

/// Compiles the body of a function for each instruction set and dispatches on [`simd`].
macro_rules! vectorised {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[inline]
        $visibility fn $name($($argument: $type),*) {
            #[inline(always)]
            fn body($($argument: $type),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
                fn avx512($($argument: $type),*) { body($($argument),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $type),*) { body($($argument),*) }
                match $crate::simd::simd() {
                    // SAFETY: `simd` has found these features on this machine.
                    $crate::simd::Simd::Avx512 => return unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    $crate::simd::Simd::Avx2 => return unsafe { avx2($($argument),*) },
                    $crate::simd::Simd::Baseline => {}
                }
            }
            body($($argument),*);
        }
    };
}
pub(crate) use vectorised;
