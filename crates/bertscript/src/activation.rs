//! Activation functions under the names of `config.json` and under those of `torch.nn`.
//!
//! Sources: `ACT2FN`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/activations.py>,
//! and <https://github.com/pytorch/pytorch/blob/v2.11.0/torch/nn/modules/activation.py>

use crate::error::{Error, ErrorKind, Result};
use crate::memory::copied;
use bertscript_kernels::{Element, Isa, Linear, Matrix, Rows, RowsMut, Solo, Team, Then};

/// An activation without parameters. (`prelu` and `xielu` have parameters of
/// their own, which no BERT checkpoint carries; they are refused.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of transformers and torch.nn")]
pub enum Activation {
    Celu,
    Elu,
    Gelu,
    Gelu10,
    GeluAccurate,
    GeluFast,
    GeluNew,
    GeluPython,
    GeluPythonTanh,
    GeluPytorchTanh,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    Laplace,
    LeakyRelu,
    Linear,
    LogSigmoid,
    LogSoftmax,
    Mish,
    QuickGelu,
    Relu,
    Relu2,
    Relu6,
    Rrelu,
    Selu,
    Sigmoid,
    Silu,
    Softmax,
    Softmin,
    Softplus,
    Softshrink,
    Softsign,
    SqrtSoftplus,
    Tanh,
    Tanhshrink,
}

/// The names that `hidden_act` may have.
pub const ACTIVATIONS: [(&str, Activation); 22] = [
    ("gelu", Activation::Gelu),
    ("gelu_10", Activation::Gelu10),
    ("gelu_accurate", Activation::GeluAccurate),
    ("gelu_fast", Activation::GeluFast),
    ("gelu_new", Activation::GeluNew),
    ("gelu_python", Activation::GeluPython),
    ("gelu_python_tanh", Activation::GeluPythonTanh),
    ("gelu_pytorch_tanh", Activation::GeluPytorchTanh),
    ("hardswish", Activation::Hardswish),
    ("laplace", Activation::Laplace),
    ("leaky_relu", Activation::LeakyRelu),
    ("linear", Activation::Linear),
    ("mish", Activation::Mish),
    ("quick_gelu", Activation::QuickGelu),
    ("relu", Activation::Relu),
    ("relu2", Activation::Relu2),
    ("relu6", Activation::Relu6),
    ("sigmoid", Activation::Sigmoid),
    ("silu", Activation::Silu),
    ("sqrtsoftplus", Activation::SqrtSoftplus),
    ("swish", Activation::Silu),
    ("tanh", Activation::Tanh),
];

/// The classes of `torch.nn` without parameters and without required arguments. (`GLU`
/// changes the width, and is refused.)
pub(crate) const TORCH_CLASSES: [(&str, Activation); 25] = [
    ("CELU", Activation::Celu),
    ("ELU", Activation::Elu),
    ("GELU", Activation::Gelu),
    ("Hardshrink", Activation::Hardshrink),
    ("Hardsigmoid", Activation::Hardsigmoid),
    ("Hardswish", Activation::Hardswish),
    ("Hardtanh", Activation::Hardtanh),
    ("Identity", Activation::Linear),
    ("LeakyReLU", Activation::LeakyRelu),
    ("LogSigmoid", Activation::LogSigmoid),
    ("LogSoftmax", Activation::LogSoftmax),
    ("Mish", Activation::Mish),
    ("RReLU", Activation::Rrelu),
    ("ReLU", Activation::Relu),
    ("ReLU6", Activation::Relu6),
    ("SELU", Activation::Selu),
    ("SiLU", Activation::Silu),
    ("Sigmoid", Activation::Sigmoid),
    ("Softmax", Activation::Softmax),
    ("Softmin", Activation::Softmin),
    ("Softplus", Activation::Softplus),
    ("Softshrink", Activation::Softshrink),
    ("Softsign", Activation::Softsign),
    ("Tanh", Activation::Tanh),
    ("Tanhshrink", Activation::Tanhshrink),
];

impl Activation {
    /// The activation of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        ACTIVATIONS.iter().find(|(known, _)| *known == name).map(|(_, activation)| *activation)
    }

    /// The activation of a class of `torch.nn`, by its path, such as
    /// `torch.nn.modules.activation.Tanh`, with the default arguments of the class.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for any other path.
    pub(crate) fn from_torch_class(path: &str) -> Result<Self> {
        let class = path.strip_prefix("torch.nn.").and_then(|path| path.rsplit('.').next());
        let found = TORCH_CLASSES.iter().find(|(known, _)| Some(*known) == class);
        found.map(|(_, activation)| *activation).ok_or_else(|| {
            let known = TORCH_CLASSES.map(|(class, _)| class).join(", ");
            let message =
                format!("the activation {path:?} is not supported, only {known} of torch.nn");
            Error::new(ErrorKind::Unsupported, message)
        })
    }

    /// Whether a value depends on the others of its row.
    pub(crate) fn is_of_rows(self) -> bool {
        self.kernel().is_some_and(bertscript_kernels::Activation::is_row_wise)
    }

    /// x `[N,2I]`, gate and up beside one another, -> `activation(gate) * up` `[N,I]`
    pub(crate) fn glu<E: Element>(
        self,
        isa: Isa,
        team: &dyn Team,
        x: Rows<'_, f32>,
        out: RowsMut<'_, E>,
    ) -> Result<()> {
        Ok(bertscript_kernels::glu(isa, team, self.kernel(), x, out)?)
    }

    /// `[N,in]` through `linear` and the activation, to `[N,out]`. Every row depends on
    /// itself alone, bit for bit.
    pub(crate) fn after_linear<E: Element, O: Element>(
        self,
        linear: &Linear<E>,
        team: &dyn Team,
        x: Rows<'_, E>,
        out: RowsMut<'_, O>,
    ) -> Result<()> {
        let then = match (self, self.kernel()) {
            (Self::Gelu, _) => Then::Gelu,
            (_, Some(kernel)) => Then::Activation(kernel),
            (_, None) => Then::Keep,
        };
        Ok(linear.forward(team, x, then, out)?)
    }

    /// The activations of one row.
    pub(crate) fn row(self, values: &[f32]) -> Result<Vec<f32>> {
        let Some(kernel) = self.kernel() else { return Ok(copied(values)?) };
        let isa = Isa::best().map_err(|message| Error::new(ErrorKind::InvalidInput, message))?;
        let mut row = Matrix::new(values.len());
        row.set_rows(1)?;
        row.row_mut(0).copy_from_slice(values);
        kernel.forward(isa, &Solo, row.all_mut())?;
        Ok(copied(row.row(0))?)
    }

    /// The function of the kernels; `None` for the identity.
    fn kernel(self) -> Option<bertscript_kernels::Activation> {
        use bertscript_kernels::Activation as Kernel;
        Some(match self {
            Self::Celu | Self::Elu => Kernel::Elu,
            Self::Gelu | Self::GeluPython => Kernel::Gelu,
            Self::Gelu10 => Kernel::Gelu10,
            Self::GeluAccurate
            | Self::GeluFast
            | Self::GeluNew
            | Self::GeluPythonTanh
            | Self::GeluPytorchTanh => Kernel::GeluTanh,
            Self::Hardshrink => Kernel::Hardshrink,
            Self::Hardsigmoid => Kernel::Hardsigmoid,
            Self::Hardswish => Kernel::Hardswish,
            Self::Hardtanh => Kernel::Hardtanh,
            Self::Laplace => Kernel::Laplace,
            Self::LeakyRelu => Kernel::LeakyRelu,
            Self::Linear => return None,
            Self::LogSigmoid => Kernel::LogSigmoid,
            Self::LogSoftmax => Kernel::LogSoftmax,
            Self::Mish => Kernel::Mish,
            Self::QuickGelu => Kernel::QuickGelu,
            Self::Relu => Kernel::Relu,
            Self::Relu2 => Kernel::Relu2,
            Self::Relu6 => Kernel::Relu6,
            Self::Rrelu => Kernel::Rrelu,
            Self::Selu => Kernel::Selu,
            Self::Sigmoid => Kernel::Sigmoid,
            Self::Silu => Kernel::Silu,
            Self::Softmax => Kernel::Softmax,
            Self::Softmin => Kernel::Softmin,
            Self::Softplus => Kernel::Softplus,
            Self::Softshrink => Kernel::Softshrink,
            Self::Softsign => Kernel::Softsign,
            Self::SqrtSoftplus => Kernel::SqrtSoftplus,
            Self::Tanh => Kernel::Tanh,
            Self::Tanhshrink => Kernel::Tanhshrink,
        })
    }
}
