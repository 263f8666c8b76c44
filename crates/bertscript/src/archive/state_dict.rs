//! The tensors of a torch module, from the pickle of an archive.

use crate::checkpoint::{Object, Pickle, TensorRecord};
use crate::error::{Error, ErrorKind, Result};
use std::collections::HashSet;

/// Attributes of all modules together; a module that several hold counts each time. A
/// model of the most layers that a configuration may have needs less than half of them.
const MAX_ATTRIBUTES: usize = 1 << 17;
/// The dotted name of a tensor. Each module adds at least two bytes to it, so this
/// bounds the depth too, and ends a cycle.
const MAX_NAME_BYTES: usize = 1 << 9;

/// The attributes of a module: their names, and the indices of their objects.
type Attributes<'a> = Vec<(&'a str, &'a Object)>;

/// Modules from the root down to the one that is being read.
struct Walk<'a> {
    pickle: &'a Pickle,
    /// How many attributes were read.
    count: usize,
    /// The dotted name of the last module, with a dot at its end unless it is the root.
    prefix: String,
    named: Vec<(String, &'a TensorRecord)>,
}

/// The tensors of the object in the pickle, named as in Python's `state_dict()`: those
/// of a module in the order of its attributes, then those of its submodules.
///
/// Parameters, buffers and other tensors are told apart by the code of an archive only,
/// as are torch modules and other objects: here all of them are named.
///
/// # Errors
/// [`ErrorKind::Archive`] for an object that is none of a torch module.
pub(super) fn state_dict(pickle: &Pickle) -> Result<Vec<(String, &TensorRecord)>> {
    let Object::Instance { .. } = pickle.root() else {
        return Err(malformed("found no object of a class, expected a torch module"));
    };
    let mut walk = Walk { pickle, count: 0, prefix: String::new(), named: Vec::new() };
    let root = walk.enter(pickle.root())?;
    let mut open = vec![(0, root.into_iter())];
    while let Some((length, submodules)) = open.last_mut() {
        walk.prefix.truncate(*length);
        let Some((name, module)) = submodules.next() else {
            open.pop();
            continue;
        };
        walk.prefix = walk.name(name)?;
        walk.prefix.push('.');
        let submodules = walk.enter(module)?;
        open.push((walk.prefix.len(), submodules.into_iter()));
    }
    Ok(walk.named)
}

impl<'a> Walk<'a> {
    /// Adds the tensors of a module, and returns its submodules.
    fn enter(&mut self, module: &'a Object) -> Result<Attributes<'a>> {
        let attributes = self.attributes(module)?;
        for (name, attribute) in &attributes {
            if let Object::Tensor(record) = attribute {
                let name = self.name(name)?;
                self.named.push((name, record));
            }
        }
        let is_object =
            |(_, attribute): &(_, &Object)| matches!(attribute, Object::Instance { .. });
        Ok(attributes.into_iter().filter(is_object).collect())
    }

    fn attributes(&mut self, module: &Object) -> Result<Attributes<'a>> {
        let Object::Instance { attributes: Some(attributes), .. } = module else {
            return Err(malformed(format!("{}: an object without attributes", self.prefix)));
        };
        let Object::Dict(attributes) = self.pickle.get(*attributes) else {
            return Err(malformed(format!("{}: the attributes are no dict", self.prefix)));
        };
        self.count += attributes.len();
        if self.count > MAX_ATTRIBUTES {
            let message = format!(
                "found at least {} attributes, expected at most {MAX_ATTRIBUTES}",
                self.count
            );
            return Err(malformed(message));
        }
        let mut known = HashSet::new();
        let named = attributes.iter().map(|(key, value)| match self.pickle.get(*key) {
            Object::Text(name) if name.is_empty() || name.contains('.') => {
                Err(malformed(format!("found the attribute name {name:?}, expected an identifier")))
            }
            Object::Text(name) if known.insert(&**name) => Ok((&**name, self.pickle.get(*value))),
            Object::Text(name) => {
                Err(malformed(format!("{}{name}: found twice, expected once", self.prefix)))
            }
            _ => Err(malformed("an attribute without a name")),
        });
        named.collect()
    }

    /// The dotted name of an attribute.
    fn name(&self, attribute: &str) -> Result<String> {
        let length = self.prefix.len() + attribute.len();
        if length > MAX_NAME_BYTES {
            let message = format!(
                "found a tensor or module with a name of {length} bytes, expected at most {MAX_NAME_BYTES}"
            );
            return Err(malformed(message));
        }
        Ok(format!("{}{attribute}", self.prefix))
    }
}

fn malformed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Archive, message)
}

#[cfg(test)]
mod tests;
