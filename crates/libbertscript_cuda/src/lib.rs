//! CUDA graphs, in a library of their own.
//!
//! libtorch has them only in its part for CUDA, to which nothing else is linked. So
//! this library is loaded beside the others when a device is used, and may be
//! missing. Built without CUDA's headers, it is empty.

#![allow(missing_docs, reason = "the functions are those of graph.cpp, for torchscript")]

#[cfg(all(cuda, not(test)))]
mod exports {
    use std::ffi::{c_char, c_int, c_void};

    /// Exports functions of `graph.cpp`: what is linked in statically stays hidden.
    macro_rules! export {
        ($($name:ident => $exported:ident($($argument:ident: $kind:ty),*);)*) => {
            unsafe extern "C" {
                $(fn $name($($argument: $kind),*, message: *mut c_char, room: usize) -> c_int;)*
            }
            $(
                /// # Safety
                /// As `graph.cpp` says.
                #[unsafe(no_mangle)]
                unsafe extern "C" fn $exported(
                    $($argument: $kind),*, message: *mut c_char, room: usize
                ) -> c_int {
                    // SAFETY: by the contract of this function.
                    unsafe { $name($($argument),*, message, room) }
                }
            )*
        };
    }

    export! {
        graph_begin => bertscript_cuda_graph_begin(device: c_int, out: *mut *mut c_void);
        graph_capture => bertscript_cuda_graph_capture(graph: *mut c_void);
        graph_end => bertscript_cuda_graph_end(graph: *mut c_void);
        graph_replay => bertscript_cuda_graph_replay(graph: *mut c_void);
        graph_free => bertscript_cuda_graph_free(graph: *mut c_void);
    }
}
