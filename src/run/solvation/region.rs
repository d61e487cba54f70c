//! A path within the region of one stereoisomer, but for the part where noise has blurred handedness.
//!
//! Energies are infinite outside the region. On the way from noise to data this may begin to count only where frames
//! lie in it although they are noised: before, all isomers are one, and particles need not look for theirs. Where the
//! region begins to count, the particles outside lose their weight, which is exact. The other way it is not: samples
//! from within do not show what is added where a region ends.

use crate::error::Result;
use crate::model::data::{DataPoints, GROUP, TrainingData};
use crate::potential::{Noise, PotentialPath, Space};
use crate::random::{Purpose, Streams};
use crate::system::Stereochemistry;

/// Fraction of noised frames that must lie in the region where it counts.
const INSIDE: f64 = 0.95;

/// Noise levels that are tried between one end and the other.
const N_LEVELS: usize = 96;

/// A path with infinite energies outside a region, except for λ strictly between two values.
#[derive(Clone, Copy)]
pub struct Within<'a> {
    /// The energies.
    pub path: &'a dyn PotentialPath,
    /// The region.
    pub region: &'a Stereochemistry,
    /// Between these λ the region does not count; `None`: it always does.
    pub free: Option<(f64, f64)>,
}

impl Within<'_> {
    fn exclude(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) {
        for ((u, x), &lambda) in u.iter_mut().zip(x.chunks_exact(self.space().dimension())).zip(lambda) {
            let counts = self.free.is_none_or(|(from, to)| lambda <= from || lambda >= to);
            if counts && !self.region.contains(x) {
                *u = f64::INFINITY;
            }
        }
    }
}

impl PotentialPath for Within<'_> {
    fn space(&self) -> Space {
        self.path.space()
    }

    fn range(&self) -> (f64, f64) {
        self.path.range()
    }

    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
        self.path.energies(lambda, x, u)?;
        self.exclude(lambda, x, u);
        Ok(())
    }

    fn energies_and_gradients(
        &self,
        lambda: &[f64],
        x: &[f64],
        u: &mut [f64],
        gradient: &mut [f64],
    ) -> Result<()> {
        self.path.energies_and_gradients(lambda, x, u, gradient)?;
        self.exclude(lambda, x, u);
        Ok(())
    }

    fn lambda_derivatives(&self, lambda: &[f64], x: &[f64], du_dlambda: &mut [f64]) -> Result<()> {
        self.path.lambda_derivatives(lambda, x, du_dlambda)
    }
}

/// The times between which noised frames leave the region; `None` where they never do. The second is the last time
/// of the process where it ends in noise.
pub fn blurred_times(
    data: &TrainingData,
    noise: &Noise,
    region: &Stereochemistry,
    streams: &Streams,
) -> Option<(f64, f64)> {
    let size = data.space.dimension();
    let mut rng = streams.stream(Purpose::Start, u64::MAX);
    let (mut first, mut second, mut points) = (vec![], vec![], DataPoints::default());
    for _ in 0..8 {
        data.draw(GROUP, &mut rng, &mut points);
        first.append(&mut points.first);
        second.append(&mut points.second);
    }
    second.resize(first.len(), 0.0);
    let mut z = vec![0.0; first.len()];
    z.chunks_exact_mut(size).for_each(|z| data.space.fill_normal(&mut rng, z));
    let is_inside = |t: f64| {
        let (a, b, g) = (noise.scale(t), noise.partner_scale(t), noise.deviation(t));
        let n_inside = (0..z.len() / size).filter(|&k| {
            let at = k * size..(k + 1) * size;
            let of = z[at.clone()].iter().zip(&first[at.clone()]).zip(&second[at]);
            region.contains(&of.map(|((z, x0), x1)| a * x0 + b * x1 + g * z).collect::<Vec<f64>>())
        });
        n_inside.count() as f64 >= INSIDE * (z.len() / size) as f64
    };
    // From the far end to the first, that is with falling time.
    let times = noise.log_snr_grid(N_LEVELS);
    let inside: Vec<bool> = times.iter().map(|&t| is_inside(t)).collect();
    let last_outside = inside.iter().position(|inside| !inside)?;
    let first_outside = inside.iter().rposition(|inside| !inside)?;
    // The neighbours that are still inside, where there are any.
    let from = times[(first_outside + 1).min(N_LEVELS)];
    let to = times[last_outside.saturating_sub(1)];
    Some((from, to))
}
