//! Instruction sets: the vectors and microkernels that each has.

/// Safe functions of a vector type, of one instruction or a few each.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! operations {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty = $instructions:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($argument: $type),*) -> $result {
            // SAFETY: a value of this type is the proof that the CPU has the instructions.
            unsafe { $instructions }
        }
    )*};
}

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use crate::bf16::Bf16;
use crate::element::Integer;
use crate::microkernel::Microkernel;
use crate::simd::Simd;
#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::{Neon, NeonBf16, NeonDotprod, NeonI8mm};
pub(crate) use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{Amx, Avx2, Avx512, Avx512Bf16, Avx512Vnni, AvxVnni};

/// What an instruction set computes with.
pub(crate) trait Arch {
    type Simd: Simd;
    type F32: Microkernel<Simd = Self::Simd, Input = f32, B = f32>;
    type Int8: Microkernel<Simd = Self::Simd, Input: Integer>;
}

/// An instruction set with bf16 dot products. Kernels of bf16 are instantiated for these only.
pub(crate) trait Bf16Arch: Arch {
    type Bf16: Microkernel<Simd = Self::Simd, Input = Bf16, A = Bf16, B = Bf16>;
    /// The microkernel if K is not a multiple of the other's `K_STEP`.
    type Bf16AnyK: Microkernel<Simd = Self::Simd, Input = Bf16, A = Bf16, B = Bf16>;
}
