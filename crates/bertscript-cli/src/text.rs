//! What a file or a directory can do with text, in words.

use bertscript::{Architecture, Assets, Config, EmbeddingPipeline, Task, Tokenizer};

/// Lines of a description: what is tokenized, and how texts are embedded.
pub(crate) fn describe(
    assets: &Assets,
    architecture: Option<Architecture>,
    config: &Config,
) -> Vec<(&'static str, String)> {
    let names = [
        "tokenizer.json",
        "vocab.txt",
        "vocab.json",
        "sentencepiece.bpe.model",
        "spiece.model",
        "spm.model",
    ];
    let has_tokenizer = names.iter().any(|name| assets.get(name).is_some());
    if !has_tokenizer {
        return vec![("text", "no tokenizer: runs on token ids only".to_owned())];
    }
    let mut lines = Vec::new();
    lines.push(match Tokenizer::from_assets(assets) {
        Ok(tokenizer) => {
            let (size, most) = (tokenizer.vocab_size(), tokenizer.max_length());
            let (class, model) = (tokenizer.class(), tokenizer.model());
            ("text", format!("up to {most} tokens by {class} ({model}, {size} tokens)"))
        }
        Err(error) => ("warning", format!("the tokenizer cannot be used: {error}")),
    });
    let (is_plain, has_logits) = match architecture.map(Architecture::task) {
        Some(Task::Model) => (true, false),
        Some(Task::MaskedLM | Task::PreTraining) => (false, true),
        _ => return lines,
    };
    match EmbeddingPipeline::from_assets(assets) {
        Ok(Some(pipeline)) if pipeline.is_sparse() == has_logits => {
            let (width, most) = match pipeline.is_sparse() {
                true => (config.vocab_size(), pipeline.max_active_dims),
                false => (pipeline.dimension(config.hidden_size()), None),
            };
            let most = most.map(|most| format!(", at most {most} of them not zero"));
            let most = most.unwrap_or_default();
            lines.push(("embeds", format!("{pipeline}, to {width} dimensions{most}")));
            if !pipeline.prompts.prompts.is_empty() {
                let names: Vec<_> = pipeline.prompts.prompts.keys().map(String::as_str).collect();
                lines.push(("prompts", names.join(", ")));
            }
        }
        Ok(None) if is_plain => {
            lines.push(("embeds", "no pipeline: `embed` needs --pooling".to_owned()));
        }
        // A head for another task, trained on a model that embeds.
        Ok(_) if !is_plain => {}
        Ok(_) => {
            let message = "the pipeline makes sparse embeddings, of a class ..ForMaskedLM";
            lines.push(("warning", message.to_owned()));
        }
        Err(error) => lines.push(("warning", format!("the pipeline cannot be followed: {error}"))),
    }
    lines
}
