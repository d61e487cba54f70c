//! The command line: the only code that prints or exits.
//!
//! Results go to standard output, progress to standard error. Exit codes: 0 done; 1 could not be
//! done; 2 the request was wrong; 3 done, but a verdict says not to trust the number.
#![expect(clippy::exit, reason = "this is where the program exits")]

mod arguments;
mod benchmark;
mod energy;
mod estimate;
mod output;
mod pmf;
mod progress;
mod reweight;
mod score;
mod solvate;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::Parser;
use kirkwood::run::control::{Control, Progress, Silent};
use kirkwood::run::{self, Outcome, Request};
use kirkwood::{Error, Result};

use arguments::{Arguments, Command};

/// Done, and a verdict says not to trust the number.
const NOT_TRUSTWORTHY: u8 = 3;

/// Reads the arguments, does what they ask, and says how it went.
pub fn main() -> ExitCode {
    let wants_json = std::env::args().any(|argument| argument == "--json");
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() && wants_json => {
            let message = error.to_string();
            output::print(&output::error_object("arguments", message.trim(), None, ""));
            return ExitCode::from(2);
        }
        Err(error) => {
            // `--help` and `--version` come here as well, with code 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match dispatch(&arguments) {
        Ok(code) => code,
        Err(error) => {
            if arguments.json {
                let place = error.place();
                output::print(&output::error_object(error.kind(), &error.to_string(), error.path(), place));
            } else {
                output::remark(format_args!("error: {error}"));
            }
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
        }
    }
}

fn dispatch(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.command {
        Command::Check(of_run) if run::benchmark::is_benchmark(&of_run.config) => {
            let plan = run::benchmark::Plan::resolve(&of_run.request()?, None)?;
            print_plan(arguments, &plan.to_json(), plan.text(), &plan.sentence());
            Ok(ExitCode::SUCCESS)
        }
        Command::Benchmark(of_benchmark) => {
            use_threads(of_benchmark.threads());
            let control = Control::new(bars(arguments));
            stop_on_interrupt(&control)?;
            let (request, suite) = of_benchmark.request()?;
            Ok(finish(arguments, &run::benchmark::run(&request, suite, &control)?))
        }
        Command::Check(of_run) if run::solvation::is_solvation(&of_run.config) => {
            let plan = run::solvation::check(&of_run.request()?)?;
            print_plan(arguments, &plan.to_json(), plan.text(), &plan.sentence());
            Ok(ExitCode::SUCCESS)
        }
        Command::Check(of_run) if run::generator::is_generator(&of_run.config) => {
            let plan = run::generator::check(&of_run.request()?)?;
            print_plan(arguments, &plan.to_json(), plan.text(), &plan.sentence());
            Ok(ExitCode::SUCCESS)
        }
        Command::Check(of_run) if run::composition::is_composition(&of_run.config) => {
            let plan = run::composition::check(&of_run.request()?)?;
            print_plan(arguments, &plan.to_json(), plan.text(), &plan.sentence());
            Ok(ExitCode::SUCCESS)
        }
        Command::Check(of_run) if run::simulate::plan::is_simulation(&of_run.config) => {
            let plan = run::simulate::check(&of_run.request()?)?;
            print_plan(arguments, &plan.to_json(), plan.text(), &plan.sentence());
            Ok(ExitCode::SUCCESS)
        }
        Command::Simulate(of_simulation) => {
            use_threads(of_simulation.threads);
            let control = Control::new(bars(arguments));
            stop_on_interrupt(&control)?;
            Ok(finish(arguments, &run::simulate::simulate(&of_simulation.request(), &control)?))
        }
        Command::Check(of_run) => {
            let plan = run::check(&of_run.request()?)?;
            print_plan(arguments, &plan.to_json(), plan.text(), &plan.sentence());
            Ok(ExitCode::SUCCESS)
        }
        Command::List { kind } => {
            let catalogue = run::catalogue::list(kind.as_deref())?;
            output::print(&match arguments.json {
                true => output::pretty(&catalogue.to_json()),
                false => catalogue.to_string(),
            });
            Ok(ExitCode::SUCCESS)
        }
        Command::Solvate(of_solvate) => {
            use_threads(of_solvate.threads);
            let control = Control::new(bars(arguments));
            stop_on_interrupt(&control)?;
            Ok(finish(arguments, &run::solvate::solvate(&of_solvate.request(), &control)?))
        }
        Command::Energy(of_energy) => energy::perform(of_energy, arguments.json),
        Command::Pmf(of_pmf) => pmf::perform(of_pmf, arguments.json),
        Command::Score(of_score) => score::perform(of_score, arguments.json),
        Command::Reweight(of_reweight) => reweight::perform(of_reweight, arguments.json),
        Command::Run(of_run) => perform(arguments, &of_run.request()?, of_run.threads, None),
        Command::Train(of_run) => perform(arguments, &of_run.request()?, of_run.threads, Some("train")),
        Command::Sample(of_run) => perform(arguments, &of_run.request()?, of_run.threads, Some("sample")),
        Command::Estimate(of_estimate) => match of_estimate.of_run() {
            Some(of_run) => perform(arguments, &of_run.request()?, of_run.threads, Some("estimate")),
            None => estimate::perform(of_estimate, arguments.json),
        },
        Command::Compare(of_run) => perform(arguments, &of_run.request()?, of_run.threads, Some("compare")),
        Command::Report(of_run) if of_run.config.is_dir() => {
            let control = Control::new(bars(arguments));
            stop_on_interrupt(&control)?;
            Ok(finish(arguments, &run::redraw(&of_run.config, &control)?))
        }
        Command::Report(of_run) => perform(arguments, &of_run.request()?, of_run.threads, Some("report")),
    }
}

/// A whole run, or one stage of it.
fn perform(
    arguments: &Arguments,
    request: &Request,
    threads: Option<usize>,
    stage: Option<&str>,
) -> Result<ExitCode> {
    use_threads(threads);
    let control = Control::new(bars(arguments));
    stop_on_interrupt(&control)?;
    let outcome = match stage {
        None => run::run(request, &control)?,
        Some(stage) => run::stage(stage, request, &control)?,
    };
    Ok(finish(arguments, &outcome))
}

fn use_threads(threads: Option<usize>) {
    if let Some(threads) = threads {
        // Fails only when a pool exists already, which is never the case here.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    }
}

/// A plan as JSON, or as the configuration that it is with a sentence beside it.
fn print_plan(arguments: &Arguments, json: &serde_json::Value, text: &str, sentence: &str) {
    if arguments.json {
        output::print(&output::pretty(json));
    } else {
        output::print(text);
        output::remark(sentence);
    }
}

fn bars(arguments: &Arguments) -> Arc<dyn Progress> {
    if arguments.quiet { Arc::new(Silent) } else { Arc::new(progress::Bars::new()) }
}

fn finish(arguments: &Arguments, outcome: &Outcome) -> ExitCode {
    print_outcome(arguments, outcome);
    code(outcome.trustworthy)
}

fn code(trustworthy: bool) -> ExitCode {
    if trustworthy { ExitCode::SUCCESS } else { ExitCode::from(NOT_TRUSTWORTHY) }
}

fn print_outcome(arguments: &Arguments, outcome: &Outcome) {
    output::print(&match arguments.json {
        true => output::pretty(&outcome.to_json()),
        false => output::table(&outcome.summary) + &outcome.sentence,
    });
}

/// Ctrl-C once asks the stages to stop where nothing is lost; twice ends the program at once.
fn stop_on_interrupt(control: &Control) -> Result<()> {
    let flag = control.stop_flag();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        output::remark("\nstopping at the next safe place; Ctrl-C again ends at once");
    })
    .map_err(|error| Error::invalid("handler of Ctrl-C", "to be installed once", error.to_string()))
}
