//! Experiments with the compiler: how well its cost model predicts published measurements, and how much each choice of a plan is worth.
//!
//! The compiler needs none of this to make a plan. The experiments compile models, price other schedules by the same cost functions, and
//! compare the two. So this crate depends on the compiler, and nothing in the compiler depends on it.
//!
//! | module | holds |
//! |---|---|
//! | [`rows`] | measurements as data: whole decode steps and single calls, with their sources |
//! | [`host`] | published figures of the host's part of a decode step |
//! | [`priced`] | a decode step as a list of priced calls |
//! | [`calibration`] | the cost model beside the measurements, and the fit of its constants |
//! | [`profile`] | a plan's own measurements, program by program, and the fit to them |
//! | [`floors`](mod@floors) | a step beside the time of its bytes at peak bandwidth, and what passes the rest of it |
//! | [`levers`](mod@levers) | the predicted worth of single choices: sharded weights, fused projections, argmax on the card and others |

mod bench;
pub mod calibration;
pub mod floors;
pub mod host;
mod interleaved;
pub mod levers;
pub mod priced;
pub mod profile;
pub mod rows;
