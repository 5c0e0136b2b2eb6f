//! The band of a predicted row: the least and the largest time that the bands of the constants leave possible.

use bitnetc_compiler::model::Model;
use bitnetc_compiler::target::Target;

use super::{Shape, reference};
use crate::rows::{CallRow, Scheduled, StepRow};

impl StepRow {
    /// Least and largest microseconds of the step, host included. `None` where it has no price, and for the schedules that are priced by a
    /// plan of the compiler: that would have to be found again for each constant.
    pub fn band_us(&self, model: &Model, target: &Target) -> Option<(f64, f64)> {
        let shape = match self.schedule {
            Scheduled::TtTransformers | Scheduled::QkvSharded => Shape::of(model).ok()?,
            Scheduled::Interleaved | Scheduled::Plan | Scheduled::PlanGreedy => return None,
        };
        band(target, |target| reference(&shape, self, target).ok().map(|step| 1e6 / step.tokens_per_s()))
    }
}

impl CallRow {
    /// Least and largest microseconds of the call; `None` where it has no price.
    pub fn band_us(&self, target: &Target) -> Option<(f64, f64)> {
        band(target, |target| self.predict(target).ok())
    }
}

/// The band of a figure that follows from a target's constants. Each is moved to the ends of its band by itself; what they change adds up in
/// squares, as in [`bitnetc_compiler::predict`].
fn band(target: &Target, figure: impl Fn(&Target) -> Option<f64>) -> Option<(f64, f64)> {
    let us = figure(target)?;
    let (mut less, mut more) = (0.0, 0.0);
    for moved in target.bands.moved(&target.cost) {
        let [a, b] = moved.ends.map(|cost| figure(&Target { cost, ..target.clone() }));
        let changes = [a? - us, b? - us];
        less += changes.into_iter().fold(0.0, f64::min).powi(2);
        more += changes.into_iter().fold(0.0, f64::max).powi(2);
    }
    Some((us - less.sqrt(), us + more.sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Rows;
    use bitnetc_compiler::model::find;

    #[test]
    fn a_prediction_lies_in_its_band() {
        let rows = Rows::published().unwrap();
        let (row, call) = (&rows.steps[0], &rows.calls[0]);
        let (model, target) = (find(&row.model).unwrap().model().unwrap(), Target::find(&row.target).unwrap());
        let us = 1e6 / row.predict(&model, &target).unwrap().tokens_per_s();
        let (least, most) = row.band_us(&model, &target).unwrap();
        assert!(least < us && us < most && most < 2.0 * us, "{least} {us} {most}");
        let target = Target::find(&call.target).unwrap();
        let (us, (least, most)) = (call.predict(&target).unwrap(), call.band_us(&target).unwrap());
        assert!(least < us && us < most, "{least} {us} {most}");
        let ours = StepRow { schedule: Scheduled::Plan, ..row.clone() };
        assert_eq!(ours.band_us(&model, &target), None);
    }
}
