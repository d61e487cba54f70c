//! The rotation that brings one set of points closest to another (Kabsch, Acta Cryst. A32, 922, 1976).
//!
//! With both sets centred and H = Σ_i x_i y_iᵀ = U S Vᵀ, the proper rotation R = V diag(1, 1, d) Uᵀ,
//! d = det(V Uᵀ), minimises Σ |R x_i − y_i|². Without d, mirror images would be laid on each other.

use nalgebra::{Matrix3, Vector3};

/// Root-mean-square distance in nm after the best proper rotation and translation; `[particle][xyz]`.
pub fn rmsd_nm(positions_nm: &[f64], reference_nm: &[f64]) -> f64 {
    let aligned = aligned_to(positions_nm, reference_nm);
    let sum: f64 = aligned.iter().zip(reference_nm).map(|(a, b)| (a - b).powi(2)).sum();
    (sum / (reference_nm.len() / 3) as f64).sqrt()
}

/// The positions after the proper rotation and the translation that bring them closest to the reference.
pub fn aligned_to(positions_nm: &[f64], reference_nm: &[f64]) -> Vec<f64> {
    let (from, to) = (centroid(positions_nm), centroid(reference_nm));
    let mut covariance = Matrix3::zeros();
    for (x, y) in positions_nm.chunks_exact(3).zip(reference_nm.chunks_exact(3)) {
        covariance +=
            (Vector3::from_column_slice(x) - from) * (Vector3::from_column_slice(y) - to).transpose();
    }
    let rotation = proper_rotation(covariance);
    positions_nm
        .chunks_exact(3)
        .flat_map(|x| {
            let aligned: [f64; 3] = (rotation * (Vector3::from_column_slice(x) - from) + to).into();
            aligned
        })
        .collect()
}

fn centroid(positions: &[f64]) -> Vector3<f64> {
    let sum: Vector3<f64> = positions.chunks_exact(3).map(Vector3::from_column_slice).sum();
    sum / (positions.len() / 3) as f64
}

fn proper_rotation(covariance: Matrix3<f64>) -> Matrix3<f64> {
    let svd = covariance.svd(true, true);
    let (Some(u), Some(v_t)) = (svd.u, svd.v_t) else { return Matrix3::identity() };
    let v = v_t.transpose();
    // The sign goes to the direction of the smallest singular value, wherever the SVD has put it.
    let mut signs = Vector3::repeat(1.0);
    signs[svd.singular_values.imin()] = (v * u.transpose()).determinant().signum();
    v * Matrix3::from_diagonal(&signs) * u.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::Rotation3;

    const POINTS: [f64; 12] = [0.0, 0.1, 0.0, 0.15, 0.0, 0.02, 0.2, 0.14, -0.05, 0.35, 0.16, 0.08];

    fn moved(points: &[f64]) -> Vec<f64> {
        let rotation = Rotation3::from_euler_angles(0.4, -1.1, 2.5);
        let shift = Vector3::new(3.0, -2.0, 0.5);
        points
            .chunks(3)
            .flat_map(|x| {
                let moved: [f64; 3] = (rotation * Vector3::from_column_slice(x) + shift).into();
                moved
            })
            .collect()
    }

    #[test]
    fn a_moved_copy_has_no_distance_and_comes_back() {
        assert!(rmsd_nm(&moved(&POINTS), &POINTS) < 1e-14);
        let back = aligned_to(&moved(&POINTS), &POINTS);
        assert!(back.iter().zip(POINTS).all(|(a, b)| (a - b).abs() < 1e-14));
    }

    #[test]
    fn a_mirror_image_stays_at_a_distance() {
        let mirrored: Vec<f64> =
            POINTS.iter().enumerate().map(|(i, x)| if i % 3 == 2 { -x } else { *x }).collect();
        let distance = rmsd_nm(&mirrored, &POINTS);
        // No rotation of a fine scan over Euler angles does better than the closed form.
        let center = centroid(&mirrored);
        let target = centroid(&POINTS);
        let mut best = f64::INFINITY;
        for step in 0..48_usize.pow(3) {
            let tau = std::f64::consts::TAU;
            let (a, b, c) = (step % 48, step / 48 % 48, step / 48 / 48);
            let rotation = Rotation3::from_euler_angles(
                a as f64 / 48.0 * tau,
                b as f64 / 48.0 * tau,
                c as f64 / 48.0 * tau,
            );
            let sum: f64 = mirrored
                .chunks(3)
                .zip(POINTS.chunks(3))
                .map(|(x, y)| {
                    let x = rotation * (Vector3::from_column_slice(x) - center);
                    (x - (Vector3::from_column_slice(y) - target)).norm_squared()
                })
                .sum();
            best = best.min((sum / 4.0).sqrt());
        }
        assert!(distance > 0.005, "{distance}");
        assert!(distance <= best && best < distance + 0.005, "{distance} {best}");
    }

    #[test]
    fn points_on_a_line_align_as_well() {
        let line = [0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.3, 0.0, 0.0];
        assert!(rmsd_nm(&moved(&line), &line) < 1e-12);
    }
}
