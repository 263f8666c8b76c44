//! Matrices whose rows begin at cache lines.

use crate::bf16::Bf16;
use crate::element::{Dtype, Element, Storage};
use crate::memory::{Line, OutOfMemory, reserve};
use crate::simd::Simd;
use std::marker::PhantomData;
use std::ops::Range;

/// Rows of values, kept from one use to the next.
#[derive(Debug)]
pub struct Matrix<E> {
    lines: Vec<Line>,
    rows: usize,
    width: usize,
    stride: usize,
    element: PhantomData<E>,
}

impl<E: Element> Matrix<E> {
    /// A matrix without rows, each of `width` values.
    pub fn new(width: usize) -> Self {
        let lines = (width * size_of::<E>()).div_ceil(size_of::<Line>()).max(1);
        // An odd number: rows that stand a multiple of a page apart would
        // displace each other in the cache.
        let stride = (lines | 1) * size_of::<Line>() / size_of::<E>();
        Self { lines: Vec::new(), rows: 0, width, stride, element: PhantomData }
    }

    /// Gives it `rows` rows, of whatever values.
    ///
    /// # Errors
    /// If memory runs out; the matrix is then as it was.
    pub fn set_rows(&mut self, rows: usize) -> Result<(), OutOfMemory> {
        // A line more than there are values: kernels read pairs.
        let lines = rows * self.stride * size_of::<E>() / size_of::<Line>() + 1;
        let more = lines.saturating_sub(self.lines.len());
        if more > 0 {
            reserve(&mut self.lines, more)?;
            self.lines.resize(lines, Line::ZERO);
        }
        self.rows = rows;
        Ok(())
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Values of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// All rows.
    pub fn all(&self) -> Rows<'_, E> {
        self.rows(0..self.rows)
    }

    /// All rows, to write to.
    pub fn all_mut(&mut self) -> RowsMut<'_, E> {
        self.rows_mut(0..self.rows)
    }

    /// Some rows.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn rows(&self, range: Range<usize>) -> Rows<'_, E> {
        self.check(&range);
        // SAFETY: inside the memory, which has all rows.
        let start = unsafe { self.lines.as_ptr().cast::<E>().add(range.start * self.stride) };
        Rows { start, rows: range.len(), width: self.width, stride: self.stride, life: PhantomData }
    }

    /// Some rows, to write to.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn rows_mut(&mut self, range: Range<usize>) -> RowsMut<'_, E> {
        self.check(&range);
        // SAFETY: as above.
        let start = unsafe { self.lines.as_mut_ptr().cast::<E>().add(range.start * self.stride) };
        RowsMut {
            start,
            rows: range.len(),
            width: self.width,
            stride: self.stride,
            life: PhantomData,
        }
    }

    /// A row.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn row(&self, row: usize) -> &[E] {
        let Rows { start, width, .. } = self.rows(row..row + 1);
        // SAFETY: a row has this many values, all initialised, borrowed from `self`.
        unsafe { std::slice::from_raw_parts(start, width) }
    }

    /// A row, to write to.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn row_mut(&mut self, row: usize) -> &mut [E] {
        let RowsMut { start, width, .. } = self.rows_mut(row..row + 1);
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(start, width) }
    }

    fn check(&self, range: &Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.rows, "{range:?} of {}", self.rows);
    }
}

/// Rows of a matrix.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a, E> {
    pub(crate) start: *const E,
    pub(crate) rows: usize,
    pub(crate) width: usize,
    pub(crate) stride: usize,
    life: PhantomData<&'a [E]>,
}

// SAFETY: it is a borrow of values that nobody writes to.
unsafe impl<E: Sync> Sync for Rows<'_, E> {}
// SAFETY: as above.
unsafe impl<E: Sync> Send for Rows<'_, E> {}

/// Rows of a matrix, to write to.
#[derive(Debug)]
pub struct RowsMut<'a, E> {
    pub(crate) start: *mut E,
    pub(crate) rows: usize,
    pub(crate) width: usize,
    pub(crate) stride: usize,
    life: PhantomData<&'a mut [E]>,
}

// SAFETY: threads write to places of their own: see each kernel.
unsafe impl<E: Send> Sync for RowsMut<'_, E> {}

impl<E: Element> RowsMut<'_, E> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The same rows, to read.
    pub(crate) fn as_rows(&self) -> Rows<'_, E> {
        let Self { start, rows, width, stride, .. } = *self;
        Rows { start, rows, width, stride, life: PhantomData }
    }

    /// The same rows, for a while.
    pub fn reborrow(&mut self) -> RowsMut<'_, E> {
        let Self { start, rows, width, stride, .. } = *self;
        RowsMut { start, rows, width, stride, life: PhantomData }
    }

    /// A row.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn row(&self, row: usize) -> &[E] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: a row has this many values, all initialised, borrowed from `self`.
        unsafe { std::slice::from_raw_parts(self.start.add(row * self.stride), self.width) }
    }

    /// A row, to write to.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn row_mut(&mut self, row: usize) -> &mut [E] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride), self.width) }
    }

    /// Where a value stands.
    ///
    /// # Safety
    /// There is such a row and column.
    #[inline(always)]
    pub(crate) unsafe fn at(&self, row: usize, column: usize) -> *mut E {
        debug_assert!(row < self.rows && column < self.width);
        // SAFETY: the caller's promise.
        unsafe { self.start.add(row * self.stride + column) }
    }
}

impl<E> Rows<'_, E> {
    /// The first row, and how many values the next one is apart.
    pub(crate) fn start_and_stride(&self) -> (*const E, usize) {
        (self.start, self.stride)
    }
}

impl<E: Element> Rows<'_, E> {
    /// Where a value stands.
    ///
    /// # Safety
    /// There is such a row and column.
    #[inline(always)]
    pub(crate) unsafe fn at(&self, row: usize, column: usize) -> *const E {
        debug_assert!(row < self.rows && column < self.width);
        // SAFETY: the caller's promise.
        unsafe { self.start.add(row * self.stride + column) }
    }
}

/// Rows of either type.
#[derive(Clone, Copy)]
pub(crate) enum AnyRows<'a> {
    F32(Rows<'a, f32>),
    Bf16(Rows<'a, Bf16>),
}

impl<'a, E: Element> Rows<'a, E> {
    pub(crate) fn erase(self) -> AnyRows<'a> {
        match E::DTYPE {
            Dtype::F32 => AnyRows::F32(self.cast()),
            Dtype::Bf16 => AnyRows::Bf16(self.cast()),
        }
    }

    /// The same rows; kernels read them as the type that they have.
    fn cast<T>(self) -> Rows<'a, T> {
        let Self { start, rows, width, stride, .. } = self;
        Rows { start: start.cast(), rows, width, stride, life: PhantomData }
    }
}

impl<'a> AnyRows<'a> {
    /// # Panics
    /// If they are of another type.
    pub(crate) fn typed<E: Element>(self) -> Rows<'a, E> {
        match (self, E::DTYPE) {
            (Self::F32(rows), Dtype::F32) => rows.cast(),
            (Self::Bf16(rows), Dtype::Bf16) => rows.cast(),
            _ => unreachable!("rows of another type"),
        }
    }
}

/// Rows of either type, to write to.
pub(crate) enum AnyRowsMut<'a> {
    F32(RowsMut<'a, f32>),
    Bf16(RowsMut<'a, Bf16>),
}

impl<'a, E: Element> RowsMut<'a, E> {
    pub(crate) fn erase(self) -> AnyRowsMut<'a> {
        match E::DTYPE {
            Dtype::F32 => AnyRowsMut::F32(self.cast()),
            Dtype::Bf16 => AnyRowsMut::Bf16(self.cast()),
        }
    }

    /// The same rows; kernels write them as the type that they have.
    fn cast<T>(self) -> RowsMut<'a, T> {
        let Self { start, rows, width, stride, .. } = self;
        RowsMut { start: start.cast(), rows, width, stride, life: PhantomData }
    }
}

impl<'a> AnyRowsMut<'a> {
    /// # Panics
    /// If they are of another type.
    pub(crate) fn typed<E: Element>(self) -> RowsMut<'a, E> {
        match (self, E::DTYPE) {
            (Self::F32(rows), Dtype::F32) => rows.cast(),
            (Self::Bf16(rows), Dtype::Bf16) => rows.cast(),
            _ => unreachable!("rows of another type"),
        }
    }

    /// The same rows, for a while.
    pub(crate) fn reborrow(&mut self) -> AnyRowsMut<'_> {
        match self {
            Self::F32(rows) => AnyRowsMut::F32(rows.reborrow()),
            Self::Bf16(rows) => AnyRowsMut::Bf16(rows.reborrow()),
        }
    }

    /// `[rows,width]`
    pub(crate) fn shape(&self) -> (usize, usize) {
        match self {
            Self::F32(rows) => (rows.rows, rows.width),
            Self::Bf16(rows) => (rows.rows, rows.width),
        }
    }

    /// Stores `count` values, a vector at most.
    ///
    /// # Safety
    /// There are as many in the row from the column on, and nobody else reads or writes them.
    #[inline(always)]
    pub(crate) unsafe fn store<S: Simd>(
        &self,
        s: S,
        (row, column): (usize, usize),
        count: usize,
        v: S::V,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::F32(rows) => f32::store(s, rows.at(row, column), count, v),
                Self::Bf16(rows) => Bf16::store(s, rows.at(row, column), count, v),
            }
        }
    }
}
