//! Which instructions the CPU has.

#[cfg(target_arch = "x86_64")]
use crate::arch::{Amx, Avx2, Avx512, Avx512Bf16, Avx512Vnni, AvxVnni};
#[cfg(target_arch = "aarch64")]
use crate::arch::{Neon, NeonBf16, NeonDotprod, NeonI8mm};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::simd::Simd;
use std::env;
use std::sync::OnceLock;

const MAX_ISA: &str = "BERTSCRIPT_MAX_ISA";

/// An instruction set that the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// What every CPU of the architecture has.
    Portable,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-VNNI: dot products of 8-bit integers, without AVX-512.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// AVX-512 F.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX-512 VNNI: dot products of 8-bit integers.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// AVX-512 BF16: dot products of bfloat16 values.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    /// AMX: products of bfloat16 values and of 8-bit integers in tiles.
    #[cfg(target_arch = "x86_64")]
    Amx,
    /// NEON.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// SDOT: dot products of 8-bit integers.
    #[cfg(target_arch = "aarch64")]
    NeonDotprod,
    /// I8MM: dot products of unsigned with signed 8-bit integers.
    #[cfg(target_arch = "aarch64")]
    NeonI8mm,
    /// BF16: dot products of bfloat16 values.
    #[cfg(target_arch = "aarch64")]
    NeonBf16,
}

impl Isa {
    /// The sets of this architecture, the better ones last. A CPU with one has those before it,
    /// but for AVX-VNNI.
    pub const ALL: &[Self] = &[
        Self::Portable,
        #[cfg(target_arch = "x86_64")]
        Self::Avx2,
        #[cfg(target_arch = "x86_64")]
        Self::AvxVnni,
        #[cfg(target_arch = "x86_64")]
        Self::Avx512,
        #[cfg(target_arch = "x86_64")]
        Self::Avx512Vnni,
        #[cfg(target_arch = "x86_64")]
        Self::Avx512Bf16,
        #[cfg(target_arch = "x86_64")]
        Self::Amx,
        #[cfg(target_arch = "aarch64")]
        Self::Neon,
        #[cfg(target_arch = "aarch64")]
        Self::NeonDotprod,
        #[cfg(target_arch = "aarch64")]
        Self::NeonI8mm,
        #[cfg(target_arch = "aarch64")]
        Self::NeonBf16,
    ];

    /// Its name, as the variable `BERTSCRIPT_MAX_ISA` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => "avx_vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => "avx512_vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => "avx512_bf16",
            #[cfg(target_arch = "x86_64")]
            Self::Amx => "amx",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod => "neon_dotprod",
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm => "neon_i8mm",
            #[cfg(target_arch = "aarch64")]
            Self::NeonBf16 => "neon_bf16",
        }
    }

    /// Whether this CPU has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => AvxVnni::is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => Avx512Vnni::is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => Avx512Bf16::is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => Amx::is_available(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Neon::new().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod => NeonDotprod::is_available(),
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm => NeonI8mm::is_available(),
            #[cfg(target_arch = "aarch64")]
            Self::NeonBf16 => NeonBf16::is_available(),
        }
    }

    /// Whether it has dot products of bfloat16 values.
    pub fn has_bf16_dot(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 | Self::Amx => true,
            #[cfg(target_arch = "aarch64")]
            Self::NeonBf16 => true,
            _ => false,
        }
    }

    /// Whether it has dot products of 8-bit integers.
    pub fn has_i8_dot(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni | Self::Avx512Vnni | Self::Avx512Bf16 | Self::Amx => true,
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod | Self::NeonI8mm | Self::NeonBf16 => true,
            _ => false,
        }
    }

    /// The sets that this CPU has and that the environment variable `BERTSCRIPT_MAX_ISA` allows, the
    /// best last. The variable is read once.
    ///
    /// # Errors
    /// In words, if the variable names none of the sets.
    pub fn allowed() -> Result<&'static [Self], String> {
        static ALLOWED: OnceLock<Result<Vec<Isa>, String>> = OnceLock::new();
        let allowed = ALLOWED.get_or_init(|| {
            let count = match env::var(MAX_ISA) {
                Err(env::VarError::NotPresent) => Self::ALL.len(),
                max => {
                    let max = max.unwrap_or_default();
                    let index = Self::ALL.iter().position(|isa| max == isa.name());
                    1 + index.ok_or_else(|| {
                        let names: Vec<_> = Self::ALL.iter().map(|isa| isa.name()).collect();
                        let names = names.join(", ");
                        format!("{MAX_ISA}: found {max:?}, expected one of {names}")
                    })?
                }
            };
            let sets = Self::ALL[..count].iter().copied();
            Ok(sets.filter(|isa| isa.is_available()).collect())
        });
        allowed.as_deref().map_err(Clone::clone)
    }

    /// The best of [`Self::allowed`].
    ///
    /// # Errors
    /// As there.
    pub fn best() -> Result<Self, String> {
        Ok(Self::allowed()?.last().copied().unwrap_or(Self::Portable))
    }
}
