//! Work on many texts, by threads of this library's own.

use once_cell::sync::OnceCell;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// What `each` makes of every item, in their order: with as many threads as
/// libtorch has for one operation, so that a host which gives it one gets no
/// others.
pub(super) fn map<I: Sync, O: Send>(items: &[I], each: impl Fn(usize, &I) -> O + Sync) -> Vec<O> {
    match pool(items.len()) {
        Some(pool) => pool.install(|| {
            items.par_iter().enumerate().map(|(number, item)| each(number, item)).collect()
        }),
        None => items.iter().enumerate().map(|(number, item)| each(number, item)).collect(),
    }
}

/// The threads, which start when they are first of use. If the system has none to
/// give, the caller's does the work, and the next call asks again.
fn pool(items: usize) -> Option<&'static ThreadPool> {
    static POOL: OnceCell<ThreadPool> = OnceCell::new();
    if items < 2 {
        return None;
    }
    let threads = usize::try_from(tch::get_num_threads()).unwrap_or(1);
    if threads < 2 {
        return None;
    }
    let name = |number| format!("bertscript-{number}");
    let build = || ThreadPoolBuilder::new().num_threads(threads).thread_name(name).build();
    POOL.get_or_try_init(build).ok()
}
