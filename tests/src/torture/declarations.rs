//! The functions that the header declares.

/// A function of the header.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it returns, such as `bertscript_status`.
    pub returns: String,
    /// What it takes.
    pub parameters: Vec<Parameter>,
}

/// A parameter of a function.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its type, such as `const char *`.
    pub kind: String,
    /// What the header says of it.
    pub comment: String,
}

impl Function {
    /// Whether it returns a status, and an error.
    pub fn can_fail(&self) -> bool {
        self.returns == "bertscript_status" && self.parameters.iter().any(|p| p.is_error())
    }
}

impl Parameter {
    /// Whether the error goes there.
    pub fn is_error(&self) -> bool {
        self.kind == "bertscript_error **"
    }

    /// The handle that it is a pointer to: `bertscript_tensor` of
    /// `const bertscript_tensor *`.
    pub fn handle(&self) -> Option<&str> {
        let pointee = self.kind.strip_suffix(" *")?;
        let handle = pointee.strip_prefix("const ").unwrap_or(pointee);
        (handle.starts_with("bertscript_") && !handle.contains('*')).then_some(handle)
    }

    /// What goes there: `bertscript_tensor` of `bertscript_tensor **`.
    pub fn handle_out(&self) -> Option<&str> {
        let handle = self.kind.strip_suffix(" **")?;
        (!self.is_error() && !handle.starts_with("const ")).then_some(handle)
    }

    /// Whether NULL is as good as a value.
    pub fn accepts_null(&self) -> bool {
        let conditional = self.comment.contains("NULL if `");
        self.name == "user" || (self.comment.contains("NULL") && !conditional)
    }
}

/// Every function of the header.
pub fn declarations(header: &str) -> Vec<Function> {
    let parts = header.split("/**\n").skip(1).filter_map(|part| part.split_once("*/"));
    parts.filter_map(|(comment, code)| function(comment, code)).collect()
}

fn function(comment: &str, code: &str) -> Option<Function> {
    let words: Vec<_> = code.split_whitespace().collect();
    let code = words.join(" ");
    let declaration = code.strip_prefix("BERTSCRIPT_API ")?;
    let (front, rest) = declaration.split_once('(')?;
    let (parameters, _) = rest.split_once(") BERTSCRIPT_NOEXCEPT;")?;
    let (name, returns) = name_and_type(front);
    let parameters = parameters.split(", ").filter(|parameter| *parameter != "void");
    let parameters = parameters.map(|parameter| {
        let (name, kind) = name_and_type(parameter);
        let comment = comment_of(&name, comment);
        Parameter { name, kind, comment }
    });
    Some(Function { name, returns, parameters: parameters.collect() })
}

/// `const char *text` -> `text`, `const char *`
fn name_and_type(declaration: &str) -> (String, String) {
    let end = declaration.rfind([' ', '*']).map_or(0, |place| place + 1);
    let (kind, name) = declaration.split_at(end);
    (name.to_owned(), kind.trim().to_owned())
}

/// What stands after `@param name`, up to the next one or an empty line.
fn comment_of(name: &str, comment: &str) -> String {
    let lines = comment.lines().map(|line| line.trim().trim_start_matches('*').trim());
    let start = format!("@param {name} ");
    let mut lines = lines.skip_while(|line| !line.starts_with(&start));
    let first = lines.next().unwrap_or_default();
    let rest = lines.take_while(|line| !line.is_empty() && !line.starts_with('@'));
    std::iter::once(first).chain(rest).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_is_read_with_what_is_said_of_its_parameters() {
        let header = "/**\n * Opens.\n *\n * @param path the file,\n *        UTF-8\n * @param out it; \
                      may be NULL\n */\nBERTSCRIPT_API\nbertscript_status bertscript_x_open(const \
                      char *path,\n    bertscript_x **out,\n    bertscript_error \
                      **err)\nBERTSCRIPT_NOEXCEPT;\n";
        let found = declarations(header);
        assert_eq!(found.len(), 1);
        let function = &found[0];
        assert_eq!((function.name.as_str(), function.can_fail()), ("bertscript_x_open", true));
        let kinds: Vec<_> = function.parameters.iter().map(|p| p.kind.as_str()).collect();
        assert_eq!(kinds, ["const char *", "bertscript_x **", "bertscript_error **"]);
        assert_eq!(function.parameters[0].comment, "@param path the file, UTF-8");
        assert!(function.parameters[1].accepts_null());
        assert_eq!(function.parameters[1].handle_out(), Some("bertscript_x"));
    }
}
