//! The labels of a configuration: `id2label` and `num_labels`.

use super::keys::{Keys, invalid, shown};
use crate::error::Result;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const MAX_LABELS: usize = 1 << 20;
/// How many missing labels an error names.
const SHOWN_GAPS: usize = 4;

/// The labels of `id2label`; where `num_labels` is another number than they are, that many
/// without names, as transformers has it.
pub(super) fn read(keys: &Keys) -> Result<Vec<String>> {
    let named = match keys.value("id2label") {
        None => None,
        Some(Value::Object(map)) => Some(named_labels(map)?),
        Some(other) => {
            let message = format!("found {}, expected an object of labels", shown(other));
            return Err(invalid("id2label", &message));
        }
    };
    // A null is a value here, which transformers refuses.
    let count = match (keys.given("num_labels"), &named) {
        (None, Some(named)) => named.len(),
        (None, None) => 2,
        (Some(found), _) => label_count(found)?,
    };
    match named {
        Some(named) if named.len() == count => Ok(named),
        _ => Ok((0..count).map(|index| format!("LABEL_{index}")).collect()),
    }
}

fn label_count(found: &Value) -> Result<usize> {
    let count = found.as_u64().and_then(|count| usize::try_from(count).ok());
    count.filter(|count| *count <= MAX_LABELS).ok_or_else(|| {
        invalid("num_labels", &format!("found {}, expected 0 to {MAX_LABELS}", shown(found)))
    })
}

/// The labels in the order of their ids, which must be all from 0 on.
fn named_labels(id2label: &Map<String, Value>) -> Result<Vec<String>> {
    let invalid = |message: String| Err(invalid("id2label", &message));
    if id2label.len() > MAX_LABELS {
        return invalid(format!("found {} labels, expected at most {MAX_LABELS}", id2label.len()));
    }
    let mut labels = BTreeMap::new();
    for (id, label) in id2label {
        let Ok(index) = id.parse::<usize>() else {
            return invalid(format!("found the id {id:?}, expected a number"));
        };
        let label = match label {
            Value::String(label) => label.clone(),
            Value::Number(label) => label.to_string(),
            other => {
                let found = shown(other);
                return invalid(format!("{id}: found {found}, expected a string or a number"));
            }
        };
        if labels.insert(index, label).is_some() {
            return invalid(format!("found the id {index} twice, in different spellings"));
        }
    }
    let last = labels.last_key_value().map_or(0, |(last, _)| *last);
    let gaps = (0..last).filter(|index| !labels.contains_key(index));
    let gaps: Vec<_> = gaps.take(SHOWN_GAPS).map(|index| index.to_string()).collect();
    if !gaps.is_empty() {
        let more = if gaps.len() == SHOWN_GAPS { " .." } else { "" };
        let gaps = gaps.join(", ");
        return invalid(format!("found no label of {gaps}{more}, expected all of 0 to {last}"));
    }
    Ok(labels.into_values().collect())
}
