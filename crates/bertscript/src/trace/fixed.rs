//! Programs for fixed shapes, as TorchScript once had to be: several traces in
//! one file, each pinned to its shape, and a dispatcher that pads to the next.
//!
//! Accelerators that compile for static shapes want this. On a processor it
//! costs the work on the padding; `docs/fixed-shapes.md` has figures.

use super::{check_shape, example, register, returned};
use crate::error::{Error, ErrorKind, Result};
use crate::family::{Dim, Task};
use crate::models::{ModelInputs, PreTrained};
use crate::shapes::FixedShape;
use std::fmt::Write;
use torchscript::ScriptModule;

/// Traces a model once for each shape. The weights are stored once.
pub(super) fn record(model: &PreTrained, shapes: &[FixedShape]) -> Result<ScriptModule> {
    check_possible(model, shapes)?;

    let mut script = register(model)?;
    for shape in shapes {
        let [input_ids, attention_mask, token_type_ids] = &example(shape.sizes(), model)?;
        let inputs = [
            ("input_ids", input_ids),
            ("attention_mask", attention_mask),
            ("token_type_ids", token_type_ids),
        ];
        script.trace(&method(shape), &inputs, |x| {
            // The one place where a size is meant to be baked in.
            let pinned = |i: usize| x[i].f_view(shape.sizes());
            let run = || -> Result<_> {
                model.forward(ModelInputs::padded(&pinned(0)?, Some(&pinned(1)?), &pinned(2)?))
            };
            returned(run())
        })?;
    }
    script.define(&dispatcher(model, shapes))?;
    script.eval()?;
    Ok(script)
}

/// Runs the program and the model at each shape and at a smaller one.
pub(super) fn verify(
    script: &ScriptModule,
    model: &PreTrained,
    shapes: &[FixedShape],
) -> Result<()> {
    for shape in shapes {
        let smaller: Vec<_> = shape.sizes().iter().map(|size| (size * 2 / 3).max(1)).collect();
        check_shape(script, model, shape.sizes(), false)?;
        check_shape(script, model, &smaller, true)?;
    }
    Ok(())
}

fn check_possible(model: &PreTrained, shapes: &[FixedShape]) -> Result<()> {
    let invalid = |message: String| Err(Error::new(ErrorKind::InvalidInput, message));
    let symbols = model.architecture().input_shape();
    let longest = model.config().max_length();
    let choices = model.architecture().task() == Task::MultipleChoice;
    if choices && model.outputs().len() > 1 {
        let message = "fixed shapes of multiple choice cannot return hidden states or attentions";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    for shape in shapes {
        if shape.sizes().len() != symbols.len() {
            let symbols: Vec<_> = symbols.iter().map(Dim::to_string).collect();
            return invalid(format!("found the shape {shape}, expected {}", symbols.join("x")));
        }
        if let Some(length) = shape.sizes().last().filter(|length| **length > longest) {
            return invalid(format!(
                "found the shape {shape} of length {length}, expected at most {longest}"
            ));
        }
    }
    if shapes.is_empty() {
        return invalid("expected at least one shape".to_owned());
    }
    Ok(())
}

fn method(shape: &FixedShape) -> String {
    format!("_forward_{shape}")
}

/// TorchScript source of `forward`.
fn dispatcher(model: &PreTrained, shapes: &[FixedShape]) -> String {
    let symbols: Vec<_> = model.architecture().input_shape().iter().map(Dim::to_string).collect();
    let pad = model.config().pad_token_id().unwrap_or(0);
    let names: Vec<_> = shapes.iter().map(FixedShape::to_string).collect();
    let names = names.join(", ");
    let given = vec!["{}"; symbols.len()].join("x");
    let sizes: Vec<_> = (0..symbols.len()).map(|i| format!("input_ids.size({i})")).collect();

    let mut source = format!(
        "
def forward(self, input_ids: Tensor, attention_mask: Optional[Tensor] = None, token_type_ids: Optional[Tensor] = None):
    if attention_mask is None:
        mask = torch.ones_like(input_ids)
    else:
        mask = attention_mask
    if token_type_ids is None:
        token_types = torch.zeros_like(input_ids)
    else:
        token_types = token_type_ids
    {} = {}
",
        symbols.join(", "),
        sizes.join(", ")
    );
    let fits = |shape: &FixedShape| {
        let pairs = symbols.iter().zip(shape.sizes());
        let fits: Vec<_> = pairs.map(|(symbol, size)| format!("{symbol} <= {size}")).collect();
        fits.join(" and ")
    };
    let any: Vec<_> = shapes.iter().map(|shape| format!("({})", fits(shape))).collect();
    let _ = writeln!(
        source,
        "    assert {}, \"the input of shape {given} fits none of the traced shapes {names}\".format({})",
        any.join(" or "),
        symbols.join(", ")
    );
    for (i, shape) in shapes.iter().enumerate() {
        let branch = match i {
            0 if shapes.len() == 1 => "if True".to_owned(),
            0 => format!("if {}", fits(shape)),
            _ if i + 1 == shapes.len() => "else".to_owned(),
            _ => format!("elif {}", fits(shape)),
        };
        // torch pads from the last dimension to the first.
        let pairs = symbols.iter().zip(shape.sizes()).rev();
        let pads: Vec<_> = pairs.map(|(symbol, size)| format!("0, {size} - {symbol}")).collect();
        let _ = write!(
            source,
            "    {branch}:
        pads = [{}]
        x = self.{}(torch.constant_pad_nd(input_ids, pads, {pad}), torch.constant_pad_nd(mask, pads, 0), torch.constant_pad_nd(token_types, pads, 0))
        result = {}
",
            pads.join(", "),
            method(shape),
            cut_back(model)
        );
    }
    source.push_str("    return result\n");
    source
}

/// The outputs without what belongs to the padding.
fn cut_back(model: &PreTrained) -> String {
    let outputs = model.outputs();
    let cut = |i: usize| {
        let start = if outputs.len() == 1 { "x".to_owned() } else { format!("x[{i}]") };
        outputs[i].shape.iter().enumerate().fold(start, |text, (dim, symbol)| match symbol {
            Dim::Fixed(_) => text,
            symbol => format!("{text}.narrow({dim}, 0, {symbol})"),
        })
    };
    let all: Vec<_> = (0..outputs.len()).map(cut).collect();
    match all.as_slice() {
        [one] => one.clone(),
        several => format!("({})", several.join(", ")),
    }
}
