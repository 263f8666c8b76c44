//! Remaking the committed fixtures.

use crate::command::run;
use crate::{announce, python, root};
use anyhow::Result;
use std::process::Command;

pub(crate) fn fixtures() -> Result<()> {
    let directory = root().join("tests/reference");
    let python = python::environment(".oracle", &directory.join("requirements.txt"), 8)?;
    announce("making tests/fixtures");
    run(Command::new(python)
        .arg(directory.join("make_fixtures.py"))
        .arg(root().join("tests/fixtures"))
        .env("HF_HUB_OFFLINE", "1"))
}
