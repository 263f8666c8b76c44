//! C = A B with A `[M,K]`, B `[K,N]` prepacked, and an epilogue.

mod blocking;
mod epilogue;
mod int8;
mod prepack;

use crate::arch::{Arch, Bf16Arch};
use crate::bf16::Bf16;
use crate::element::Element;
use crate::instances::{panel_columns, with_arch, with_bf16_arch};
use crate::isa::Isa;
use crate::matrix::AnyRows;
use crate::memory::OutOfMemory;
use crate::microkernel::Microkernel;
use crate::team::Team;
pub(crate) use epilogue::Epilogue;
pub use epilogue::Then;
use int8::Int8Panels;
pub(crate) use int8::MAX_K as MAX_INT8_K;
use prepack::Panels;

/// B, rearranged once for the microkernels of an instruction set.
#[derive(Debug)]
pub(crate) enum Prepacked {
    F32(Panels<f32>),
    Bf16(Panels<Bf16>),
    Int8(Int8Panels),
}

impl Prepacked {
    /// Of rows `[N,K]`, to be multiplied in float32.
    pub(crate) fn f32<W: Element>(isa: Isa, k: usize, rows: &[&[W]]) -> Result<Self, OutOfMemory> {
        Ok(Self::F32(Panels::new(panel_columns(isa), k, rows)?))
    }

    /// Of rows `[N,K]`, to be multiplied in bfloat16.
    pub(crate) fn bf16<W: Element>(isa: Isa, k: usize, rows: &[&[W]]) -> Result<Self, OutOfMemory> {
        Ok(Self::Bf16(Panels::new(panel_columns(isa), k, rows)?))
    }

    /// Of rows `[N,K]`, to be multiplied in 8-bit integers.
    /// The greatest magnitudes of x, if they are known, decide how both are scaled.
    pub(crate) fn int8<W: Element>(
        isa: Isa,
        k: usize,
        rows: &[&[W]],
        maxima: Option<&[f32]>,
    ) -> Result<Self, OutOfMemory> {
        let nr = panel_columns(isa);
        Ok(Self::Int8(with_arch!(isa, A => {
            Int8Panels::new::<<<A as Arch>::Int8 as Microkernel>::Input, W>(nr, k, rows, maxima)?
        })))
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::F32(panels) => panels.bytes(),
            Self::Bf16(panels) => panels.bytes(),
            Self::Int8(panels) => panels.bytes(),
        }
    }

    /// Multiplies x `[M,K]` with B, and writes what the epilogue makes of the results.
    ///
    /// # Errors
    /// If memory runs out.
    ///
    /// # Safety
    /// B was prepacked for the instruction set, which is available; x has its K; the epilogue fits
    /// the results.
    pub(crate) unsafe fn multiply(
        &self,
        isa: Isa,
        team: &dyn Team,
        x: AnyRows<'_>,
        epilogue: &Epilogue<'_>,
    ) -> Result<(), OutOfMemory> {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::F32(panels) => with_arch!(isa, A => {
                    blocking::gemm::<<A as Arch>::F32>(team, x.typed(), panels, epilogue)
                }),
                Self::Bf16(panels) => with_bf16_arch!(isa, A => {
                    if panels.k().is_multiple_of(<A as Bf16Arch>::Bf16::K_STEP) {
                        blocking::gemm::<<A as Bf16Arch>::Bf16>(team, x.typed(), panels, epilogue)
                    } else {
                        blocking::gemm::<<A as Bf16Arch>::Bf16AnyK>(
                            team, x.typed(), panels, epilogue,
                        )
                    }
                }),
                Self::Int8(panels) => with_arch!(isa, A => {
                    blocking::gemm_int8::<<A as Arch>::Int8>(team, x, panels, epilogue)
                }),
            }
        }
    }
}
