//! Embeddings as they are stored.

use crate::embed::{embed_options, give_truncated};
use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::inputs::Given;
use crate::module::bertscript_module;
use crate::pointers::{array, get, null, place, text};
use crate::status::{BERTSCRIPT_BUFFER_TOO_SMALL, BERTSCRIPT_INVALID_ARGUMENT, bertscript_status};
use crate::task_options::bertscript_task_options;
use bertscript::{EmbedOptions, EmbeddingPrecision, EmbeddingRanges, Quantizer};
use std::ffi::{c_char, c_void};

/// Embeds texts as `bertscript_module_embed` does, and writes the embeddings to memory of the
/// caller's as they are stored: equal to `quantize_embeddings` of sentence-transformers.
///
/// @param texts the texts, UTF-8, `count` of them
/// @param lengths the length of each in bytes; NULL if they are NUL-terminated
/// @param count how many texts there are; 0 is accepted
/// @param options as of `bertscript_module_embed`, `embedding_precision`, and `ranges`, for `int8`
///        and `uint8`; NULL for none
/// @param destination gets a row for each text, of as many bytes as
///        `bertscript_module_embedding_bytes` says; bytes between rows stay as they are
/// @param row_stride from the start of a row to the start of the next, in bytes; 0 for rows one
///        after the other
/// @param capacity the room there, in bytes
/// @param written gets the number of bytes, also if the room is too small
///        (`BERTSCRIPT_BUFFER_TOO_SMALL`, and nothing is embedded); may be NULL
/// @param truncated gets 1 for each text that was truncated, and 0 for the
///        others, `count` of them; may be NULL
///
/// Errors: those of `bertscript_module_embed`; `BERTSCRIPT_INVALID_ARGUMENT` for missing ranges,
/// or ranges of another dimension.
/// Ownership: the memory stays the caller's; the caller may free the texts after the call.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_embed_quantized(
    module: *const bertscript_module,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    options: *const bertscript_task_options,
    destination: *mut c_void,
    row_stride: usize,
    capacity: usize,
    written: *mut usize,
    truncated: *mut i32,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let module = unsafe { get(module, "module")? }.module();
        // SAFETY: as above.
        let texts = unsafe { Given { name: "texts", texts, lengths }.read(count)? };
        // SAFETY: as above.
        let (options, quantizer) = quantizing(unsafe { options.as_ref() })?;
        let dim = module.embedding_dim(&options)?;
        // SAFETY: as above.
        let room = unsafe { Room { destination, row_stride, capacity, written: written.as_mut() } };
        let found = room.filled(quantizer.precision(), count, dim, |bytes, row_stride| {
            Ok(module.embed_quantized(texts, &options, &quantizer, bytes, row_stride)?)
        })?;
        // SAFETY: as above.
        unsafe { give_truncated(truncated, count, &found) };
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// How many bytes a row has that `bertscript_module_embed_quantized` writes.
///
/// @param options as of `bertscript_module_embed_quantized`; NULL for none
/// @param bytes gets the number
///
/// Errors: those of `bertscript_module_embed_quantized`, but for the ones of texts.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_embedding_bytes(
    module: *const bertscript_module,
    options: *const bertscript_task_options,
    bytes: *mut usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (module, bytes) = unsafe { (get(module, "module")?, place(bytes, "bytes")?) };
        // SAFETY: as above.
        let (options, quantizer) = quantizing(unsafe { options.as_ref() })?;
        let dim = module.module().embedding_dim(&options)?;
        *bytes = quantizer.room_bytes(1, dim, quantizer.precision().row_bytes(dim))?;
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Writes embeddings that are there already as they are stored: what
/// `bertscript_module_embed_quantized` writes of the embeddings of texts.
///
/// @param embeddings `count` rows of `dim` floats, one after the other
/// @param count how many embeddings there are; 0 is accepted
/// @param dim the dimension of each, at least 1
/// @param embedding_precision as of `bertscript_task_options_set_embedding_precision`
/// @param ranges the min of each dimension, then the max of each, for `int8` and `uint8`; NULL
///        if `embedding_precision` is another
/// @param destination as of `bertscript_module_embed_quantized`, and not where `embeddings` or
///        `ranges` are
/// @param row_stride from the start of a row to the start of the next, in bytes; 0 for rows one
///        after the other
/// @param capacity the room there, in bytes
/// @param written gets the number of bytes, also if the room is too small
///        (`BERTSCRIPT_BUFFER_TOO_SMALL`); may be NULL
///
/// Errors: `BERTSCRIPT_INVALID_ARGUMENT` for ranges that are none, or that the precision has not.
/// Ownership: the memory stays the caller's.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_quantize_embeddings(
    embeddings: *const f32,
    count: usize,
    dim: usize,
    embedding_precision: *const c_char,
    ranges: *const f32,
    destination: *mut c_void,
    row_stride: usize,
    capacity: usize,
    written: *mut usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let precision = unsafe { text(embedding_precision, "embedding_precision")? };
        let precision: EmbeddingPrecision = precision.parse()?;
        let (values, bounds) = (elements("count", count, dim)?, elements("dim", dim, 2)?);
        // SAFETY: as above.
        let room = unsafe { Room { destination, row_stride, capacity, written: written.as_mut() } };
        room.filled(precision, count, dim, |bytes, row_stride| {
            refuse_overlap(bytes, (embeddings, values), "embeddings")?;
            refuse_overlap(bytes, (ranges, bounds), "ranges")?;
            let ranges = match ranges.is_null() && !precision.needs_ranges() {
                true => None,
                // SAFETY: as above.
                false => Some(EmbeddingRanges::new(unsafe { array(ranges, bounds, "ranges")? })?),
            };
            let quantizer = Quantizer::new(precision, ranges.as_ref())?;
            // SAFETY: as above.
            let embeddings = unsafe { array(embeddings, values, "embeddings")? };
            Ok(quantizer.quantize(embeddings, dim, bytes, row_stride)?)
        })
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// The range of each dimension of embeddings, for the embedding precisions `int8` and `uint8`.
/// Those of a sample of a hundred embeddings or more suit others; values outside of a range
/// become the nearest inside.
///
/// @param embeddings `count` rows of `dim` floats, one after the other, all finite
/// @param count how many embeddings there are, at least 1
/// @param dim the dimension of each, at least 1
/// @param ranges gets the min of each dimension, then the max of each, `2 * dim` floats
/// @param capacity the room there, in floats
///
/// Errors: `BERTSCRIPT_BUFFER_TOO_SMALL`; `BERTSCRIPT_INVALID_ARGUMENT` for embeddings that are
/// not finite.
/// Ownership: the memory stays the caller's.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_embedding_ranges(
    embeddings: *const f32,
    count: usize,
    dim: usize,
    ranges: *mut f32,
    capacity: usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        unsafe { (get(embeddings, "embeddings")?, place(ranges, "ranges")?) };
        let (values, bounds) = (elements("count", count, dim)?, elements("dim", dim, 2)?);
        if capacity < bounds {
            let message = format!("capacity: found {capacity}, expected at least {bounds}");
            return Err(Failure::new(BERTSCRIPT_BUFFER_TOO_SMALL, message));
        }
        // SAFETY: as above.
        let found = EmbeddingRanges::of(unsafe { array(embeddings, values, "embeddings")? }, dim)?;
        // SAFETY: as above; `2 * dim` floats are within the capacity.
        unsafe { ranges.copy_from_nonoverlapping(found.as_slice().as_ptr(), bounds) };
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Refuses to read floats where bytes are written.
fn refuse_overlap(
    bytes: &[u8],
    (floats, count): (*const f32, usize),
    name: &str,
) -> Result<(), Failure> {
    let (to, from) = (bytes.as_ptr().addr(), floats.addr());
    let (to_end, from_end) = (to + bytes.len(), from.saturating_add(count * size_of::<f32>()));
    if floats.is_null() || to_end <= from || from_end <= to {
        return Ok(());
    }
    let message = format!("destination: found the memory of {name}, expected other memory");
    Err(Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message))
}

/// Where rows of bytes go.
struct Room<'a> {
    destination: *mut c_void,
    /// In bytes; 0 for rows one after the other
    row_stride: usize,
    capacity: usize,
    written: Option<&'a mut usize>,
}

impl Room<'_> {
    /// Has `count` rows of `dim` dimensions written, if they fit; `write` gets their bytes and
    /// the stride.
    fn filled<R>(
        self,
        precision: EmbeddingPrecision,
        count: usize,
        dim: usize,
        write: impl FnOnce(&mut [u8], usize) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let row_stride = match self.row_stride {
            0 => precision.row_bytes(dim),
            row_stride => row_stride,
        };
        let needed = precision.room_bytes(count, dim, row_stride)?;
        let set = |written: Option<&mut usize>| written.map_or((), |written| *written = needed);
        if self.capacity < needed {
            set(self.written);
            let message = format!("capacity: found {}, expected at least {needed}", self.capacity);
            return Err(Failure::new(BERTSCRIPT_BUFFER_TOO_SMALL, message));
        }
        let mut none = [];
        let bytes = match needed {
            0 => &mut none[..],
            _ if self.destination.is_null() => return Err(null("destination")),
            // SAFETY: by the contracts of the functions above; `needed` bytes are within the
            // capacity.
            _ => unsafe { std::slice::from_raw_parts_mut(self.destination.cast(), needed) },
        };
        let result = write(bytes, row_stride)?;
        set(self.written);
        Ok(result)
    }
}

/// How many floats `rows` rows of `width` have.
fn elements(name: &str, rows: usize, width: usize) -> Result<usize, Failure> {
    let found = rows.checked_mul(width);
    found.filter(|found| *found <= isize::MAX as usize / size_of::<f32>()).ok_or_else(|| {
        let message = format!("{name}: found {rows}, more than memory can hold");
        Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message)
    })
}

fn quantizing(
    chosen: Option<&bertscript_task_options>,
) -> Result<(EmbedOptions, Quantizer), Failure> {
    let options = embed_options(chosen, "embed_quantized", &["embedding_precision", "ranges"])?;
    let (precision, ranges) =
        chosen.map_or((None, None), |chosen| (chosen.embedding_precision, chosen.ranges.as_ref()));
    Ok((options, Quantizer::new(precision.unwrap_or_default(), ranges)?))
}
