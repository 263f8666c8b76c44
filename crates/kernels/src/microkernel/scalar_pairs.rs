//! The int8 microkernel of any CPU, of which compilers make the products of pairs that it has.

use super::{L1_PANEL_BYTES, MAX_NR, Microkernel, TileCall, reads_rows};
use crate::simd::Simd;
use std::marker::PhantomData;

pub(crate) struct ScalarPairs<S>(PhantomData<S>);

impl<S: Simd> Microkernel for ScalarPairs<S> {
    type Simd = S;
    type B = i16;
    reads_rows!(i16);

    const MR: usize = S::MR;
    const K_STEP: usize = 2;
    const KC_BYTES: usize = L1_PANEL_BYTES;
    const OVERLAPS_EPILOGUE: bool = false;

    #[inline(always)]
    unsafe fn new(_: S, _: usize) -> Self {
        Self(PhantomData)
    }

    #[inline(always)]
    unsafe fn run(
        &mut self,
        (): &mut (),
        call: TileCall<i16, i16>,
        acc: *mut f32,
        _: impl FnMut(),
    ) {
        let TileCall { rows, a, lda, b, k, accumulate, ldc, .. } = call;
        for row in 0..rows {
            let to = acc.wrapping_add(row * ldc).cast::<i32>();
            let mut own = [0; MAX_NR];
            if accumulate {
                // SAFETY: there are accumulators of NR columns.
                unsafe { own.as_mut_ptr().copy_from_nonoverlapping(to, S::NR) };
            }
            for group in 0..k / 2 {
                // SAFETY: there are `k` values of the row.
                let values = unsafe { a.add(row * lda).cast::<[i16; 2]>().add(group).read() };
                let columns = b.wrapping_add(2 * group * S::NR).cast::<[i16; 2]>();
                for (column, sum) in own[..S::NR].iter_mut().enumerate() {
                    // SAFETY: there are NR columns of `k` values.
                    let weights = unsafe { columns.add(column).read() };
                    let products = [0, 1].map(|i| i32::from(values[i]) * i32::from(weights[i]));
                    *sum += products[0] + products[1];
                }
            }
            // SAFETY: there is room for NR columns.
            unsafe { to.copy_from_nonoverlapping(own.as_ptr(), S::NR) };
        }
    }
}
