//! The only place where an [`Isa`], which is known at run time, becomes an [`Arch`], for which code is
//! compiled.

use crate::arch::Arch;
use crate::isa::Isa;
use crate::simd::Simd;

/// An expression with the type `$arch` of an instruction set.
macro_rules! with_arch {
    ($isa:expr, $arch:ident => $run:expr) => {
        $crate::instances::with_arch!(@ $isa, $arch => $run;
            [] Portable, ["x86_64"] Avx2, ["x86_64"] AvxVnni, ["x86_64"] Avx512,
            ["x86_64"] Avx512Vnni, ["x86_64"] Avx512Bf16, ["x86_64"] Amx, ["aarch64"] Neon,
            ["aarch64"] NeonDotprod, ["aarch64"] NeonI8mm, ["aarch64"] NeonBf16)
    };
    (@ $isa:expr, $arch:ident => $run:expr; $([$($target:literal)?] $set:ident),*) => {
        match $isa {
            $($(#[cfg(target_arch = $target)])?
            $crate::isa::Isa::$set => {
                type $arch = $crate::arch::$set;
                $run
            })*
        }
    };
}
pub(crate) use with_arch;

/// [`with_arch`], of those with dot products of bfloat16.
macro_rules! with_bf16_arch {
    ($isa:expr, $arch:ident => $run:expr) => {
        match $isa {
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Isa::Avx512Bf16 => {
                type $arch = $crate::arch::Avx512Bf16;
                $run
            }
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Isa::Amx => {
                type $arch = $crate::arch::Amx;
                $run
            }
            #[cfg(target_arch = "aarch64")]
            $crate::isa::Isa::NeonBf16 => {
                type $arch = $crate::arch::NeonBf16;
                $run
            }
            isa => unreachable!("{isa:?} has no products of bfloat16"),
        }
    };
}
pub(crate) use with_bf16_arch;

/// Runs a [`crate::simd::VectorOp`] with the vectors of an instruction set that is available.
macro_rules! vectorize {
    ($isa:expr, $op:expr) => {{
        let op = $op;
        $crate::instances::with_arch!($isa, A => {
            $crate::simd::Simd::vectorize($crate::instances::vectors::<A>(), op)
        })
    }};
}
pub(crate) use vectorize;

/// The proof that a CPU has the vectors of an instruction set.
///
/// # Panics
/// If it lacks them; kernels refuse an [`Isa`] that is not available before.
#[inline]
pub(crate) fn vectors<A: Arch>() -> A::Simd {
    A::Simd::new().expect("an instruction set that is available")
}

/// Columns of the panels of an instruction set.
pub(crate) fn panel_columns(isa: Isa) -> usize {
    with_arch!(isa, A => <A as Arch>::Simd::NR)
}

/// The sets that tests run on.
#[cfg(test)]
pub(crate) fn available() -> impl Iterator<Item = Isa> {
    Isa::ALL.iter().copied().filter(|isa| isa.is_available())
}
