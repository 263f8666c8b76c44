//! Matrices whose rows begin at cache lines.

use crate::element::Element;
use crate::memory::{OutOfMemory, reserve, zeros};
use std::marker::PhantomData;
use std::ops::Range;

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; 64]);

impl Line {
    pub(crate) const ZERO: Self = Self([0; 64]);
}

/// [`zeros`] for weights, of which much is read one after the other: in great pages
/// where there are some, as it takes long to look up many small ones.
pub(crate) fn zeros_for_weights(bytes: usize) -> Result<Vec<Line>, OutOfMemory> {
    let lines = zeros(bytes)?;
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 2 << 20;
        let start = (lines.as_ptr() as usize).next_multiple_of(PAGE);
        let end = (lines.as_ptr() as usize + size_of_val(lines.as_slice())) / PAGE * PAGE;
        if start < end {
            // SAFETY: inside the memory, which keeps what it holds. Where it cannot be
            // done, nothing is lost.
            unsafe { libc::madvise(start as *mut _, end - start, libc::MADV_HUGEPAGE) };
        }
    }
    Ok(lines)
}

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
