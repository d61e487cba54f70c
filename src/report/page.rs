//! A report as sections of blocks, and the page made of them.

use super::figure::{Figure, png, svg};
use crate::{Error, Result};
use base64::Engine;
use serde::Serialize;
use std::path::Path;

/// A part of the page with a heading.
#[derive(Debug, Clone, Serialize)]
pub struct Section {
    /// Anchor of the heading.
    pub id: &'static str,
    /// Heading.
    pub title: String,
    /// What stands below it.
    pub blocks: Vec<Block>,
}

/// Writes the figures of all sections as SVG and PNG into a directory, which is made if there are any; their names.
pub fn write_figures(sections: &[Section], directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for block in sections.iter().flat_map(|section| &section.blocks) {
        let Block::Figure { name, figure: Some(figure), .. } = block else { continue };
        std::fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        let path = directory.join(format!("{name}.svg"));
        std::fs::write(&path, svg::svg(figure, svg::Destination::File)).map_err(Error::io("write", &path))?;
        png::write_png(figure, &directory.join(format!("{name}.png")))?;
        names.push(name.clone());
    }
    Ok(names)
}

impl Section {
    /// A section without blocks.
    pub fn new(id: &'static str, title: impl Into<String>) -> Self {
        Self { id, title: title.into(), blocks: Vec::new() }
    }

    /// Adds a paragraph.
    pub fn paragraph(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Paragraph { text: text.into() });
    }

    /// Adds a table, unless it has no rows.
    pub fn table(&mut self, table: Table) {
        if !table.rows.is_empty() {
            self.blocks.push(Block::Table { table });
        }
    }

    /// Adds a figure with a caption.
    pub fn figure(&mut self, figure: Figure, caption: impl Into<String>) {
        let (name, caption) = (figure.name.clone(), caption.into());
        let svg = svg::svg(&figure, svg::Destination::Page);
        let (width, figure) = (figure.width, Some(Box::new(figure)));
        self.blocks.push(Block::Figure { name, width, svg, caption, figure });
    }

    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

/// One thing in a section.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Block {
    /// Text.
    Paragraph {
        /// It.
        text: String,
    },
    /// A sentence that must be seen.
    Verdict {
        /// `good`, `bad` or `neutral`.
        tone: &'static str,
        /// It.
        text: String,
    },
    /// Headline numbers.
    Cards {
        /// They.
        cards: Vec<Card>,
    },
    /// A table.
    Table {
        /// It.
        table: Table,
    },
    /// A drawing.
    Figure {
        /// Of its files.
        name: String,
        /// In logical pixels.
        width: f64,
        /// The drawing.
        svg: String,
        /// Below it.
        caption: String,
        /// What the files are written from.
        #[serde(skip)]
        figure: Option<Box<Figure>>,
    },
    /// A table that is closed until asked for.
    ClosedTable {
        /// What is seen of it.
        summary: String,
        /// It.
        table: Table,
    },
    /// Text with its line breaks, closed until asked for.
    ClosedText {
        /// What is seen of it.
        summary: String,
        /// The text.
        text: String,
    },
}

/// A headline number.
#[derive(Debug, Clone, Serialize)]
pub struct Card {
    /// What it is.
    pub label: String,
    /// The number with its error.
    pub value: String,
    /// Its unit.
    pub unit: String,
    /// What to compare it with.
    pub note: String,
}

/// A table: words to the left, numbers to the right.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Table {
    /// Above it.
    pub caption: String,
    /// Headings over several columns each, as (text, number of columns); may be empty.
    pub groups: Vec<(String, usize)>,
    /// Heading of each column.
    pub header: Vec<String>,
    /// Which columns hold words.
    pub words: Vec<bool>,
    /// Cells.
    pub rows: Vec<Vec<String>>,
    /// Below it.
    pub note: String,
}

impl Table {
    /// A table whose first column holds words and the others numbers.
    pub fn new(caption: impl Into<String>, header: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let header: Vec<String> = header.into_iter().map(Into::into).collect();
        let words = (0..header.len()).map(|i| i == 0).collect();
        Self { caption: caption.into(), header, words, ..Self::default() }
    }

    /// The same with words in a further column.
    pub fn with_words(mut self, column: usize) -> Self {
        if let Some(words) = self.words.get_mut(column) {
            *words = true;
        }
        self
    }

    /// Leaves out columns (behind the first) that hold nothing in any row.
    pub fn without_empty_columns(mut self) -> Self {
        for column in (1..self.header.len()).rev() {
            if self.rows.iter().all(|row| row[column].is_empty() || row[column] == "–") {
                self.header.remove(column);
                self.words.remove(column);
                self.rows.iter_mut().for_each(|row| drop(row.remove(column)));
                let mut end = 0;
                for group in &mut self.groups {
                    end += group.1;
                    if column < end {
                        group.1 -= 1;
                        break;
                    }
                }
                self.groups.retain(|group| group.1 > 0);
            }
        }
        self
    }
}

/// The whole page.
#[derive(Debug, Clone, Serialize)]
pub struct Page {
    /// Of the window and the first heading.
    pub title: String,
    /// Below the first heading.
    pub subtitle: String,
    /// Sections in order.
    pub sections: Vec<Section>,
}

impl Page {
    /// The page as HTML that needs no other file.
    pub fn html(&self) -> Result<String> {
        let encoded = |font: &[u8]| base64::engine::general_purpose::STANDARD.encode(font);
        let mut environment = minijinja::Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        let failed = |error: minijinja::Error| Error::Invalid {
            what: "report",
            expected: "a template that fits its data".into(),
            found: format!("{error:#}"),
        };
        environment.add_template("report.html", include_str!("assets/report.html")).map_err(failed)?;
        environment
            .get_template("report.html")
            .and_then(|template| {
                template.render(minijinja::context! {
                    page => self,
                    css => include_str!("assets/report.css"),
                    font_regular => encoded(png::REGULAR),
                    font_semi_bold => encoded(png::SEMI_BOLD),
                })
            })
            .map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_columns_go_with_their_part_of_a_group() {
        let mut table = Table::new("", ["set", "a", "b", "c"]);
        table.groups = vec![(String::new(), 1), ("ab".into(), 2), ("c".into(), 1)];
        table.rows = vec![vec!["x".into(), "1".into(), "–".into(), String::new()]];
        let table = table.without_empty_columns();
        assert_eq!(table.header, ["set", "a"]);
        assert_eq!(table.groups, [(String::new(), 1), ("ab".to_string(), 1)]);
        assert_eq!(table.rows[0], ["x", "1"]);
    }

    #[test]
    fn text_of_a_run_cannot_become_markup() {
        let mut section = Section::new("a", "A");
        section.paragraph("<script>alert(1)</script>");
        let page = Page { title: "t".into(), subtitle: "s".into(), sections: vec![section] };
        let html = page.html().unwrap();
        assert!(!html.contains("<script>") && html.contains("&lt;script&gt;"));
    }
}
