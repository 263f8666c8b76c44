//! Everything at once, for long.

use crate::command::{cargo, run};
use crate::{announce, setup};
use anyhow::Result;

pub(crate) fn soak(rounds: u32) -> Result<()> {
    setup::setup()?;
    announce(&format!("{rounds} rounds of everything at once"));
    run(cargo(["test", "--release", "--package", "bertscript-tests", "--test", "soak", "--"])
        .arg("--nocapture")
        .env("BERTSCRIPT_SOAK_ROUNDS", rounds.to_string()))
}
