//! The text of the program. Its capitals are macros of `c/torture.h`.

use super::values::{usual, wrong};
use super::{Function, Parameter};
use std::collections::BTreeSet;

/// A program that calls every function with everything that may go wrong. It
/// takes the file for its report, a checkpoint, and `alone` where there is no libtorch.
pub fn program(functions: &[Function]) -> String {
    let names: BTreeSet<_> = functions.iter().map(|function| function.name.as_str()).collect();
    let bodies = functions.iter().map(|function| Body { function, names: &names }.text());
    let bodies: String = bodies.collect();
    let calls: String = functions.iter().map(|f| format!("    try_{}();\n", f.name)).collect();
    format!(
        r#"#include "torture.h"
#include "uses.h"
{bodies}
int main(int argc, char **argv) {{
    if (argc < 3 || (report = fopen(argv[1], "w")) == NULL) {{
        return 2;
    }}
    alone = argc > 3 && strcmp(argv[3], "alone") == 0;
    make_handles(argv[2]);
    canary();
{calls}    damage();
    canary();
    free_handles();
    fprintf(report, "DONE %u calls, %u failures\n", calls, failures);
    return fclose(report) != 0 || failures > 0;
}}
"#
    )
}

/// The C function that tries one function.
struct Body<'a> {
    function: &'a Function,
    names: &'a BTreeSet<&'a str>,
}

impl Body<'_> {
    fn text(&self) -> String {
        let Function { name, parameters, .. } = self.function;
        let wrong = wrong(self.function);
        let labels: String =
            wrong.iter().map(|wrong| format!(", \"{}\"", escaped(&wrong.change))).collect();
        let changes = wrong.iter().enumerate();
        let changes: String = changes
            .map(|(at, wrong)| format!("        case {}: {}; break;\n", at + 1, wrong.change))
            .collect();
        let declarations: String = parameters.iter().map(|p| self.declaration(p)).collect();
        let count = wrong.len() + 1;
        let (rounds, call) = match self.function.can_fail() {
            true => {
                let expected: String =
                    wrong.iter().map(|wrong| format!(", {}", wrong.expected)).collect();
                let expected = format!("{{BERTSCRIPT_OK{expected}}}");
                (format!("ROUNDS({count}, {expected})"), self.fallible())
            }
            false => (format!("ROUNDS_OF_GETTER({count})"), self.infallible()),
        };
        format!(
            r#"
static void try_{name}(void) {{
    static const char *const cases[] = {{"as documented"{labels}}};
    {rounds} {{
{declarations}        switch (at) {{
{changes}        default: break;
        }}
        begin("{name}", cases[at]);
{call}    }}
    canary();
}}
"#
        )
    }

    fn declaration(&self, parameter: &Parameter) -> String {
        let Parameter { name, kind, .. } = parameter;
        if parameter.is_error() {
            return "        bertscript_error *error = UNTOUCHED;\n".to_owned();
        }
        if is_output(parameter) {
            return format!("        OUTPUT({kind}, {name});\n");
        }
        if let Some(fresh) = self.fresh(parameter) {
            let first = format!("        {kind} const fresh = {fresh};\n");
            return first + &format!("        {kind} {name} = fresh;\n");
        }
        let value = usual(&self.function.name, parameter).unwrap_or_else(|| {
            let function = &self.function.name;
            panic!("{function}: `{kind} {name}` is unknown; say in torture/values.rs what it takes")
        });
        format!("        {kind} {name} = {value};\n")
    }

    /// A handle of its own for each call, which changes or takes it.
    fn fresh(&self, parameter: &Parameter) -> Option<String> {
        if parameter.kind == MANAGED {
            return Some("fresh_managed()".to_owned());
        }
        let handle = parameter.handle().filter(|_| !parameter.kind.starts_with("const "))?;
        let (clone, new) = (format!("{handle}_clone"), format!("{handle}_new"));
        let short = handle.trim_start_matches("bertscript_");
        Some(match () {
            () if self.names.contains(clone.as_str()) => format!("{clone}(usual_{short})"),
            () if self.names.contains(new.as_str()) => format!("{new}()"),
            () => format!("fresh_{short}()"),
        })
    }

    /// A call that returns a status, and what it leaves behind.
    fn fallible(&self) -> String {
        let parameters = &self.function.parameters;
        let settled: String = parameters
            .iter()
            .filter_map(|parameter| match self.fresh(parameter) {
                Some(_) => Some(match parameter.handle() {
                    Some(handle) => format!("        SETTLE_CHANGED({handle});\n"),
                    None => "        SETTLE_TAKEN(managed_tensor);\n".to_owned(),
                }),
                None => is_output(parameter).then(|| settle(parameter)),
            })
            .collect();
        let call = self.call();
        format!(
            "        const bertscript_status status = {call};
        end(status, expected[at], told, error);
{settled}"
        )
    }

    /// A call that returns what it found, nothing in NULL.
    fn infallible(&self) -> String {
        let own = self.function.parameters.first().filter(|own| own.handle().is_some());
        let nothing = own.map_or("0".to_owned(), |own| format!("{} == NULL", own.name));
        let (name, call) = (&self.function.name, self.call());
        match self.function.returns.as_str() {
            "void" if own.is_some_and(|own| self.fresh(own).is_some()) => {
                format!("        {call};\n        SETTLE_FREED({name}, {nothing});\n")
            }
            "void" => format!("        {call};\n        ended(\"returned\");\n"),
            "const char *" => format!("        saw_text({call}, {nothing});\n"),
            kind if kind.starts_with("const ") => {
                format!("        saw_place({call}, {nothing});\n")
            }
            kind => match kind.strip_suffix(" *") {
                Some(handle) => format!("        SAW_HANDLE({handle}, {call}, {nothing});\n"),
                None => format!("        saw_number((int64_t){call}, {nothing});\n"),
            },
        }
    }

    fn call(&self) -> String {
        let arguments = self.function.parameters.iter().map(|parameter| match parameter {
            error if error.is_error() => "told ? &error : NULL",
            other => other.name.as_str(),
        });
        let arguments: Vec<_> = arguments.collect();
        format!("{}({})", self.function.name, arguments.join(", "))
    }
}

const MANAGED: &str = "struct DLManagedTensorVersioned *";

/// Whether the call writes there.
fn is_output(parameter: &Parameter) -> bool {
    let places = ["size_t *", "int32_t *", "float *", "char *", "const void **"];
    places.contains(&parameter.kind.as_str())
        || parameter.handle_out().is_some()
        || parameter.name == "destination"
}

fn settle(parameter: &Parameter) -> String {
    let Parameter { name, kind, .. } = parameter;
    match parameter.handle_out() {
        Some(handle) if handle.starts_with("struct ") => {
            format!("        SETTLE_HANDLES(managed_tensor, {name});\n")
        }
        Some(handle) => format!("        SETTLE_HANDLES({handle}, {name});\n"),
        None if kind == "size_t *" => format!("        SETTLE_SIZE({name});\n"),
        None => format!("        SETTLE({name});\n"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
