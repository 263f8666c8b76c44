//! RoBERTa, Liu et al. 2019, <https://arxiv.org/abs/1907.11692>, and its descendants: BERT whose
//! positions are counted after the id of the padding token.
//!
//! Source: <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/roberta/modeling_roberta.py>,
//! of which `modeling_xlm_roberta.py`, `modeling_camembert.py` and `modeling_data2vec_text.py` are
//! copies

use super::bert::{self, Defaults};
use super::file_names::OWN_NAMES;
use super::keys::{Keys, invalid};
use super::spec::{Encoder, Head, Index, LayerNorm, Linear, Pooling, Positions, Transform};
use super::{Family, Task};
use crate::activation::Activation;
use crate::error::Result;

const DEFAULTS: Defaults = Defaults { pad_token_id: 1, ..bert::DEFAULTS };

pub(super) const ROBERTA: Family = Family {
    model_type: "roberta",
    class: "Roberta",
    base_prefix: "roberta",
    file_names: &OWN_NAMES,
    tasks: &[
        Task::Model,
        Task::MaskedLM,
        Task::SequenceClassification,
        Task::TokenClassification,
        Task::QuestionAnswering,
        Task::MultipleChoice,
    ],
    encoder: |keys| encoder(keys, &Defaults { vocab_size: 50265, ..DEFAULTS }),
    heads,
};
pub(super) const XLM_ROBERTA: Family = Family {
    model_type: "xlm-roberta",
    class: "XLMRoberta",
    encoder: |keys| encoder(keys, &DEFAULTS),
    ..ROBERTA
};
pub(super) const CAMEMBERT: Family =
    Family { model_type: "camembert", class: "Camembert", ..XLM_ROBERTA };
pub(super) const DATA2VEC_TEXT: Family = Family {
    model_type: "data2vec-text",
    class: "Data2VecText",
    base_prefix: "data2vec_text",
    ..XLM_ROBERTA
};

pub(super) fn encoder(keys: &Keys, defaults: &Defaults) -> Result<Encoder> {
    let mut roberta = bert::encoder(keys, defaults)?;
    let Some(pad) = roberta.words().padding_idx else {
        return Err(invalid("pad_token_id", "found null, expected the id of the padding token"));
    };
    if pad < 0 {
        return Err(invalid("pad_token_id", &format!("found {pad}, expected at least 0")));
    }
    count_after_pad(&mut roberta, pad)?;
    Ok(roberta)
}

/// Numbers positions after the id of the padding token.
pub(super) fn count_after_pad(encoder: &mut Encoder, pad: i64) -> Result<()> {
    let positions = encoder.max_length;
    if !(0..positions - 1).contains(&pad) {
        let message = format!(
            "found {positions} with pad_token_id {pad}, expected at least {}: the first token's position is {}",
            pad.saturating_add(2),
            pad.saturating_add(1)
        );
        return Err(invalid("max_position_embeddings", &message));
    }
    // A token that is no padding has a position of `pad + 1` at least.
    encoder.max_length -= pad + 1;
    for table in &mut encoder.embeddings.tables {
        if matches!(table.index, Index::Position(_)) {
            table.index = Index::Position(Positions::AfterPad { pad });
            table.padding_idx = Some(pad);
        }
    }
    Ok(())
}

pub(super) fn heads(task: Task, roberta: &Encoder, keys: &Keys) -> Result<Vec<Head>> {
    Ok(match task {
        Task::MaskedLM => vec![lm_head(roberta, Some("lm_head.bias"))],
        Task::SequenceClassification => {
            vec![classification_head(roberta, Activation::Tanh, keys)?]
        }
        _ => bert::heads(task, roberta, keys)?,
    })
}

/// `RobertaLMHead`, whose activation is GELU, whatever that of the encoder is
pub(super) fn lm_head(roberta: &Encoder, bias_alias: Option<&str>) -> Head {
    let transform = Transform {
        dense: Linear::new("lm_head.dense"),
        width: roberta.hidden_size,
        activation: Activation::Gelu,
        norm: Some(LayerNorm::new("lm_head.layer_norm", roberta.eps())),
    };
    Head::of_words(roberta, transform, "lm_head.decoder", bias_alias)
}

/// `RobertaClassificationHead`
pub(super) fn classification_head(
    encoder: &Encoder,
    activation: Activation,
    keys: &Keys,
) -> Result<Head> {
    let dense = Transform {
        dense: Linear::new("classifier.dense"),
        width: encoder.hidden_size,
        activation,
        norm: None,
    };
    let head = Head::new(Pooling::FirstToken, "classifier.out_proj", keys.num_labels()?);
    Ok(Head { transforms: vec![dense], ..head })
}
