//! Prepacked weights, which modules loaded from one archive share.

use super::Prepacked;
use crate::archive::{ArchiveFile, FileIdentity};
use crate::device::Dtype;
use crate::error::Result;
use once_cell::sync::OnceCell;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The prepacked weights of files, while a module has them.
static SHARED: Mutex<Vec<(Origin, Weak<PrepackedCache>)>> = Mutex::new(Vec::new());

/// What prepacked weights are made of: where two are equal, the results have the same bits.
/// Neither a path nor a digest that the archive states is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    file: FileIdentity,
    dtype: Dtype,
}

/// The weights of an archive in a dtype, prepacked by precision.
#[derive(Debug, Default)]
pub(crate) struct PrepackedCache {
    own: OnceCell<Prepacked>,
    int8: OnceCell<Prepacked>,
    /// Keeps the file's inode from others while modules of it share this.
    _file: Option<Arc<ArchiveFile>>,
}

impl PrepackedCache {
    /// That of an archive in a dtype, which the modules of one file share.
    pub(in crate::engine) fn of(file: &Arc<ArchiveFile>, dtype: Dtype) -> Arc<Self> {
        match file.identity() {
            Some(identity) => shared(Origin { file: identity.clone(), dtype }, file),
            None => Arc::default(),
        }
    }

    /// Those of the dtype, if they are there.
    pub(super) fn own(&self) -> Option<&Prepacked> {
        self.own.get()
    }

    /// The weights in a precision, prepacked when they are first wanted.
    pub(super) fn get(
        &self,
        int8: bool,
        prepack: impl FnOnce() -> Result<Prepacked>,
    ) -> Result<&Prepacked> {
        if int8 { &self.int8 } else { &self.own }.get_or_try_init(prepack)
    }
}

fn shared(origin: Origin, file: &Arc<ArchiveFile>) -> Arc<PrepackedCache> {
    let mut caches = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    caches.retain(|(_, cache)| cache.strong_count() > 0);
    let known = caches.iter().find(|(known, _)| *known == origin);
    if let Some(cache) = known.and_then(|(_, cache)| cache.upgrade()) {
        return cache;
    }
    let file = Some(Arc::clone(file));
    let cache = Arc::new(PrepackedCache { _file: file, ..PrepackedCache::default() });
    caches.push((origin, Arc::downgrade(&cache)));
    cache
}
