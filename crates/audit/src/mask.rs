//! What a door takes out of a request before it is recorded (AUD-10): values of query parameters, and the parts
//! of paths an operator named in `audit.mask`.

/// What a masked segment becomes.
pub const MASK: &str = "***";
/// How many names of query parameters are kept.
pub const MAX_QUERY_NAMES: usize = 64;
/// How much of one name is kept, in characters.
pub const MAX_NAME_CHARS: usize = 64;

/// The names of a query string, in order, joined with `&`; values are dropped. A part without `=` may be a value all by
/// itself (`?token`), so it is kept only when it looks like a name: letters, digits, `_`, `-`, `.`, `[`, `]`, at most
/// 32 characters, with no digit in it.
pub fn query_names(query: &str) -> String {
    let mut names: Vec<String> = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()).take(MAX_QUERY_NAMES) {
        let name = match part.split_once('=') {
            Some((name, _)) => name,
            None if is_plain_name(part) => part,
            None => MASK,
        };
        names.push(name.chars().take(MAX_NAME_CHARS).collect());
    }
    names.join("&")
}

fn is_plain_name(part: &str) -> bool {
    part.len() <= 32 && part.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '-' | '.' | '[' | ']'))
}

/// A path pattern: segments, of which `*` is any one, a last `**` is any rest, and `{name}` is any one that is masked.
/// `/reset/{token}` turns `/reset/abc` into `/reset/***`; `/files/{rest}/**` keeps what follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathMask {
    segments: Vec<Part>,
    is_open: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Any,
    Is(String),
    Masked,
}

/// Why a text is not a mask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// It masks nothing.
    #[error("mask `{0}` masks nothing; write the secret segment as {{name}}, like `/reset/{{token}}`")]
    MasksNothing(String),
    /// It is not an absolute path.
    #[error("mask `{0}` does not start with `/`")]
    Relative(String),
    /// `**` before the end.
    #[error("mask `{0}` has `**` before its end; only the last segment may be `**`")]
    RestInside(String),
}

impl PathMask {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it cannot mask anything.
    pub fn parse(pattern: &str) -> Result<Self, MaskError> {
        let owned = || pattern.to_owned();
        let rest = pattern.strip_prefix('/').ok_or_else(|| MaskError::Relative(owned()))?;
        let (rest, is_open) = match rest.strip_suffix("/**") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let segments: Vec<Part> = rest.split('/').map(part).collect();
        if rest.split('/').any(|segment| segment == "**") {
            return Err(MaskError::RestInside(owned()));
        }
        if !segments.contains(&Part::Masked) {
            return Err(MaskError::MasksNothing(owned()));
        }
        Ok(Self { segments, is_open })
    }

    fn matches(&self, segments: &[&str]) -> bool {
        let is_long_enough = match self.is_open {
            true => segments.len() >= self.segments.len(),
            false => segments.len() == self.segments.len(),
        };
        is_long_enough
            && self.segments.iter().zip(segments).all(|(part, segment)| match part {
                Part::Is(text) => text == segment,
                Part::Any | Part::Masked => true,
            })
    }
}

fn part(segment: &str) -> Part {
    match segment {
        "*" => Part::Any,
        segment if segment.starts_with('{') && segment.ends_with('}') => Part::Masked,
        segment => Part::Is(segment.to_owned()),
    }
}

/// `path` with every segment masked that any matching pattern masks.
pub fn mask_path(path: &str, masks: &[PathMask]) -> String {
    let Some(rest) = path.strip_prefix('/') else { return path.to_owned() };
    let segments: Vec<&str> = rest.split('/').collect();
    let mut masked = segments.clone();
    for mask in masks.iter().filter(|mask| mask.matches(&segments)) {
        for (segment, part) in masked.iter_mut().zip(&mask.segments) {
            if *part == Part::Masked {
                *segment = MASK;
            }
        }
    }
    format!("/{}", masked.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_query_parameters_are_dropped_and_names_stay() {
        assert_eq!(query_names("a=1&b=secret&c"), "a&b&c");
        assert_eq!(query_names("token=a=b&&x="), "token&x");
        assert_eq!(query_names(""), "");
    }

    #[test]
    fn a_secret_sent_without_a_name_is_not_taken_for_one() {
        assert_eq!(query_names("eyJhbGciOiJIUzI1NiJ9.e30.x&sk_live_12345"), "***&***");
    }

    #[test]
    fn a_flood_of_parameters_is_cut() {
        assert_eq!(query_names(&"a=1&".repeat(1_000)).split('&').count(), MAX_QUERY_NAMES);
        assert_eq!(query_names(&format!("{}=1", "n".repeat(500))).len(), MAX_NAME_CHARS);
    }

    #[test]
    fn named_segments_are_masked() {
        let masks = [PathMask::parse("/reset/{token}").unwrap(), PathMask::parse("/u/*/{key}/**").unwrap()];
        assert_eq!(mask_path("/reset/abc", &masks), "/reset/***");
        assert_eq!(mask_path("/reset/abc/more", &masks), "/reset/abc/more");
        assert_eq!(mask_path("/u/7/abc", &masks), "/u/7/***");
        assert_eq!(mask_path("/u/7/abc/x/y", &masks), "/u/7/***/x/y");
        assert_eq!(mask_path("/", &masks), "/");
    }

    #[test]
    fn a_mask_that_masks_nothing_is_refused() {
        assert_eq!(PathMask::parse("/reset"), Err(MaskError::MasksNothing("/reset".into())));
        assert_eq!(PathMask::parse("reset/{x}"), Err(MaskError::Relative("reset/{x}".into())));
        assert_eq!(PathMask::parse("/**/{x}"), Err(MaskError::RestInside("/**/{x}".into())));
    }
}
