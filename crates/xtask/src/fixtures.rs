//! Remaking the committed fixtures.

use crate::command::run;
use crate::oracles::{self, Oracles};
use crate::{announce, root};
use anyhow::Result;

pub(crate) fn fixtures() -> Result<()> {
    let oracles = Oracles::install()?;
    announce("making tests/fixtures");
    for script in ["make_fixtures.py", "make_text_fixtures.py", "make_fuzz_corpus.py"] {
        let mut command = oracles.command();
        run(command.arg(oracles::folder().join(script)).arg(root().join("tests/fixtures")))?;
    }
    Ok(())
}
