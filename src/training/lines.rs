//! Batches of straight lines from noise to data, for energies that do not depend on time.

use rand::Rng as _;
use rayon::prelude::*;

use super::batch::Batch;
use crate::model::data::{DataPoints, GROUP, TrainingData, assignment};
use crate::potential::Noise;
use crate::random::{Purpose, Streams};

impl Batch {
    /// Points (1 − l) z + l x₀ with l stratified over the batch; noise and data of a group are paired so that the sum of their
    /// squared distances is least. `with_negatives` adds the data point, noised as at the data end, twice: a chain
    /// moves the second.
    pub(super) fn draw_lines(
        &mut self,
        data: &TrainingData,
        noise: &Noise,
        with_negatives: bool,
        n_points: usize,
        streams: &Streams,
        step: u64,
    ) {
        let (space, size) = (data.space, data.space.dimension());
        let k = if with_negatives { 3 } else { 1 };
        let t = noise.time_range().0;
        (self.n_points, self.n_times) = (n_points, k);
        for vectors in [&mut self.x, &mut self.noise, &mut self.displacements] {
            vectors.resize(n_points * k * size, 0.0);
        }
        self.scores.clear();
        self.states.clear();
        self.times.clear();
        self.times.resize(n_points * k, t);
        self.progress.resize(n_points * k, 1.0);
        self.levels.clear();
        self.levels.resize(n_points * k, 0);
        let n_groups = n_points.div_ceil(GROUP);
        let groups = self
            .x
            .par_chunks_mut(GROUP * k * size)
            .zip(self.noise.par_chunks_mut(GROUP * k * size))
            .zip(self.displacements.par_chunks_mut(GROUP * k * size))
            .zip(self.progress.par_chunks_mut(GROUP * k));
        groups.enumerate().for_each(|(group, (((x, z), displacements), progress))| {
            let mut rng = streams.stream(Purpose::Batch, step * n_groups as u64 + group as u64);
            let n = progress.len() / k;
            let mut ends = DataPoints::default();
            data.draw(n, &mut rng, &mut ends);
            let mut from = vec![0.0; n * size];
            from.chunks_exact_mut(size).for_each(|z| space.fill_normal(&mut rng, z));
            let cost = |i: usize, j: usize| -> f64 {
                let pair = ends.first[i * size..][..size].iter().zip(&from[j * size..][..size]);
                pair.map(|(x0, z)| (x0 - z).powi(2)).sum()
            };
            let partners = assignment(n, &cost);
            for (point, &partner) in partners.iter().enumerate() {
                let l = ((group * GROUP + point) as f64 + rng.random::<f64>()) / n_points as f64;
                let (x0, start) = (&ends.first[point * size..][..size], &from[partner * size..][..size]);
                let at = point * k * size;
                progress[point * k] = l;
                z[at..at + size].copy_from_slice(start);
                for i in 0..size {
                    x[at + i] = (1.0 - l) * start[i] + l * x0[i];
                    displacements[at + i] = x0[i] - start[i];
                }
                if k == 3 {
                    let (a, g) = (noise.scale(t), noise.deviation(t));
                    let (fresh, copy) = z[at + size..at + 3 * size].split_at_mut(size);
                    space.fill_normal(&mut rng, fresh);
                    copy.copy_from_slice(fresh);
                    for i in 0..size {
                        x[at + size + i] = a * x0[i] + g * fresh[i];
                        x[at + 2 * size + i] = x[at + size + i];
                    }
                    displacements[at + size..at + 3 * size].fill(0.0);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::Space;

    /// Lines end at noise and at data, and pairing by transport makes them shorter than independent ones.
    #[test]
    fn lines_join_noise_and_data_and_are_short() {
        let space = Space::Euclidean { dimension: 2 };
        let frames: Vec<f32> = (0..512).flat_map(|k| [if k % 2 == 0 { 3.0 } else { -3.0 }, 0.0]).collect();
        let data = TrainingData::of_frames(space, &frames);
        let mut batch = Batch::default();
        batch.draw_lines(&data, &Noise::default(), true, 256, &Streams::new(1), 7);
        assert_eq!((batch.x.len(), batch.n_times), (256 * 3 * 2, 3));
        let mut crossing = 0;
        for point in 0..256 {
            let (at, l) = (point * 6, batch.progress[point * 3]);
            assert!(l >= point as f64 / 256.0 && l < (point + 1) as f64 / 256.0);
            for i in 0..2 {
                let end = batch.noise[at + i] + batch.displacements[at + i];
                let x = batch.noise[at + i] + l * batch.displacements[at + i];
                assert!((x - batch.x[at + i]).abs() < 1e-12);
                assert!((end.abs() - [3.0, 0.0][i]).abs() < 1e-6);
            }
            crossing += usize::from(batch.noise[at] * (batch.noise[at] + batch.displacements[at]) < 0.0);
            assert!(batch.x[at + 2..at + 4] == batch.x[at + 4..at + 6]);
        }
        // Half of independent pairs cross the middle.
        assert!(crossing < 40, "{crossing}");
    }
}
