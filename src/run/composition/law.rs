//! The composed law as a path of energies in nm.
//!
//! Every model has a reduced length ℓ_k of its own. Its energy in nm is u_k(r/ℓ_k, t) + d ln ℓ_k with d degrees of
//! freedom, −ln of the same law as a density in nm ([`Rescaled`]); energies in nm can be added and mixed whatever the
//! lengths. At time t the beads of part k are a(t) r + ℓ_k g(t) ε: the noise is the same process, with another width
//! in nm for each part, and the path of the composition leads from the product or mixture of these Gaussians to the
//! composed law. What lies between is the law of no noised data, and need not be: particles carry weights.
//!
//! Restraints v are switched on by the signal, u + s(t) v with s = 0 at the noise end, 1 at the data end and in
//! between in proportion to a²/(a² + g²).

use super::config::How;
use crate::error::{Error, Result};
use crate::model::EnergyModel;
use crate::potential::{Guided, Mixture, Noise, PotentialPath, Product, Rescaled, Restraints, Route};
use crate::sampling::Bridge;

/// Energies with their weights, and what is added to them.
pub struct Law<'a> {
    /// Product or mixture.
    pub how: How,
    /// Models with their powers or shares.
    pub parts: Vec<(&'a EnergyModel, f64)>,
    /// kT/nm²
    pub confinement: f64,
    /// In nm.
    pub restraints: Restraints<'a>,
}

impl<'a> Law<'a> {
    /// One energy alone.
    pub fn of_one(model: &'a EnergyModel) -> Result<Self> {
        let restraints = Restraints::new(model.space(), Vec::new())?;
        Ok(Self { how: How::Product, parts: vec![(model, 1.0)], confinement: 0.0, restraints })
    }

    fn noise(&self) -> Result<Noise> {
        let first = self.parts.first().map(|(model, _)| *model.noise());
        first.ok_or_else(|| Error::invalid("composition of energies", "at least one energy", "none"))
    }

    /// Variance per degree of freedom at the noise end, nm²: exact for a product of Gaussians, the widest of a mixture.
    fn reference_variance(&self) -> Result<f64> {
        let noise = self.noise()?;
        let variance =
            |model: &EnergyModel| model.length_scale_nm.powi(2) * noise.total_variance(noise.time_range().1);
        let of_product: f64 = self.parts.iter().map(|(model, weight)| weight / variance(model)).sum();
        let of_mixture = 1.0 / self.parts.iter().map(|(model, _)| variance(model)).fold(0.0, f64::max);
        let precision = match self.how {
            How::Product => of_product + self.confinement,
            How::Mixture => of_mixture,
        };
        if precision > 0.0 {
            return Ok(1.0 / precision);
        }
        let message = format!("is too little: at the noise end {:.4e} kT/nm² is missing", -precision);
        Err(Error::config(format!("confinement = {}", self.confinement), message, "more of it"))
    }

    /// Checks that there is such a law, as far as its Gaussian can tell.
    pub fn validate(&self) -> Result<()> {
        self.along(|_| Ok(()))
    }

    /// Strength of the restraints at time t and its slope.
    fn strength(noise: &Noise, t: f64) -> (f64, f64) {
        let (data_end, noise_end) = noise.time_range();
        let signal = |t: f64| noise.signal(noise.log_snr(t));
        let (least, most) = (signal(noise_end), signal(data_end));
        let slope_of_log =
            2.0 * noise.scale_rate(t) / noise.scale(t) - noise.variance_rate(t) / noise.deviation(t).powi(2);
        let slope = signal(t) * (1.0 - signal(t)) * slope_of_log;
        ((signal(t) - least) / (most - least), slope / (most - least))
    }

    /// Hands over the path from the noise end to the data end in nm.
    pub fn along<R>(&self, work: impl FnOnce(Bridge) -> Result<R>) -> Result<R> {
        let noise = self.noise()?;
        let in_nm: Vec<Rescaled<EnergyModel>> = (self.parts.iter())
            .map(|(model, _)| Rescaled::new(*model, 1.0 / model.length_scale_nm))
            .collect::<Result<_>>()?;
        let parts: Vec<(&dyn PotentialPath, f64)> =
            in_nm.iter().zip(&self.parts).map(|(path, (_, weight))| (path as _, *weight)).collect();
        let (product, mixture);
        let composed: &dyn PotentialPath = match self.how {
            How::Product => {
                product = Product::new(parts, self.confinement)?;
                &product
            }
            How::Mixture => {
                mixture = Mixture::new(parts)?;
                &mixture
            }
        };
        let strength = |t: f64| Self::strength(&noise, t);
        let guided = Guided { path: composed, guide: &self.restraints, strength };
        let path: &dyn PotentialPath = if self.restraints.is_empty() { composed } else { &guided };
        let reference_deviation = self.reference_variance()?.sqrt();
        work(Bridge { path, route: Route::LogSnr { noise }, reference_deviation })
    }

    /// u in kT of conformations in nm at the data end.
    pub fn energies(&self, positions_nm: &[f64]) -> Result<Vec<f64>> {
        self.along(|bridge| {
            let mut u = vec![0.0; positions_nm.len() / bridge.path.space().dimension()];
            let data_end = bridge.path.range().0;
            bridge.path.energies(&vec![data_end; u.len()], positions_nm, &mut u)?;
            Ok(u)
        })
    }
}
