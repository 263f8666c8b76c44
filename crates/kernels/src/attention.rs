//! Attention over the sequences of an unpadded batch.

mod disentangled;
mod head;
mod prepack;
mod relative;

use crate::arch::{Arch, Bf16Arch};
use crate::element::Element;
use crate::instances::{with_arch, with_bf16_arch};
use crate::isa::Isa;
use crate::matrix::{AnyRows, AnyRowsMut, Rows, RowsMut};
use crate::memory::OutOfMemory;
use crate::microkernel::{Microkernel, VectorTile};
use crate::team::{Solo, Team, parallel_for};
pub use disentangled::Disentangled;
use disentangled::OfHead;
use head::{Head, Scratch};
use relative::Relative;
pub use relative::RelativeBias;

/// Fewer multiplications than this are not worth a second thread.
const MIN_PARALLEL_WORK: usize = 1 << 18;

/// The tokens of a sequence that its tokens attend to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keys {
    /// All of them.
    #[default]
    All,
    /// All but the first: a masked token whose own hidden state is wanted.
    AllButFirst,
    /// None: the context is zero.
    None,
    /// All of them, with the same weight: the softmax of scores that are all masked by
    /// the same number.
    Uniform,
}

/// The sequences of an unpadded batch.
#[derive(Debug, Clone, Copy)]
pub struct Sequences<'a> {
    /// The row of each sequence's first token, and the number of rows, `[N+1]`.
    pub cu_seqlens: &'a [usize],
    /// What the tokens of each sequence attend to, `[N]`; empty if all attend to
    /// [`Keys::All`].
    pub keys: &'a [Keys],
    /// The number of heads.
    pub num_heads: usize,
    /// The position of each token in its sequence, ascending, `[T]`; empty if nothing
    /// depends on it.
    pub positions: &'a [i64],
    /// What is added to scores.
    pub bias: Option<RelativeBias<'a>>,
    /// The greatest distance at which one token attends to another, if there is one.
    pub window: Option<usize>,
}

impl<'a> Sequences<'a> {
    /// Sequences whose tokens attend to all others.
    pub fn new(cu_seqlens: &'a [usize], num_heads: usize) -> Self {
        Self { cu_seqlens, keys: &[], num_heads, positions: &[], bias: None, window: None }
    }
}

/// Scaled dot-product attention: query, key and value side by side, `[T,3H]`
/// for sequences of `T` tokens together -> `[T,H]`. Every token attends to the
/// tokens of its own sequence that are [`Keys`], and within the window; the scale is the
/// inverse square root of a head's dimension. A token that attends to nothing has the context
/// zero. Of bfloat16, the attention probabilities are rounded, too.
///
/// # Errors
/// If memory runs out.
///
/// # Panics
/// If the lengths are not those of the rows, the heads do not share the columns,
/// the dimension of a head is odd with bfloat16, bias or window have no positions, or the CPU
/// lacks the instructions.
pub fn attention<E: Element>(
    isa: Isa,
    team: &dyn Team,
    qkv: Rows<'_, E>,
    sequences: Sequences<'_>,
    out: RowsMut<'_, E>,
) -> Result<(), OutOfMemory> {
    attend(isa, team, qkv.erase(), (sequences, None), out.erase())
}

/// Attention as [`attention`] has it, to whose scores products with the vectors of distances are
/// added; the scale is the inverse square root of three times a head's dimension.
///
/// # Errors
/// If memory runs out.
///
/// # Panics
/// In the cases of [`attention`], without positions, with a bias, a window, or other keys than
/// [`Keys::All`], or if a row of distances is not one of the vectors'.
pub fn disentangled_attention<E: Element>(
    isa: Isa,
    team: &dyn Team,
    qkv: Rows<'_, E>,
    sequences: Sequences<'_>,
    disentangled: Disentangled<'_, E>,
    out: RowsMut<'_, E>,
) -> Result<(), OutOfMemory> {
    let Disentangled { vectors, rows, masked } = disentangled;
    assert!(sequences.bias.is_none() && sequences.window.is_none(), "neither bias nor window");
    assert!(sequences.keys.iter().all(|keys| *keys == Keys::All), "keys of each sequence");
    assert!(rows.len() % 2 == 1 && rows.iter().all(|row| *row < vectors.rows), "rows of distances");
    assert_eq!(3 * vectors.width, 2 * qkv.width, "query and key of distances");
    assert!(masked.is_empty() || masked.len() == qkv.rows, "masked tokens");
    let disentangled = Distances { vectors: vectors.erase(), rows, masked };
    attend(isa, team, qkv.erase(), (sequences, Some(disentangled)), out.erase())
}

/// [`Disentangled`], of either type.
struct Distances<'a> {
    vectors: AnyRows<'a>,
    rows: &'a [usize],
    masked: &'a [bool],
}

impl<'a> Distances<'a> {
    fn typed<E: Element>(self) -> Disentangled<'a, E> {
        Disentangled { vectors: self.vectors.typed(), rows: self.rows, masked: self.masked }
    }
}

fn attend(
    isa: Isa,
    team: &dyn Team,
    qkv: AnyRows<'_>,
    (sequences, distances): (Sequences<'_>, Option<Distances<'_>>),
    out: AnyRowsMut<'_>,
) -> Result<(), OutOfMemory> {
    assert!(isa.is_available(), "{isa:?}");
    match qkv {
        AnyRows::F32(qkv) => {
            let of = (sequences, distances.map(Distances::typed));
            // SAFETY: available; K is a multiple of 1.
            attend_each(team, qkv, of, &out.typed(), |head| unsafe {
                with_arch!(isa, A => head.attend::<VectorTile<<A as Arch>::Simd>>());
            })
        }
        AnyRows::Bf16(qkv) => {
            assert!(isa.has_bf16_dot(), "{isa:?}");
            let of = (sequences, distances.map(Distances::typed));
            // SAFETY: available; K is a multiple of 2, which is checked, or of more.
            attend_each(team, qkv, of, &out.typed(), |head| unsafe {
                with_bf16_arch!(isa, A => {
                    if head.head_dim.is_multiple_of(<A as Bf16Arch>::Bf16::K_STEP) {
                        head.attend::<<A as Bf16Arch>::Bf16>();
                    } else {
                        head.attend::<<A as Bf16Arch>::Bf16AnyK>();
                    }
                });
            })
        }
    }
}

fn attend_each<E: Element>(
    team: &dyn Team,
    qkv: Rows<'_, E>,
    (sequences, disentangled): (Sequences<'_>, Option<Disentangled<'_, E>>),
    out: &RowsMut<'_, E>,
    attend: impl Fn(Head<'_, E>) + Sync,
) -> Result<(), OutOfMemory> {
    let Sequences { cu_seqlens, keys, num_heads, .. } = sequences;
    let count = cu_seqlens.len().saturating_sub(1);
    let is_ascending = cu_seqlens.windows(2).all(|pair| pair[0] <= pair[1]);
    assert!(cu_seqlens.first() == Some(&0) && is_ascending, "sequences overlap");
    assert_eq!(cu_seqlens.last(), Some(&qkv.rows), "as many tokens as rows");
    assert!(keys.is_empty() || keys.len() == count, "keys of each sequence");
    assert_eq!((qkv.rows, qkv.width), (out.rows, 3 * out.width), "query, key, value and result");
    let heads_fit = num_heads > 0 && out.width.is_multiple_of(num_heads);
    assert!(heads_fit, "{num_heads} heads of {} values", out.width);
    let head_dim = out.width / num_heads;
    assert!(head_dim.is_multiple_of(E::K_GROUP), "heads of {head_dim} values");
    sequences.check_positions(disentangled.is_some());
    let lengths = || cu_seqlens.windows(2).map(|pair| pair[1] - pair[0]);
    let work: usize = lengths().map(|length| length * length).sum::<usize>() * out.width;
    let team: &dyn Team = if work < MIN_PARALLEL_WORK { &Solo } else { team };
    let (longest, distance) = (lengths().max().unwrap_or(0), sequences.greatest_distance());
    let scratch = || {
        let of_bias = sequences.bias.map(|_| distance);
        let mut scratch = Scratch::new(longest, head_dim, of_bias)?;
        if disentangled.is_some() {
            scratch.disentangled = Some(disentangled::Scratch::new(longest, distance, head_dim)?);
        }
        Ok(scratch)
    };
    parallel_for(team, count * num_heads, scratch, |scratch, index| {
        let (sequence, head) = match disentangled {
            None => (index / num_heads, index % num_heads),
            // What is prepacked for a head serves all sequences.
            Some(_) => (index % count, index / count),
        };
        let (first, end) = (cu_seqlens[sequence], cu_seqlens[sequence + 1]);
        let (queries, mut keys_of) = (first..end, first..end);
        let mut scale = (head_dim as f32).sqrt().recip();
        let mut relative = sequences.relative(queries.clone(), head, scale);
        match keys.get(sequence).copied().unwrap_or_default() {
            Keys::All => {}
            Keys::AllButFirst => keys_of.start = end.min(first + 1),
            Keys::None => keys_of.start = end,
            Keys::Uniform => {
                // Not zero: beyond the last key scores are infinite.
                scale = f32::MIN_POSITIVE;
                relative = Relative::default();
            }
        }
        let column = head * head_dim;
        let disentangled = disentangled.map(|of| OfHead {
            of,
            head,
            head_dim,
            positions: sequences.positions,
            tokens: queries.clone(),
            distance,
        });
        scale = disentangled.as_ref().map_or(scale, OfHead::scale);
        attend(Head {
            qkv,
            out,
            queries,
            keys: keys_of,
            column,
            head_dim,
            scale,
            relative,
            disentangled,
            scratch,
        });
        Ok(())
    })
}
