//! Adaptation of a step size to an acceptance, by stochastic approximation of its logarithm.
//!
//! log h ← log h + γ (acceptance − target) (Robbins and Monro 1951) with a gain γ = 2/(1 + m)^0.7 that
//! falls only with the number m of times that the error changed its sign (Kesten 1958): a bad first
//! guess is left within a few steps, and noise is averaged afterwards.

/// One step size under adaptation. Freeze it (stop updating) before samples count.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct StepSizeAdapter {
    log_step: f64,
    target: f64,
    n_reversals: u32,
    last_error: f64,
}

impl StepSizeAdapter {
    /// Starts from a guess.
    pub fn new(step_size: f64, target_acceptance: f64) -> Self {
        Self { log_step: step_size.ln(), target: target_acceptance, n_reversals: 0, last_error: 0.0 }
    }

    /// The present step size.
    pub fn step_size(&self) -> f64 {
        self.log_step.exp()
    }

    /// Learns from the mean acceptance of a batch at the present step size.
    pub fn update(&mut self, acceptance: f64) {
        let error = acceptance - self.target;
        if error * self.last_error < 0.0 {
            self.n_reversals += 1;
        }
        self.last_error = error;
        let gain = 2.0 / f64::from(1 + self.n_reversals).powf(0.7);
        // Between 1e-9 and 1e4: a potential that accepts nothing or everything does not overflow.
        self.log_step = (self.log_step + gain * error).clamp(-20.7, 9.2);
    }

    /// Adapts quickly again, for a law that has changed a little.
    pub fn refresh(&mut self) {
        self.n_reversals = self.n_reversals.min(2);
    }
}
