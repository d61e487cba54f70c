//! Which atoms are meant: `name C N CA and not resid 1 to 5`.
//!
//! ```text
//! expression = term { or term }          term = factor { and factor }
//! factor     = not factor | ( expression ) | keyword [values]
//! ```
//!
//! | keyword | atoms |
//! |---|---|
//! | `all`, `none` | every atom, no atom |
//! | `name C N CA`, `resname ALA`, `element C`, `chain A` | with one of these names |
//! | `resid 1 to 5 7` | of these residues, numbered as in the file |
//! | `index 4 6 8 to 10` | with these numbers, counted from 0 |
//! | `heavy`, `hydrogen` | not hydrogen, hydrogen |
//! | `protein` | of amino acids and their caps |
//! | `backbone` | N, CA, C and O of amino acids and their caps |

use crate::error::{Error, Result, did_you_mean};
use crate::system::elements::is_amino_acid;
use crate::system::topology::{Atom, Topology};

const KEYWORDS: [&str; 12] = [
    "all", "none", "name", "resname", "element", "chain", "resid", "index", "heavy", "hydrogen", "protein",
    "backbone",
];
const OPERATORS: [&str; 3] = ["and", "or", "not"];

/// A parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection {
    /// Every atom.
    All,
    /// No atom.
    None,
    /// Any of these atom names.
    Name(Vec<String>),
    /// Any of these residue names.
    ResidueName(Vec<String>),
    /// Any of these elements, in any case.
    Element(Vec<String>),
    /// Any of these chains.
    Chain(Vec<String>),
    /// Residue numbers within any of these closed ranges.
    ResidueId(Vec<(i64, i64)>),
    /// Atom indices from 0 within any of these closed ranges.
    Index(Vec<(i64, i64)>),
    /// Not hydrogen.
    Heavy,
    /// Hydrogen.
    Hydrogen,
    /// Amino acids and caps.
    Protein,
    /// N, CA, C, O of amino acids and caps.
    Backbone,
    /// Both.
    And(Box<Selection>, Box<Selection>),
    /// Either.
    Or(Box<Selection>, Box<Selection>),
    /// The others.
    Not(Box<Selection>),
}

impl Selection {
    /// Reads an expression; `place` is the key path of the setting, for messages.
    pub fn parse(place: &str, text: &str) -> Result<Self> {
        let mut parser = Parser { place, text, tokens: tokens(text), next: 0, depth: 0 };
        let selection = parser.expression()?;
        match parser.peek() {
            None => Ok(selection),
            Some(token) if token.text == ")" => Err(parser.error(token.column, "`)` closes nothing", "")),
            Some(token) => {
                let hint = did_you_mean(token.text, OPERATORS);
                Err(parser.error(
                    token.column,
                    &format!("expected `and` or `or`, found `{}`", token.text),
                    &hint,
                ))
            }
        }
    }

    /// The indices of the atoms meant, ascending; may be empty.
    pub fn apply(&self, topology: &Topology) -> Vec<usize> {
        (0..topology.n_atoms()).filter(|&idx| self.contains(idx, &topology.atoms[idx])).collect()
    }

    fn contains(&self, idx: usize, atom: &Atom) -> bool {
        let within =
            |ranges: &[(i64, i64)], value: i64| ranges.iter().any(|&(lo, hi)| lo <= value && value <= hi);
        match self {
            Self::All => true,
            Self::None => false,
            Self::Name(names) => names.contains(&atom.name),
            Self::ResidueName(names) => names.contains(&atom.residue_name),
            Self::Element(names) => names.iter().any(|name| name.eq_ignore_ascii_case(&atom.element)),
            Self::Chain(names) => names.contains(&atom.chain),
            Self::ResidueId(ranges) => within(ranges, atom.residue_id),
            Self::Index(ranges) => within(ranges, idx as i64),
            Self::Heavy => !is_hydrogen(atom),
            Self::Hydrogen => is_hydrogen(atom),
            Self::Protein => is_amino_acid(&atom.residue_name),
            Self::Backbone => {
                is_amino_acid(&atom.residue_name) && ["N", "CA", "C", "O"].contains(&atom.name.as_str())
            }
            Self::And(a, b) => a.contains(idx, atom) && b.contains(idx, atom),
            Self::Or(a, b) => a.contains(idx, atom) || b.contains(idx, atom),
            Self::Not(a) => !a.contains(idx, atom),
        }
    }
}

/// The indices of the atoms that an expression means; matching nothing is an error that lists what there is.
pub fn select(place: &str, expression: &str, topology: &Topology) -> Result<Vec<usize>> {
    let indices = Selection::parse(place, expression)?.apply(topology);
    if indices.is_empty() {
        return Err(Error::config(
            format!("{place} = \"{expression}\""),
            format!("matches none of the {} atoms", topology.n_atoms()),
            format!("atom names here: {}", topology.atom_names(40)),
        ));
    }
    Ok(indices)
}

fn is_hydrogen(atom: &Atom) -> bool {
    matches!(atom.element.as_str(), "H" | "D")
}

#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    text: &'a str,
    /// Counted from 1 in characters.
    column: usize,
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut start: Option<(usize, usize)> = None;
    for (column, (byte, character)) in text.char_indices().enumerate() {
        if character.is_whitespace() || "(),".contains(character) {
            if let Some((from, column)) = start.take() {
                tokens.push(Token { text: &text[from..byte], column });
            }
            if "()".contains(character) {
                tokens.push(Token { text: &text[byte..byte + 1], column: column + 1 });
            }
        } else if start.is_none() {
            start = Some((byte, column + 1));
        }
    }
    if let Some((from, column)) = start {
        tokens.push(Token { text: &text[from..], column });
    }
    tokens
}

struct Parser<'a> {
    place: &'a str,
    text: &'a str,
    tokens: Vec<Token<'a>>,
    next: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.next).copied()
    }

    fn accept(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.text == word);
        self.next += usize::from(found);
        found
    }

    fn expression(&mut self) -> Result<Selection> {
        let mut left = self.term()?;
        while self.accept("or") {
            left = Selection::Or(Box::new(left), Box::new(self.term()?));
        }
        Ok(left)
    }

    fn term(&mut self) -> Result<Selection> {
        let mut left = self.factor()?;
        while self.accept("and") {
            left = Selection::And(Box::new(left), Box::new(self.factor()?));
        }
        Ok(left)
    }

    fn factor(&mut self) -> Result<Selection> {
        let Some(token) = self.peek() else {
            return Err(self.error(self.text.chars().count() + 1, "the expression ends too early", ""));
        };
        self.next += 1;
        // A text of a thousand opening brackets must not overflow the stack.
        self.depth += 1;
        if self.depth > 200 {
            return Err(self.error(token.column, "nested too deeply", ""));
        }
        let selection = match token.text {
            "not" => Selection::Not(Box::new(self.factor()?)),
            "(" => {
                let inner = self.expression()?;
                if !self.accept(")") {
                    return Err(self.error(token.column, "`(` is not closed", ""));
                }
                inner
            }
            "all" => Selection::All,
            "none" => Selection::None,
            "heavy" => Selection::Heavy,
            "hydrogen" => Selection::Hydrogen,
            "protein" => Selection::Protein,
            "backbone" => Selection::Backbone,
            "name" => Selection::Name(self.names(token)?),
            "resname" => Selection::ResidueName(self.names(token)?),
            "element" => Selection::Element(self.names(token)?),
            "chain" => Selection::Chain(self.names(token)?),
            "resid" => Selection::ResidueId(self.ranges(token)?),
            "index" => Selection::Index(self.ranges(token)?),
            other => {
                let hint = did_you_mean(other, KEYWORDS.into_iter().chain(["not"]));
                return Err(self.error(token.column, &format!("`{other}` is not a keyword"), &hint));
            }
        };
        self.depth -= 1;
        Ok(selection)
    }

    /// The tokens up to the next operator or bracket.
    fn values(&mut self, keyword: Token<'_>) -> Result<Vec<Token<'a>>> {
        let mut values = Vec::new();
        while let Some(token) = self.peek().filter(|t| !OPERATORS.contains(&t.text) && !"()".contains(t.text))
        {
            values.push(token);
            self.next += 1;
        }
        if values.is_empty() {
            return Err(self.error(
                keyword.column,
                &format!("`{}` needs at least one value", keyword.text),
                "",
            ));
        }
        Ok(values)
    }

    fn names(&mut self, keyword: Token<'_>) -> Result<Vec<String>> {
        Ok(self.values(keyword)?.into_iter().map(|token| token.text.to_string()).collect())
    }

    fn ranges(&mut self, keyword: Token<'_>) -> Result<Vec<(i64, i64)>> {
        let values = self.values(keyword)?;
        let number = |token: &Token<'_>| {
            token.text.parse::<i64>().map_err(|_| {
                let hint = did_you_mean(token.text, OPERATORS.into_iter().chain(["to"]));
                let hint = if hint.starts_with("known") { String::new() } else { hint };
                let message = format!("`{}` expects whole numbers, found `{}`", keyword.text, token.text);
                self.error(token.column, &message, &hint)
            })
        };
        let mut ranges = Vec::new();
        let mut rest = values.as_slice();
        while let Some((first, after)) = rest.split_first() {
            let low = number(first)?;
            match after {
                [to, last, remaining @ ..] if to.text == "to" => {
                    let high = number(last)?;
                    if high < low {
                        let message = format!("the range {low} to {high} is empty");
                        return Err(self.error(first.column, &message, "put the smaller number first"));
                    }
                    ranges.push((low, high));
                    rest = remaining;
                }
                _ => {
                    ranges.push((low, low));
                    rest = after;
                }
            }
        }
        Ok(ranges)
    }

    fn error(&self, column: usize, message: &str, hint: &str) -> Error {
        Error::config(
            format!("{} = \"{}\"", self.place, self.text),
            format!("column {column}: {message}"),
            hint,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::topology::tests::alanine_dipeptide;

    fn selected(expression: &str) -> Vec<usize> {
        select("beads.selection", expression, &alanine_dipeptide()).expect(expression)
    }

    fn message(expression: &str) -> String {
        select("beads.selection", expression, &alanine_dipeptide()).expect_err(expression).to_string()
    }

    #[test]
    fn keywords_select_what_they_say() {
        assert_eq!(selected("all").len(), 22);
        assert_eq!(selected("index 4 6 8 14 16"), vec![4, 6, 8, 14, 16]);
        assert_eq!(selected("index 4 to 6, 8"), vec![4, 5, 6, 8]);
        assert_eq!(selected("heavy"), vec![1, 4, 5, 6, 8, 10, 14, 15, 16, 18]);
        assert_eq!(selected("element c"), vec![1, 4, 8, 10, 14, 18]);
        assert_eq!(selected("name CA CB"), vec![8, 10]);
        assert_eq!(selected("resid 1 to 2 and name C"), vec![4, 14]);
        assert_eq!(selected("resname NME and not hydrogen"), vec![16, 18]);
        assert_eq!(selected("backbone"), vec![4, 5, 6, 8, 14, 15, 16, 18]);
        assert_eq!(selected("protein and chain A").len(), 22);
        // ACE-ALA-NME: the five beads without knowing the order of the atoms.
        assert_eq!(selected("name C N CA and not (resname NME and name C)"), vec![4, 6, 8, 14, 16]);
    }

    #[test]
    fn and_binds_tighter_than_or_and_not_tighter_than_both() {
        assert_eq!(selected("name CA or name CB and resid 1"), vec![8]);
        assert_eq!(selected("(name CA or name CB) and resid 2"), vec![8, 10]);
        assert_eq!(selected("not heavy and resid 1"), vec![0, 2, 3]);
    }

    #[test]
    fn a_wrong_word_is_located_and_the_nearest_suggested() {
        let text = message("name CA and resnam ALA");
        assert!(text.contains("column 13") && text.contains("did you mean `resname`?"), "{text}");
        let text = message("index 1 tp 4");
        assert!(text.contains("column 9") && text.contains("did you mean `to`?"), "{text}");
        assert!(message("(name CA").contains("column 1: `(` is not closed"));
        assert!(message("name CA)").contains("column 8"));
        assert!(message("name and heavy").contains("needs at least one value"));
        assert!(message("heavy backbone").contains("expected `and` or `or`"));
        assert!(message("heavy and").contains("column 10"));
        assert!(message("").contains("ends too early"));
        assert!(message("resid 5 to 2").contains("is empty"));
        assert!(message(&"(".repeat(100_000)).contains("nested too deeply"));
    }

    #[test]
    fn a_selection_of_nothing_lists_the_names_that_exist() {
        let text = message("name BB");
        assert!(text.contains("beads.selection") && text.contains("CH3") && text.contains("CB"), "{text}");
        assert!(message("index 22").contains("none of the 22 atoms"));
    }
}
