//! Weights that lie in a file, and what modules of one file share.

#![expect(clippy::disallowed_methods, reason = "looks at weights, records no trace")]

use super::Module;
use super::plan::{PackedForms, pack_options};
use crate::archive::{Archive, weights_sha256};
use crate::error::Result;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use torchscript::{ArchiveReader, MappedFile, NamedTensor, ScriptModule};

/// What is laid out of weights in files, while a module has it.
static SHARED: Mutex<Vec<(Origin, Weak<PackedForms>)>> = Mutex::new(Vec::new());

/// Where weights come from: where two are equal, the weights have the same bits.
///
/// Neither a path nor a digest that the file states is believed. A weight lies in the
/// file, with which it was compared byte by byte, or its bytes are digested here. The file
/// is known by its number, which no other gets while it is mapped, and by its length and
/// times, which change when somebody writes to it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    device: u64,
    number: u64,
    length: u64,
    modified: [i64; 2],
    changed: [i64; 2],
    /// Where each tensor lies, and the digest of those that lie elsewhere; at last, what
    /// is made of them.
    what: String,
}

impl Module {
    /// Lets weights lie in the file, and shares what other modules of it lay out. What
    /// cannot be mapped keeps its own memory.
    pub(super) fn share_pages(&mut self, file: &File) -> Result<()> {
        let (Ok(mapped), Ok(metadata)) = (MappedFile::new(file), file.metadata()) else {
            return Ok(());
        };
        let records = ArchiveReader::from_file(file)?.tensors()?;
        if self.script.share(&mapped, &records)? == 0 {
            return Ok(());
        }
        let file = Arc::new(mapped);
        if self.cannot_pack().is_none()
            && let Some(archive) = &self.archive
        {
            let origin = Origin::new(&self.script, archive, &file, &metadata)?;
            self.packed = shared_forms(origin, &file);
        }
        self.file = Some(file);
        Ok(())
    }
}

impl Origin {
    fn new(
        script: &ScriptModule,
        archive: &Archive,
        file: &MappedFile,
        metadata: &Metadata,
    ) -> Result<Self> {
        let mut what = format!("{:?};", pack_options(archive, false)?);
        let mut elsewhere = Vec::new();
        for NamedTensor { name, tensor, .. } in script.named_tensors()? {
            let (kind, sizes, strides) = (tensor.kind(), tensor.size(), tensor.stride());
            let offset = file.offset_of(&tensor)?;
            what += &format!("{name:?} {kind:?} {sizes:?} {strides:?} {offset:?};");
            if offset.is_none() {
                elsewhere.push((name, tensor));
            }
        }
        what += &weights_sha256(&elsewhere)?;
        Ok(Self {
            device: metadata.dev(),
            number: metadata.ino(),
            length: metadata.len(),
            modified: [metadata.mtime(), metadata.mtime_nsec()],
            changed: [metadata.ctime(), metadata.ctime_nsec()],
            what,
        })
    }
}

/// What is laid out, or will be, of weights in a file.
fn shared_forms(origin: Origin, file: &Arc<MappedFile>) -> Arc<PackedForms> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.retain(|(_, forms)| forms.strong_count() > 0);
    let known = shared.iter().find(|(known, _)| *known == origin);
    if let Some(forms) = known.and_then(|(_, forms)| forms.upgrade()) {
        return forms;
    }
    let forms = Arc::new(PackedForms::of_file(file));
    shared.push((origin, Arc::downgrade(&forms)));
    forms
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn origin() -> Origin {
        Origin {
            device: 1,
            number: 2,
            length: 3,
            modified: [4, 5],
            changed: [6, 7],
            what: "weights".to_owned(),
        }
    }

    fn forms(origin: Origin) -> Arc<PackedForms> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"weights").unwrap();
        shared_forms(origin, &Arc::new(MappedFile::new(&file).unwrap()))
    }

    #[test]
    fn what_is_laid_out_lives_as_long_as_a_module_has_it() {
        let first = forms(origin());
        assert!(Arc::ptr_eq(&first, &forms(origin())));
        for other in [
            Origin { device: 0, ..origin() },
            Origin { number: 0, ..origin() },
            Origin { length: 0, ..origin() },
            Origin { modified: [4, 6], ..origin() },
            Origin { changed: [6, 8], ..origin() },
            Origin { what: "others".to_owned(), ..origin() },
        ] {
            assert!(!Arc::ptr_eq(&first, &forms(other)));
        }
        let gone = Arc::downgrade(&first);
        drop(first);
        assert!(gone.upgrade().is_none());
    }
}
