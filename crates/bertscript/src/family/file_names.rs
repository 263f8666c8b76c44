//! What published files call parameters, where transformers calls them otherwise and renames them
//! when it loads a model.
//!
//! Source: <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/conversion_mapping.py>

/// The names of a family's files.
#[derive(Debug)]
pub(crate) struct FileNames {
    /// A prefix that is no part of the name
    prefix: Option<&'static str>,
    /// Modules that have another name, in order: the old path, and the new one
    renamed: &'static [(&'static str, &'static str)],
    /// Modules whose tensors hold those of several, one after the other
    split: &'static [(&'static str, &'static [&'static str])],
}

/// Of files that have transformers' own names.
pub(crate) const OWN_NAMES: FileNames = FileNames { prefix: None, renamed: &[], split: &[] };

const QKV: &[&str] = &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];

pub(super) const NOMIC_BERT: FileNames = FileNames {
    prefix: None,
    renamed: &[
        ("encoder.layers", "layers"),
        ("emb_ln", "embeddings.LayerNorm"),
        ("attn.out_proj", "self_attn.o_proj"),
        ("fc11", "up_proj"),
        ("fc12", "gate_proj"),
        ("fc2", "down_proj"),
        ("norm1", "post_attention_layernorm"),
        ("norm2", "post_mlp_layernorm"),
    ],
    split: &[("attn.Wqkv", QKV)],
};

pub(super) const GTE: FileNames = FileNames {
    prefix: Some("new"),
    renamed: &[
        ("encoder.layer", "layers"),
        ("attention.o_proj", "self_attn.o_proj"),
        ("attn_ln", "post_attention_layernorm"),
        ("mlp_ln", "post_mlp_layernorm"),
        ("lm_head.norm", "lm_head.layer_norm"),
    ],
    split: &[("attention.qkv_proj", QKV), ("mlp.up_gate_proj", &["mlp.up_proj", "mlp.gate_proj"])],
};

pub(super) const JINA_EMBEDDINGS_V3: FileNames = FileNames {
    prefix: None,
    renamed: &[
        ("emb_ln", "embeddings.LayerNorm"),
        ("encoder.layers", "layers"),
        ("mixer.out_proj", "self_attn.o_proj"),
        ("norm1", "post_attention_layernorm"),
        ("norm2", "post_mlp_layernorm"),
    ],
    split: &[("mixer.Wqkv", QKV)],
};

impl FileNames {
    /// The name that transformers has.
    pub(crate) fn rename(&self, name: &str) -> String {
        let mut path: Vec<_> = name.split('.').collect();
        if path.first().copied().is_some_and(|first| self.prefix == Some(first)) {
            path.remove(0);
        }
        for (old, new) in self.renamed {
            replace(&mut path, old, new);
        }
        path.join(".")
    }

    /// The names of the parameters that a tensor holds, if it holds several.
    pub(crate) fn split(&self, name: &str) -> Option<Vec<String>> {
        let path: Vec<_> = name.split('.').collect();
        self.split.iter().find_map(|(old, new)| {
            let named = |new: &&str| {
                let mut path = path.clone();
                replace(&mut path, old, new).then(|| path.join("."))
            };
            new.iter().map(named).collect()
        })
    }
}

/// Puts a path in the place of another within a path; whether that was there.
fn replace<'a>(path: &mut Vec<&'a str>, old: &str, new: &'a str) -> bool {
    let old: Vec<_> = old.split('.').collect();
    let place = path.windows(old.len()).position(|part| part == old);
    if let Some(start) = place {
        path.splice(start..start + old.len(), new.split('.'));
    }
    place.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_become_those_of_transformers() {
        for (names, old, new) in [
            (&NOMIC_BERT, "encoder.layers.3.norm1.bias", "layers.3.post_attention_layernorm.bias"),
            (&NOMIC_BERT, "nomic_bert.emb_ln.weight", "nomic_bert.embeddings.LayerNorm.weight"),
            (&NOMIC_BERT, "encoder.layers.0.mlp.fc11.weight", "layers.0.mlp.up_proj.weight"),
            (&GTE, "new.encoder.layer.1.mlp_ln.bias", "layers.1.post_mlp_layernorm.bias"),
            (&GTE, "lm_head.norm.bias", "lm_head.layer_norm.bias"),
            (
                &JINA_EMBEDDINGS_V3,
                "roberta.encoder.layers.0.mlp.fc2.bias",
                "roberta.layers.0.mlp.fc2.bias",
            ),
        ] {
            assert_eq!(names.rename(old), new);
            assert_eq!(names.rename(new), new);
        }
        // A name is a whole one.
        assert_eq!(GTE.rename("encoder.layers.1"), "encoder.layers.1");
        let parts = GTE.split("gte.layers.0.mlp.up_gate_proj.weight").unwrap();
        assert_eq!(parts, ["gte.layers.0.mlp.up_proj.weight", "gte.layers.0.mlp.gate_proj.weight"]);
        assert_eq!(GTE.split("gte.layers.0.mlp.up_proj.weight"), None);
    }
}
