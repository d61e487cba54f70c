//! Adam with decoupled weight decay, the learning-rate schedule, and the average of weights.

use serde::{Deserialize, Serialize};

/// Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019).
#[derive(Debug, Clone, PartialEq)]
pub struct Adam {
    /// Running mean of gradients.
    pub first: Vec<f32>,
    /// Running mean of squared gradients.
    pub second: Vec<f32>,
    /// Steps done since the start of the stage.
    pub n_steps: usize,
}

/// Constants of Adam.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamSettings {
    /// Decay of the mean gradient.
    pub beta1: f64,
    /// Decay of the mean squared gradient.
    pub beta2: f64,
    /// Added to the root of the latter.
    pub epsilon: f64,
    /// Pull of every weight towards zero, per unit of learning rate.
    pub weight_decay: f64,
}

impl Default for AdamSettings {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

impl Adam {
    /// At rest.
    pub fn new(n: usize) -> Self {
        Self { first: vec![0.0; n], second: vec![0.0; n], n_steps: 0 }
    }

    /// One step down the gradient.
    pub fn step(
        &mut self,
        settings: &AdamSettings,
        learning_rate: f64,
        gradient: &[f32],
        weights: &mut [f32],
    ) {
        self.n_steps += 1;
        let (b1, b2) = (settings.beta1 as f32, settings.beta2 as f32);
        let correction1 = 1.0 - settings.beta1.powi(self.n_steps as i32);
        let correction2 = 1.0 - settings.beta2.powi(self.n_steps as i32);
        let rate = (learning_rate / correction1) as f32;
        let inverse = (1.0 / correction2) as f32;
        let epsilon = settings.epsilon as f32;
        // 1 − β is formed in f64: in f32, 1 − 0.999 is off by 5e-5.
        let (c1, c2) = ((1.0 - settings.beta1) as f32, (1.0 - settings.beta2) as f32);
        let keep = (1.0 - learning_rate * settings.weight_decay) as f32;
        let state = self.first.iter_mut().zip(&mut self.second);
        for ((w, &g), (m, v)) in weights.iter_mut().zip(gradient).zip(state) {
            *m = b1 * *m + c1 * g;
            *v = b2 * *v + c2 * g * g;
            *w = keep * *w - rate * *m / ((*v * inverse).sqrt() + epsilon);
        }
    }
}

/// Linear warm-up, then half a cosine from `peak` to `last`.
pub fn learning_rate(step: usize, n_steps: usize, n_warmup: usize, peak: f64, last: f64) -> f64 {
    if step < n_warmup {
        return peak * (step + 1) as f64 / n_warmup as f64;
    }
    let progress = (step - n_warmup) as f64 / (n_steps.saturating_sub(n_warmup)).max(1) as f64;
    last + 0.5 * (peak - last) * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos())
}

/// Scales a gradient down to a norm of at most `limit`; returns the norm before.
pub fn clip(gradient: &mut [f32], limit: f64) -> f64 {
    let norm = gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
    if norm > limit {
        let factor = (limit / norm) as f32;
        gradient.iter_mut().for_each(|g| *g *= factor);
    }
    norm
}

/// Moves the average towards the weights; early on it forgets faster: decay ≤ (1 + k)/(10 + k).
pub fn average(average: &mut [f32], weights: &[f32], decay: f64, step: usize) {
    let keep = decay.min((1 + step) as f64 / (10 + step) as f64) as f32;
    for (average, &weight) in average.iter_mut().zip(weights) {
        *average = keep * *average + (1.0 - keep) * weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adam_takes_the_step_of_the_paper() {
        // First step from rest: m/(1−β₁) = g and v/(1−β₂) = g², so the step is the rate times sign(g).
        let (mut adam, mut weights) = (Adam::new(2), [1.0, 1.0]);
        adam.step(&AdamSettings::default(), 0.1, &[3.0, -0.2], &mut weights);
        assert!((weights[0] - 0.9).abs() < 1e-6 && (weights[1] - 1.1).abs() < 1e-6);
        // Second step by hand: m̂ = (0.9·0.1·3 + 0.1·1)/(1 − 0.81), v̂ = (0.999·0.009 + 0.001)/(1 − 0.998001).
        adam.step(&AdamSettings::default(), 0.1, &[1.0, 0.0], &mut weights);
        let (m, v) = ((0.27 + 0.1) / 0.19, (0.008_991 + 0.001) / 0.001_999);
        assert!((f64::from(weights[0]) - (0.9 - 0.1 * m / f64::sqrt(v))).abs() < 1e-6);
    }

    #[test]
    fn the_schedule_rises_then_falls() {
        let rate = |step| learning_rate(step, 1000, 100, 3e-3, 3e-5);
        assert!((rate(49) - 1.5e-3).abs() < 1e-12 && (rate(100) - 3e-3).abs() < 1e-12);
        assert!((rate(550) - 1.515e-3).abs() < 1e-9 && (rate(1000) - 3e-5).abs() < 1e-12);
    }

    #[test]
    fn clipping_keeps_the_direction() {
        let mut gradient = [3.0, 4.0];
        assert_eq!(clip(&mut gradient, 1.0), 5.0);
        assert!((gradient[0] - 0.6).abs() < 1e-6 && (gradient[1] - 0.8).abs() < 1e-6);
    }
}
