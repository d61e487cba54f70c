//! Restraints on collective variables: v = ½ k d(ξ(x))², with d the distance of ξ from an interval.
//!
//! An interval of no length is a harmonic restraint, any other one has a flat bottom. Where ξ has a period, d is the
//! shorter way around. Positions are in nm; k is in kT per square of the unit of ξ.
//!
//! Variables give values and no slopes, so ∂ξ/∂x is taken by central differences of 10⁻⁵ nm. Samplers that accept by
//! energies are exact with any slope; this one is right to about eight digits.

use rayon::prelude::*;

use super::{ReducedPotential, Space};
use crate::error::{Error, Result};
use crate::system::CollectiveVariable;

/// Half of the distance of central differences, nm.
const STEP_NM: f64 = 1e-5;
/// Conformations per task.
const CHUNK: usize = 64;

/// A restraint of one variable.
pub struct Restraint<'a> {
    variable: &'a dyn CollectiveVariable,
    interval: (f64, f64),
    stiffness_kt: f64,
}

impl<'a> Restraint<'a> {
    /// To an interval in the unit of the variable; that of a periodic one may wrap around.
    pub fn new(
        variable: &'a dyn CollectiveVariable,
        interval: (f64, f64),
        stiffness_kt: f64,
    ) -> Result<Self> {
        let (from, to) = interval;
        let found = || format!("from {from} to {to}, stiffness {stiffness_kt}");
        if !(from.is_finite() && to.is_finite() && stiffness_kt > 0.0 && stiffness_kt.is_finite()) {
            let expected = "an interval of finite ends and a positive stiffness";
            return Err(Error::invalid("restraint", expected, found()));
        }
        match variable.period() {
            None if from > to => {
                Err(Error::invalid("restraint", "an interval that begins before it ends", found()))
            }
            Some((low, high)) if (to - from).abs() >= high - low => {
                Err(Error::invalid("restraint", "an interval shorter than the period", found()))
            }
            _ => Ok(Self { variable, interval, stiffness_kt }),
        }
    }

    /// How far a value lies above the interval, negative below and 0 inside.
    fn excess(&self, value: f64) -> f64 {
        let (from, to) = self.interval;
        let Some((low, high)) = self.variable.period() else {
            return (value - to).max(0.0) + (value - from).min(0.0);
        };
        let period = high - low;
        let (length, place) = ((to - from).rem_euclid(period), (value - from).rem_euclid(period));
        match place <= length {
            true => 0.0,
            false if place - length <= period - place => place - length,
            false => place - period,
        }
    }

    /// The energy in kT of a value of the variable.
    pub fn energy(&self, value: f64) -> f64 {
        0.5 * self.stiffness_kt * self.excess(value).powi(2)
    }

    /// Adds ∂v/∂x of one conformation, whose positions are moved and put back.
    fn add_gradient(&self, x: &mut [f64], gradient: &mut [f64]) {
        let slope = self.stiffness_kt * self.excess(self.variable.value(x));
        if slope == 0.0 {
            return;
        }
        for idx in 0..3 * self.variable.n_particles() {
            let place = x[idx];
            x[idx] = place + STEP_NM;
            let above = self.variable.value(x);
            x[idx] = place - STEP_NM;
            let below = self.variable.value(x);
            x[idx] = place;
            let mut difference = above - below;
            if let Some((low, high)) = self.variable.period() {
                difference -= (high - low) * (difference / (high - low)).round();
            }
            gradient[idx] += slope * difference / (2.0 * STEP_NM);
        }
    }
}

/// A sum of restraints on conformations in nm.
pub struct Restraints<'a> {
    space: Space,
    terms: Vec<Restraint<'a>>,
}

impl<'a> Restraints<'a> {
    /// On a space of particles, of which each variable must find as many as it needs.
    pub fn new(space: Space, terms: Vec<Restraint<'a>>) -> Result<Self> {
        let n_particles = space.dimension() / 3;
        match terms.iter().map(|term| term.variable.n_particles()).find(|needed| *needed > n_particles) {
            Some(needed) => {
                let expected = format!("at least {needed}, as a variable needs");
                Err(Error::invalid("particles of a restraint", expected, n_particles.to_string()))
            }
            None => Ok(Self { space, terms }),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    fn energy(&self, x: &[f64]) -> f64 {
        self.terms.iter().map(|term| term.energy(term.variable.value(x))).sum()
    }
}

impl ReducedPotential for Restraints<'_> {
    fn space(&self) -> Space {
        self.space
    }

    fn energies(&self, x: &[f64], u: &mut [f64]) -> Result<()> {
        let d = self.space.dimension();
        u.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK * d)).for_each(|(u, x)| {
            u.iter_mut().zip(x.chunks_exact(d)).for_each(|(u, x)| *u = self.energy(x));
        });
        Ok(())
    }

    fn energies_and_gradients(&self, x: &[f64], u: &mut [f64], gradient: &mut [f64]) -> Result<()> {
        let d = self.space.dimension();
        let chunks = u.par_chunks_mut(CHUNK).zip(gradient.par_chunks_mut(CHUNK * d));
        chunks.zip(x.par_chunks(CHUNK * d)).for_each(|((u, gradient), x)| {
            let mut moved = vec![0.0; d];
            for ((u, gradient), x) in u.iter_mut().zip(gradient.chunks_exact_mut(d)).zip(x.chunks_exact(d)) {
                *u = self.energy(x);
                moved.copy_from_slice(x);
                gradient.fill(0.0);
                self.terms.iter().for_each(|term| term.add_gradient(&mut moved, gradient));
                self.space.project(gradient);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams};
    use crate::system::collective_variable::{Dihedral, Distance};

    #[test]
    fn the_way_to_an_interval_of_angles_is_the_shorter_one() {
        let phi = Dihedral::new("phi", [0, 1, 2, 3]);
        let deg = |degrees: f64| degrees.to_radians();
        let flat = Restraint::new(&phi, (deg(30.0), deg(90.0)), 1.0).unwrap();
        for (value, expected) in
            [(60.0, 0.0), (100.0, 10.0), (20.0, -10.0), (-125.0, 145.0), (-115.0, -145.0)]
        {
            let found = flat.excess(deg(value)).to_degrees();
            assert!((found - expected).abs() < 1e-9, "{value}: {found} {expected}");
        }
        let wrapped = Restraint::new(&phi, (deg(150.0), deg(-150.0)), 1.0).unwrap();
        for (value, expected) in [(180.0, 0.0), (-160.0, 0.0), (-140.0, 10.0), (140.0, -10.0)] {
            let found = wrapped.excess(deg(value)).to_degrees();
            assert!((found - expected).abs() < 1e-9, "{value}: {found} {expected}");
        }
        assert!(Restraint::new(&phi, (deg(-180.0), deg(180.0)), 1.0).is_err());
        let distance = Distance::new("d", [0, 1]);
        assert!(Restraint::new(&distance, (0.3, 0.2), 1.0).is_err());
        assert!(Restraint::new(&distance, (0.2, 0.3), 0.0).is_err());
        let space = Space::Centered { n_particles: 3 };
        assert!(Restraints::new(space, vec![Restraint::new(&phi, (0.0, 0.1), 1.0).unwrap()]).is_err());
    }

    #[test]
    fn slopes_are_those_of_the_energy_also_across_a_period() {
        let (phi, distance) = (Dihedral::new("phi", [0, 1, 2, 3]), Distance::new("d", [0, 4]));
        let terms = vec![
            Restraint::new(&phi, (3.0, -3.0), 7.0).unwrap(),
            Restraint::new(&distance, (0.1, 0.12), 300.0).unwrap(),
        ];
        let space = Space::Centered { n_particles: 5 };
        let restraints = Restraints::new(space, terms).unwrap();
        let n = 130;
        let streams = Streams::new(3);
        let mut x = vec![0.0; n * 15];
        for (idx, x) in x.chunks_exact_mut(15).enumerate() {
            space.fill_normal(&mut streams.stream(Purpose::Walker, idx as u64), x);
            x.iter_mut().for_each(|x| *x *= 0.15);
        }
        let mut direction = vec![0.0; 15];
        space.fill_normal(&mut streams.stream(Purpose::Start, 0), &mut direction);
        let (mut u, mut gradient, mut again) = (vec![0.0; n], vec![0.0; n * 15], vec![0.0; n]);
        restraints.energies_and_gradients(&x, &mut u, &mut gradient).unwrap();
        restraints.energies(&x, &mut again).unwrap();
        assert_eq!(u, again);
        let at = |step: f64| {
            let moved: Vec<f64> = x.iter().enumerate().map(|(k, x)| x + step * direction[k % 15]).collect();
            let mut u = vec![0.0; n];
            restraints.energies(&moved, &mut u).unwrap();
            u
        };
        let (above, below) = (at(1e-6), at(-1e-6));
        for idx in 0..n {
            let expected = (above[idx] - below[idx]) / 2e-6;
            let found: f64 = gradient[idx * 15..][..15].iter().zip(&direction).map(|(g, e)| g * e).sum();
            assert!((found - expected).abs() < 1e-3 * (1.0 + expected.abs()), "{idx}: {found} {expected}");
        }
    }
}
