//! Reading the code of a saved program for what must not be in it.

use crate::error::{Error, ErrorKind, Result};
use crate::family::model::ModelSpec;
use crate::shapes::Shapes;

const VIEW: &str = "torch.view(";
const EXPAND: &str = "torch.expand(";

/// Words that a portable program has no use for: each would pin a device, or a
/// shape of the example inputs.
const FORBIDDEN: [&str; 10] = [
    "device(",
    VIEW,
    "torch.reshape(",
    EXPAND,
    "torch.repeat(",
    "torch.arange(",
    "torch.zeros(",
    "torch.ones(",
    "torch.full(",
    "CONSTANTS.",
];

/// Checks one source file of an archive. Only a program of fixed shapes may
/// view its inputs, as exactly those shapes.
///
/// # Errors
/// [`ErrorKind::Verification`] with the line.
pub(crate) fn scan_code(file: &str, code: &str, model: &ModelSpec, shapes: &Shapes) -> Result<()> {
    let mut allowed = model.literals();
    allowed.extend(shapes.fixed().iter().map(|shape| shape.sizes().to_vec()));
    let is_allowed = |word: &str, line: &str| match word {
        VIEW => *shapes != Shapes::Any,
        // Where every size is a literal, those are checked below.
        EXPAND => line.split(EXPAND).skip(1).all(|call| {
            let sizes = call.split_once(", [").and_then(|(_, rest)| rest.split_once(']'));
            sizes.is_some_and(|(sizes, _)| integer_lists(&format!("[{sizes}]")).next().is_some())
        }),
        _ => false,
    };
    for (number, line) in code.lines().enumerate() {
        let found = |what: String| {
            let message = format!("{what} in `{}`", line.trim());
            Err(Error::new(ErrorKind::Verification, message).at(format!("{file}:{}", number + 1)))
        };
        let mut words = FORBIDDEN.iter().filter(|word| line.contains(**word));
        if let Some(word) = words.find(|word| !is_allowed(word, line)) {
            return found(format!("`{word}` pins a device, a shape or a constant"));
        }
        if let Some(list) = integer_lists(line).find(|list| !allowed.contains(list)) {
            return found(format!("the literal {list:?} pins a shape"));
        }
    }
    Ok(())
}

/// Every list of integer literals in a line: `[1, 7]`, not `List[int]`, `[x]` or
/// the index `(x)[0]`.
fn integer_lists(line: &str) -> impl Iterator<Item = Vec<i64>> {
    let is_list =
        |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_)]".contains(c));
    line.match_indices('[').filter(move |(at, _)| is_list(*at)).filter_map(|(at, _)| {
        let inside = line[at + 1..].split(']').next()?;
        inside.split(',').map(|item| item.trim().parse().ok()).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn scan(line: &str) -> Result<()> {
        let config = br#"{"hidden_size": 32, "num_attention_heads": 4, "vocab_size": 100}"#;
        let config = Config::from_json(config).unwrap();
        let model = config.model("BertModel".parse().unwrap()).unwrap();
        scan_code("code/__torch__.py", line, &model, &Shapes::Any)
    }

    #[test]
    fn shapes_devices_and_constants_are_found() {
        for line in [
            "x = torch.unflatten(y, -1, [2, 16])",
            "x = torch.view(y, shape)",
            "x = torch.add(y, CONSTANTS.c0)",
            r#"x = torch.to(y, torch.device("cpu"))"#,
            "x = f(y, [1, 7])",
            "x = torch.expand(y, [_0, 4])",
            "x = torch.expand(y, [_0, 4], f(z, [4, 8]))",
            "x = torch.expand(y, [-1, 4, -1, -1])",
        ] {
            let error = scan(line).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Verification);
            assert!(error.to_string().starts_with("code/__torch__.py:1: "), "{error}");
        }
    }

    #[test]
    fn what_the_architecture_needs_is_allowed() {
        for line in [
            "x = torch.unflatten(y, -1, [4, 8])",
            "x = torch.layer_norm(y, [32], w, b, 1e-12, True)",
            "def f(self: Self, x: List[int]) -> Tuple[Tensor, Tensor]:",
            "x = annotate(List[int], [])",
            "x = torch.narrow((y)[0], 0, 0, B)",
        ] {
            scan(line).unwrap();
        }
    }

    #[test]
    fn expansions_to_the_heads_of_disentangled_attention_are_allowed() {
        let config = br#"{"model_type": "deberta-v2", "hidden_size": 32, "num_attention_heads": 4,
            "relative_attention": true, "share_att_key": true, "position_biased_input": false,
            "pos_att_type": "p2c|c2p", "position_buckets": 8}"#;
        let model = Config::from_json(config).unwrap();
        let model = model.model("DebertaV2Model".parse().unwrap()).unwrap();
        let scan = |line| scan_code("code/__torch__.py", line, &model, &Shapes::Any);
        scan("x = torch.expand_as(y, torch.expand(z, [-1, 4, -1, -1]))").unwrap();
        for line in ["x = torch.expand(y, [2, 4, 7, 7])", "x = torch.expand(y, [-1, 4, _0, _0])"] {
            assert_eq!(scan(line).unwrap_err().kind(), ErrorKind::Verification);
        }
    }
}
