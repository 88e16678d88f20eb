//! Plays seeds of the simulation: `sim [--seeds N] [--seed FIRST] [--trace]`.

#[path = "../tests/sim/world/mod.rs"]
mod world;

use std::process::ExitCode;

/// The last lines of a trace that are shown where nobody asked for all.
const LINES_MAX: usize = 60;

struct Options {
    first: u64,
    count: u64,
    trace: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options { first: 0, count: 1, trace: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            let text = words.next().ok_or(format!("{word} needs a number"))?;
            text.parse().map_err(|_| format!("{word} {text}: no number"))
        };
        match word.as_str() {
            "--seed" => options.first = number()?,
            "--seeds" => options.count = number()?,
            "--trace" => options.trace = true,
            _ => return Err(format!("{word}: the options are --seeds N, --seed FIRST, --trace")),
        }
    }
    Ok(options)
}

/// Plays one seed and tells what went wrong with it.
fn play(seed: u64, trace: bool) -> Result<world::Report, ()> {
    let played = std::panic::catch_unwind(|| world::run_to(seed, trace));
    match played {
        Ok(Ok((report, lines))) => {
            lines.iter().for_each(|line| println!("{line}"));
            return Ok(report);
        }
        Ok(Err(_)) => {
            if let Err(failure) = world::run(seed, true) {
                let all = failure.trace.len();
                let from = if trace { 0 } else { all.saturating_sub(LINES_MAX) };
                failure.trace[from..].iter().for_each(|line| println!("{line}"));
                println!("seed {} at {} ms: {}", failure.seed, failure.at_ms, failure.what);
            }
        }
        Err(_) => println!("seed {seed}: the core panicked"),
    }
    println!("scripts/sim --seed {seed} --trace shows all of it");
    Err(())
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(mistake) => {
            eprintln!("sim: {mistake}");
            return ExitCode::from(2);
        }
    };
    let (mut steps, mut epochs, mut hash) = (0, 0, 0u64);
    let mut seen = world::recovery::Seen::default();
    for seed in options.first..options.first + options.count {
        let Ok(report) = play(seed, options.trace) else {
            return ExitCode::FAILURE;
        };
        steps += report.steps;
        epochs += report.epochs;
        seen.add(&report.recovery);
        hash = hash.rotate_left(1) ^ report.hash;
    }
    println!(
        "{} seeds, {steps} steps, {epochs} server lives, hash {hash:016x}: all kept",
        options.count
    );
    println!("recoveries: {seen:?}");
    ExitCode::SUCCESS
}
