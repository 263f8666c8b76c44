//! Instruction sets of x86-64.

mod amx;
mod avx2;
mod avx512;
mod avx512_bf16;
mod avx512_vnni;
mod avx_vnni;
mod bf16x3;
mod madd;

pub(crate) use amx::Amx;
pub(crate) use avx_vnni::AvxVnni;
pub(crate) use avx2::Avx2;
pub(crate) use avx512::Avx512;
pub(crate) use avx512_bf16::Avx512Bf16;
pub(crate) use avx512_vnni::Avx512Vnni;
use madd::Madd;
