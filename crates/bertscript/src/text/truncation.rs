//! What two texts give up so that both have room.

use super::encoding::Truncation;
use super::tokenizer::invalid;
use crate::error::Result;

/// How many tokens of each text stay so that both have room.
pub(super) fn shares(
    (first, second): (usize, Option<usize>),
    room: usize,
    truncation: Truncation,
) -> Result<(usize, usize)> {
    let pair = second.unwrap_or(0);
    let Some(excess) = (first + pair).checked_sub(room).filter(|excess| *excess > 0) else {
        return Ok((first, pair));
    };
    if room == 0 {
        return Ok((0, 0));
    }
    let less = |length: usize, which: &str| {
        length.checked_sub(excess).filter(|rest| *rest > 0).ok_or_else(|| {
            let message = format!("the {which} text has {length} tokens, {excess} too many to cut");
            invalid("truncation", message)
        })
    };
    Ok(match (truncation, second) {
        (Truncation::LongestFirst, None) | (Truncation::DoNotTruncate, _) => (room, 0),
        // The longer one gives until both are equal, then both give.
        (Truncation::LongestFirst, Some(_)) if first <= pair => {
            let first = first.min(room / 2);
            (first, room - first)
        }
        (Truncation::LongestFirst, Some(_)) => {
            let pair = pair.min(room / 2);
            (room - pair, pair)
        }
        (Truncation::OnlyFirst, _) => (less(first, "first")?, pair),
        (Truncation::OnlySecond, Some(_)) => (first, less(pair, "second")?),
        (Truncation::OnlySecond, None) => {
            return Err(invalid(
                "truncation",
                "only_second was asked for, but there is no second text",
            ));
        }
    })
}
