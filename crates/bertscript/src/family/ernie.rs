//! ERNIE, Sun et al. 2019, <https://arxiv.org/abs/1904.09223>: BERT, in version 2.0 with an
//! embedding of the task, Sun et al. 2020, <https://arxiv.org/abs/1907.12412>.
//!
//! Source: <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/ernie/modeling_ernie.py>

use super::init::WeightInit;
use super::keys::{Keys, MAX_ROWS};
use super::spec::{Encoder, Index, Table};
use super::{Family, bert};
use crate::error::Result;

pub(super) const ERNIE: Family =
    Family { model_type: "ernie", class: "Ernie", base_prefix: "ernie", encoder, ..bert::BERT };

fn encoder(keys: &Keys) -> Result<Encoder> {
    let mut ernie = bert::encoder(keys, &bert::DEFAULTS)?;
    if keys.flag("use_task_id", false)? {
        ernie.embeddings.tables.push(Table {
            name: "embeddings.task_type_embeddings".to_owned(),
            rows: keys.size("task_type_vocab_size", 3, MAX_ROWS)?,
            index: Index::Zero,
            padding_idx: None,
            init: WeightInit::Normal,
        });
    }
    Ok(ernie)
}
