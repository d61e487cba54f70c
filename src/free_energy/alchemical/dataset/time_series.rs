//! Which samples are one time series: restarts, appended runs, copies, shuffled tables.

use super::{Severity, Verdict, first_source};
use crate::free_energy::reader::{Format, Series};
use std::collections::BTreeMap;

/// One time series, as (series, sample) in order of time.
pub(super) struct Run {
    pub state: usize,
    pub samples: Vec<Sample>,
}

/// A sample, as the number of its series and its number there.
type Sample = (usize, usize);

/// What was noticed about files, and how many samples it is about.
#[derive(Default)]
struct Noticed {
    /// Samples of one file that stand in another, or a second time in the same.
    copies: BTreeMap<(String, String), usize>,
    /// Samples that a restart wrote again.
    replaced: BTreeMap<String, usize>,
    /// Runs appended to a file.
    appended: BTreeMap<String, usize>,
    /// Samples whose times were in no order.
    unsorted: BTreeMap<String, usize>,
    /// Where a run begins before another one ends, in the unit of the file.
    overlapping: BTreeMap<(String, String), (f64, f64)>,
}

/// Sorts samples into time series; names what was out of order or twice there.
pub(super) fn time_series(
    series: &[Series],
    maps: &[Vec<usize>],
    n_states: usize,
    verdicts: &mut Vec<Verdict>,
) -> Vec<Run> {
    let mut of_state: Vec<Vec<Run>> = (0..n_states).map(|_| Vec::new()).collect();
    let mut noticed = Noticed::default();
    for group in groups(series) {
        let mut by_state: Vec<Vec<Sample>> = vec![Vec::new(); n_states];
        for s in group {
            for (sample, &state) in series[s].state_of.iter().enumerate() {
                by_state[maps[s][state]].push((s, sample));
            }
        }
        for (state, samples) in by_state.into_iter().enumerate().filter(|(_, samples)| !samples.is_empty()) {
            for samples in stretches(series, samples, &mut noticed) {
                add_run(&mut of_state[state], Run { state, samples }, series, &mut noticed);
            }
        }
    }
    noticed.say(verdicts);
    of_state.into_iter().flatten().collect()
}

/// Series whose samples may be mixed: those that a reader made of one table. Others stand alone.
fn groups(series: &[Series]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (s, one) in series.iter().enumerate() {
        let is_table = matches!(one.format, Format::Table | Format::Parquet);
        let fits = |group: &&mut Vec<usize>| {
            let other = &series[group[0]];
            is_table && other.format == one.format && other.sources == one.sources
        };
        match groups.iter_mut().find(fits) {
            Some(group) => group.push(s),
            None => groups.push(vec![s]),
        }
    }
    groups
}

fn time(series: &[Series], (s, n): Sample) -> f64 {
    series[s].time[n]
}

fn file(series: &[Series], (s, n): Sample) -> String {
    let source = series[s].origin.get(n).and_then(|origin| series[s].sources.get(origin.source as usize));
    source.map_or_else(|| first_source(&series[s]).display().to_string(), |path| path.display().to_string())
}

/// The samples of one state of one file, divided where the time starts anew, without what a restart repeated.
fn stretches(series: &[Series], mut samples: Vec<Sample>, noticed: &mut Noticed) -> Vec<Vec<Sample>> {
    let name = file(series, samples[0]);
    let n_descents = samples.windows(2).filter(|pair| time(series, pair[1]) <= time(series, pair[0])).count();
    // A few steps back are restarts and appended runs; many are a table that was sorted by something else.
    if n_descents > 3 && n_descents * 20 > samples.len() {
        *noticed.unsorted.entry(name).or_default() += samples.len();
        samples.sort_by(|&a, &b| time(series, a).total_cmp(&time(series, b)));
        return replicas(series, samples);
    }
    let mut stretches: Vec<Vec<Sample>> = Vec::new();
    for sample in samples {
        let now = time(series, sample);
        match stretches.last_mut() {
            // A restart from a checkpoint: what was written after it is written again.
            Some(current) if now > time(series, current[0]) => {
                while current.last().is_some_and(|&last| time(series, last) >= now) {
                    current.pop();
                    *noticed.replaced.entry(name.clone()).or_default() += 1;
                }
                current.push(sample);
            }
            Some(_) => {
                *noticed.appended.entry(name.clone()).or_default() += 1;
                stretches.push(vec![sample]);
            }
            None => stretches.push(vec![sample]),
        }
    }
    stretches
}

/// Samples in order of time in which times repeat: the first of each time is one simulation, the second another.
fn replicas(series: &[Series], samples: Vec<Sample>) -> Vec<Vec<Sample>> {
    let mut replicas: Vec<Vec<Sample>> = Vec::new();
    let (mut rank, mut last) = (0, f64::NAN);
    for sample in samples {
        let now = time(series, sample);
        rank = if now == last { rank + 1 } else { 0 };
        last = now;
        match replicas.get_mut(rank) {
            Some(replica) => replica.push(sample),
            None => replicas.push(vec![sample]),
        }
    }
    replicas
}

/// Joins a run to the one that it continues; drops what was there before.
fn add_run(runs: &mut Vec<Run>, mut run: Run, series: &[Series], noticed: &mut Noticed) {
    for other in runs.iter_mut() {
        let (first, other_first) = (run.samples[0], other.samples[0]);
        if series[first.0].time_unit != series[other_first.0].time_unit {
            continue;
        }
        let last = time(series, other.samples[other.samples.len() - 1]);
        let begin = time(series, first);
        let names = (file(series, first), file(series, other_first));
        if names.0 != names.1 && begin > last && begin > 0.0 && continues(&run, other, series) {
            other.samples.append(&mut run.samples);
            return;
        }
        let n_before = run.samples.len();
        run.samples.retain(|&sample| {
            let now = time(series, sample);
            let place = other.samples.binary_search_by(|&probe| time(series, probe).total_cmp(&now));
            place.map_or(true, |place| !equal(series, sample, other.samples[place]))
        });
        let n_dropped = n_before - run.samples.len();
        if n_dropped > 0 {
            *noticed.copies.entry(names).or_default() += n_dropped;
            let Some(&first) = run.samples.first() else { return };
            if time(series, first) > last {
                other.samples.append(&mut run.samples);
                return;
            }
        } else if begin > time(series, other_first) && begin <= last && series[first.0].time_unit == "ps" {
            noticed.overlapping.entry(names).or_insert((begin, last));
        }
    }
    runs.push(run);
}

/// Whether the gap between two runs is about as long as the interval of samples: then one continues the other.
fn continues(run: &Run, other: &Run, series: &[Series]) -> bool {
    let interval = |run: &Run| match run.samples.as_slice() {
        [.., a, b] => time(series, *b) - time(series, *a),
        _ => 0.0,
    };
    let gap = time(series, run.samples[0]) - time(series, other.samples[other.samples.len() - 1]);
    gap <= 3.0 * interval(run).max(interval(other))
}

/// The same energies and derivatives in every digit.
fn equal(series: &[Series], (s, n): Sample, (t, m): Sample) -> bool {
    let row = |values: &[f64], n_samples: usize, n: usize| {
        let width = values.len() / n_samples;
        n * width..(n + 1) * width
    };
    let same = |a: &[f64], b: &[f64]| {
        let (a, b) = (&a[row(a, series[s].n_samples(), n)], &b[row(b, series[t].n_samples(), m)]);
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
    };
    same(&series[s].u_kt, &series[t].u_kt) && same(&series[s].dudl_kt, &series[t].dudl_kt)
}

impl Noticed {
    fn say(self, verdicts: &mut Vec<Verdict>) {
        let mut say = |kind: &str, message: String| {
            verdicts.push(Verdict::new(Severity::Warning, kind, message));
        };
        for (name, n) in self.unsorted {
            let text = "the times are in no order; they were sorted, and samples of one state with the same time were \
                        taken for simulations of their own";
            say("unsorted_times", format!("`{name}`: {text} ({n} samples)"));
        }
        for (name, n) in self.replaced {
            let text = "samples stand there again after a restart; the later ones were taken";
            say("overlapping_times", format!("`{name}`: {n} {text}"));
        }
        for (name, n) in self.appended {
            let times = if n == 1 { "once".to_string() } else { format!("{n} times") };
            let text = "the runs were taken as independent simulations of one state";
            say("several_runs", format!("`{name}`: the time starts anew {times}; {text}"));
        }
        for ((name, other), n) in self.copies {
            let place =
                if name == other { "a second time".to_string() } else { format!("in `{other}` as well") };
            say("overlapping_times", format!("`{name}`: {n} samples stand there {place} and were left out"));
        }
        for ((name, other), (begin, last)) in self.overlapping {
            let advice =
                "both were used, as independent simulations; leave one out if it is a restart of the other";
            let message = format!(
                "`{name}` begins at {begin} ps, before `{other}` ends at {last} ps, with other energies: {advice}"
            );
            say("overlapping_times", message);
        }
    }
}
