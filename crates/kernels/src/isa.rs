//! Which instructions the CPU has.

#[cfg(target_arch = "x86_64")]
use crate::amx;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Portable, Simd};
use std::env;
use std::sync::OnceLock;

const MAX_ISA: &str = "BERTSCRIPT_MAX_ISA";

/// A set of instructions that the kernels are compiled for, each with those
/// before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What every CPU of the architecture has.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F.
    Avx512,
    /// AVX-512 VNNI: products of 8-bit integers.
    Avx512Vnni,
    /// AVX-512 BF16: products of bfloat16 values.
    Avx512Bf16,
    /// AMX: products of bfloat16 values and of 8-bit integers in tiles.
    Amx,
}

/// Work that is written for any vectors.
pub(crate) trait Kernel {
    type Output;

    /// # Safety
    /// The CPU has the instructions of `S`; and what the kernel itself demands.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

impl Isa {
    /// Every set, the least first.
    pub const ALL: [Self; 6] =
        [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Vnni, Self::Avx512Bf16, Self::Amx];

    /// Its name, as the variable `BERTSCRIPT_MAX_ISA` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512_vnni",
            Self::Avx512Bf16 => "avx512_bf16",
            Self::Amx => "amx",
        }
    }

    /// Whether this CPU has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Self::Avx2.is_available() && is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => {
                Self::Avx512.is_available() && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => {
                Self::Avx512Vnni.is_available() && is_x86_feature_detected!("avx512bf16")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Amx => Self::Avx512Bf16.is_available() && amx::is_available(),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// Whether it has products of bfloat16 values.
    pub fn multiplies_bf16(self) -> bool {
        self >= Self::Avx512Bf16
    }

    /// The best that this CPU has, and that the environment variable
    /// `BERTSCRIPT_MAX_ISA` allows, which is read once.
    ///
    /// # Errors
    /// In words, if the variable names none of the sets.
    pub fn best() -> Result<Self, String> {
        static BEST: OnceLock<Result<Isa, String>> = OnceLock::new();
        let best = || {
            let most = match env::var(MAX_ISA) {
                Err(env::VarError::NotPresent) => Self::Amx,
                allowed => {
                    let allowed = allowed.unwrap_or_default();
                    let known = Self::ALL.into_iter().find(|isa| allowed == isa.name());
                    known.ok_or_else(|| {
                        let names = Self::ALL.map(Self::name).join(", ");
                        format!("{MAX_ISA}: found {allowed:?}, expected one of {names}")
                    })?
                }
            };
            let fits = |isa: &Self| *isa <= most && isa.is_available();
            Ok(Self::ALL.into_iter().rev().find(fits).unwrap_or(Self::Portable))
        };
        BEST.get_or_init(best).clone()
    }

    /// Runs a kernel with the vectors of this set.
    ///
    /// # Safety
    /// [`Self::is_available`], and what the kernel demands.
    #[inline]
    pub(crate) unsafe fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 | Self::Avx512Vnni | Self::Avx512Bf16 | Self::Amx => {
                    with_avx512(kernel)
                }
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => with_avx2(kernel),
                _ => kernel.run::<Portable>(),
            }
        }
    }
}

/// Bytes of a core's second cache.
pub(crate) fn second_cache() -> usize {
    // Virtual machines answer slowly.
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        let kilobytes = std::arch::x86_64::__cpuid(0x8000_0006).ecx >> 16;
        #[cfg(not(target_arch = "x86_64"))]
        let kilobytes = 0;
        match kilobytes as usize {
            0 => 1 << 20,
            found => (found << 10).clamp(1 << 18, 1 << 22),
        }
    })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn with_avx512<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller's promise.
    unsafe { kernel.run::<Avx512>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn with_avx2<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller's promise.
    unsafe { kernel.run::<Avx2>() }
}
