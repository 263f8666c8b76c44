//! The order of a GEMM.
//!
//! Weights stream from memory, so that a panel meets a block of MC rows while it is in the cache. It
//! does so in blocks of KC that stay in L1d: each is multiplied with all tiles of the rows, which
//! come from L2, and meanwhile the next panel is prefetched. Sums over K run in increasing K whatever
//! the blocks, whose boundaries depend on neither M nor the number of threads.

use super::epilogue::{Dequantize, Epilogue, Plain, Waiting};
use super::int8::{Int8Panels, Quantize};
use super::prepack::Panels;
use crate::element::{Element, Integer};
use crate::matrix::{AnyRows, Rows};
use crate::memory::{Line, OutOfMemory, reserve};
use crate::microkernel::{MAX_MR, Microkernel, Prefetch, TileCall, tile_rows};
use crate::simd::{Simd, VectorOp};
use crate::team::{Solo, Team, parallel_for};
use std::sync::OnceLock;

/// Fewer multiplications than this are not worth a second thread.
const MIN_PARALLEL_WORK: usize = 1 << 19;

/// Bytes of a row that are multiplied with all panels before the next ones, if K is large.
const OUTER_KC_BYTES: usize = 3 << 10;

/// Bytes of a core's L2 cache.
fn l2_bytes() -> usize {
    // `cpuid` traps in virtual machines.
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| {
        // Which Miri does not have.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        let kilobytes = std::arch::x86_64::__cpuid(0x8000_0006).ecx >> 16;
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let kilobytes = 0;
        match kilobytes as usize {
            0 => 1 << 20,
            found => (found << 10).clamp(1 << 18, 1 << 22),
        }
    })
}

/// How rows and panels are divided into jobs.
struct Jobs<'a> {
    team: &'a dyn Team,
    rows: usize,
    panels: usize,
    /// Blocks of rows, and for each the ranges of panels.
    blocks: usize,
    ranges: usize,
    /// K values that are multiplied with all panels before the next ones.
    outer_kc: usize,
    /// MC, or all rows if those are less.
    mc: usize,
}

/// A block of rows times a range of panels.
#[derive(Clone, Copy)]
struct Job {
    rows: (usize, usize),
    panels: (usize, usize),
}

impl<'a> Jobs<'a> {
    fn new<M: Microkernel>(team: &'a dyn Team, rows: usize, k: usize, n: usize) -> Self {
        let size = M::A_PER_K * size_of::<M::A>();
        // Accumulators that wait take memory, too.
        let outer_kc = if k >= 2 * n { k.min(OUTER_KC_BYTES / size) } else { k };
        let mc = (l2_bytes() / 2 / (size * outer_kc).max(1)).max(2 * MAX_MR);
        let (panels, blocks) = (n.div_ceil(M::NR), rows.div_ceil(mc));
        let team: &dyn Team = if rows * k * n < MIN_PARALLEL_WORK { &Solo } else { team };
        // A few jobs for each thread, so that they end together.
        let ranges = match team.members() {
            1 => 1,
            members => (4 * members).div_ceil(blocks.max(1)).min(panels),
        };
        Self { team, rows, panels, blocks, ranges, outer_kc, mc: rows.min(mc) }
    }

    /// Runs `each` for all jobs, with memory that a thread makes by `start`.
    fn run<W>(
        &self,
        start: impl Fn() -> Result<W, OutOfMemory> + Sync,
        each: impl Fn(&mut W, Job) -> Result<(), OutOfMemory> + Sync,
    ) -> Result<(), OutOfMemory> {
        let Self { team, rows, panels, blocks, ranges, .. } = *self;
        parallel_for(team, blocks * ranges, start, |memory, index| {
            let (block, range) = (index / ranges, index % ranges);
            let rows = (rows * block / blocks, rows * (block + 1) / blocks);
            let panels = (panels * range / ranges, panels * (range + 1) / ranges);
            each(memory, Job { rows, panels })
        })
    }
}

/// A GEMM with weights of the inputs' type.
///
/// # Errors
/// If memory runs out.
///
/// # Safety
/// The CPU has the instructions of the microkernel, for which the panels were made; x has as many
/// columns as they have K, and the epilogue fits the results.
#[inline(never)]
pub(super) unsafe fn gemm<M>(
    team: &dyn Team,
    x: Rows<'_, M::Input>,
    panels: &Panels<M::B>,
    epilogue: &Epilogue<'_>,
) -> Result<(), OutOfMemory>
where
    M: Microkernel<Input: Element, B: Element>,
{
    let simd = M::Simd::new().expect("an instruction set that is available");
    let jobs = Jobs::new::<M>(team, x.rows, panels.inputs(), epilogue.outputs);
    let start = || Ok((Vec::new(), M::workspace(jobs.mc, panels.inputs())?));
    jobs.run(start, |(acc, workspace), job| {
        // SAFETY: the caller's promise; the workspace is for MC rows of these.
        let a = unsafe { M::pack_a(workspace, x.start_and_stride(), job.rows, panels.inputs()) };
        let b = (panels.start(), panels.k());
        let outer_kc = jobs.outer_kc;
        let dequantize = Plain;
        simd.vectorize(MacroKernel::<M, _> {
            job,
            a,
            b,
            outer_kc,
            dequantize,
            epilogue,
            acc,
            workspace,
        })
    })
}

/// A GEMM with weights of 8-bit integers. A is quantized for each block of rows.
///
/// # Errors
/// If memory runs out.
///
/// # Safety
/// As of [`gemm`].
#[inline(never)]
pub(super) unsafe fn gemm_int8<M>(
    team: &dyn Team,
    x: AnyRows<'_>,
    panels: &Int8Panels,
    epilogue: &Epilogue<'_>,
) -> Result<(), OutOfMemory>
where
    M: Microkernel<Input: Integer<Weight = M::B>>,
{
    let simd = M::Simd::new().expect("an instruction set that is available");
    let (rows, _) = epilogue.out.shape();
    let jobs = Jobs::new::<M>(team, rows, panels.inputs(), epilogue.outputs);
    let start = || {
        let quantized = panels.quantized(jobs.mc)?;
        Ok((Vec::new(), quantized, M::workspace(jobs.mc, panels.k())?))
    };
    jobs.run(start, |(acc, quantized, workspace), job| {
        simd.vectorize(Quantize { panels, x, rows: job.rows, to: quantized });
        let count = job.rows.1 - job.rows.0;
        // SAFETY: the rows of the block were quantized.
        let a = unsafe { M::pack_a(workspace, quantized.rows(), (0, count), panels.k()) };
        let b = (panels.start(), panels.k());
        let outer_kc = jobs.outer_kc;
        let dequantize = panels.dequantize(quantized, job.rows.0);
        simd.vectorize(MacroKernel::<M, _> {
            job,
            a,
            b,
            outer_kc,
            dequantize,
            epilogue,
            acc,
            workspace,
        })
    })
}

/// The loops over the K blocks, panels and tiles of a job. Constructed where its rows and panels
/// exist, and nobody else writes to their results.
struct MacroKernel<'a, M: Microkernel, D> {
    job: Job,
    /// The first row of the block, and how far the next one is apart.
    a: (*const M::A, usize),
    /// The first panel of all, and its K.
    b: (*const M::B, usize),
    outer_kc: usize,
    dequantize: D,
    epilogue: &'a Epilogue<'a>,
    acc: &'a mut Vec<Line>,
    workspace: &'a mut M::Workspace,
}

impl<M: Microkernel, D: Dequantize> VectorOp<M::Simd> for MacroKernel<'_, M, D> {
    type Output = Result<(), OutOfMemory>;

    #[inline(always)]
    fn run(self, s: M::Simd) -> Self::Output {
        let Self { job: Job { rows, panels }, a, b, outer_kc, dequantize, epilogue, .. } = self;
        let (workspace, k) = (self.workspace, b.1);
        let line_width = M::NR * size_of::<M::B>();
        // K is divided evenly.
        let blocks = (k * line_width).div_ceil(M::KC_BYTES).max(1);
        let kc = k.div_ceil(blocks).min(outer_kc).next_multiple_of(M::K_ALIGN);
        let outer_kc = if outer_kc < k { outer_kc.next_multiple_of(kc) } else { k };
        let height = tile_rows(rows.1 - rows.0, M::MR);
        let tiles = (rows.1 - rows.0).div_ceil(height);
        // The accumulators of a tile wait for the next block of K.
        let waiting_tiles = if kc < k { tiles } else { 1 };
        let panel_acc = waiting_tiles * height * M::NR;
        // If K is divided twice, those of all panels do.
        let waiting_panels = if outer_kc < k { panels.1 - panels.0 } else { 1 };
        self.acc.clear();
        reserve(self.acc, (waiting_panels * panel_acc).div_ceil(16))?;
        let acc: *mut f32 = self.acc.as_mut_ptr().cast();
        // SAFETY: the CPU has the instructions; `height` is MR at most.
        let mut microkernel = unsafe { M::new(s, height) };
        let mut waiting = Waiting { rows: (0, 0), column: 0, acc };
        for outer in (0..k).step_by(outer_kc) {
            let end = k.min(outer + outer_kc);
            for panel in panels.0..panels.1 {
                let acc = acc.wrapping_add((panel - panels.0) % waiting_panels * panel_acc);
                for from in (outer..end).step_by(kc) {
                    let to = end.min(from + kc);
                    let steps = (to - from).div_ceil(M::K_STEP);
                    let b_block = |panel: usize| b.0.wrapping_add((panel * k + from) * M::NR);
                    let next: *const u8 = b_block(panel + 1).cast();
                    let lines = (to - from) * line_width / 64;
                    let each = lines.div_ceil((steps * tiles).max(1));
                    for tile in 0..tiles {
                        let first = rows.0 + tile * height;
                        // Overlapping tiles recompute identical values.
                        let first = match M::OVERLAPS_EPILOGUE {
                            true => first.min(rows.1 - height),
                            false => first,
                        };
                        let rows_of_tile = (first, rows.1.min(first + height));
                        let fetched = tile * steps * each;
                        let prefetch = match fetched < lines {
                            true => {
                                Prefetch { start: next.wrapping_add(64 * fetched), lines: each }
                            }
                            false => Prefetch::nothing(),
                        };
                        let call = TileCall {
                            rows: rows_of_tile.1 - first,
                            a: a.0.wrapping_add((first - rows.0) * a.1 + from * M::A_PER_K),
                            lda: a.1,
                            b: b_block(panel),
                            k: to - from,
                            accumulate: from > 0,
                            ldc: M::NR,
                            prefetch,
                        };
                        let acc = acc.wrapping_add(tile % waiting_tiles * height * M::NR);
                        let rows_per_step = height.div_ceil(steps.max(1));
                        // SAFETY: the job has such rows and panels; there is memory for all
                        // accumulators that wait, and overlapped epilogues leave none waiting.
                        unsafe {
                            microkernel.run(workspace, call, acc, || {
                                epilogue.write(s, dequantize, &mut waiting, rows_per_step);
                            });
                            if to == k {
                                let column = panel * M::NR;
                                waiting = Waiting { rows: rows_of_tile, column, acc };
                                if !M::OVERLAPS_EPILOGUE {
                                    epilogue.write(s, dequantize, &mut waiting, height);
                                }
                            }
                        }
                    }
                }
            }
        }
        // SAFETY: as above.
        unsafe { epilogue.write(s, dequantize, &mut waiting, height) };
        Ok(())
    }
}
