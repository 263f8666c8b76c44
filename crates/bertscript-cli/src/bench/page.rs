//! The page of `--html`: one file that needs no other.

use super::report::Report;

const TEMPLATE: &str = include_str!("page.html");
/// Where the template takes the report.
const PLACE: &str = "\"REPORT\"";

/// The report with its charts.
pub(super) fn page(report: &Report) -> anyhow::Result<String> {
    // Text of the report must not end the element that it stands in.
    let json = serde_json::to_string(report)?.replace('<', "\\u003c");
    Ok(TEMPLATE.replacen(PLACE, &json, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_has_one_place_and_needs_no_network() {
        assert_eq!(TEMPLATE.matches(PLACE).count(), 1);
        for word in ["src=", "href=", "@import", "url(", "fetch("] {
            assert!(!TEMPLATE.contains(word), "{word}");
        }
    }
}
