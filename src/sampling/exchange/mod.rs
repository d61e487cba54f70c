//! Replica exchange between walkers that something else moves, molecular dynamics for example.
//!
//! Every ladder has one walker per [`ThermodynamicState`]. Now and then neighbours i and j, where a and b
//! are, exchange their states with probability
//!
//! min(1, exp[u_i(x_a) + u_j(x_b) − u_i(x_b) − u_j(x_a)]),  u_k(x) = U(x; λ_k)/kT_k
//!
//! (Swendsen and Wang 1986; Hukushima and Nemoto 1996; in dynamics Sugita and Okamoto 1999, with
//! velocities scaled by √(T'/T); in λ Sugita, Kitao and Okamoto 2000). Even and odd pairs take turns, which is
//! not reversible and takes walkers along the ladder faster than random pairs (Okabe et al. 2001; Syed et
//! al. 2022). What moves are states, so a walker keeps its number and its random numbers, and its
//! trajectory through the ladder is continuous.

mod ladder;

pub use ladder::{Ladder, ThermodynamicState, geometric_temperatures};

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::random::{Purpose, Streams};

/// Which walker is in which state, and how exchanges went. It is all that a run needs to go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    ladder: Ladder,
    n_ladders: usize,
    /// The walker at each place, `[ladder][state]`.
    walkers: Vec<usize>,
    /// Sweeps since the beginning: which pairs have their turn, and which random numbers they get.
    n_sweeps: u64,
    pairs: Vec<PairTally>,
    journeys: Vec<Journey>,
}

/// How often a pair of neighbours was offered an exchange, over all ladders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PairTally {
    /// Offers.
    pub n_offered: u64,
    /// Exchanges.
    pub n_accepted: u64,
    /// Sum of the probabilities, whose mean has less noise than the count.
    pub sum_probability: f64,
}

impl PairTally {
    /// Mean probability of an exchange; 0 before the first offer.
    pub fn acceptance(&self) -> f64 {
        self.sum_probability / (self.n_offered.max(1)) as f64
    }
}

/// The way of one walker along the ladder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Journey {
    /// 0: has not been at the first state yet; 1: was there last; 2: has been at the last state since.
    end: u8,
    /// Journeys from the first state to the last and back.
    pub n_round_trips: u64,
}

/// Two walkers of one ladder that have exchanged their states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swap {
    /// The walkers.
    pub walkers: [usize; 2],
    /// The states in which they are now.
    pub states: [usize; 2],
}

/// Called with λ of every walker, fills in U in kJ/mol of every walker at that λ.
pub type EnergiesAt<'a> = dyn FnMut(&[f64], &mut [f64]) -> Result<()> + 'a;

impl Exchange {
    /// `n_ladders` ladders; walker w begins in state w mod n of ladder w / n.
    pub fn new(ladder: Ladder, n_ladders: usize) -> Result<Self> {
        if n_ladders == 0 {
            return Err(Error::invalid("replica exchange", "at least one ladder", "none"));
        }
        let (n_states, n) = (ladder.len(), ladder.len() * n_ladders);
        let mut exchange = Self {
            ladder,
            n_ladders,
            walkers: (0..n).collect(),
            n_sweeps: 0,
            pairs: Vec::new(),
            journeys: Vec::new(),
        };
        debug_assert_eq!(exchange.walkers.len() / n_states, n_ladders);
        exchange.forget();
        Ok(exchange)
    }

    /// The states.
    pub fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    /// Walkers in all ladders together.
    pub fn n_walkers(&self) -> usize {
        self.walkers.len()
    }

    /// The walker in a state of a ladder.
    pub fn walker_at(&self, ladder_idx: usize, state_idx: usize) -> usize {
        self.walkers[ladder_idx * self.ladder.len() + state_idx]
    }

    /// The index of the state of each walker.
    pub fn states_of_walkers(&self) -> Vec<usize> {
        let mut states = vec![0; self.walkers.len()];
        for (place, &walker) in self.walkers.iter().enumerate() {
            states[walker] = place % self.ladder.len();
        }
        states
    }

    /// How exchanges between state k and k + 1 went.
    pub fn pairs(&self) -> &[PairTally] {
        &self.pairs
    }

    /// The way of each walker.
    pub fn journeys(&self) -> &[Journey] {
        &self.journeys
    }

    /// Round trips of all walkers.
    pub fn n_round_trips(&self) -> u64 {
        self.journeys.iter().map(|journey| journey.n_round_trips).sum()
    }

    /// Begins to count anew, at the end of equilibration.
    pub fn forget(&mut self) {
        self.pairs = vec![PairTally::default(); self.ladder.len() - 1];
        self.journeys = vec![Journey::default(); self.walkers.len()];
        self.note_ends();
    }

    /// Moves the states so that all pairs reject equally often, as far as the counts so far tell, and
    /// begins to count anew. Not for samples that count: it makes the law depend on the past.
    pub fn adapt(&mut self) -> Result<()> {
        let acceptance: Vec<f64> = self.pairs.iter().map(PairTally::acceptance).collect();
        if self.pairs.iter().all(|pair| pair.n_offered > 0) {
            self.ladder = Ladder::new(self.ladder.placed_by(&acceptance).states().to_vec())?;
        }
        self.forget();
        Ok(())
    }

    /// Offers an exchange to every second pair of neighbours of every ladder and returns those that
    /// happened.
    ///
    /// `energies` holds U in kJ/mol of every walker in its own state. Where states differ in λ,
    /// `at_lambda(λ, U)` is called once for the energies of every walker at another λ each.
    pub fn sweep(
        &mut self,
        energies: &[f64],
        at_lambda: &mut EnergiesAt<'_>,
        streams: &Streams,
    ) -> Result<Vec<Swap>> {
        self.sweep_by(log_ratio, energies, at_lambda, streams)
    }

    fn sweep_by(
        &mut self,
        log_ratio: fn([[f64; 2]; 2]) -> f64,
        energies: &[f64],
        at_lambda: &mut EnergiesAt<'_>,
        streams: &Streams,
    ) -> Result<Vec<Swap>> {
        let n_states = self.ladder.len();
        if energies.len() != self.walkers.len() {
            let expected = format!("{} numbers", self.walkers.len());
            return Err(Error::invalid("energies of walkers", expected, energies.len().to_string()));
        }
        let mut rng = streams.stream(Purpose::Swap, self.n_sweeps);
        let parity = (self.n_sweeps % 2) as usize;
        self.n_sweeps += 1;
        let lower: Vec<usize> = (0..self.n_ladders)
            .flat_map(|ladder| (parity..n_states - 1).step_by(2).map(move |state| ladder * n_states + state))
            .collect();

        // U of every walker in the state of its partner.
        let mut elsewhere = energies.to_vec();
        if self.ladder.changes_lambda() {
            let states = self.ladder.states();
            let mut lambda = vec![0.0; self.walkers.len()];
            for (place, &walker) in self.walkers.iter().enumerate() {
                lambda[walker] = states[place % n_states].lambda;
            }
            for &place in &lower {
                let [a, b] = [self.walkers[place], self.walkers[place + 1]];
                lambda.swap(a, b);
            }
            at_lambda(&lambda, &mut elsewhere)?;
        }

        let mut swaps = Vec::new();
        for place in lower {
            let state = place % n_states;
            let [a, b] = [self.walkers[place], self.walkers[place + 1]];
            let kt = [state, state + 1].map(|k| self.ladder.states()[k].kt_kj_per_mol);
            // [walker][state], in kT.
            let u =
                [[energies[a] / kt[0], elsewhere[a] / kt[1]], [elsewhere[b] / kt[0], energies[b] / kt[1]]];
            let log_ratio = log_ratio(u);
            // An energy that is not a number gives no probability, and the pair stays as it is.
            let probability = if log_ratio.is_nan() { 0.0 } else { log_ratio.min(0.0).exp() };
            let accepted = rng.random::<f64>() < probability;
            let tally = &mut self.pairs[state];
            tally.n_offered += 1;
            tally.n_accepted += u64::from(accepted);
            tally.sum_probability += probability;
            if accepted {
                self.walkers.swap(place, place + 1);
                swaps.push(Swap { walkers: [a, b], states: [state + 1, state] });
            }
        }
        self.note_ends();
        Ok(swaps)
    }

    fn note_ends(&mut self) {
        let n_states = self.ladder.len();
        for ladder in self.walkers.chunks_exact(n_states) {
            let first = &mut self.journeys[ladder[0]];
            first.n_round_trips += u64::from(first.end == 2);
            first.end = 1;
            let last = &mut self.journeys[ladder[n_states - 1]];
            if last.end == 1 {
                last.end = 2;
            }
        }
    }
}

/// The logarithm of the Metropolis ratio of an exchange, from u `[walker][state]` of two walkers of which
/// the first is in the first state.
fn log_ratio(u: [[f64; 2]; 2]) -> f64 {
    u[0][0] + u[1][1] - u[0][1] - u[1][0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::fill_normal;
    use crate::units::Temperature;

    /// U = ½ k |x − λ d|² in `DIMENSION` dimensions, whose law in every state is a Gaussian.
    const STIFFNESS: f64 = 400.0;
    const SHIFT_NM: f64 = 0.35;
    const DIMENSION: usize = 6;

    fn energy(x: &[f64], lambda: f64) -> f64 {
        x.iter().map(|x| 0.5 * STIFFNESS * (x - lambda * SHIFT_NM).powi(2)).sum()
    }

    fn ladder(states: &[(f64, f64)]) -> Ladder {
        let state = |&(kelvin, lambda): &(f64, f64)| {
            ThermodynamicState::new(Temperature::from_kelvin(kelvin).unwrap(), lambda)
        };
        Ladder::new(states.iter().map(state).collect()).unwrap()
    }

    struct Oscillators {
        exchange: Exchange,
        x: Vec<f64>,
        streams: Streams,
        sweep: u64,
    }

    impl Oscillators {
        fn new(ladder: Ladder, n_ladders: usize) -> Self {
            let exchange = Exchange::new(ladder, n_ladders).unwrap();
            let streams = Streams::new(11);
            let mut x = vec![0.0; exchange.n_walkers() * DIMENSION];
            fill_normal(&mut streams.stream(Purpose::Start, 0), &mut x);
            let mut oscillators = Self { exchange, x, streams, sweep: 0 };
            // One full step draws from the law of each state.
            oscillators.relax(0.0);
            oscillators
        }

        /// The exact solution of overdamped motion in each walker's own well: keeps `memory` of the past.
        fn relax(&mut self, memory: f64) {
            let states = self.exchange.states_of_walkers();
            let mut noise = vec![0.0; self.x.len()];
            fill_normal(&mut self.streams.stream(Purpose::Walker, self.sweep), &mut noise);
            for (walker, x) in self.x.chunks_exact_mut(DIMENSION).enumerate() {
                let state = self.exchange.ladder().states()[states[walker]];
                let width = (state.kt_kj_per_mol / STIFFNESS).sqrt();
                for (x, z) in x.iter_mut().zip(&noise[walker * DIMENSION..]) {
                    let centre = state.lambda * SHIFT_NM;
                    *x = centre + memory * (*x - centre) + (1.0 - memory * memory).sqrt() * width * z;
                }
            }
            self.sweep += 1;
        }

        fn sweep(&mut self, log_ratio: fn([[f64; 2]; 2]) -> f64) -> usize {
            self.relax(0.9);
            let states = self.exchange.states_of_walkers();
            let lambda: Vec<f64> =
                states.iter().map(|&state| self.exchange.ladder().states()[state].lambda).collect();
            let at = |lambda: &[f64], u: &mut [f64]| {
                for ((u, x), lambda) in u.iter_mut().zip(self.x.chunks_exact(DIMENSION)).zip(lambda) {
                    *u = energy(x, *lambda);
                }
                Ok(())
            };
            let mut own = vec![0.0; lambda.len()];
            at(&lambda, &mut own).unwrap();
            let mut at = at;
            self.exchange.sweep_by(log_ratio, &own, &mut at, &self.streams).unwrap().len()
        }
    }

    /// Means of x and of (x − λ d)² k/kT in every state after many sweeps of many ladders, each compared with its
    /// exact value of λ d and 1 in standard errors; returns the largest deviation.
    fn largest_deviation(ladder: Ladder, log_ratio: fn([[f64; 2]; 2]) -> f64) -> f64 {
        let n_ladders = 4000;
        let mut oscillators = Oscillators::new(ladder, n_ladders);
        for _ in 0..16 {
            oscillators.sweep(log_ratio);
        }
        let states = oscillators.exchange.states_of_walkers();
        let mut largest = 0.0_f64;
        for (state_idx, state) in oscillators.exchange.ladder().states().iter().enumerate() {
            let width = (state.kt_kj_per_mol / STIFFNESS).sqrt();
            let z: Vec<f64> = (oscillators.x.chunks_exact(DIMENSION).zip(&states))
                .filter(|(_, of_walker)| **of_walker == state_idx)
                .flat_map(|(x, _)| x.iter().map(|x| (x - state.lambda * SHIFT_NM) / width))
                .collect();
            let n = z.len() as f64;
            assert_eq!(z.len(), n_ladders * DIMENSION);
            let mean = z.iter().sum::<f64>() / n;
            let square = z.iter().map(|z| z * z).sum::<f64>() / n;
            // The mean has variance 1/n, the mean square 2/n.
            largest = largest.max(mean.abs() * n.sqrt()).max((square - 1.0).abs() * (n / 2.0).sqrt());
        }
        largest
    }

    fn hot() -> Ladder {
        ladder(&[(300.0, 0.0), (400.0, 0.0), (520.0, 0.0), (700.0, 0.0)])
    }

    fn alchemical() -> Ladder {
        ladder(&[(300.0, 0.0), (300.0, 0.3), (300.0, 0.6), (300.0, 1.0)])
    }

    #[test]
    fn exchanges_leave_the_law_of_every_temperature_and_every_lambda() {
        for ladder in [hot(), alchemical()] {
            let deviation = largest_deviation(ladder, log_ratio);
            // Eight numbers of standard deviation one each.
            assert!(deviation < 4.0, "{deviation}");
        }
    }

    #[test]
    fn a_wrong_sign_and_a_forgotten_energy_are_caught() {
        for ladder in [hot(), alchemical()] {
            assert!(largest_deviation(ladder.clone(), |u| -log_ratio(u)) > 10.0);
            assert!(largest_deviation(ladder, |u| u[0][0] - u[1][0]) > 10.0);
        }
    }

    #[test]
    fn acceptance_and_round_trips_are_counted() {
        let mut oscillators = Oscillators::new(hot(), 8);
        let mut n_swaps = 0;
        for _ in 0..400 {
            n_swaps += oscillators.sweep(log_ratio);
        }
        let exchange = &oscillators.exchange;
        assert_eq!(exchange.pairs().iter().map(|pair| pair.n_accepted).sum::<u64>(), n_swaps as u64);
        for pair in exchange.pairs() {
            let counted = pair.n_accepted as f64 / pair.n_offered as f64;
            assert_eq!(pair.n_offered, 1600);
            assert!((counted - pair.acceptance()).abs() < 4.0 * 0.5 / 40.0, "{pair:?}");
        }
        assert!(exchange.n_round_trips() > 50, "{}", exchange.n_round_trips());
        // Every ladder still has every walker once.
        let mut seen: Vec<usize> =
            (0..8).flat_map(|l| (0..4).map(move |k| (l, k))).map(|(l, k)| exchange.walker_at(l, k)).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..32).collect::<Vec<_>>());
        assert!((0..32).all(|walker| exchange.states_of_walkers()[walker] < 4));
    }

    #[test]
    fn adaptation_makes_neighbours_exchange_equally_often() {
        // Temperatures that are crowded below: without adaptation the last pair hardly exchanges.
        let mut oscillators =
            Oscillators::new(ladder(&[(300.0, 0.0), (310.0, 0.0), (325.0, 0.0), (900.0, 0.0)]), 200);
        let spread = |exchange: &Exchange| {
            let acceptance = exchange.pairs().iter().map(PairTally::acceptance);
            let (low, high) = acceptance.fold((1.0_f64, 0.0_f64), |(l, h), a| (l.min(a), h.max(a)));
            high - low
        };
        for _ in 0..40 {
            oscillators.sweep(log_ratio);
        }
        assert!(spread(&oscillators.exchange) > 0.4);
        for _ in 0..4 {
            oscillators.exchange.adapt().unwrap();
            for _ in 0..60 {
                oscillators.sweep(log_ratio);
            }
        }
        assert!(spread(&oscillators.exchange) < 0.06, "{:?}", oscillators.exchange.pairs());
        let states = oscillators.exchange.ladder().states();
        assert!((states[3].temperature_k() - 900.0).abs() < 1e-9);
        // In an ideal gas of oscillators the geometric ladder is the answer.
        assert!((states[1].temperature_k() / 300.0 - 3_f64.powf(1.0 / 3.0)).abs() < 0.04);
    }

    #[test]
    fn a_stored_exchange_goes_on_to_the_same_bits() {
        let mut whole = Oscillators::new(hot(), 5);
        for _ in 0..7 {
            whole.sweep(log_ratio);
        }
        let text = toml::to_string(&whole.exchange).unwrap();
        let exchange: Exchange = toml::from_str(&text).unwrap();
        assert_eq!(exchange, whole.exchange);
        let mut resumed =
            Oscillators { exchange, x: whole.x.clone(), streams: whole.streams, sweep: whole.sweep };
        for _ in 0..8 {
            whole.sweep(log_ratio);
            resumed.sweep(log_ratio);
        }
        assert_eq!((whole.x, whole.exchange), (resumed.x, resumed.exchange));
    }

    #[test]
    fn energies_that_are_not_numbers_exchange_nothing() {
        let mut exchange = Exchange::new(hot(), 1).unwrap();
        let mut never = |_: &[f64], _: &mut [f64]| Ok(());
        let swaps = exchange.sweep(&[f64::NAN; 4], &mut never, &Streams::new(1)).unwrap();
        assert!(swaps.is_empty());
        assert!(exchange.sweep(&[0.0; 3], &mut never, &Streams::new(1)).is_err());
    }
}
