//! What a process allows a library that is a guest in it: calls after `fork()`, while the
//! process exits and on small stacks; worker threads that callers share; and files
//! mapped into its memory.

mod entry;
mod mapped;
mod pool;
mod stack;
mod threads;

pub use entry::{Entered, ProcessState, enter, fork_count};
pub use mapped::{MappedFile, memory_file};
pub use stack::MIN_STACK;
pub use threads::{
    MAX_THREADS, Threads, chosen_thread_count, set_thread_count, shut_down, thread_count,
};
