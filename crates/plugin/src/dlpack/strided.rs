//! Tensors whose elements may lie anyhow.

use super::{
    CPU, CUDA, DLManagedTensorVersioned, DataType, Layout, MAJOR, Malformed, ManagedTensor, Owner,
    Place,
};
use std::ffi::c_void;
use std::fmt;
use std::ptr::NonNull;

/// A tensor over borrowed memory, whose elements need not be one after the other.
pub struct StridedTensor {
    owner: Owner,
    layout: Layout,
}

// SAFETY: nobody writes to the memory, by the contract of `over`; its owner may be dropped on
// any thread.
unsafe impl Send for StridedTensor {}
// SAFETY: as above.
unsafe impl Sync for StridedTensor {}

impl fmt::Debug for StridedTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.layout.fmt(f)
    }
}

impl StridedTensor {
    /// A tensor over memory that lives as long as `owner`; row-major without strides, which
    /// are counted in elements.
    ///
    /// # Errors
    /// With what was found, of sizes and strides that no memory holds.
    ///
    /// # Safety
    /// The memory is there as long as `owner`, holds every element that is reached, and nobody
    /// writes to it.
    ///
    /// # Panics
    /// If there are not as many strides as sizes.
    pub unsafe fn over(
        owner: Owner,
        data: *mut c_void,
        place: Place,
        data_type: DataType,
        shape: &[i64],
        strides: Option<&[i64]>,
    ) -> Result<Self, Malformed> {
        assert!(strides.is_none_or(|strides| strides.len() == shape.len()), "a stride for each");
        Ok(Self { owner, layout: Layout::new(data, place, data_type, shape, strides)? })
    }

    /// A tensor over that of another library, which lives as long as `owner`.
    ///
    /// # Errors
    /// With what was found, of another version of DLPack, a device that is neither the host nor
    /// of CUDA, and sizes and strides that no memory holds.
    ///
    /// # Safety
    /// The structure is live, and that of [`Self::over`].
    pub unsafe fn of(
        owner: Owner,
        raw: NonNull<DLManagedTensorVersioned>,
    ) -> Result<Self, Malformed> {
        // SAFETY: by the contract of this function.
        Ok(Self { owner, layout: unsafe { Layout::of(raw) }? })
    }

    /// The major version of a structure, and the one that is read.
    ///
    /// # Safety
    /// The structure is live.
    pub unsafe fn major_versions(raw: NonNull<DLManagedTensorVersioned>) -> (u32, u32) {
        // SAFETY: by the contract of this function; every version begins with this field.
        (unsafe { (*raw.as_ptr()).version.major }, MAJOR)
    }

    /// What ends a structure: a call of its deleter, if it has one.
    ///
    /// # Safety
    /// The structure is live and of the version that is read; what is returned is called once at
    /// most, and by nobody else.
    pub unsafe fn ended_by_deleter(raw: NonNull<DLManagedTensorVersioned>) -> impl Fn() + 'static {
        // SAFETY: by the contract of this function.
        let deleter = unsafe { (*raw.as_ptr()).deleter };
        move || {
            if let Some(deleter) = deleter {
                // SAFETY: as above.
                unsafe { deleter(raw.as_ptr()) };
            }
        }
    }

    /// The size of each dimension.
    pub fn shape(&self) -> &[usize] {
        &self.layout.shape
    }

    /// How many elements lie between two of each dimension.
    pub fn strides(&self) -> &[usize] {
        &self.layout.strides
    }

    /// The type of the elements.
    pub fn data_type(&self) -> DataType {
        self.layout.data_type
    }

    /// Where the memory is.
    pub fn place(&self) -> Place {
        self.layout.place
    }

    /// The address of the first element.
    pub fn address(&self) -> usize {
        self.layout.data.addr()
    }

    /// Whether elements are one after the other, row-major.
    pub fn is_row_major(&self) -> bool {
        self.layout.is_row_major()
    }

    /// All elements from the first to the last that is reached, as a tensor of one dimension
    /// over the same memory.
    pub fn into_span(self) -> ManagedTensor {
        let reach = self.layout.reach().unwrap_or(0);
        self.managed(&[reach])
    }

    /// The same tensor, if elements are one after the other, row-major.
    ///
    /// # Errors
    /// It comes back, if they are not.
    pub fn into_row_major(self) -> Result<ManagedTensor, Self> {
        if !self.is_row_major() {
            return Err(self);
        }
        let shape = self.layout.shape.clone();
        Ok(self.managed(&shape))
    }

    fn managed(self, shape: &[usize]) -> ManagedTensor {
        let Layout { data, place, data_type, .. } = self.layout;
        let device = match place {
            Place::Host => (CPU, 0),
            // It came from an i32.
            Place::Cuda(index) => (CUDA, index as i32),
        };
        ManagedTensor::new(self.owner, data, device, data_type, shape)
    }
}
