//! What commands print: tables for people, aligned columns for pipes, JSON when asked.
//!
//! Everything goes through one [`Output`], so that a closed pipe is an ordinary error which `main` turns into a
//! quiet end, and so that no command decides on its own how it looks. Called by the command line only.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

/// Bytes kept before they are written, when nobody watches.
const BUFFER_BYTES: usize = 64 << 10;

/// Rows under headings.
pub(crate) struct Listing {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Listing {
    pub(crate) fn new(headings: &[&'static str]) -> Listing {
        Listing { headings: headings.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.headings.len(), "a row has a cell for every heading");
        self.rows.push(cells);
    }

    fn boxed(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.headings.iter());
        for row in &self.rows {
            table.add_row(row);
        }
        table.to_string()
    }

    /// Columns two blanks apart; the last one is not padded.
    fn aligned(&self) -> String {
        let headings: Vec<String> = self.headings.iter().map(|heading| heading.to_ascii_uppercase()).collect();
        let lines: Vec<&Vec<String>> = std::iter::once(&headings).chain(&self.rows).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..headings.len()).map(width).collect();
        let text: Vec<String> = lines.iter().map(|line| align(line, &widths)).collect();
        text.join("\n")
    }
}

fn align(cells: &[String], widths: &[usize]) -> String {
    let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
    padded.join("  ").trim_end().to_owned()
}

/// Standard output.
pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    terminal: bool,
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Output {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Output { out: BufWriter::with_capacity(BUFFER_BYTES, stdout.lock()), terminal, json }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// One line of text.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.write_all(b"\n")
    }

    /// Bytes as they are, and a line feed.
    pub(crate) fn raw_line(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        for part in parts {
            self.out.write_all(part)?;
        }
        self.out.write_all(b"\n")
    }

    /// A JSON value on a line of its own, for streams of them.
    pub(crate) fn json_line(&mut self, value: &Value) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }

    /// The table, or with `--json` the value.
    pub(crate) fn listing(&mut self, listing: &Listing, value: impl FnOnce() -> Value) -> io::Result<()> {
        if self.json {
            return self.document(&value());
        }
        let text = if self.terminal { listing.boxed() } else { listing.aligned() };
        self.line(&text)
    }

    /// The sentence, or with `--json` the value.
    pub(crate) fn sentence(&mut self, sentence: &str, value: impl FnOnce() -> Value) -> io::Result<()> {
        if self.json { self.document(&value()) } else { self.line(sentence) }
    }

    fn document(&mut self, value: &Value) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_without_trailing_blanks() {
        let mut listing = Listing::new(&["topic", "partitions"]);
        listing.row(vec!["a".into(), "3".into()]);
        listing.row(vec!["longer name".into(), "12".into()]);
        assert_eq!(listing.aligned(), "TOPIC        PARTITIONS\na            3\nlonger name  12");
    }
}
