//! Coulomb's law in direct space: screened by Gaussian charges, or in a reaction field.

use std::f64::consts::FRAC_2_SQRT_PI;

/// A pair of unit charges (without Coulomb's constant): energy, and its slope divided by the distance.
pub trait Screening: Sync {
    /// `square` = r², `inverse` = 1/r.
    fn pair(&self, square: f64, inverse: f64) -> [f64; 2];
}

/// erfc(α r)/r, with erfc from a table.
///
/// Between nodes 1/128 apart stands the Taylor series of degree 5 about the nearest node, whose coefficients
/// are known exactly; so the error is below 1e-15 for erfc and below 1e-12 for its slope.
pub struct Gaussian {
    /// α in 1/nm.
    pub alpha: f64,
    nodes: Vec<[f64; 6]>,
}

const NODES_PER_UNIT: f64 = 128.0;
/// Where erfc is 4e-20 and counts as zero.
const END: f64 = 6.5;

impl Gaussian {
    pub fn new(alpha: f64) -> Self {
        let n_nodes = (END * NODES_PER_UNIT) as usize;
        let mut nodes: Vec<[f64; 6]> = (0..n_nodes)
            .map(|node| {
                let x = node as f64 / NODES_PER_UNIT;
                let g = FRAC_2_SQRT_PI * (-x * x).exp();
                let square = x * x;
                [
                    erfc(x),
                    -g,
                    g * x,
                    g * (1.0 - 2.0 * square) / 3.0,
                    g * x * (2.0 * square - 3.0) / 6.0,
                    -g * (4.0 * square * square - 12.0 * square + 3.0) / 30.0,
                ]
            })
            .collect();
        nodes.push([0.0; 6]);
        Self { alpha, nodes }
    }

    /// erfc(x) and 2/√π exp(−x²).
    #[inline(always)]
    pub fn complement(&self, x: f64) -> [f64; 2] {
        let node = ((x * NODES_PER_UNIT + 0.5) as usize).min(self.nodes.len() - 1);
        let h = x - node as f64 * (1.0 / NODES_PER_UNIT);
        let [a, b, c, d, e, f] = self.nodes[node];
        let value = a + h * (b + h * (c + h * (d + h * (e + h * f))));
        let slope = b + h * (2.0 * c + h * (3.0 * d + h * (4.0 * e + h * (5.0 * f))));
        [value, -slope]
    }

    /// What a pair of the reciprocal sum contributes, erf(α r)/r, and its slope divided by r.
    pub fn reciprocal_pair(&self, square: f64) -> [f64; 2] {
        let (alpha, alpha2) = (self.alpha, self.alpha * self.alpha);
        let x2 = alpha2 * square;
        if x2 < 1e-4 {
            // erf(x)/x = 2/√π (1 − x²/3 + x⁴/10 − x⁶/42 …)
            let value = 1.0 - x2 * (1.0 / 3.0 - x2 * (0.1 - x2 / 42.0));
            let slope = -2.0 / 3.0 + x2 * (0.4 - x2 / 7.0);
            return [FRAC_2_SQRT_PI * alpha * value, FRAC_2_SQRT_PI * alpha * alpha2 * slope];
        }
        let r = square.sqrt();
        let [complement, gauss] = self.complement(alpha * r);
        let value = (1.0 - complement) / r;
        [value, (alpha * gauss - value) / square]
    }
}

/// The complementary error function of x ≥ 0, to rounding: by the series 2/√π exp(−x²) Σ 2ⁿ x²ⁿ⁺¹/(2n + 1)!!, whose
/// terms have one sign, and by a continued fraction where that would cancel.
pub fn erfc(x: f64) -> f64 {
    let gauss = FRAC_2_SQRT_PI * (-x * x).exp();
    if x < 1.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..60 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        return 1.0 - gauss * sum;
    }
    let tail = (1..120).rev().fold(x, |tail, n| x + 0.5 * f64::from(n) / tail);
    0.5 * gauss / tail
}

impl Screening for Gaussian {
    #[inline(always)]
    fn pair(&self, square: f64, inverse: f64) -> [f64; 2] {
        let [complement, gauss] = self.complement(self.alpha * square * inverse);
        let value = complement * inverse;
        [value, -(value + self.alpha * gauss) * inverse * inverse]
    }
}

/// 1/r + k r² − c (Tironi et al. 1995).
pub struct ReactionField {
    pub field: f64,
    pub shift: f64,
}

impl Screening for ReactionField {
    #[inline(always)]
    fn pair(&self, square: f64, inverse: f64) -> [f64; 2] {
        [inverse + self.field * square - self.shift, 2.0 * self.field - inverse * inverse * inverse]
    }
}
