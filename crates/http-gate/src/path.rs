//! The one form of a path (GW-4, GW-5): a pure function from what was sent to what is routed, judged,
//! recorded and sent upstream, or a refusal naming rule and byte.
//!
//! It does not know routes or rules; it only answers "which path is this". ATK-13 to ATK-17.
//!
//! Invariants: a normal form is ASCII, starts with `/` and is a fixed point (`normalise(normalise(p)) == normalise(p)`);
//! the strict profile decodes nothing but unreserved characters, so that no upstream can read a different path.

use std::borrow::Cow;

use model::app::{PathOpening, PathProfile, PathSettings, Rewrite};

use crate::refusal::{GateCode, GateRefusal};

/// Brings `raw` (the target up to `?`) into normal form. `has_path_rules`: some rule of the app depends on the path,
/// so that `;` would be ambiguous.
///
/// # Errors
/// The first rule broken, with its offset in `raw`.
pub fn normalise<'a>(
    raw: &'a [u8],
    settings: &PathSettings,
    has_path_rules: bool,
) -> Result<Cow<'a, [u8]>, GateRefusal> {
    match raw.first() {
        Some(b'/') => {}
        Some(b'#') => return Err(GateRefusal::new(GateCode::PathFragment, 0)),
        _ => return Err(GateRefusal::new(GateCode::TargetForm, 0)),
    }
    match settings.profile {
        PathProfile::Strict => strict(raw, &Openings::of(settings, has_path_rules)),
        PathProfile::Base => rewriting(raw, Slashes::Kept),
        PathProfile::MergeSlashes => rewriting(raw, Slashes::Merged),
        PathProfile::DecodeAndMergeSlashes => rewriting(raw, Slashes::DecodedAndMerged),
    }
}

/// Applies `rewrite` to a path in normal form; `None` if its prefix does not match, so that nothing changes.
///
/// # Errors
/// [`GateCode::PathRewrite`] if the result would not be in normal form or would start with `//` (ATK-14).
pub fn rewrite(
    path: &str,
    rewrite: &Rewrite,
    settings: &PathSettings,
    has_path_rules: bool,
) -> Result<Option<String>, GateRefusal> {
    let (prefix, replacement) = match rewrite {
        Rewrite::StripPrefix(prefix) => (prefix.as_str(), ""),
        Rewrite::ReplacePrefix(prefix, replacement) => (prefix.as_str(), replacement.trim_end_matches('/')),
    };
    let Some(rest) = remainder(prefix, path) else { return Ok(None) };
    let mut rewritten = String::with_capacity(replacement.len() + rest.len() + 1);
    rewritten.push_str(replacement);
    rewritten.push_str(rest);
    if rewritten.is_empty() {
        rewritten.push('/');
    }
    let is_normal = normalise(rewritten.as_bytes(), settings, has_path_rules)
        .is_ok_and(|normal| *normal == *rewritten.as_bytes() && !normal.starts_with(b"//"));
    is_normal.then_some(Some(rewritten)).ok_or(GateRefusal::new(GateCode::PathRewrite, 0))
}

/// True if `prefix` covers `path` by whole segments: `/admin` covers `/admin` and `/admin/x`, not `/administrator`.
/// A slash at the end of `prefix` means nothing; `/` covers everything.
pub fn path_matches(prefix: &str, path: &str) -> bool {
    remainder(prefix, path).is_some()
}

/// What follows `prefix`: empty or starting with `/`.
fn remainder<'a>(prefix: &str, path: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

struct Openings {
    empty_segment: bool,
    encoded_percent: bool,
    encoded_slash: bool,
    semicolon: bool,
}

impl Openings {
    fn of(settings: &PathSettings, has_path_rules: bool) -> Self {
        let is_open = |opening| settings.allow.contains(&opening);
        Self {
            empty_segment: is_open(PathOpening::EmptySegment),
            encoded_percent: is_open(PathOpening::EncodedPercent),
            encoded_slash: is_open(PathOpening::EncodedSlash),
            semicolon: !has_path_rules || is_open(PathOpening::Semicolon),
        }
    }
}

fn strict<'a>(raw: &'a [u8], openings: &Openings) -> Result<Cow<'a, [u8]>, GateRefusal> {
    let mut normal = Output::new(raw);
    let mut segment = Segment::default();
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        let refuse = |code| Err(GateRefusal::new(code, at));
        match byte {
            b'/' => {
                let is_empty = at > 0 && segment.is_empty;
                if is_empty && !openings.empty_segment {
                    return refuse(GateCode::PathEmptySegment);
                }
                segment.end()?;
                segment = Segment::starting(at + 1);
                normal.keep(1);
            }
            b';' if !openings.semicolon => return refuse(GateCode::PathSemicolon),
            b'%' => {
                let value = triplet(raw, at)?;
                check_encoded(raw, at, value, openings)?;
                if is_unreserved(value) {
                    normal.replace(3, &[value]);
                    segment.push(value);
                } else {
                    normal.replace(3, &encode(value));
                    if value == b'/' {
                        if segment.is_empty && !openings.empty_segment {
                            return refuse(GateCode::PathEmptySegment);
                        }
                        segment.end()?;
                        segment = Segment::starting(at + 3);
                    } else {
                        segment.push(b'%');
                    }
                }
                at += 3;
                continue;
            }
            _ => {
                check_plain(byte, at)?;
                segment.push(byte);
                normal.keep(1);
            }
        }
        at += 1;
    }
    segment.end()?;
    Ok(normal.finish())
}

/// What the strict profile refuses in encoded form.
fn check_encoded(raw: &[u8], at: usize, value: u8, openings: &Openings) -> Result<(), GateRefusal> {
    let code = match value {
        0..0x20 | 0x7f => GateCode::PathControl,
        b'/' if !openings.encoded_slash => GateCode::PathEncodedSlash,
        b'\\' => GateCode::PathBackslash,
        b'%' if !openings.encoded_percent && becomes_triplet(raw, at + 3) => GateCode::PathEncodedPercent,
        0x80.. if is_overlong(raw, at, value) => GateCode::PathOverlong,
        _ => return Ok(()),
    };
    Err(GateRefusal::new(code, at))
}

/// True if two hex digits follow, each as it is or encoded itself: digits are unreserved, so `%25%32%66` becomes `%252f`.
fn becomes_triplet(raw: &[u8], at: usize) -> bool {
    let digit = |at: usize| match raw.get(at)? {
        b'%' => hex_pair(raw, at + 1).map(|value| (value, at + 3)),
        &byte => Some((byte, at + 1)),
    };
    let is_hex = |byte: u8| byte.is_ascii_hexdigit();
    digit(at).filter(|(byte, _)| is_hex(*byte)).and_then(|(_, next)| digit(next)).is_some_and(|(byte, _)| is_hex(byte))
}

/// What no profile takes unencoded. `"`, `<`, `>` and the rest of this list are what browsers encode themselves.
fn check_plain(byte: u8, at: usize) -> Result<(), GateRefusal> {
    let code = match byte {
        b'\\' => GateCode::PathBackslash,
        b'#' => GateCode::PathFragment,
        0..=0x20 | 0x7f.. | b'"' | b'<' | b'>' | b'`' => GateCode::PathCharacter,
        _ => return Ok(()),
    };
    Err(GateRefusal::new(code, at))
}

/// The segment being read, as an upstream that knows path parameters would see it: `..;x` is a dot segment to Tomcat.
#[derive(Clone, Copy)]
struct Segment {
    start: usize,
    is_empty: bool,
    dots: u8,
    has_parameters: bool,
    is_dotted: bool,
}

impl Default for Segment {
    fn default() -> Self {
        Self::starting(0)
    }
}

impl Segment {
    fn starting(start: usize) -> Self {
        Self { start, is_empty: true, dots: 0, has_parameters: false, is_dotted: true }
    }

    fn push(&mut self, byte: u8) {
        self.is_empty = false;
        match byte {
            _ if self.has_parameters => {}
            b';' => self.has_parameters = true,
            b'.' => self.dots = self.dots.saturating_add(1),
            _ => self.is_dotted = false,
        }
    }

    fn end(&self) -> Result<(), GateRefusal> {
        let is_dot_segment = self.is_dotted && (self.dots == 1 || self.dots == 2);
        if is_dot_segment { Err(GateRefusal::new(GateCode::PathDotSegment, self.start)) } else { Ok(()) }
    }
}

/// Copies only once something changes.
struct Output<'a> {
    raw: &'a [u8],
    read: usize,
    changed: Option<Vec<u8>>,
}

impl<'a> Output<'a> {
    fn new(raw: &'a [u8]) -> Self {
        Self { raw, read: 0, changed: None }
    }

    fn keep(&mut self, count: usize) {
        let kept = self.raw.get(self.read..self.read + count).unwrap_or_default();
        if let Some(changed) = &mut self.changed {
            changed.extend_from_slice(kept);
        }
        self.read += count;
    }

    fn replace(&mut self, count: usize, by: &[u8]) {
        let replaced = self.raw.get(self.read..self.read + count).unwrap_or_default();
        if self.changed.is_none() && replaced != by {
            self.changed = Some(self.raw.get(..self.read).unwrap_or_default().to_vec());
        }
        if let Some(changed) = &mut self.changed {
            changed.extend_from_slice(by);
        }
        self.read += count;
    }

    fn finish(self) -> Cow<'a, [u8]> {
        self.changed.map_or(Cow::Borrowed(self.raw), Cow::Owned)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slashes {
    Kept,
    Merged,
    DecodedAndMerged,
}

/// The profiles that resolve instead of refusing; the corpus resolves what others accept, but for `#`, which is refused.
fn rewriting(raw: &[u8], slashes: Slashes) -> Result<Cow<'_, [u8]>, GateRefusal> {
    let decoded = decode(raw, slashes == Slashes::DecodedAndMerged)?;
    let mut normal = resolve_dot_segments(&decoded);
    if slashes != Slashes::Kept {
        normal.dedup_by(|next, previous| *next == b'/' && *previous == b'/');
    }
    Ok(if normal == raw { Cow::Borrowed(raw) } else { Cow::Owned(normal) })
}

/// Unreserved characters (and slashes if `with_slashes`) decoded, `\` turned into `/`, all else as sent.
fn decode(raw: &[u8], with_slashes: bool) -> Result<Vec<u8>, GateRefusal> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        match byte {
            b'\\' => decoded.push(b'/'),
            b'%' => {
                match triplet(raw, at)? {
                    0 => return Err(GateRefusal::new(GateCode::PathControl, at)),
                    b'/' | b'\\' if with_slashes => decoded.push(b'/'),
                    value if is_unreserved(value) => decoded.push(value),
                    _ => decoded.extend_from_slice(raw.get(at..at + 3).unwrap_or_default()),
                }
                at += 3;
                continue;
            }
            _ => {
                check_plain(byte, at)?;
                decoded.push(byte);
            }
        }
        at += 1;
    }
    Ok(decoded)
}

/// RFC 3986 §5.2.4 on a path that starts with `/`.
fn resolve_dot_segments(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut ends_in_slash = false;
    for segment in path.split(|&byte| byte == b'/').skip(1) {
        ends_in_slash = matches!(segment, b"." | b"..");
        match segment {
            b"." => {}
            b".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    if ends_in_slash {
        segments.push(b"");
    }
    let mut resolved = Vec::with_capacity(path.len());
    for segment in segments {
        resolved.push(b'/');
        resolved.extend_from_slice(segment);
    }
    resolved
}

fn triplet(raw: &[u8], at: usize) -> Result<u8, GateRefusal> {
    hex_pair(raw, at + 1).ok_or(GateRefusal::new(GateCode::PathTriplet, at))
}

fn hex_pair(raw: &[u8], at: usize) -> Option<u8> {
    match raw.get(at..at + 2)? {
        &[high, low] => Some(hex_digit(high)? << 4 | hex_digit(low)?),
        _ => None,
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn encode(value: u8) -> [u8; 3] {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 };
    [b'%', digit(value >> 4), digit(value & 0xf)]
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// True where an encoded byte begins a UTF-8 sequence longer than its character needs (RFC 3629 §3, §10): a decoder
/// that does not check reads `%C0%AF` as `/`.
fn is_overlong(raw: &[u8], at: usize, lead: u8) -> bool {
    let next = || match raw.get(at + 3) {
        Some(b'%') => hex_pair(raw, at + 4),
        _ => None,
    };
    match lead {
        0xc0 | 0xc1 | 0xf5.. => true,
        0xe0 => next().is_some_and(|byte| (0x80..0xa0).contains(&byte)),
        0xf0 => next().is_some_and(|byte| (0x80..0x90).contains(&byte)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn settings(profile: PathProfile) -> PathSettings {
        PathSettings { profile, allow: BTreeSet::new(), is_case_insensitive: false }
    }

    fn check(profile: PathProfile, raw: &str, expect: Result<&str, GateCode>) {
        let normal = normalise(raw.as_bytes(), &settings(profile), true);
        let normal = normal.map(|path| String::from_utf8(path.into_owned()).unwrap()).map_err(|refusal| refusal.code);
        assert_eq!(normal.as_deref().map_err(|code| *code), expect, "{profile:?} `{raw}`");
    }

    /// Pairs of a spelling and its one form, and the edges of RFC 3986 §5.2.4.
    #[test]
    fn rewriting_profiles_give_the_pairs_of_the_corpus() {
        use PathProfile::{Base, DecodeAndMergeSlashes, MergeSlashes};
        for (raw, base, merged, decoded) in [
            ("/x/../y", "/y", "/y", "/y"),
            ("/x/%2E./y", "/y", "/y", "/y"),
            ("/x\\y", "/x/y", "/x/y", "/x/y"),
            ("/x//", "/x//", "/x/", "/x/"),
            ("/x/\\/\\/\\y", "/x//////y", "/x/y", "/x/y"),
            ("/x/%2f", "/x/%2f", "/x/%2f", "/x/"),
            ("/x%2F/", "/x%2F/", "/x%2F/", "/x/"),
            ("/%2Fx%5cy", "/%2Fx%5cy", "/%2Fx%5cy", "/x/y"),
            ("/q%30..//r", "/q0..//r", "/q0../r", "/q0../r"),
            ("/", "/", "/", "/"),
            ("/.", "/", "/", "/"),
            ("/..", "/", "/", "/"),
            ("/x/.", "/x/", "/x/", "/x/"),
            ("/x/..", "/", "/", "/"),
            ("/x/../", "/", "/", "/"),
            ("/x//../y", "/x/y", "/x/y", "/x/y"),
            ("/a/b/../../../c", "/c", "/c", "/c"),
            ("/x;y=%252e", "/x;y=%252e", "/x;y=%252e", "/x;y=%252e"),
            ("/%c0%af%7e", "/%c0%af~", "/%c0%af~", "/%c0%af~"),
        ] {
            check(Base, raw, Ok(base));
            check(MergeSlashes, raw, Ok(merged));
            check(DecodeAndMergeSlashes, raw, Ok(decoded));
        }
        for profile in [Base, MergeSlashes, DecodeAndMergeSlashes] {
            check(profile, "/%00", Err(GateCode::PathControl));
            check(profile, "/a#b", Err(GateCode::PathFragment));
            check(profile, "/%2", Err(GateCode::PathTriplet));
        }
    }

    #[test]
    fn an_open_encoded_slash_ends_a_segment() {
        let mut settings = settings(PathProfile::Strict);
        settings.allow.insert(PathOpening::EncodedSlash);
        let code = |raw: &str| normalise(raw.as_bytes(), &settings, true).map_err(|refusal| refusal.code).map(drop);
        assert_eq!(code("/a%2fb"), Ok(()));
        assert_eq!(code("/..%2fb"), Err(GateCode::PathDotSegment));
        assert_eq!(code("/a%2f.%2fb"), Err(GateCode::PathDotSegment));
        assert_eq!(code("/%2fb"), Err(GateCode::PathEmptySegment));
        assert_eq!(code("/a%2f/b"), Err(GateCode::PathEmptySegment));
        assert_eq!(code("/a%5cb"), Err(GateCode::PathBackslash));
    }

    #[test]
    fn a_prefix_covers_whole_segments() {
        for (prefix, path, expect) in [
            ("/", "/", true),
            ("/", "/x", true),
            ("/admin", "/admin", true),
            ("/admin", "/admin/", true),
            ("/admin", "/admin/x", true),
            ("/admin", "/administrator", false),
            ("/admin", "/Admin", false),
            ("/admin", "/x/admin", false),
            ("/admin/", "/admin", true),
            ("/admin/x", "/admin", false),
            ("/admin", "/admin%2Fx", false),
        ] {
            assert_eq!(path_matches(prefix, path), expect, "`{prefix}` on `{path}`");
        }
    }

    #[test]
    fn a_rewrite_stays_in_normal_form_or_is_refused() {
        let strip = |prefix: &str| Rewrite::StripPrefix(prefix.to_owned());
        let replace = |prefix: &str, by: &str| Rewrite::ReplacePrefix(prefix.to_owned(), by.to_owned());
        let refused = Err(GateCode::PathRewrite);
        let strict = settings(PathProfile::Strict);
        for (rule, path, expect) in [
            (strip("/api"), "/api/x", Ok(Some("/x"))),
            (strip("/api/"), "/api/x", Ok(Some("/x"))),
            (strip("/api"), "/api", Ok(Some("/"))),
            (strip("/api"), "/apiary", Ok(None)),
            (replace("/api", "/v2"), "/api/x", Ok(Some("/v2/x"))),
            (replace("/api", "/v2/"), "/api/x", Ok(Some("/v2/x"))),
            (replace("/", "/v2"), "/x", Ok(Some("/v2/x"))),
            (replace("/api", "/"), "/api/x", Ok(Some("/x"))),
            (replace("/api", "/../v2"), "/api/x", refused),
            (replace("/api", "v2"), "/api/x", refused),
            (replace("/api", "/v%61"), "/api/x", refused),
        ] {
            let result = rewrite(path, &rule, &strict, true).map_err(|refusal| refusal.code);
            assert_eq!(result.as_ref().map(Option::as_deref).map_err(|code| *code), expect, "{rule:?} on `{path}`");
        }
        let mut open = settings(PathProfile::Strict);
        open.allow.insert(PathOpening::EmptySegment);
        let refusal = rewrite("/api//evil.localhost", &strip("/api"), &open, true).unwrap_err();
        assert_eq!(refusal.code, GateCode::PathRewrite);
    }

    fn any_profile() -> impl Strategy<Value = PathProfile> {
        prop::sample::select(vec![
            PathProfile::Strict,
            PathProfile::Base,
            PathProfile::MergeSlashes,
            PathProfile::DecodeAndMergeSlashes,
        ])
    }

    fn any_openings() -> impl Strategy<Value = BTreeSet<PathOpening>> {
        let openings =
            [PathOpening::EmptySegment, PathOpening::EncodedPercent, PathOpening::EncodedSlash, PathOpening::Semicolon];
        prop::sample::subsequence(openings.to_vec(), 0..=4).prop_map(BTreeSet::from_iter)
    }

    proptest! {
        #[test]
        fn a_normal_form_is_a_fixed_point(
            raw in "/([a./\\\\;%]|%2[eEfF5]|%5[cC]|%[0-9a-fA-F]{2}|\\.\\.){0,12}",
            profile in any_profile(),
            allow in any_openings(),
            has_path_rules: bool,
        ) {
            let settings = PathSettings { profile, allow, is_case_insensitive: false };
            if let Ok(normal) = normalise(raw.as_bytes(), &settings, has_path_rules) {
                prop_assert!(normal.is_ascii() && normal.starts_with(b"/"));
                let again = normalise(&normal, &settings, has_path_rules);
                prop_assert_eq!(again, Ok(normal.clone()));
                prop_assert!(http::uri::PathAndQuery::try_from(&normal[..]).is_ok());
            }
        }

        #[test]
        fn a_strict_path_has_no_second_reading(raw in "/([a./\\\\;%]|%2[eEfF5]|%5[cC]|%[0-9a-fA-F]{2}){0,12}") {
            let settings = settings(PathProfile::Strict);
            if let Ok(normal) = normalise(raw.as_bytes(), &settings, true) {
                let merged = PathSettings { profile: PathProfile::DecodeAndMergeSlashes, ..settings };
                prop_assert_eq!(normalise(&normal, &merged, true), Ok(normal.clone()), "an upstream that decodes and merges");
            }
        }

        #[test]
        fn no_bytes_make_it_panic(raw: Vec<u8>, profile in any_profile(), allow in any_openings()) {
            let settings = PathSettings { profile, allow, is_case_insensitive: true };
            let _ = normalise(&raw, &settings, false);
        }
    }
}
