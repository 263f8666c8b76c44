//! What is inside a library: <https://cyclonedx.org/docs/1.5/json/>.

use crate::command::{cargo, output};
use crate::install::TORCH_VERSION;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A crate, as cargo tells of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Component {
    name: String,
    version: String,
    license: String,
}

/// What each component depends on.
type Graph = BTreeMap<Component, BTreeSet<Component>>;

/// The bill of materials of the library of a package. The same sources give the same text, so
/// it states no time.
pub(crate) fn sbom(package: &str) -> Result<String> {
    let arguments = ["tree", "--locked", "--package", package, "--edges", "normal"];
    let format = ["--prefix", "depth", "--no-dedupe", "--format", ";{p};{l}"];
    let tree = output(&mut cargo(arguments.iter().chain(&format))).context("cargo tree failed")?;
    let (root, mut graph) = read_tree(&tree).context("cargo tree is not understood")?;
    let torch = Component {
        name: "libtorch".to_owned(),
        version: TORCH_VERSION.to_owned(),
        license: "BSD-3-Clause".to_owned(),
    };
    let links: Vec<_> = graph.keys().filter(|known| known.name == "torch-sys").cloned().collect();
    for linked in links {
        graph.entry(linked).or_default().insert(torch.clone());
        graph.insert(torch.clone(), BTreeSet::new());
    }
    let components = graph.keys().filter(|component| **component != root).map(Component::json);
    let edges = graph.iter().map(|(component, needed)| {
        let needed: Vec<_> = needed.iter().map(Component::purl).collect();
        json!({"ref": component.purl(), "dependsOn": needed})
    });
    let bom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": root.json()},
        "components": components.collect::<Vec<_>>(),
        "dependencies": edges.collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&bom)? + "\n")
}

impl Component {
    fn purl(&self) -> String {
        let kind = if self.name == "libtorch" { "generic" } else { "cargo" };
        format!("pkg:{kind}/{}@{}", self.name, self.version)
    }

    fn json(&self) -> Value {
        json!({
            "type": "library",
            "bom-ref": self.purl(),
            "name": self.name,
            "version": self.version,
            "licenses": [{"expression": self.license}],
            "purl": self.purl(),
        })
    }
}

/// The root and the graph of lines such as `3;rand v0.9.5;MIT OR Apache-2.0`,
/// which begin with their depth. Macros that run in the compiler are left out.
fn read_tree(tree: &str) -> Option<(Component, Graph)> {
    let mut graph = Graph::new();
    let mut above: Vec<Component> = Vec::new();
    let mut left_out = usize::MAX;
    for line in tree.lines() {
        let [depth, package, license] = line.split(';').collect::<Vec<_>>()[..] else {
            return None;
        };
        let depth: usize = depth.parse().ok()?;
        if depth > left_out {
            continue;
        }
        let is_macro = package.contains("(proc-macro)");
        left_out = if is_macro { depth } else { usize::MAX };
        if is_macro {
            continue;
        }
        let mut words = package.split(' ');
        let component = Component {
            name: words.next()?.to_owned(),
            version: words.next()?.strip_prefix('v')?.to_owned(),
            // The slash of before licences were expressions.
            license: license.replace('/', " OR "),
        };
        above.truncate(depth);
        if let Some(parent) = above.last() {
            graph.entry(parent.clone()).or_default().insert(component.clone());
        }
        graph.entry(component.clone()).or_default();
        above.push(component);
    }
    Some((above.first()?.clone(), graph))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_becomes_a_graph_without_macros() {
        let tree = "0;root v0.1.0 (/here);MIT\n1;a v1.2.3;MIT/Apache-2.0\n2;b v2.0.0;MIT\n1;m v1.0.0 (proc-macro);MIT\n2;inside v1.0.0;MIT\n1;b v2.0.0;MIT";
        let (root, graph) = read_tree(tree).unwrap();
        let name = |component: &Component| component.name.clone();
        let edges: Vec<_> = graph
            .iter()
            .map(|(from, to)| (name(from), to.iter().map(name).collect::<Vec<_>>().join(" ")))
            .collect();
        assert_eq!(root.name, "root");
        let edge = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert_eq!(edges, [edge("a", "b"), edge("b", ""), edge("root", "a b")]);
        assert!(graph.keys().any(|component| component.license == "MIT OR Apache-2.0"));
        assert_eq!(read_tree("no tree"), None);
    }
}
