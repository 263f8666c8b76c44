//! The shapes of inputs that the code of an archive takes.

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A shape that a trace is pinned to: `BxS`, such as `1x128`; of multiple
/// choice `BxCxS`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FixedShape(Vec<i64>);

/// The shapes that code is traced for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Vec<i64>>", into = "Vec<Vec<i64>>")]
pub enum Shapes {
    /// Any batch and any length up to the model's maximum.
    #[default]
    Any,
    /// These only, in the order in which the code tries them; inputs are padded to the
    /// first that holds them.
    Fixed(Vec<FixedShape>),
}

impl FixedShape {
    fn new(sizes: Vec<i64>) -> Option<Self> {
        (sizes.len() > 1 && sizes.iter().all(|size| *size > 0)).then_some(Self(sizes))
    }

    /// The sizes.
    pub fn sizes(&self) -> &[i64] {
        &self.0
    }

    /// Whether inputs of a shape can be padded to this one.
    fn holds(&self, shape: &[usize]) -> bool {
        let fits = |(size, most): (&usize, &i64)| *size as i64 <= *most;
        shape.len() == self.0.len() && shape.iter().zip(&self.0).all(fits)
    }
}

impl Shapes {
    /// The shapes, if they are fixed.
    pub fn fixed(&self) -> &[FixedShape] {
        match self {
            Self::Any => &[],
            Self::Fixed(shapes) => shapes,
        }
    }

    /// Whether the code takes inputs of a shape.
    pub(crate) fn holds(&self, shape: &[usize]) -> bool {
        match self {
            Self::Any => true,
            Self::Fixed(shapes) => shapes.iter().any(|fixed| fixed.holds(shape)),
        }
    }
}

/// Each shape once, those of less work first; any shape if there are none.
impl From<Vec<FixedShape>> for Shapes {
    fn from(mut shapes: Vec<FixedShape>) -> Self {
        if shapes.is_empty() {
            return Self::Any;
        }
        let volume =
            |shape: &FixedShape| shape.0.iter().fold(1_i64, |all, size| all.saturating_mul(*size));
        shapes.sort_by_key(|shape| (volume(shape), shape.clone()));
        shapes.dedup();
        Self::Fixed(shapes)
    }
}

impl TryFrom<Vec<Vec<i64>>> for Shapes {
    type Error = String;

    fn try_from(shapes: Vec<Vec<i64>>) -> std::result::Result<Self, String> {
        let fixed = shapes.into_iter().map(|sizes| {
            let message = format!("fixed_shapes: found {sizes:?}, expected sizes of at least 1");
            FixedShape::new(sizes).ok_or(message)
        });
        let fixed: Vec<_> = fixed.collect::<std::result::Result<_, _>>()?;
        Ok(if fixed.is_empty() { Self::Any } else { Self::Fixed(fixed) })
    }
}

impl From<Shapes> for Vec<Vec<i64>> {
    fn from(shapes: Shapes) -> Self {
        shapes.fixed().iter().map(|shape| shape.0.clone()).collect()
    }
}

impl fmt::Display for FixedShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<_> = self.0.iter().map(i64::to_string).collect();
        f.write_str(&sizes.join("x"))
    }
}

impl fmt::Display for Shapes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Fixed(shapes) => {
                let shapes: Vec<_> = shapes.iter().map(FixedShape::to_string).collect();
                f.write_str(&shapes.join(", "))
            }
        }
    }
}

impl FromStr for FixedShape {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let sizes: Option<Vec<i64>> = text.split('x').map(|size| size.parse().ok()).collect();
        sizes.and_then(Self::new).ok_or_else(|| {
            let message = format!("unknown shape {text:?}, expected BxS, such as 1x128");
            Error::new(ErrorKind::InvalidInput, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_tried_from_the_smallest() {
        let shapes = ["4x8", "1x64", "1x8", "1x64"].map(|shape| shape.parse().unwrap());
        let shapes = Shapes::from(shapes.to_vec());
        assert_eq!(shapes.to_string(), "1x8, 4x8, 1x64");
        assert!(shapes.holds(&[1, 64]) && shapes.holds(&[4, 8]) && shapes.holds(&[1, 9]));
        assert!(!shapes.holds(&[4, 9]) && !shapes.holds(&[1, 1, 1]));
        assert_eq!(Shapes::from(Vec::new()), Shapes::Any);
        assert!(Shapes::Any.holds(&[1000, 1000]));
    }

    #[test]
    fn shapes_are_lists_in_json() {
        let shapes: Shapes = serde_json::from_str("[[1,8],[2,16]]").unwrap();
        assert_eq!(serde_json::to_string(&shapes).unwrap(), "[[1,8],[2,16]]");
        assert_eq!(serde_json::from_str::<Shapes>("[]").unwrap(), Shapes::Any);
        assert_eq!(serde_json::to_string(&Shapes::Any).unwrap(), "[]");
        for refused in ["[[1,0]]", "[[8]]", "[[]]", "[[1,-3]]"] {
            let error = serde_json::from_str::<Shapes>(refused).unwrap_err().to_string();
            assert!(error.starts_with("fixed_shapes: found ["), "{error}");
        }
    }
}
