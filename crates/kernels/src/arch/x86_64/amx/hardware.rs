//! The tiles of the CPU.

use super::self_test::all_multiply;
use super::{Configuration, MR, Registers};
use std::arch::{asm, x86_64::__cpuid_count};
use std::sync::OnceLock;

/// The tiles of this thread.
pub(crate) struct Hardware;

impl Registers for Hardware {
    #[inline(always)]
    unsafe fn configure(&mut self, configuration: &Configuration) {
        // SAFETY: the process may use tiles, and 64 bytes are read.
        unsafe { asm!("ldtilecfg [{}]", in(reg) configuration, options(nostack)) }
    }
    #[inline(always)]
    unsafe fn release(&mut self) {
        // SAFETY: the process may use tiles.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }
    #[inline(always)]
    unsafe fn zero<const TO: u8>(&mut self) {
        // SAFETY: the tiles are configured.
        unsafe { asm!("tilezero tmm{to}", to = const TO, options(nostack, nomem)) }
    }
    #[inline(always)]
    unsafe fn load<const TO: u8>(&mut self, from: *const u8, stride: usize) {
        // SAFETY: the tiles are configured, and their rows exist in memory.
        unsafe {
            asm!(
                "tileloadd tmm{to}, [{from} + {stride} * 1]",
                to = const TO, from = in(reg) from, stride = in(reg) stride,
                options(nostack, readonly)
            )
        }
    }
    #[inline(always)]
    unsafe fn store<const FROM: u8>(&mut self, to: *mut u8, stride: usize) {
        // SAFETY: the tiles are configured, and their rows exist in memory.
        unsafe {
            asm!(
                "tilestored [{to} + {stride} * 1], tmm{from}",
                from = const FROM, to = in(reg) to, stride = in(reg) stride,
                options(nostack)
            )
        }
    }
    #[inline(always)]
    unsafe fn add_int8<const TO: u8, const LEFT: u8, const RIGHT: u8>(&mut self) {
        // SAFETY: the tiles are configured.
        unsafe {
            asm!(
                "tdpbusd tmm{to}, tmm{left}, tmm{right}",
                to = const TO, left = const LEFT, right = const RIGHT,
                options(nostack, nomem)
            )
        }
    }
    #[inline(always)]
    unsafe fn add_bf16<const TO: u8, const LEFT: u8, const RIGHT: u8>(&mut self) {
        // SAFETY: the tiles are configured.
        unsafe {
            asm!(
                "tdpbf16ps tmm{to}, tmm{left}, tmm{right}",
                to = const TO, left = const LEFT, right = const RIGHT,
                options(nostack, nomem)
            )
        }
    }
}

/// Whether the CPU has tiles of bfloat16, and Linux lets the process use them.
pub(super) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE
        .get_or_init(|| has_instructions() && is_permitted() && all_multiply(|| Hardware, MR, 2))
}

fn has_instructions() -> bool {
    // AMX-BF16, AMX-TILE and AMX-INT8; the leaf of palettes, the first of which has
    // what `Configuration` asks for.
    const FEATURES: u32 = 1 << 22 | 1 << 24 | 1 << 25;
    let leaves = __cpuid_count(0, 0).eax;
    leaves >= 0x1d && __cpuid_count(7, 0).edx & FEATURES == FEATURES
}

/// Asks for the tiles' state to be kept when threads take turns, which Linux
/// does for processes that say so.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call changes nothing but what was asked for.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}
