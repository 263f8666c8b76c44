//! Python's pickle format, as much of it as `torch.save` writes for weights.
//!
//! A pickle is a program for a small stack machine, and its GLOBAL and REDUCE
//! call what they name. This machine calls nothing: a handful of names are
//! known and mean data, any other is an error with its name. The opcodes are
//! those of torch's `weights_only` loader,
//! <https://github.com/pytorch/pytorch/blob/v2.11.0/torch/_weights_only_unpickler.py>.
//!
//! Objects live in one arena and refer to each other by index, so nesting and
//! cycles in a hostile file cost neither stack nor more memory than the file.

mod object;

pub(crate) use object::{Global, Id, Object, Storage, TensorRecord};

use super::unread;
use crate::error::{Error, ErrorKind, Result};
use object::global;
use std::collections::HashMap;
use std::io::{BufRead, Read};

/// A checkpoint of the most layers that a configuration may have holds a third
/// of this.
const MAX_OBJECTS: usize = 1 << 20;
/// No weight has as many.
const MAX_DIMENSIONS: usize = 8;

/// A pickle that was read: its objects, and which of them it is.
#[derive(Debug)]
pub(crate) struct Pickle {
    objects: Vec<Object>,
    root: Id,
}

impl Pickle {
    /// Reads one pickle, up to its STOP.
    pub(crate) fn read(reader: &mut impl BufRead) -> Result<Self> {
        let mut machine = Machine {
            reader,
            objects: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        let root = machine.run()?;
        Ok(Self { objects: machine.objects, root })
    }

    pub(crate) fn root(&self) -> &Object {
        &self.objects[self.root]
    }

    pub(crate) fn get(&self, id: Id) -> &Object {
        &self.objects[id]
    }

    /// Every storage that is named.
    pub(crate) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.objects.iter().filter_map(|object| match object {
            Object::Storage(storage) => Some(storage),
            _ => None,
        })
    }
}

struct Machine<'a, R> {
    reader: &'a mut R,
    objects: Vec<Object>,
    stack: Vec<Id>,
    /// The heights of the stack at each open MARK.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<R: BufRead> Machine<'_, R> {
    fn run(&mut self) -> Result<Id> {
        loop {
            // An opcode of one byte makes an object of a hundred.
            if self.objects.len() > MAX_OBJECTS {
                return Err(malformed(format!("more than {MAX_OBJECTS} objects")));
            }
            let [opcode] = self.take()?;
            match opcode {
                0x80 => {
                    let [protocol] = self.take()?;
                    if protocol > 5 {
                        return Err(malformed(format!("unknown pickle protocol {protocol}")));
                    }
                }
                b'.' => return self.pop(),
                b'N' => self.push(Object::None),
                0x88 => self.push(Object::Bool(true)),
                0x89 => self.push(Object::Bool(false)),
                b'J' => {
                    let value = i32::from_le_bytes(self.take()?);
                    self.push(Object::Int(value.into()));
                }
                b'K' => {
                    let [value] = self.take()?;
                    self.push(Object::Int(value.into()));
                }
                b'M' => {
                    let value = u16::from_le_bytes(self.take()?);
                    self.push(Object::Int(value.into()));
                }
                0x8a => {
                    let [length] = self.take()?;
                    let bytes = self.bytes(length.into())?;
                    self.push(long(bytes));
                }
                b'G' => {
                    let _: [u8; 8] = self.take()?;
                    self.push(Object::Float);
                }
                b'X' => {
                    let length = u32::from_le_bytes(self.take()?);
                    self.text(length.into())?;
                }
                b'U' => {
                    let [length] = self.take()?;
                    self.text(length.into())?;
                }
                b'c' => {
                    let name = format!("{}.{}", self.line()?, self.line()?);
                    self.push(Object::Global(global(&name)?));
                }
                b'q' => {
                    let [key] = self.take()?;
                    self.remember(key.into())?;
                }
                b'r' => {
                    let key = u32::from_le_bytes(self.take()?);
                    self.remember(key)?;
                }
                b'h' => {
                    let [key] = self.take()?;
                    self.recall(key.into())?;
                }
                b'j' => {
                    let key = u32::from_le_bytes(self.take()?);
                    self.recall(key)?;
                }
                b'(' => self.marks.push(self.stack.len()),
                b')' => self.push(Object::Tuple(Vec::new())),
                b']' | 0x8f => self.push(Object::List(Vec::new())),
                b'}' => self.push(Object::Dict(Vec::new())),
                b't' => {
                    let items = self.since_mark()?;
                    self.push(Object::Tuple(items));
                }
                0x85..=0x87 => {
                    let items = (0x85..=opcode).map(|_| self.pop());
                    let mut items = items.collect::<Result<Vec<_>>>()?;
                    items.reverse();
                    self.push(Object::Tuple(items));
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' => {
                    let items = self.since_mark()?;
                    self.append(items)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set_items(&[key, value])?;
                }
                b'u' => {
                    let items = self.since_mark()?;
                    self.set_items(&items)?;
                }
                b'R' | 0x81 => self.reduce()?,
                b'b' => {
                    // The state of an OrderedDict is its `_metadata`: versions of
                    // modules, which weights do not need.
                    let _state = self.pop()?;
                    if !matches!(self.top()?, Object::Dict(_)) {
                        return Err(malformed("BUILD of something that is no OrderedDict"));
                    }
                }
                b'Q' => self.persistent()?,
                other => {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!(
                            "the pickle has the opcode {other:#04x}, which weights do not need"
                        ),
                    ));
                }
            }
        }
    }

    /// A call, of which only those that make data are known.
    fn reduce(&mut self) -> Result<()> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let Object::Global(callee) = self.objects[callee] else {
            return Err(malformed("REDUCE of something that is no name"));
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
            Global::Device => Object::Opaque,
            _ => return Err(malformed("a call of a name that is no function")),
        };
        self.push(made);
        Ok(())
    }

    /// `('storage', class, key, location, numel)`, in legacy files with a sixth
    /// item: None or `(view_key, offset, view_size)`.
    fn persistent(&mut self) -> Result<()> {
        let id = self.pop()?;
        let Object::Tuple(items) = &self.objects[id] else {
            return Err(malformed("a persistent id that is no tuple"));
        };
        let item = |index: usize| items.get(index).map(|id| &self.objects[*id]);
        let (Some(Object::Text(tag)), Some(Object::Global(Global::Storage(kind)))) =
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
        let storage = Storage { kind: *kind, key: key.clone(), numel: int(numel)?, view };
        self.push(Object::Storage(storage));
        Ok(())
    }

    fn push(&mut self, object: Object) {
        self.stack.push(self.objects.len());
        self.objects.push(object);
    }

    fn pop(&mut self) -> Result<Id> {
        // What stands below an open MARK is not the opcode's to take.
        if self.marks.last().is_some_and(|mark| self.stack.len() <= *mark) {
            return Err(underflow());
        }
        self.stack.pop().ok_or_else(underflow)
    }

    fn top(&mut self) -> Result<&mut Object> {
        let id = *self.stack.last().ok_or_else(underflow)?;
        Ok(&mut self.objects[id])
    }

    fn since_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| malformed("an opcode lacks its MARK"))?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn append(&mut self, items: Vec<Id>) -> Result<()> {
        match self.top()? {
            Object::List(list) => {
                list.extend(items);
                Ok(())
            }
            _ => Err(malformed("APPEND to something that is no list")),
        }
    }

    fn set_items(&mut self, items: &[Id]) -> Result<()> {
        match self.top()? {
            Object::Dict(dict) if items.len().is_multiple_of(2) => {
                dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
                Ok(())
            }
            _ => Err(malformed("SETITEM on something that is no dict")),
        }
    }

    fn remember(&mut self, key: u32) -> Result<()> {
        let id = *self.stack.last().ok_or_else(underflow)?;
        self.memo.insert(key, id);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<()> {
        let id = self.memo.get(&key).ok_or_else(|| malformed(format!("no memo {key}")))?;
        self.stack.push(*id);
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

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes).map_err(truncated)?;
        Ok(bytes)
    }

    fn bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        // Grows with what is really there, not with what the file claims.
        let mut bytes = Vec::new();
        self.reader.by_ref().take(length).read_to_end(&mut bytes).map_err(truncated)?;
        if (bytes.len() as u64) < length {
            return Err(truncated(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes)
    }

    fn text(&mut self, length: u64) -> Result<()> {
        let bytes = self.bytes(length)?;
        self.push(Object::Text(String::from_utf8_lossy(&bytes).into()));
        Ok(())
    }

    /// A name of a GLOBAL, up to the end of the line.
    fn line(&mut self) -> Result<String> {
        const MAX_LINE_BYTES: u64 = 1024;
        let (mut line, mut limited) = (Vec::new(), self.reader.by_ref().take(MAX_LINE_BYTES));
        limited.read_until(b'\n', &mut line).map_err(truncated)?;
        match line.pop() {
            Some(b'\n') => Ok(String::from_utf8_lossy(&line).into_owned()),
            _ => Err(malformed("a name that does not end")),
        }
    }
}

/// A little-endian two's complement integer of any length.
fn long(bytes: Vec<u8>) -> Object {
    if bytes.len() > 8 {
        return Object::Long(bytes);
    }
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(&bytes);
    Object::Int(i64::from_le_bytes(wide))
}

fn int(object: &Object) -> Result<i64> {
    match object {
        Object::Int(value) => Ok(*value),
        _ => Err(malformed("expected an integer")),
    }
}

fn underflow() -> Error {
    malformed("an opcode takes more than there is")
}

fn truncated(error: std::io::Error) -> Error {
    unread(error, "the pickle ends too early")
}

fn malformed(message: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Checkpoint, format!("malformed pickle: {message}"))
}

#[cfg(test)]
mod tests;
