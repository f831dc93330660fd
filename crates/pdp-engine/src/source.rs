//! Policy text as operators write it, cut into statements before Cedar sees it.
//!
//! Cutting first gives every statement its own line, its own errors and its own size and nesting cap (PO-37, T-13), so
//! that hostile text never reaches a recursive parser. It does not judge syntax: Cedar does.
//!
//! Invariant: a statement ends at a `;` outside strings and comments; nothing is lost between statements.

/// The most policies a version may hold (PO-37).
pub const MAX_POLICIES: usize = 50_000;
/// The most bytes a policy may have (PO-37).
pub const MAX_POLICY_BYTES: usize = 64 * 1024;
/// The most bytes all sources may have together.
pub const MAX_SOURCE_BYTES: usize = 4 * 1024 * 1024;
/// The deepest nesting of brackets in a policy.
pub const MAX_NESTING: usize = 32;
/// The most characters of operators and accesses in a policy: chains nest as deeply as brackets once parsed.
pub(crate) const MAX_OPERATORS: usize = 512;
/// The most `if` expressions in a policy: they nest without brackets.
pub(crate) const MAX_BRANCHES: usize = 32;

/// One `.cedar` file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicySource {
    /// Its name as people know it: `policies/crm.cedar`. The stem (`crm`) prefixes the ids of its policies.
    pub file: String,
    /// Its text.
    pub text: String,
}

impl PolicySource {
    /// The file name without folders and without `.cedar`.
    pub fn stem(&self) -> &str {
        let name = self.file.rsplit(['/', '\\']).next().unwrap_or(&self.file);
        name.strip_suffix(".cedar").unwrap_or(name)
    }
}

/// A piece of a source that ends with `;`, or the rest of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Statement<'a> {
    /// The text, from its first token to its `;`.
    pub(crate) text: &'a str,
    /// Where `text` begins in the file, in bytes.
    pub(crate) offset: usize,
    /// The deepest nesting of brackets.
    pub(crate) nesting: usize,
    /// How many characters of operators and accesses it has, an upper bound for the depth of chains.
    pub(crate) operators: usize,
    /// How many `if` it has.
    pub(crate) branches: usize,
}

/// A position in a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
}

impl Position {
    /// The beginning of a text.
    pub(crate) const START: Position = Position { line: 1, column: 1 };

    /// The position behind `text`, which begins here.
    pub(crate) fn after(self, text: &str) -> Self {
        text.chars().fold(self, |at, c| match c {
            '\n' => Position { line: at.line + 1, column: 1 },
            _ => Position { line: at.line, column: at.column + 1 },
        })
    }
}

/// Finds positions for ascending offsets in one pass over the text.
pub(crate) struct Positions<'a> {
    text: &'a str,
    at: usize,
    position: Position,
}

impl<'a> Positions<'a> {
    /// At the beginning of `text`.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, position: Position::START }
    }

    /// The position of byte `offset`, which is not before the last one asked for.
    pub(crate) fn advance(&mut self, offset: usize) -> Position {
        self.position = self.position.after(self.text.get(self.at..offset).unwrap_or_default());
        self.at = self.at.max(offset);
        self.position
    }
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Code,
    Comment,
    Escape,
    Text,
}

/// Cuts `text` into statements.
pub(crate) fn statements(text: &str) -> Vec<Statement<'_>> {
    let mut found = Vec::new();
    let mut cut = Cut::new();
    for (at, c) in text.char_indices() {
        if cut.step(at, c, text) {
            found.extend(cut.finish(text, at + 1));
        }
    }
    found.extend(cut.finish(text, text.len()));
    found
}

struct Cut {
    state: State,
    start: Option<usize>,
    depth: usize,
    nesting: usize,
    operators: usize,
    branches: usize,
    is_in_word: bool,
}

impl Cut {
    fn new() -> Self {
        Self { state: State::Code, start: None, depth: 0, nesting: 0, operators: 0, branches: 0, is_in_word: false }
    }

    /// Takes one character; true at the end of a statement.
    fn step(&mut self, at: usize, c: char, text: &str) -> bool {
        match (self.state, c) {
            (State::Code, '/') if text.get(at..).is_some_and(|rest| rest.starts_with("//")) => {
                self.state = State::Comment;
            }
            (State::Code, _) => return self.code(at, c, text),
            (State::Comment, '\n' | '\r') => self.state = State::Code,
            (State::Text, '"') => self.state = State::Code,
            (State::Text, '\\') => self.state = State::Escape,
            (State::Escape, _) => self.state = State::Text,
            (State::Comment | State::Text, _) => {}
        }
        false
    }

    fn code(&mut self, at: usize, c: char, text: &str) -> bool {
        if !self.is_in_word && text.get(at..).is_some_and(is_branch) {
            self.branches += 1;
        }
        self.is_in_word = is_word(c);
        if c.is_whitespace() {
            return false;
        }
        self.start.get_or_insert(at);
        match c {
            '"' => self.state = State::Text,
            '(' | '[' | '{' => {
                self.depth += 1;
                self.nesting = self.nesting.max(self.depth);
                self.operators += 1;
            }
            ')' | ']' | '}' => self.depth = self.depth.saturating_sub(1),
            '.' | '!' | '-' | '+' | '*' | '&' | '|' | '<' | '>' | '=' => self.operators += 1,
            _ => {}
        }
        c == ';'
    }

    fn finish<'a>(&mut self, text: &'a str, end: usize) -> Option<Statement<'a>> {
        let state = self.state;
        let Cut { start, nesting, operators, branches, .. } = std::mem::replace(self, Cut::new());
        self.state = state;
        let start = start?;
        Some(Statement { text: text.get(start..end)?, offset: start, nesting, operators, branches })
    }
}

/// Whether the word `if` stands here.
fn is_branch(rest: &str) -> bool {
    rest.strip_prefix("if").is_some_and(|rest| !rest.starts_with(is_word))
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn semicolons_in_strings_and_comments_do_not_end_a_statement() {
        let text = "// a; b\npermit(\"x;\\\";\") ; // c;\n forbid(1);\n rest";
        let found: Vec<&str> = statements(text).iter().map(|s| s.text).collect();
        assert_eq!(found, ["permit(\"x;\\\";\") ;", "forbid(1);", "rest"]);
    }

    #[test]
    fn only_the_word_if_counts_as_a_branch() {
        let text = "if ifx xif (if) \"if\" // if\n if;";
        assert_eq!(statements(text).first().map(|statement| statement.branches), Some(3));
    }

    #[test]
    fn the_stem_is_the_file_name_without_folders() {
        let source = PolicySource { file: "policies/crm.cedar".into(), text: String::new() };
        assert_eq!(source.stem(), "crm");
    }

    #[test]
    fn positions_count_lines_and_characters() {
        let text = "ä\nbc";
        assert_eq!(Positions::new(text).advance(4), Position { line: 2, column: 2 });
    }

    proptest! {
        #[test]
        fn cutting_never_panics_and_loses_no_token(text in "[a-z;\"\\\\/\n (){}ä]{0,80}") {
            let found = statements(&text);
            for pair in found.windows(2) {
                prop_assert!(pair[0].offset + pair[0].text.len() <= pair[1].offset);
            }
            for statement in found {
                prop_assert_eq!(text.get(statement.offset..statement.offset + statement.text.len()), Some(statement.text));
            }
        }
    }
}
