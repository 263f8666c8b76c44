//! The oldest glibc that built files run with.

use crate::command::output;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The minor version of glibc 2.
pub(crate) type Glibc = u32;

/// That of manylinux2014, the oldest one that Rust's standard library runs with.
const MIN_GLIBC: Glibc = 17;
/// Minor versions of GLIBCXX_3.4, and the oldest glibc that distributions have beside them, as
/// manylinux counts: those of RHEL 7, 8 and 9 and of Ubuntu 22.04.
const GLIBCXX_OF: [(u32, Glibc); 4] = [(19, 17), (25, 28), (29, 34), (30, 35)];

/// The oldest glibc that all of these run with, by the versions of the symbols that they need.
pub(crate) fn floor(files: &[PathBuf]) -> Result<Glibc> {
    let mut floor = MIN_GLIBC;
    for file in files {
        let list = output(Command::new("readelf").args(["--version-info", "--wide"]).arg(file));
        let list =
            list.with_context(|| format!("readelf, of binutils, cannot read {}", file.display()))?;
        let needed = needed(&list).with_context(|| file.display().to_string())?;
        floor = floor.max(needed);
    }
    Ok(floor)
}

/// The symbols of a file that need this glibc, for a person who wants an older one.
pub(crate) fn symbols(file: &Path, glibc: Glibc) -> BTreeSet<String> {
    let list = output(Command::new("readelf").args(["--dyn-syms", "--wide"]).arg(file));
    let version = format!("GLIBC_2.{glibc}");
    list.unwrap_or_default()
        .split_whitespace()
        .filter_map(|word| word.split_once('@'))
        .filter(|(_, needed)| *needed == version)
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// By lines such as `Name: GLIBC_2.34  Flags: none  Version: 9`.
fn needed(list: &str) -> Result<Glibc> {
    let mut floor = MIN_GLIBC;
    for name in list.lines().filter_map(|line| line.split_once("Name: ")?.1.split(' ').next()) {
        let minor =
            |prefix: &str| name.strip_prefix(prefix)?.split('.').next()?.parse::<u32>().ok();
        if let Some(minor) = minor("GLIBC_2.") {
            floor = floor.max(minor);
        } else if let Some(minor) = minor("GLIBCXX_3.4.") {
            let found = GLIBCXX_OF.iter().find(|(newest, _)| minor <= *newest);
            let (_, glibc) = found.with_context(|| {
                format!("found {name}, expected a C++ library whose glibc is known")
            })?;
            floor = floor.max(*glibc);
        } else if name.starts_with("GLIBC_ABI") || name == "GLIBC_PRIVATE" {
            bail!("found {name}, expected numbered versions of glibc");
        }
    }
    Ok(floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_symbol_decides() {
        let line = |name: &str| format!("  0x0180:   Name: {name}  Flags: none  Version: 9\n");
        let list = |names: &[&str]| names.iter().map(|name| line(name)).collect::<String>();
        let found = |names| needed(&list(names)).ok();
        assert_eq!(found(&["GLIBC_2.2.5", "GLIBC_2.9", "GCC_4.2.0"]), Some(17));
        assert_eq!(found(&["GLIBC_2.34", "GLIBC_2.4"]), Some(34));
        assert_eq!(found(&["GLIBC_2.17", "GLIBCXX_3.4", "GLIBCXX_3.4.21"]), Some(28));
        assert_eq!(found(&["GLIBCXX_3.4.30", "GLIBC_2.34"]), Some(35));
        assert_eq!(found(&["GLIBCXX_3.4.99"]), None);
        assert_eq!(found(&["GLIBC_ABI_DT_RELR"]), None);
    }
}
