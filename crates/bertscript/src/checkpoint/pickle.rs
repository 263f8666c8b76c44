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

mod calls;
mod object;

pub(crate) use object::{Id, Names, Object, Storage, TensorRecord};

use super::unread;
use crate::error::{Error, ErrorKind, Result};
use object::global;
use std::collections::HashMap;
use std::io::{BufRead, Read};

/// A checkpoint of the most layers that a configuration may have holds a third
/// of this.
const MAX_OBJECTS: usize = 1 << 20;

/// A pickle that was read: its objects, and which of them it is.
#[derive(Debug)]
pub(crate) struct Pickle {
    objects: Vec<Object>,
    root: Id,
}

impl Pickle {
    /// Reads one pickle of weights, up to its STOP.
    pub(crate) fn read(reader: &mut impl BufRead) -> Result<Self> {
        Self::read_with(Names::Weights, reader)
    }

    /// Reads one pickle, up to its STOP, with the names that it may hold.
    pub(crate) fn read_with(names: Names, reader: &mut impl BufRead) -> Result<Self> {
        let mut machine = Machine {
            names,
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
    names: Names,
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
                    self.push(global(self.names, name)?);
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
                b'R' => self.reduce()?,
                0x81 => self.new_object()?,
                b'b' => self.build()?,
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
