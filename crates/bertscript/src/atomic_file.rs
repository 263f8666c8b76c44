//! Files that appear whole or not at all.

use crate::error::{Error, Result};
use std::fs::File;
use std::path::Path;

/// Calls `write` with a temporary path in the same directory and renames what
/// it wrote to `path`. A run that fails or is killed leaves nothing under the
/// final name, and what stood there before stays.
pub(crate) fn write(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = |error| Error::io(path, "write the file", error);
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".partial");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any new file: the process's umask decides.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let temporary = builder.tempfile_in(directory).map_err(failed)?.into_temp_path();
    write(&temporary).map_err(|error| error.at_path(path))?;
    // The name must not outlive a power cut that its contents did not.
    File::open(&temporary).and_then(|file| file.sync_all()).map_err(failed)?;
    temporary.persist(path).map_err(|error| failed(error.error))
}
