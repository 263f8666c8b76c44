//! A linear layer on tokens or on texts.
//!
//! Source: `Dense`, <https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/base/modules/dense.py>

use super::module_files::{Arguments, ModuleWeights};
use crate::activation::Activation;
use crate::assets::Assets;
use crate::checkpoint::ModuleEntry;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::filled;
use bertscript_kernels::{Isa, Linear, Matrix, Team, Then};

/// `Dense`: a linear layer, an activation, perhaps a residual.
///
/// It computes by our kernels, since a product of libtorch's may have other last
/// bits in another batch.
#[derive(Debug)]
pub(super) struct Dense {
    linear: Linear<f32>,
    activation: Activation,
    residual: Option<Residual>,
}

#[derive(Debug)]
enum Residual {
    Identity,
    Linear(Box<Linear<f32>>),
}

impl Dense {
    pub(super) fn read(
        module: &ModuleEntry,
        arguments: &Arguments,
        assets: &Assets,
    ) -> Result<Self> {
        let (inputs, outputs) = (arguments.width("in_features")?, arguments.width("out_features")?);
        let activation = match arguments.string("activation_function")? {
            Some(path) => {
                Activation::from_torch_class(path).map_err(|error| arguments.place(error))?
            }
            None => Activation::Tanh,
        };
        let mut weights = ModuleWeights::read(module, assets)?;
        let isa = Isa::best().map_err(|message| Error::new(ErrorKind::InvalidInput, message))?;
        let linear = |weight: Vec<f32>, bias: Option<Vec<f32>>| -> Result<Linear<f32>> {
            let bias = match bias {
                Some(bias) => bias,
                None => filled(outputs as usize, 0.)?,
            };
            Ok(Linear::new(isa, inputs as usize, &[(&weight, &bias)])?)
        };
        let weight = weights.take("linear.weight", &[outputs, inputs])?;
        let bias = match arguments.flag("bias", true)? {
            true => Some(weights.take("linear.bias", &[outputs])?),
            false => None,
        };
        let residual = match arguments.flag("use_residual", false)? {
            false => None,
            true if inputs == outputs => Some(Residual::Identity),
            true => {
                let weight = weights.take("residual.weight", &[outputs, inputs])?;
                Some(Residual::Linear(Box::new(linear(weight, None)?)))
            }
        };
        weights.finish()?;
        Ok(Self { linear: linear(weight, bias)?, activation, residual })
    }

    pub(super) fn inputs(&self) -> usize {
        self.linear.inputs()
    }

    pub(super) fn outputs(&self) -> usize {
        self.linear.outputs()
    }

    /// Whether it normalises over the first dimension of what has three, as `Softmax`
    /// without a dimension does: over the batch, of the embeddings of tokens.
    pub(super) fn mixes_texts(&self) -> bool {
        self.activation.is_of_rows()
    }

    /// `[N,in]` to `[N,out]`
    pub(super) fn forward(&self, team: &dyn Team, x: &Matrix<f32>) -> Result<Matrix<f32>> {
        let mut y = Matrix::new(self.linear.outputs());
        y.set_rows(x.len())?;
        self.activation.after_linear(&self.linear, team, x.all(), y.all_mut())?;
        match &self.residual {
            None => {}
            Some(Residual::Identity) => add(&mut y, x),
            Some(Residual::Linear(linear)) => {
                let mut projected = Matrix::new(linear.outputs());
                projected.set_rows(x.len())?;
                linear.forward(team, x.all(), Then::Keep, projected.all_mut())?;
                add(&mut y, &projected);
            }
        }
        Ok(y)
    }
}

fn add(to: &mut Matrix<f32>, from: &Matrix<f32>) {
    for row in 0..to.len() {
        to.row_mut(row).iter_mut().zip(from.row(row)).for_each(|(to, from)| *to += from);
    }
}
