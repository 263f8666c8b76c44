//! How attention is computed, by transformers' names.

use crate::error::{Error, ErrorKind, Result};
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// How attention is computed (transformers' `attn_implementation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Attention {
    /// One fused operator, `scaled_dot_product_attention`; needs torch 2.0 to
    /// read. A row whose mask is all zero attends to nothing (in DeBERTa, to all alike).
    #[default]
    Sdpa,
    /// Written out in products and a softmax: any torch reads it, and the
    /// probabilities can be returned. A row whose mask is all zero attends to
    /// all alike.
    Eager,
}

impl Attention {
    /// transformers' name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sdpa => "sdpa",
            Self::Eager => "eager",
        }
    }
}

impl fmt::Display for Attention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Attention {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        [Self::Sdpa, Self::Eager].into_iter().find(|known| known.name() == name).ok_or_else(|| {
            let message = format!("unknown attention {name:?}, expected sdpa or eager");
            Error::new(ErrorKind::InvalidInput, message)
        })
    }
}
