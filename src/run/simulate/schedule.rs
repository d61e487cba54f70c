//! Times of a configuration as numbers of steps.

use crate::error::{Error, Result};
use crate::run::simulate::config::{Integrator, SimulationConfig};
use crate::units::Time;

/// When things happen, in steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// One step in ps.
    pub time_step_ps: f64,
    /// Steps before samples count, a multiple of `record_every`.
    pub n_equilibration: u64,
    /// All steps, a multiple of `record_every`.
    pub n_steps: u64,
    /// Steps between records.
    pub record_every: u64,
    /// Steps between attempted exchanges; 0: none.
    pub exchange_every: u64,
    /// Steps between pivots; 0: none.
    pub pivot_every: u64,
    /// Steps that a move of Monte Carlo counts as; 1 for dynamics.
    pub steps_per_move: u64,
}

impl Schedule {
    /// Errors where an interval is not a whole number of steps.
    pub fn new(config: &SimulationConfig) -> Result<Self> {
        let dynamics = &config.dynamics;
        let step = dynamics.time_step;
        let steps_per_move = match dynamics.integrator {
            Integrator::Hmc => dynamics.n_leapfrog as u64,
            Integrator::Langevin | Integrator::Mala => 1,
        };
        let whole = |place: &str, time: Time| -> Result<u64> {
            let ratio = time.as_ps() / (step.as_ps() * steps_per_move as f64);
            let n = ratio.round();
            if n < 1.0 || (ratio - n).abs() > 1e-6 * n || n > 1e15 {
                let what = if steps_per_move > 1 {
                    format!("moves of {steps_per_move} time steps of {step}")
                } else {
                    format!("time steps of {step}")
                };
                let message = format!("must be a whole number of {what}, one or more; it is {ratio:.6}");
                return Err(Error::config(format!("{place} = \"{time}\""), message, ""));
            }
            Ok(n as u64 * steps_per_move)
        };
        let record_every = whole("dynamics.record_every", dynamics.record_every)?;
        let exchange = config.replica_exchange.as_ref();
        let exchange_every =
            exchange.map_or(Ok(0), |exchange| whole("replica_exchange.every", exchange.every))?;
        let pivots = config.pivots.as_ref();
        let pivot_every = pivots.map_or(Ok(0), |pivots| whole("pivots.every", pivots.every))?;
        let records =
            |time: Time| (time.as_ps() / dynamics.record_every.as_ps() - 1e-9).ceil().max(0.0) as u64;
        let n_equilibration = records(dynamics.equilibration) * record_every;
        Ok(Self {
            time_step_ps: step.as_ps(),
            n_equilibration,
            n_steps: n_equilibration + records(dynamics.duration).max(1) * record_every,
            record_every,
            exchange_every,
            pivot_every,
            steps_per_move,
        })
    }

    /// Steps between the frames that a mover reports: at all of them something may happen.
    pub fn interval(&self) -> u64 {
        greatest_common_divisor(self.record_every, self.exchange_every)
    }

    /// The step at which the next part of the run ends: where walkers exchange or equilibration is over,
    /// and otherwise after about `n_at_most` steps.
    pub fn next_stop(&self, step: u64, n_at_most: u64) -> u64 {
        let interval = self.interval();
        let mut stop = step + (n_at_most / interval).max(1) * interval;
        if let Some(n_done) = step.checked_div(self.exchange_every) {
            stop = stop.min((n_done + 1) * self.exchange_every);
        }
        if step < self.n_equilibration {
            stop = stop.min(self.n_equilibration);
        }
        stop.min(self.n_steps)
    }

    /// Whether a frame of this step is recorded.
    pub fn is_recorded(&self, step: u64) -> bool {
        step > self.n_equilibration && step.is_multiple_of(self.record_every)
    }

    /// Whether walkers exchange after this step.
    pub fn is_exchange(&self, step: u64) -> bool {
        self.exchange_every > 0 && step.is_multiple_of(self.exchange_every)
    }

    /// Recorded time at a step, in ps: 0 at the end of equilibration.
    pub fn time_ps(&self, step: u64) -> f64 {
        super::output::as_written((step - self.n_equilibration.min(step)) as f64 * self.time_step_ps)
    }

    /// Frames of each walker in the whole run.
    pub fn n_records(&self) -> u64 {
        (self.n_steps - self.n_equilibration) / self.record_every
    }

    /// The steps after which a ladder is adapted: rounds of equilibration, each twice as long as the one
    /// before; the last one is left to relax.
    pub fn adaptations(&self) -> Vec<u64> {
        const ROUNDS: u32 = 5;
        let unit = self.n_equilibration as f64 / f64::from(2_u32.pow(ROUNDS) - 1);
        // A run stops at every exchange, so adaptation is at one: elsewhere it might be stepped over.
        let interval = if self.exchange_every > 0 { self.exchange_every } else { self.interval() };
        let at = |round: u32| (unit * f64::from(2_u32.pow(round) - 1)) as u64 / interval * interval;
        let mut steps: Vec<u64> = (1..ROUNDS).map(at).filter(|&step| step > 0).collect();
        steps.dedup();
        steps
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(text: &str) -> Result<Schedule> {
        let text = format!("name = \"a\"\n[system]\ntopology = \"x\"\n{text}");
        Schedule::new(&toml::from_str(&text).unwrap())
    }

    #[test]
    fn times_become_steps_and_stops_lie_where_something_happens() {
        let schedule = schedule(
            "[dynamics]\ntime_step = \"2 fs\"\nequilibration = \"10 ps\"\nduration = \"20 ps\"\nrecord_every = \"1 ps\"\n\
             [replica_exchange]\nkind = \"temperature\"\nhighest = \"400 K\"\nevery = \"0.3 ps\"",
        )
        .unwrap();
        assert_eq!((schedule.n_equilibration, schedule.n_steps, schedule.interval()), (5000, 15000, 50));
        let (mut step, mut recorded, mut exchanged, mut stops) = (0, 0, 0, Vec::new());
        while step < schedule.n_steps {
            let next = schedule.next_stop(step, 1000);
            assert!(next > step && next.is_multiple_of(50));
            recorded += (step + 1..=next).filter(|&step| schedule.is_recorded(step)).count();
            exchanged += usize::from(schedule.is_exchange(next));
            step = next;
            stops.push(step);
        }
        assert_eq!((recorded, exchanged), (20, 100));
        assert_eq!(schedule.time_ps(5500), 1.0);
        let adaptations = schedule.adaptations();
        assert_eq!(adaptations.len(), 4);
        assert!(adaptations.iter().all(|step| *step < 5000 && stops.contains(step)), "{adaptations:?}");
    }

    #[test]
    fn intervals_that_are_no_whole_number_of_steps_are_refused() {
        let message =
            schedule("[dynamics]\ntime_step = \"2 fs\"\nrecord_every = \"3 fs\"").unwrap_err().to_string();
        assert!(message.contains("whole number of time steps of 2 fs"), "{message}");
        let hmc = "[dynamics]\nintegrator = \"hmc\"\nn_leapfrog = 10\ntime_step = \"1 fs\"\nrecord_every = ";
        assert_eq!(schedule(&format!("{hmc}\"0.1 ps\"")).unwrap().record_every, 100);
        assert!(schedule(&format!("{hmc}\"15 fs\"")).unwrap_err().to_string().contains("moves of 10"));
    }
}
