//! Kind Remedy (PO-6): remedies of the operators' own, and their words for the built-in ones.
//!
//! Not what a remedy makes of the facts: a `.cedarschema` file beside it says that, and the engine reads it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use model::decision::{FixKind, Remedy};
use model::remedy::{FALLBACK_LANGUAGE, OwnRemedy, REMEDY_COSTS, RemedyEntry, Who, language};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{Document, at};

/// The longest text, in characters: it is one step of a list.
const MAX_TEXT_CHARS: usize = 200;
/// The most languages of a remedy.
const MAX_LANGUAGES: usize = 50;
/// The longest address of a page.
const MAX_PAGE_BYTES: usize = 512;
/// What asks a person for more than a new sign-in costs at least this, so that a cheaper way is never left out for it.
const OTHER_COSTS: RangeInclusive<u8> = 2..=*REMEDY_COSTS.end();

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemedySpec {
    /// How much it asks of the person, `1` to `20` for `auth`, from `2` for the others; of two ways in the cheaper one is
    /// told. The built-in ones: `reauth` 1, `mfa` and `recheck` 2, `passkey` 3, `patch` 5, `encrypt` and `comply` 6,
    /// `enrol` 7, `grant` 8.
    ///
    /// Type: number; default: required, except for a built-in remedy, which keeps its own.
    cost: Option<Spanned<u8>>,
    /// What brings it about: a ceremony of the sign-in pages, something done to the device, or an approval.
    ///
    /// Type: `auth` `device` `grant`; default: required, except for a built-in remedy, which keeps its own.
    kind: Option<Spanned<String>>,
    /// Who acts.
    ///
    /// Type: `user` `admin` `owner`; default: `user`.
    who: Option<Spanned<String>>,
    /// What the refused person reads, by language (`en`, `de`, `pt-BR`); `en` has to be there, for everybody else. One line
    /// of up to 200 characters each.
    ///
    /// Type: texts by language; default: required.
    text: Spanned<BTreeMap<String, Spanned<String>>>,
    /// Where it is done or described, `https://…`; not for `auth`, which the sign-in pages do.
    ///
    /// Type: URL; default: none.
    page: Option<Spanned<String>>,
}

/// Builds an entry; `None` when something is wrong (all is noted).
pub(crate) fn build(document: &mut Document<'_>, name: &Spanned<String>, spec: RemedySpec) -> Option<RemedyEntry> {
    let remedy = remedy(document, name, &spec)?;
    let whose: Vec<(&str, Who)> = Who::ALL.iter().map(|who| (who.as_str(), *who)).collect();
    let who = match &spec.who {
        Some(word) => document.word(word, &whose)?,
        None => Who::User,
    };
    let texts = texts(document, &spec.text)?;
    let page = match &spec.page {
        Some(page) => Some(document.parsed(page, https)?),
        None => None,
    };
    if let (Some(page), FixKind::Auth) = (&spec.page, remedy.kind()) {
        document.refuse(page, "a remedy of kind `auth` is a ceremony of the sign-in pages and has no page of its own");
        return None;
    }
    let declared_at = format!("{}:{}", document.file, at(&name.referenced).0).into();
    Some(RemedyEntry { remedy, who, texts, page, declared_at })
}

fn remedy(document: &mut Document<'_>, name: &Spanned<String>, spec: &RemedySpec) -> Option<Remedy> {
    if let Some(builtin) = Remedy::ALL.iter().find(|builtin| builtin.as_str() == name.value) {
        let fixed = format!("`{}` is a built-in remedy; only its texts and its page can be said anew", name.value);
        let said =
            [spec.cost.as_ref().map(|cost| at(&cost.referenced)), spec.kind.as_ref().map(|kind| at(&kind.referenced))];
        let said: Vec<_> = said.into_iter().flatten().collect();
        said.iter().for_each(|place| document.refuse_at(*place, fixed.clone()));
        return said.is_empty().then_some(*builtin);
    }
    let (Some(cost), Some(word)) = (&spec.cost, &spec.kind) else {
        document.refuse(name, format!("the remedy `{}` needs `cost` and `kind`", name.value));
        return None;
    };
    let kinds = [FixKind::Auth, FixKind::Device, FixKind::Grant].map(|kind| (kind.as_str(), kind));
    let kind = document.word(word, &kinds)?;
    let costs = if kind == FixKind::Auth { REMEDY_COSTS } else { OTHER_COSTS };
    if !costs.contains(&cost.value) {
        let message =
            format!("a remedy of kind `{}` costs {} to {}, not {}", word.value, costs.start(), costs.end(), cost.value);
        document.refuse(cost, message);
        return None;
    }
    document.parsed(name, |id| OwnRemedy::new(id, kind, cost.value)).map(Remedy::Own)
}

fn texts(
    document: &mut Document<'_>,
    said: &Spanned<BTreeMap<String, Spanned<String>>>,
) -> Option<BTreeMap<String, String>> {
    let problems = document.problems.len();
    if said.value.len() > MAX_LANGUAGES {
        document.refuse(said, format!("a remedy has texts in at most {MAX_LANGUAGES} languages"));
    }
    let mut texts = BTreeMap::new();
    for (tag, text) in &said.value {
        let Some(language) = language(tag) else {
            document.refuse(text, format!("`{tag}` is not a language; write e.g. `en`, `de` or `pt-BR`"));
            continue;
        };
        let length = text.value.chars().count();
        if text.value.trim().is_empty() || length > MAX_TEXT_CHARS || text.value.chars().any(char::is_control) {
            document.refuse(text, format!("a text is one line of 1 to {MAX_TEXT_CHARS} characters"));
        }
        if texts.insert(language, text.value.trim().to_owned()).is_some() {
            document.refuse(text, format!("the language `{tag}` is there twice"));
        }
    }
    if !texts.contains_key(FALLBACK_LANGUAGE) {
        document.refuse(said, "the text in `en` is missing, which everybody reads whose language is not there");
    }
    (document.problems.len() == problems).then_some(texts)
}

fn https(text: &str) -> Result<String, String> {
    let refuse = |why: &str| Err(format!("`{text}` is not an address of a page: {why}"));
    let Some(rest) = text.strip_prefix("https://") else { return refuse("it must begin with `https://`") };
    if text.len() > MAX_PAGE_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refuse("it must be visible ASCII of at most 512 bytes");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains(['@', '\\']) {
        return refuse("it must name no user");
    }
    match crate::text::split_port(authority) {
        Some((host, _)) => crate::text::host(host).map(|_| text.to_owned()).map_err(|why| format!("`{text}`: {why}")),
        None => refuse("the port is not a number"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use model::remedy::Languages;

    use crate::kinds::{Declared, Known, SourceFile, read};

    fn try_read(documents: &[&str]) -> Result<Declared, String> {
        let text: Vec<String> = documents.iter().map(|text| format!("apiVersion: countersign/v1\n{text}")).collect();
        let files = [SourceFile { name: "a.yaml".into(), text: text.join("\n---\n") }];
        let known = Known {
            auth_host: "auth.corp.test",
            is_covered: &|_| true,
            is_certificate: &|_| true,
            groups: &BTreeSet::new(),
        };
        read(&files, &known).map_err(|problems| problems.to_string())
    }

    fn one(name: &str, spec: &str) -> Result<Declared, String> {
        try_read(&[&format!("kind: Remedy\nmetadata: {{ name: {name} }}\nspec:\n{spec}")])
    }

    const FULL: &str = "  cost: 4\n  kind: device\n  who: admin\n  text: { en: Call the help desk, de-AT: Anrufen }\n  page: https://help.corp.test:8443/disk?x=1";

    #[test]
    fn a_remedy_of_ones_own_and_words_for_a_built_in_one_are_read() {
        let declared = try_read(&[
            &format!("kind: Remedy\nmetadata: {{ name: help_desk }}\nspec:\n{FULL}"),
            "kind: Remedy\nmetadata: { name: enrol }\nspec: { text: { en: Ask IT }, page: 'https://it.corp.test' }",
        ])
        .unwrap();
        let list = &declared.remedies;
        let own = list.find("help_desk").unwrap();
        assert_eq!((own.token().as_str(), list.who(own).as_str()), ("help_desk/device/4", "admin"));
        assert_eq!(list.text(own, &Languages::accepted("de-at")), "Anrufen");
        assert_eq!(list.page(own), Some("https://help.corp.test:8443/disk?x=1"));
        assert_eq!(list.text(model::Remedy::Enrol, &Languages::default()), "Ask IT");
        assert_eq!(list.page(model::Remedy::Enrol), Some("https://it.corp.test"));
    }

    #[test]
    fn what_is_not_sane_is_refused_at_its_line() {
        for (name, spec, line, says) in [
            ("x", "  text: { en: a }", 3, "needs `cost` and `kind`"),
            ("x", &*FULL.replace("cost: 4", "cost: 0"), 5, "costs 2 to 20, not 0"),
            ("x", &*FULL.replace("cost: 4", "cost: 1"), 5, "costs 2 to 20, not 1"),
            ("x", &*FULL.replace("cost: 4", "cost: 21"), 5, "costs 2 to 20, not 21"),
            ("x", &*FULL.replace("device", "prayer"), 6, "valid here: auth, device, grant"),
            ("x", &*FULL.replace("admin", "god"), 7, "valid here: admin, owner, user"),
            ("x", &*FULL.replace("en: ", "fr: "), 8, "the text in `en` is missing"),
            ("x", &*FULL.replace("de-AT", "d"), 8, "`d` is not a language"),
            ("x", &*FULL.replace("Anrufen", "''"), 8, "one line of 1 to 200"),
            ("x", &*FULL.replace("Anrufen", &"a".repeat(201)), 8, "one line of 1 to 200"),
            ("x", &*FULL.replace("Anrufen", "\"a\\nb\""), 8, "one line of 1 to 200"),
            ("x", &*FULL.replace("https", "javascript"), 9, "must begin with `https://`"),
            ("x", &*FULL.replace("help.corp", "ann@help.corp"), 9, "must name no user"),
            ("x", &*FULL.replace("device", "auth"), 9, "has no page of its own"),
            ("help-desk", FULL, 3, "is not the id of a remedy"),
            ("mfa", "  cost: 1\n  text: { en: a }", 5, "is a built-in remedy"),
            ("mfa", "  kind: device\n  text: { en: a }", 5, "is a built-in remedy"),
            ("mfa", "  text: { en: a }\n  page: https://a.test", 6, "has no page of its own"),
        ] {
            let refused = one(name, spec).unwrap_err();
            assert!(refused.contains(says) && refused.contains(&format!("a.yaml:{line}:")), "{spec}: {refused}");
        }
    }

    #[test]
    fn a_remedy_is_declared_once_and_not_without_end() {
        let own = |name: &str| format!("kind: Remedy\nmetadata: {{ name: {name} }}\nspec:\n{FULL}");
        let twice = try_read(&[&own("x"), &own("x")]).unwrap_err();
        assert!(twice.contains("Remedy `x` is declared twice"), "{twice}");
        let many: Vec<String> = (0..8).map(|at| own(&format!("x{at}"))).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(try_read(&many[..7]).is_ok());
        assert!(
            try_read(&many).unwrap_err().contains("at most 7 remedies"),
            "the search for a fix has room for no more"
        );
    }
}
