//! The predicted time of a finished phase: its kernels, the gaps between them, what it waits for the dispatcher, and the band of the whole.
//!
//! The dispatcher runs ahead of the programs. Program `i` starts when the one before it has ended and the gap is over, and no earlier than
//! it is dispatched, which takes the dispatcher `d` after the program before it and after program `i - W` has started:
//!
//! ```text
//! start(i)      = max(end(i - 1) + gap, dispatched(i))
//! dispatched(i) = max(dispatched(i - 1), start(i - W)) + d(i)
//! ```
//!
//! The search adds up kernels and gaps only, a price that does not depend on the order of calls. Waiting comes on top of the schedule that
//! it finds. No schedule takes less than its kernels and gaps, and the search finds the least of those; so the schedule found is the
//! fastest where it does not wait, and otherwise slower than the fastest by no more than what it waits.

use std::collections::{HashMap, VecDeque};

use bitnetc_plan::ttnn::check;
use bitnetc_plan::walk::Context;
use bitnetc_plan::{Phase, PhaseKind, Ref, Section, TensorSpec};

use crate::target::{Calibration, Target};
use crate::ttnn::cost::{Launch, Machine};

/// The predicted time of a phase.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Microseconds on the card, all layers.
    pub us: f64,
    /// Those of them that pass because a program is not dispatched yet.
    pub waits_us: f64,
    /// Least and largest time that the bands of the constants leave possible.
    pub band_us: (f64, f64),
}

/// The calls of a phase that launch programs, ready to be priced by any constants.
#[derive(Debug)]
pub struct Launches {
    calls: Vec<(Section, Launch)>,
    layers: u32,
}

impl Launches {
    /// The calls of a phase. One that TT-NN refuses is left out; [`bitnetc_plan::verify()`] reports it.
    pub fn of(context: Context<'_>, phase: &Phase) -> Self {
        let weights = context.weights.iter().map(|w| (Ref::Weight(w.name.clone()), &w.spec));
        let buffers = context.buffers.iter().map(|b| (Ref::Buffer(b.name.clone()), &b.spec));
        let values = phase.steps().flat_map(|s| &s.outputs).map(|v| (Ref::Value(v.name.clone()), &v.spec));
        let specs: HashMap<Ref, &TensorSpec> = weights.chain(buffers).chain(values).collect();
        let mut calls = Vec::new();
        for section in Section::ALL {
            for step in phase.section(section) {
                let operands: Option<Vec<_>> = step.op.operands().iter().map(|r| specs.get(*r).copied()).collect();
                let Some(operands) = operands else { continue };
                let Ok(outcome) = check(&step.op, &operands, context.card) else { continue };
                if outcome.programs > 0 {
                    let operands = operands.into_iter().cloned().collect();
                    calls.push((section, Launch::new(step.op.clone(), operands, outcome)));
                }
            }
        }
        Launches { calls, layers: context.layers }
    }

    /// The prediction with a target's constants and their bands; attention of decode at `position`.
    ///
    /// Each constant is moved to the ends of its band by itself. The constants come from different measurements, so what they change adds up
    /// as independent errors do, in squares.
    pub fn predict(&self, target: &Target, position: u32) -> Prediction {
        let at = |cost: &Calibration| self.time(Machine { card: &target.card, cost, position });
        let (us, waits_us) = at(&target.cost);
        let (mut less, mut more) = (0.0, 0.0);
        for moved in target.bands.moved(&target.cost) {
            let changes = moved.ends.map(|cost| at(&cost).0 - us);
            less += changes.into_iter().fold(0.0, f64::min).powi(2);
            more += changes.into_iter().fold(0.0, f64::max).powi(2);
        }
        Prediction { us, waits_us, band_us: (us - less.sqrt(), us + more.sqrt()) }
    }

    /// Microseconds of the phase and of its waiting.
    pub fn time(&self, machine: Machine<'_>) -> (f64, f64) {
        let priced: Vec<(Section, Program)> = self
            .calls
            .iter()
            .flat_map(|(section, launch)| {
                let programs = launch.programs(machine);
                programs.map(|program| (*section, program))
            })
            .collect();
        let of = |section: Section| priced.iter().filter(move |(at, _)| *at == section).map(|(_, program)| *program);
        let layers = (0..self.layers).flat_map(|_| of(Section::Layer));
        let all = of(Section::Prologue).chain(layers).chain(of(Section::Epilogue));
        let (us, waits_us) = run(all, machine.cost.dispatch.run_ahead);
        (us * machine.cost.whole, waits_us)
    }
}

/// A program to be dispatched and run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Program {
    /// Microseconds from its earliest start to its end: the gap and the kernel.
    pub us: f64,
    /// Microseconds that the dispatcher takes for it.
    pub dispatch_us: f64,
}

/// Microseconds until the last program has ended, from when the first is dispatched, and those of them in which no program could start for
/// want of its dispatch.
pub fn run(programs: impl Iterator<Item = Program>, run_ahead: u32) -> (f64, f64) {
    let ahead = run_ahead.max(1) as usize;
    let mut starts: VecDeque<f64> = VecDeque::with_capacity(ahead);
    let (mut end, mut dispatched, mut waits) = (0.0_f64, 0.0_f64, 0.0);
    for (at, program) in programs.enumerate() {
        if at > 0 {
            let free = if starts.len() == ahead { starts.pop_front().unwrap_or(0.0) } else { 0.0 };
            dispatched = dispatched.max(free) + program.dispatch_us;
        }
        let start = end.max(dispatched);
        waits += start - end;
        starts.push_back(start);
        end = start + program.us;
    }
    (end, waits)
}

/// The positions at which a decode phase is predicted beside the one that it was planned for, as far as its context holds them.
pub const POSITIONS: [u32; 6] = [128, 1024, 4095, 16_383, 65_535, 131_071];

/// Predicted microseconds of a decode phase at each of [`POSITIONS`] that a context holds.
pub fn by_position(launches: &Launches, kind: PhaseKind, target: &Target, context: u32) -> Vec<(u32, f64)> {
    let machine = |position| Machine { card: &target.card, cost: &target.cost, position };
    match kind {
        PhaseKind::Prefill { .. } => Vec::new(),
        PhaseKind::Decode { .. } => {
            let held = POSITIONS.into_iter().filter(|position| *position < context);
            held.map(|position| (position, round(launches.time(machine(position)).0))).collect()
        }
    }
}

/// Microseconds in whole nanoseconds.
pub fn round(us: f64) -> f64 {
    (us * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn program((us, dispatch_us): (f64, f64)) -> Program {
        Program { us, dispatch_us }
    }

    /// The recurrence as the header states it, over all programs at once.
    fn stated(programs: &[Program], ahead: usize) -> f64 {
        let (mut starts, mut ends, mut dispatched) = (Vec::new(), vec![0.0_f64], vec![0.0_f64]);
        for (i, p) in programs.iter().enumerate() {
            if i > 0 {
                let free = if i >= ahead { starts[i - ahead] } else { 0.0 };
                dispatched.push(dispatched[i - 1].max(free) + p.dispatch_us);
            }
            starts.push(ends[i].max(dispatched[i]));
            ends.push(starts[i] + p.us);
        }
        ends[programs.len()]
    }

    #[test]
    fn long_programs_hide_their_dispatch_and_short_ones_do_not() {
        let time = |program, count| run(std::iter::repeat_n(program, count), 4);
        let long = Program { us: 20.0, dispatch_us: 6.0 };
        assert_eq!(time(long, 100), (2000.0, 0.0));
        let short = Program { us: 2.0, dispatch_us: 6.0 };
        let (us, waits) = time(short, 100);
        assert!((us - 6.0 * 99.0 - 2.0).abs() < 1e-9 && (waits - (us - 200.0)).abs() < 1e-9, "{us} {waits}");
        // A long program lets the dispatcher get ahead by as many programs as it may.
        let mixed = [program((50.0, 6.0)), program((2.0, 6.0)), program((2.0, 6.0)), program((2.0, 6.0))];
        assert_eq!(run(mixed.into_iter(), 4), (56.0, 0.0));
        assert_eq!(run(std::iter::empty(), 4), (0.0, 0.0));
    }

    proptest! {
        /// Calls with several ways each: the cheapest by kernels and gaps, beside the fastest of all found by trying every choice.
        #[test]
        fn the_cheapest_by_kernels_and_gaps_is_beaten_by_no_more_than_its_waiting(
            calls in prop::collection::vec(prop::collection::vec((0.0..12.0_f64, 0.0..12.0_f64), 1..4), 1..7),
            ahead in 1_u32..5,
        ) {
            let least = |ways: &Vec<(f64, f64)>| ways.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0)).map(program);
            let (found, waits) = run(calls.iter().filter_map(least), ahead);
            let mut fastest = f64::INFINITY;
            for choice in 0..calls.iter().map(Vec::len).product::<usize>() {
                let mut rest = choice;
                let path = calls.iter().map(|ways| {
                    let way = ways[rest % ways.len()];
                    rest /= ways.len();
                    program(way)
                });
                fastest = fastest.min(run(path, ahead).0);
            }
            prop_assert!(found <= fastest + waits + 1e-9, "{found} us, {waits} of them waiting, {fastest} at best");
        }

        #[test]
        fn a_phase_takes_its_kernels_and_gaps_and_its_waiting(
            programs in prop::collection::vec((0.0..50.0_f64, 0.0..12.0_f64), 0..60),
            ahead in 1_u32..9,
        ) {
            let programs: Vec<Program> = programs.into_iter().map(program).collect();
            let (us, waits) = run(programs.iter().copied(), ahead);
            let kernels: f64 = programs.iter().map(|p| p.us).sum();
            prop_assert!((us - kernels - waits).abs() < 1e-6 && waits >= 0.0);
            prop_assert!((us - stated(&programs, ahead as usize)).abs() < 1e-6);
            let (further, _) = run(programs.iter().copied(), ahead + 1);
            prop_assert!(further <= us + 1e-6, "running further ahead is never slower");
        }
    }
}
