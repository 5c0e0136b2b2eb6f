//! The fit of the cost model, which can be repeated: least squares over the constants that only measurements of whole steps determine.
//!
//! The method is Levenberg-Marquardt over the logarithms of the constants, so that they stay positive and their units do not matter. A
//! residual is the relative error of a row's time, and derivatives are central differences. Nothing is random: the same rows give the same
//! constants.

use super::{CalibrationError, Shape, reference};
use crate::rows::StepRow;
use bitnetc_compiler::target::{Calibration, Target};

/// A constant that is fitted.
#[derive(Debug, Clone, Copy)]
pub struct Constant {
    /// Its name, as in `targets/*.ron`.
    pub name: &'static str,
    /// Its field.
    pub field: fn(&mut Calibration) -> &mut f64,
}

/// The constants that only measurements of whole steps determine.
pub const CONSTANTS: [Constant; 3] = [
    Constant { name: "host.sampling_us", field: |c| &mut c.host.sampling_us },
    Constant { name: "dram_sharded.tile_cycles", field: |c| &mut c.dram_sharded.tile_cycles },
    Constant { name: "dram_sharded.block_us", field: |c| &mut c.dram_sharded.block_us },
];

impl Constant {
    /// Its value.
    pub fn of(&self, target: &Target) -> f64 {
        *(self.field)(&mut target.cost.clone())
    }

    /// Sets it.
    pub fn set(&self, target: &mut Target, value: f64) {
        *(self.field)(&mut target.cost) = value;
    }
}

/// A row to fit to, and its model's sizes.
pub type SizedRow = (StepRow, Shape);

/// A constant after the fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// Its name, as in `targets/*.ron`.
    pub name: &'static str,
    /// The value in the target's file.
    pub shipped: f64,
    /// The value that fits best.
    pub fitted: f64,
    /// The mean relative change of the rows' times when the constant is a tenth larger.
    pub sensitivity: f64,
    /// The standard error of the fitted value over the value. `None` when the rows do not determine it at all, or when there are no more
    /// rows than constants.
    pub uncertainty: Option<f64>,
    /// The constant it trades off against most, and their correlation.
    pub tied: Option<(&'static str, f64)>,
}

/// A standard error above which a constant is called poorly identified.
pub const POOR: f64 = 0.3;

impl Fitted {
    /// Whether the rows hardly determine it.
    pub fn poorly_identified(&self) -> bool {
        self.uncertainty.is_none_or(|u| u > POOR)
    }
}

/// Relative errors in tokens per second of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Residual {
    /// With the target's constants.
    pub shipped: f64,
    /// With the fitted ones.
    pub fitted: f64,
    /// With constants fitted to all other rows.
    pub left_out: f64,
}

/// The result of the fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Refit {
    /// The constants.
    pub constants: Vec<Fitted>,
    /// The errors by row.
    pub residuals: Vec<Residual>,
}

/// Fits [`CONSTANTS`] to rows, from the target's own values.
///
/// # Errors
/// When a row cannot be priced.
pub fn refit(rows: &[SizedRow], target: &Target) -> Result<Refit, CalibrationError> {
    let fitted = fit(rows, target)?;
    let (shipped_errors, fitted_errors) = (errors(rows, target)?, errors(rows, &fitted)?);
    let mut residuals = Vec::with_capacity(rows.len());
    for (at, (shipped, fitted)) in shipped_errors.iter().zip(&fitted_errors).enumerate() {
        let mut others = rows.to_vec();
        let row = others.remove(at);
        let left_out = errors(&[row], &fit(&others, target)?)?[0];
        let speed = |time_error: f64| 1.0 / (1.0 + time_error) - 1.0;
        residuals.push(Residual { shipped: speed(*shipped), fitted: speed(*fitted), left_out: speed(left_out) });
    }
    Ok(Refit { constants: constants(rows, target, &fitted)?, residuals })
}

/// The largest change of a constant from the target's own value, as a logarithm: a factor of 10.
const REACH: f64 = std::f64::consts::LN_10;

/// The least value of a constant that is fitted, since zero has no logarithm.
const LEAST: f64 = 1e-6;

/// The target with the constants that fit rows best.
///
/// # Errors
/// When a row cannot be priced.
pub fn fit(rows: &[SizedRow], target: &Target) -> Result<Target, CalibrationError> {
    descend(&CONSTANTS, target, |target| errors(rows, target))
}

/// The target in which the squares of the errors are least, reached from `target` by changing `constants`.
///
/// # Errors
/// Those of `errors`.
pub fn descend<E>(
    constants: &[Constant],
    target: &Target,
    errors: impl Fn(&Target) -> Result<Vec<f64>, E>,
) -> Result<Target, E> {
    let moved = |at: &[f64]| moved(constants, target, at);
    let start: Vec<f64> = constants.iter().map(|c| c.of(target).max(LEAST).ln()).collect();
    let mut at = start.clone();
    let mut damping = 1e-3;
    let mut residuals = errors(&moved(&at))?;
    for _ in 0..MOST_STEPS {
        let jacobian = jacobian(&at, residuals.len(), |point| errors(&moved(point)))?;
        let (mut normal, gradient) = normal_equations(&jacobian, &residuals);
        for (i, row) in normal.iter_mut().enumerate() {
            row[i] += damping * row[i] + f64::EPSILON;
        }
        let Some(step) = solve(normal, gradient) else { break };
        let next: Vec<f64> = (0..at.len())
            .map(|i| (at[i] - step[i].clamp(-0.5, 0.5)).clamp(start[i] - REACH, start[i] + REACH))
            .collect();
        let tried = errors(&moved(&next))?;
        let (before, after) = (squares(&residuals), squares(&tried));
        if after < before {
            (at, residuals) = (next, tried);
            damping = (damping / 10.0).max(1e-9);
            if before - after < 1e-9 * before {
                break;
            }
        } else {
            damping *= 10.0;
            if damping > 1e9 {
                break;
            }
        }
    }
    Ok(moved(&at))
}

/// The number of steps after which the fit ends with the values it has.
const MOST_STEPS: usize = 60;

fn moved(constants: &[Constant], target: &Target, logarithms: &[f64]) -> Target {
    let mut target = target.clone();
    for (constant, value) in constants.iter().zip(logarithms) {
        constant.set(&mut target, value.exp());
    }
    target
}

/// Relative errors in time.
fn errors(rows: &[SizedRow], target: &Target) -> Result<Vec<f64>, CalibrationError> {
    let of = |(row, shape): &SizedRow| {
        let step = reference(shape, row, target)?;
        Ok((step.device_us() + step.host_us) * row.tokens_per_s / 1e6 - 1.0)
    };
    rows.iter().map(of).collect()
}

fn squares(residuals: &[f64]) -> f64 {
    residuals.iter().map(|r| r * r).sum()
}

/// Derivatives of `rows` errors by the logarithms of the constants, a row for each.
fn jacobian<E>(at: &[f64], rows: usize, errors: impl Fn(&[f64]) -> Result<Vec<f64>, E>) -> Result<Vec<Vec<f64>>, E> {
    const STEP: f64 = 0.01;
    let mut jacobian = vec![vec![0.0; at.len()]; rows];
    for column in 0..at.len() {
        let shifted = |by: f64| {
            let mut point = at.to_vec();
            point[column] += by;
            errors(&point)
        };
        for (row, (up, down)) in jacobian.iter_mut().zip(shifted(STEP)?.into_iter().zip(shifted(-STEP)?)) {
            row[column] = (up - down) / (2.0 * STEP);
        }
    }
    Ok(jacobian)
}

/// `J'J` and `J'r`.
fn normal_equations(jacobian: &[Vec<f64>], residuals: &[f64]) -> (Vec<Vec<f64>>, Vec<f64>) {
    let size = jacobian.first().map_or(0, Vec::len);
    let dot = |i: usize, j: usize| jacobian.iter().map(|row| row[i] * row[j]).sum::<f64>();
    let matrix = (0..size).map(|i| (0..size).map(|j| dot(i, j)).collect()).collect();
    let right = (0..size).map(|i| jacobian.iter().zip(residuals).map(|(row, r)| row[i] * r).sum()).collect();
    (matrix, right)
}

/// Gaussian elimination with row pivots; `None` when the matrix is singular.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Option<Vec<f64>> {
    let n = b.len();
    for column in 0..n {
        let pivot = (column..n).max_by(|i, j| a[*i][column].abs().total_cmp(&a[*j][column].abs()))?;
        if a[pivot][column].abs() < f64::MIN_POSITIVE.sqrt() {
            return None;
        }
        a.swap(column, pivot);
        b.swap(column, pivot);
        let pivot = a[column].clone();
        for row in column + 1..n {
            let factor = a[row][column] / pivot[column];
            for (cell, above) in a[row].iter_mut().zip(&pivot).skip(column) {
                *cell -= factor * above;
            }
            b[row] -= factor * b[column];
        }
    }
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|k| a[row][k] * b[k]).sum();
        b[row] = (b[row] - known) / a[row][row];
    }
    Some(b)
}

/// The accuracy with which the rows determine each constant: its standard error, and the constant it trades off against.
fn constants(rows: &[SizedRow], target: &Target, fitted: &Target) -> Result<Vec<Fitted>, CalibrationError> {
    let at: Vec<f64> = CONSTANTS.iter().map(|c| c.of(fitted).max(LEAST).ln()).collect();
    let jacobian = jacobian(&at, rows.len(), |point| errors(rows, &moved(&CONSTANTS, fitted, point)))?;
    let (normal, _) = normal_equations(&jacobian, &vec![0.0; rows.len()]);
    let column = |i: usize| {
        let unit = (0..at.len()).map(|k| if k == i { 1.0 } else { 0.0 }).collect();
        solve(normal.clone(), unit)
    };
    let inverse: Option<Vec<Vec<f64>>> = (0..at.len()).map(column).collect();
    let inverse = inverse.filter(|m| (0..m.len()).all(|i| m[i][i] > 0.0));
    let freedom = rows.len().saturating_sub(at.len());
    let sum = squares(&errors(rows, fitted)?);
    let variance = (freedom > 0).then(|| sum / freedom as f64);
    let correlation = |m: &[Vec<f64>], i: usize, j: usize| m[i][j] / (m[i][i] * m[j][j]).sqrt();
    let of = |(i, constant): (usize, &Constant)| Fitted {
        name: constant.name,
        shipped: constant.of(target),
        fitted: constant.of(fitted),
        sensitivity: 0.1 * jacobian.iter().map(|row| row[i].abs()).sum::<f64>() / rows.len().max(1) as f64,
        uncertainty: inverse.as_ref().zip(variance).map(|(m, variance)| (variance * m[i][i]).sqrt()),
        tied: inverse.as_ref().and_then(|m| {
            let others = (0..m.len()).filter(|j| *j != i).map(|j| (CONSTANTS[j].name, correlation(m, i, j)));
            others.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))
        }),
    };
    Ok(CONSTANTS.iter().enumerate().map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Rows, Use};
    use bitnetc_compiler::model::find;

    fn rows() -> Vec<SizedRow> {
        let rows = Rows::published().unwrap().steps.into_iter().filter(|r| r.used == Use::Fit);
        rows.map(|row| {
            let shape = Shape::of(&find(&row.model).unwrap().model().unwrap()).unwrap();
            (row, shape)
        })
        .collect()
    }

    fn residual(target: &Target) -> f64 {
        squares(&errors(&rows(), target).unwrap())
    }

    #[test]
    fn the_fit_is_no_worse_than_what_is_shipped_and_comes_back_from_elsewhere() {
        let shipped = Target::find("n150").unwrap();
        let best = residual(&fit(&rows(), &shipped).unwrap());
        assert!(best <= residual(&shipped) + 1e-12, "{best} {}", residual(&shipped));
        // From farther away the descent may end in another minimum, since the time of a K-block is the longest of several.
        for factors in [[1.2, 0.8, 0.8], [0.8, 1.2, 1.2], [1.1, 1.1, 1.1]] {
            let mut elsewhere = shipped.clone();
            for (constant, factor) in CONSTANTS.iter().zip(factors) {
                constant.set(&mut elsewhere, constant.of(&shipped) * factor);
            }
            let back = residual(&fit(&rows(), &elsewhere).unwrap());
            assert!(back < residual(&elsewhere) && back < 1.1 * best, "{back} {best} {}", residual(&elsewhere));
        }
    }

    #[test]
    fn it_finds_the_constants_that_made_the_rows() {
        let shipped = Target::find("n150").unwrap();
        let made: Vec<SizedRow> = rows()
            .into_iter()
            .map(|(row, shape)| {
                let tokens_per_s = reference(&shape, &row, &shipped).unwrap().tokens_per_s();
                (StepRow { tokens_per_s, ..row }, shape)
            })
            .collect();
        let mut elsewhere = shipped.clone();
        CONSTANTS[0].set(&mut elsewhere, 3000.0);
        CONSTANTS[1].set(&mut elsewhere, 11.0);
        let found = fit(&made, &elsewhere).unwrap();
        assert!(squares(&errors(&made, &found).unwrap()) < 1e-6);
        for constant in &CONSTANTS[..2] {
            let ratio = constant.of(&found) / constant.of(&shipped);
            assert!((ratio - 1.0).abs() < 0.05, "{} {ratio}", constant.name);
        }
    }

    #[test]
    fn it_is_deterministic_and_says_what_trades_off() {
        let target = Target::find("n150").unwrap();
        let found = refit(&rows(), &target).unwrap();
        assert_eq!(found, refit(&rows(), &target).unwrap());
        assert_eq!(found.residuals.len(), 6);
        assert!(found.constants.iter().all(|c| c.fitted.is_finite() && c.fitted > 0.0));
        let too_few = refit(&rows()[..2], &target).unwrap();
        assert!(too_few.constants.iter().all(Fitted::poorly_identified));
    }

    #[test]
    fn a_singular_system_has_no_solution() {
        assert_eq!(solve(vec![vec![1.0, 2.0], vec![2.0, 4.0]], vec![1.0, 2.0]), None);
        assert_eq!(solve(vec![vec![0.0, 2.0], vec![4.0, 0.0]], vec![2.0, 4.0]), Some(vec![1.0, 1.0]));
    }
}
