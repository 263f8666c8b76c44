//! Everything at once, for long.

use crate::command::{cargo, run};
use crate::{announce, setup};
use anyhow::Result;

pub(crate) fn soak(minutes: u32) -> Result<()> {
    setup::setup()?;
    announce(&format!("{minutes} minutes of everything at once"));
    run(cargo(["test", "--release", "--package", "bertscript-tests", "--test", "soak", "--"])
        .arg("--nocapture")
        .env("BERTSCRIPT_SOAK_SECONDS", (minutes * 60).to_string()))
}
