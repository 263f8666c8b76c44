//! The signature of a method, read from the code in an archive: nothing of it is
//! compiled.

/// An argument of a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Its type in TorchScript's words, such as `Tensor` or `Optional[Tensor]`.
    pub type_name: String,
    /// Whether it may be left out.
    pub has_default: bool,
}

/// The signature of a method, without `self`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodSchema {
    /// The arguments in order.
    pub arguments: Vec<Argument>,
    /// The type of the result.
    pub returns: String,
}

/// The class of the object in `data.pkl`: its module and its name. The pickle
/// begins with them.
pub(crate) fn root_class(pickle: &[u8]) -> Option<(&str, &str)> {
    let mut lines = pickle.strip_prefix(b"\x80\x02c")?.split(|byte| *byte == b'\n');
    let mut line = || std::str::from_utf8(lines.next()?).ok();
    Some((line()?, line()?))
}

/// The signature of a method of a class, without `self`.
pub(crate) fn signature(code: &str, class: &str, method: &str) -> Option<MethodSchema> {
    let start = format!("class {class}(");
    let mut lines = code.lines().skip_while(|line| !line.starts_with(&start));
    let body: Vec<_> =
        std::iter::once(lines.next()?).chain(lines.take_while(|l| l.starts_with(' '))).collect();
    let body = body.join("\n");
    let (_, rest) = body.split_once(&format!("\n  def {method}("))?;
    let (header, _) = rest.split_once(":\n").unwrap_or((rest, ""));
    let (arguments, returns) = header.rsplit_once(") -> ")?;
    let arguments = split(arguments).into_iter().skip(1).map(argument);
    Some(MethodSchema { arguments: arguments.collect::<Option<_>>()?, returns: returns.to_owned() })
}

/// `scale: float=2.`
fn argument(text: &str) -> Option<Argument> {
    let (name, rest) = text.split_once(':')?;
    let (type_name, default) = match rest.split_once('=') {
        Some((type_name, default)) => (type_name, Some(default)),
        None => (rest, None),
    };
    Some(Argument {
        name: name.trim().to_owned(),
        type_name: type_name.trim().to_owned(),
        has_default: default.is_some(),
    })
}

/// Cuts at the commas that stand in no bracket.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|character| {
        match character {
            '[' | '(' | '{' => depth += 1,
            ']' | ')' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As libtorch writes it.
    const CODE: &str = "\
class Other(Module):
  __parameters__ = []
  def forward(self: __torch__.Other,
    x: Tensor) -> Tensor:
    return x
class Scripted(Module):
  __parameters__ = []
  training : bool
  def helper(self: __torch__.Scripted) -> NoneType:
    return None
  def forward(self: __torch__.Scripted,
    tokens: Tensor,
    scale: float=2.,
    names: Optional[Dict[str, List[int]]]=None) -> Dict[str, Tensor]:
    x = {\"a\": 1}
    return x
";

    #[test]
    fn a_signature_is_read_as_it_stands() {
        let schema = signature(CODE, "Scripted", "forward").unwrap();
        let arguments: Vec<_> = schema
            .arguments
            .iter()
            .map(|a| (a.name.as_str(), a.type_name.as_str(), a.has_default))
            .collect();
        assert_eq!(
            arguments,
            [
                ("tokens", "Tensor", false),
                ("scale", "float", true),
                ("names", "Optional[Dict[str, List[int]]]", true)
            ]
        );
        assert_eq!(schema.returns, "Dict[str, Tensor]");
        assert_eq!(signature(CODE, "Other", "forward").unwrap().arguments.len(), 1);
        assert_eq!(signature(CODE, "Scripted", "helper").unwrap().arguments, []);
        assert_eq!(signature(CODE, "Other", "helper"), None);
        assert_eq!(signature(CODE, "Script", "forward"), None);
    }

    #[test]
    fn the_pickle_names_its_class() {
        assert_eq!(root_class(b"\x80\x02c__torch__.a\nB\nq\x00"), Some(("__torch__.a", "B")));
        assert_eq!(root_class(b"\x80\x02N."), None);
        assert_eq!(root_class(b"\x80\x02c\xff\nB\n"), None);
    }
}
