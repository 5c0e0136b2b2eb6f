//! `ttnn.sampling`: each user's token is drawn among the likeliest.
//!
//! The rule is that of TT-NN's kernel, in f32 where the kernel rounds to bf16: of the first `k` candidates as few are kept as have more than the
//! probability `p` together, and of these the first whose share, added to those before it, is above the random number.

use bitnetc_plan::op::Sampling;

use crate::DeviceError;
use crate::host::movement::expect;
use crate::host::run::Run;
use crate::host::tensor::Data;

pub fn execute(_: &Sampling, run: &mut Run<'_>) -> Result<(), DeviceError> {
    let users = run.operands().tensor(0)?.rows();
    let numbers: Vec<f32> = (0..users).map(|user| run.device.generators.next(user)).collect();
    run.change(5, |x, output| {
        let (values, tokens, k) = (x.tensor(0)?, x.integers(1)?, x.integers(2)?);
        let (p, inverse) = (x.tensor(3)?.bf16(3)?, x.tensor(4)?.bf16(4)?);
        let lists = [k.len(), p.len(), inverse.len()].iter().all(|len| *len >= users);
        expect(2, x.tensor(2)?, lists, || format!("a parameter for each of {users} users"))?;
        let candidates = values.columns();
        expect(1, x.tensor(1)?, tokens.len() == users * candidates, || {
            format!("a token for each value of {users} users")
        })?;
        let chosen = (0..users).map(|user| {
            let of = user * candidates..(user + 1) * candidates;
            let kept = (k[user] as usize).clamp(1, candidates.max(1));
            let logits =
                values.bf16(0)?[of.clone()].iter().take(kept).map(|logit| logit.to_f32() * inverse[user].to_f32());
            let place = draw(&logits.collect::<Vec<_>>(), p[user].to_f32(), numbers[user]);
            tokens[of].get(place).copied().ok_or(DeviceError::Empty { operand: 1 })
        });
        let chosen = chosen.collect::<Result<Vec<_>, _>>()?;
        match &mut output.data {
            Data::Integer(output) if output.len() == users => output.copy_from_slice(&chosen),
            Data::Integer(_) | Data::Bf16(_) | Data::F32(_) => {
                return Err(output.unexpected(5, format!("{users} integers")));
            }
        }
        Ok(())
    })
}

/// Which of `logits`, largest first, is drawn by a number from 0 to below 1.
fn draw(logits: &[f32], p: f32, number: f32) -> usize {
    let largest = logits.first().copied().unwrap_or(0.0);
    let weights: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let total: f32 = weights.iter().sum();
    let mut together = 0.0;
    let cut = weights.iter().position(|weight| {
        together += weight / total;
        together > p
    });
    let kept = &weights[..cut.map_or(weights.len(), |last| last + 1)];
    let (all, mut below) = (kept.iter().sum::<f32>(), 0.0);
    let found = kept.iter().position(|weight| {
        below += weight / all;
        below > number
    });
    found.unwrap_or(kept.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_falls_into_the_share_of_its_candidate() {
        // Shares 4/7, 2/7 and 1/7.
        let logits = [4f32.ln(), 2f32.ln(), 0.0];
        let drawn = |p, number| draw(&logits, p, number);
        assert_eq!([0.0, 0.5, 0.6, 0.84, 0.9, 0.9999].map(|number| drawn(1.0, number)), [0, 0, 1, 1, 2, 2]);
        // The first two have more than 0.6 together, and their shares are 2/3 and 1/3.
        assert_eq!([0.6, 0.7, 0.9999].map(|number| drawn(0.6, number)), [0, 1, 1]);
        assert_eq!([0.0, 0.9999].map(|number| drawn(0.0, number)), [0, 0], "p of 0 is greedy");
    }
}
