//! What people read of predictions.

use crate::output;
use crate::stream::OwnedText;
use bertscript::{Answer, Answers, Classification, Entities, Filling, Fillings, RankedText};

/// A text, and below it, indented, what was found.
pub(super) fn paragraph(text: &OwnedText, rows: &[Vec<String>]) -> String {
    let mut paragraph = shorten(&text.text, 76);
    if let Some(pair) = &text.text_pair {
        paragraph += " | ";
        paragraph += &shorten(pair, 76);
    }
    paragraph.push('\n');
    if rows.is_empty() {
        paragraph += "  nothing found\n";
    }
    for line in output::table(rows).lines() {
        paragraph += "  ";
        paragraph += line;
        paragraph.push('\n');
    }
    paragraph
}

pub(super) fn labels(found: &Classification) -> Vec<Vec<String>> {
    found.labels.iter().map(|found| vec![score(found.score), found.label.clone()]).collect()
}

pub(super) fn entities(found: &Entities) -> Vec<Vec<String>> {
    let row = |entity: &bertscript::Entity| {
        let place = format!("{}-{}", entity.start, entity.end);
        vec![score(entity.score), entity.entity.clone(), entity.word.clone(), place]
    };
    found.entities.iter().map(row).collect()
}

pub(super) fn answers(found: &Answers) -> Vec<Vec<String>> {
    let row = |answer: &Answer| {
        if answer.end == 0 {
            return vec![score(answer.score), "no answer".to_owned()];
        }
        let place = format!("{}-{}", answer.start, answer.end);
        vec![score(answer.score), shorten(&answer.answer, 60), place]
    };
    found.answers.iter().map(row).collect()
}

pub(super) fn masks(found: &Fillings) -> Vec<Vec<String>> {
    let row = |filling: &Filling| {
        vec![score(filling.score), filling.token_str.clone(), shorten(&filling.sequence, 60)]
    };
    found.masks.iter().flatten().map(row).collect()
}

/// Texts by how well they answer a query.
pub(super) fn ranking(texts: &[&str], ranked: &[RankedText], json: bool) -> String {
    if !json {
        let row = |found: &RankedText| vec![score(found.score), shorten(texts[found.index], 100)];
        return output::table(&ranked.iter().map(row).collect::<Vec<_>>());
    }
    let lines = ranked.iter().map(|found| {
        let RankedText { index, score, truncated } = found;
        let text = texts[*index];
        let line = serde_json::json!({
            "index": index, "score": score, "text": text, "truncated": truncated,
        });
        line.to_string() + "\n"
    });
    lines.collect()
}

/// The likeness of every text to every text.
pub(super) fn matrix(texts: &[&str], scores: &[&[f32]], json: bool) -> anyhow::Result<String> {
    if json {
        let lines = scores.iter().map(|row| serde_json::json!({ "similarity": row }).to_string());
        return Ok(lines.map(|line| line + "\n").collect());
    }
    let rows = texts.iter().zip(scores).enumerate().map(|(number, (text, row))| {
        let mut cells = vec![(number + 1).to_string()];
        cells.extend(row.iter().map(|value| score(*value)));
        cells.push(shorten(text, 60));
        cells
    });
    let heading = [String::new()].into_iter().chain((1..=texts.len()).map(|n| n.to_string()));
    Ok(output::table(&std::iter::once(heading.collect()).chain(rows).collect::<Vec<_>>()))
}

fn score(value: f32) -> String {
    format!("{value:.4}")
}

/// A text on one line, cut to a width.
fn shorten(text: &str, width: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= width {
        return line;
    }
    line.chars().take(width - 1).chain(['…']).collect()
}
