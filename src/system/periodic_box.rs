//! The vectors of a periodic box from its edges and angles.

/// Box vectors in nm, rows a, b, c: a along x, b in the xy plane, reduced as programs of dynamics want them.
///
/// Angles are α (between b and c), β (a, c) and γ (a, b) in degrees. Components below 1e-6 nm are
/// rounding errors of cosines and become zero. `None` where no box has such edges and angles.
pub fn box_vectors_nm(edges_nm: [f64; 3], angles_degree: [f64; 3]) -> Option<[[f64; 3]; 3]> {
    let [a, b, c] = edges_nm;
    let [alpha, beta, gamma] = angles_degree.map(f64::to_radians);
    let cx = c * beta.cos();
    let cy = c * (alpha.cos() - beta.cos() * gamma.cos()) / gamma.sin();
    let cz = (c * c - cx * cx - cy * cy).sqrt();
    let mut vectors = [[a, 0.0, 0.0], [b * gamma.cos(), b * gamma.sin(), 0.0], [cx, cy, cz]];
    for value in vectors.as_flattened_mut() {
        if value.abs() < 1e-6 {
            *value = 0.0;
        }
    }
    // Vectors that lean over more than half a box are replaced by equivalent ones.
    let [first, mut second, mut third] = vectors;
    let subtract = |from: &mut [f64; 3], what: &[f64; 3], axis: usize| {
        let times = (from[axis] / what[axis]).round();
        from.iter_mut().zip(what).for_each(|(value, other)| *value -= times * other);
    };
    subtract(&mut third, &second, 1);
    subtract(&mut third, &first, 0);
    subtract(&mut second, &first, 0);
    let fits = [first[0], second[1], third[2]].iter().all(|&length| length.is_finite() && length > 0.0);
    fits.then_some([first, second, third])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangular_boxes_are_diagonal_and_a_truncated_octahedron_has_its_volume() {
        let vectors = box_vectors_nm([2.0, 3.0, 4.0], [90.0; 3]).expect("a box");
        assert_eq!(vectors, [[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 4.0]]);
        let angle = (-1.0_f64 / 3.0).acos().to_degrees();
        let [a, b, c] = box_vectors_nm([3.0; 3], [angle; 3]).expect("a box");
        let volume = a[0] * b[1] * c[2];
        assert!((volume - 27.0 * 16.0 / (12.0 * 3.0_f64.sqrt())).abs() < 1e-9);
        assert!(
            b[0].abs() <= a[0] / 2.0 && c[0].abs() <= a[0] / 2.0 + 1e-9 && c[1].abs() <= b[1] / 2.0 + 1e-9
        );
        assert!(box_vectors_nm([1.0, 1.0, 1.0], [10.0, 10.0, 150.0]).is_none());
    }
}
