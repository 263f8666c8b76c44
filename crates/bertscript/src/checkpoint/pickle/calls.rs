//! The opcodes that call something: REDUCE, NEWOBJ, BUILD and BINPERSID.

use super::object::{Global, Id, Object, Storage, TensorRecord};
use super::{Machine, malformed, underflow};
use crate::error::{Error, ErrorKind, Result};
use std::io::BufRead;

/// No weight has as many.
const MAX_DIMENSIONS: usize = 8;

impl<R: BufRead> Machine<'_, R> {
    /// A call, of which only those that make data are known.
    pub(super) fn reduce(&mut self) -> Result<()> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let callee = match &self.objects[callee] {
            Object::Global(callee) => *callee,
            Object::Class(name) => {
                let message = format!("{name} is an enum, which weights do not need");
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
            _ => return Err(malformed("REDUCE of something that is no name")),
        };
        let Object::Tuple(arguments) = &self.objects[arguments] else {
            return Err(malformed("REDUCE with arguments that are no tuple"));
        };
        let argument = |index: usize| -> Result<Id> {
            arguments.get(index).copied().ok_or_else(|| malformed("a call lacks an argument"))
        };
        let object = |index: usize| -> Result<&Object> { Ok(&self.objects[argument(index)?]) };
        let made = match callee {
            Global::OrderedDict if arguments.is_empty() => Object::Dict(Vec::new()),
            Global::RebuildTensor => {
                let Object::Storage(storage) = object(0)? else {
                    return Err(malformed("a tensor without a storage"));
                };
                Object::Tensor(TensorRecord {
                    storage: storage.clone(),
                    offset: int(object(1)?)?,
                    size: self.ints(object(2)?)?,
                    stride: self.ints(object(3)?)?,
                })
            }
            Global::RebuildParameter | Global::Parameter | Global::Size => {
                // The argument itself, not a copy: copies of a large one could
                // outgrow the file.
                let id = argument(0)?;
                self.stack.push(id);
                return Ok(());
            }
            Global::Device | Global::Value => Object::Opaque,
            _ => return Err(malformed("a call of a name that is no function")),
        };
        self.push(made);
        Ok(())
    }

    /// NEWOBJ: an object of a class, or a call as REDUCE makes it.
    pub(super) fn new_object(&mut self) -> Result<()> {
        let [.., callee, arguments] = self.stack[..] else { return Err(underflow()) };
        if !matches!(self.objects[callee], Object::Class(_)) {
            return self.reduce();
        }
        if !matches!(&self.objects[arguments], Object::Tuple(items) if items.is_empty()) {
            return Err(malformed("NEWOBJ of a class with arguments"));
        }
        self.pop()?;
        self.pop()?;
        self.push(Object::Instance { class: callee, attributes: None });
        Ok(())
    }

    /// BUILD: the attributes of an object; of an OrderedDict its `_metadata`, versions of
    /// modules, which weights do not need.
    pub(super) fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        let is_dict = matches!(self.objects[state], Object::Dict(_));
        let class = match self.top()? {
            Object::Dict(_) => return Ok(()),
            Object::Instance { attributes: Some(_), .. } => {
                return Err(malformed("a second BUILD of an object"));
            }
            Object::Instance { attributes, .. } if is_dict => {
                *attributes = Some(state);
                return Ok(());
            }
            Object::Instance { class, .. } => *class,
            _ => return Err(malformed("BUILD of something that is no OrderedDict")),
        };
        let Object::Class(name) = &self.objects[class] else { return Err(underflow()) };
        let message =
            format!("{name} restores its attributes by code (__setstate__); none was run");
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    /// `('storage', class, key, location, numel)`, in legacy files with a sixth
    /// item: None or `(view_key, offset, view_size)`.
    pub(super) fn persistent(&mut self) -> Result<()> {
        let id = self.pop()?;
        let Object::Tuple(items) = &self.objects[id] else {
            return Err(malformed("a persistent id that is no tuple"));
        };
        let item = |index: usize| items.get(index).map(|id| &self.objects[*id]);
        let (Some(Object::Text(tag)), Some(Object::Global(Global::Storage(element_type)))) =
            (item(0), item(1))
        else {
            return Err(malformed("a persistent id that is no storage"));
        };
        let (Some(Object::Text(key)), Some(numel)) = (item(2), item(4)) else {
            return Err(malformed("a storage without a key or size"));
        };
        if **tag != *"storage" {
            return Err(malformed(format!("a persistent id {tag:?}, expected \"storage\"")));
        }
        let view = match item(5) {
            None | Some(Object::None) => None,
            Some(Object::Tuple(view)) if view.len() == 3 => {
                Some((int(&self.objects[view[1]])?, int(&self.objects[view[2]])?))
            }
            Some(_) => return Err(malformed("a storage with unknown view metadata")),
        };
        let storage =
            Storage { element_type: *element_type, key: key.clone(), numel: int(numel)?, view };
        self.push(Object::Storage(storage));
        Ok(())
    }

    fn ints(&self, object: &Object) -> Result<Vec<i64>> {
        let Object::Tuple(items) = object else {
            return Err(malformed("a size or stride that is no tuple"));
        };
        if items.len() > MAX_DIMENSIONS {
            let message = format!(
                "a tensor of {} dimensions, expected at most {MAX_DIMENSIONS}",
                items.len()
            );
            return Err(malformed(message));
        }
        items.iter().map(|id| int(&self.objects[*id])).collect()
    }
}

fn int(object: &Object) -> Result<i64> {
    match object {
        Object::Int(value) => Ok(*value),
        _ => Err(malformed("expected an integer")),
    }
}
