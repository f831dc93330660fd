//! What a person can do about a refusal (PO-6): the built-in remedies, those operators declare, and what people read
//! about each in their language.
//!
//! Not what a remedy makes of the facts: that is the schema's to say, in `pdp-engine`. Invariant: an own remedy carries
//! kind and cost with it, so that a sealed demand or a session that names one means the same after it was redeclared.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The most bytes of the id of an own remedy.
pub const MAX_REMEDY_ID: usize = 24;
/// What an own remedy may cost: one is the least that can be asked of somebody.
pub const REMEDY_COSTS: std::ops::RangeInclusive<u8> = 1..=20;
/// The most own remedies: with the built-in ones all fit into one search for a fix (PO-5).
pub const MAX_OWN_REMEDIES: usize = 7;
/// The language every text exists in.
pub const FALLBACK_LANGUAGE: &str = "en";
/// The most languages of a request that are looked at.
const MAX_LANGUAGES: usize = 16;

/// Who can drive a remedy, and how (PO-6, GW-17).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FixKind {
    /// The person proves more: a ceremony of the sign-in pages.
    Auth,
    /// The person mends or enrols the device.
    Device,
    /// Somebody approves a request.
    Grant,
}

impl FixKind {
    /// `auth`, `device` or `grant`.
    pub fn as_str(self) -> &'static str {
        match self {
            FixKind::Auth => "auth",
            FixKind::Device => "device",
            FixKind::Grant => "grant",
        }
    }

    /// The kind of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [FixKind::Auth, FixKind::Device, FixKind::Grant].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// What a person can do about a refusal (PO-6). Alphabetical.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Remedy {
    /// Bring the device in line with its own policy.
    Comply,
    /// Encrypt the disk.
    Encrypt,
    /// Enrol the device.
    Enrol,
    /// Have a request approved.
    Grant,
    /// Confirm with a second factor.
    Mfa,
    /// Confirm with a passkey.
    Passkey,
    /// Patch the operating system.
    Patch,
    /// Sign in again.
    Reauth,
    /// Have the device checked again.
    Recheck,
    /// One that operators declared.
    Own(OwnRemedy),
}

impl Remedy {
    /// Every built-in remedy.
    pub const ALL: &'static [Remedy] = &[
        Remedy::Comply,
        Remedy::Encrypt,
        Remedy::Enrol,
        Remedy::Grant,
        Remedy::Mfa,
        Remedy::Passkey,
        Remedy::Patch,
        Remedy::Reauth,
        Remedy::Recheck,
    ];

    /// The id in the schema annotation `@remedy_<id>`.
    pub fn as_str(&self) -> &str {
        match self {
            Remedy::Own(own) => own.id.as_str(),
            Remedy::Comply => "comply",
            Remedy::Encrypt => "encrypt",
            Remedy::Enrol => "enrol",
            Remedy::Grant => "grant",
            Remedy::Mfa => "mfa",
            Remedy::Passkey => "passkey",
            Remedy::Patch => "patch",
            Remedy::Reauth => "reauth",
            Remedy::Recheck => "recheck",
        }
    }

    /// How much it asks of the person; the dearest is dropped first (PO-5, PO-6).
    pub fn cost(self) -> u8 {
        match self {
            Remedy::Reauth => 1,
            Remedy::Mfa | Remedy::Recheck => 2,
            Remedy::Passkey => 3,
            Remedy::Patch => 5,
            Remedy::Comply | Remedy::Encrypt => 6,
            Remedy::Enrol => 7,
            Remedy::Grant => 8,
            Remedy::Own(own) => own.cost,
        }
    }

    /// Who drives it.
    pub fn kind(self) -> FixKind {
        match self {
            Remedy::Mfa | Remedy::Passkey | Remedy::Reauth => FixKind::Auth,
            Remedy::Comply | Remedy::Encrypt | Remedy::Enrol | Remedy::Patch | Remedy::Recheck => FixKind::Device,
            Remedy::Grant => FixKind::Grant,
            Remedy::Own(own) => own.kind,
        }
    }

    /// What to tell the person in English, unless operators say it in their own words ([`RemedyList::text`]).
    pub fn text(self) -> &'static str {
        match self {
            Remedy::Comply => "Bring this device in line with your organisation's settings",
            Remedy::Encrypt => "Turn on disk encryption on this device",
            Remedy::Enrol => "Enrol this device",
            Remedy::Grant => "Ask for access",
            Remedy::Mfa => "Confirm with a second factor",
            Remedy::Passkey => "Confirm with your passkey",
            Remedy::Patch => "Install the pending system updates on this device",
            Remedy::Reauth => "Sign in again",
            Remedy::Recheck => "Have this device checked again",
            Remedy::Own(_) => "Do what your organisation asks for",
        }
    }

    /// The text it is kept by, which [`str::parse`] reads again: the id, and of operators' own also kind and cost.
    pub fn token(&self) -> String {
        match self {
            Remedy::Own(own) => format!("{}/{}/{}", own.id, own.kind.as_str(), own.cost),
            builtin => builtin.as_str().to_owned(),
        }
    }
}

impl FromStr for Remedy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let own = || {
            let (id, rest) = text.split_once('/')?;
            let (kind, cost) = rest.split_once('/')?;
            OwnRemedy::new(id, FixKind::from_word(kind)?, cost.parse().ok()?).ok().map(Remedy::Own)
        };
        let builtin = Remedy::ALL.iter().copied().find(|remedy| remedy.as_str() == text);
        builtin.or_else(own).ok_or_else(|| format!("`{text}` is not a remedy"))
    }
}

/// The id of an own remedy: a letter, then letters, digits and `_`; lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemedyId([u8; MAX_REMEDY_ID]);

impl RemedyId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        let text = self.0.split(|byte| *byte == 0).next().unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }
}

impl FromStr for RemedyId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_letter = |byte: &u8| byte.is_ascii_lowercase();
        let is_inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
        let is_fit = text.as_bytes().first().is_some_and(is_letter) && text.as_bytes().iter().all(is_inner);
        let mut bytes = [0; MAX_REMEDY_ID];
        match bytes.get_mut(..text.len()).filter(|_| is_fit) {
            Some(room) => {
                room.copy_from_slice(text.as_bytes());
                Ok(Self(bytes))
            }
            None => Err(format!(
                "`{text}` is not the id of a remedy: a letter, then letters, digits and `_`, lower case, at most \
                 {MAX_REMEDY_ID}"
            )),
        }
    }
}

impl fmt::Display for RemedyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RemedyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A remedy operators declared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OwnRemedy {
    id: RemedyId,
    kind: FixKind,
    cost: u8,
}

impl OwnRemedy {
    /// One of these properties.
    ///
    /// # Errors
    /// The id is no id or belongs to a built-in remedy, or the cost is outside [`REMEDY_COSTS`].
    pub fn new(id: &str, kind: FixKind, cost: u8) -> Result<Self, String> {
        if Remedy::ALL.iter().any(|builtin| builtin.as_str() == id) {
            return Err(format!("`{id}` is a built-in remedy"));
        }
        if !REMEDY_COSTS.contains(&cost) {
            let (least, most) = (REMEDY_COSTS.start(), REMEDY_COSTS.end());
            return Err(format!("a remedy costs {least} to {most}, not {cost}"));
        }
        Ok(Self { id: id.parse()?, kind, cost })
    }
}

/// Who has to act for a remedy to come about (PO-6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Who {
    /// An administrator.
    Admin,
    /// The owner of the app.
    Owner,
    /// The person who was refused.
    User,
}

impl Who {
    /// Everybody who can.
    pub const ALL: [Who; 3] = [Who::Admin, Who::Owner, Who::User];

    /// `admin`, `owner` or `user`.
    pub fn as_str(self) -> &'static str {
        match self {
            Who::Admin => "admin",
            Who::Owner => "owner",
            Who::User => "user",
        }
    }
}

/// What is told about a remedy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemedyEntry {
    /// Which.
    pub remedy: Remedy,
    /// Who acts.
    pub who: Who,
    /// One line by language (`en`, `pt-br`, lower case); the one in [`FALLBACK_LANGUAGE`] is there.
    pub texts: BTreeMap<String, String>,
    /// Where it is done or described, `https://…`.
    pub page: Option<String>,
    /// `remedies.yaml:3`.
    pub declared_at: Arc<str>,
}

/// What operators declare about remedies: their own, and other words for the built-in ones. At most one entry for each.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RemedyList(Vec<RemedyEntry>);

impl RemedyList {
    /// Of these entries.
    pub fn new(entries: Vec<RemedyEntry>) -> Self {
        Self(entries)
    }

    /// What is declared.
    pub fn entries(&self) -> &[RemedyEntry] {
        &self.0
    }

    /// The remedy of this id, built-in or declared.
    pub fn find(&self, id: &str) -> Option<Remedy> {
        let declared = self.0.iter().map(|entry| entry.remedy);
        Remedy::ALL.iter().copied().chain(declared).find(|remedy| remedy.as_str() == id)
    }

    /// Every id, the built-in ones first.
    pub fn ids(&self) -> Vec<&str> {
        let declared = self.0.iter().map(|entry| &entry.remedy).filter(|remedy| matches!(remedy, Remedy::Own(_)));
        Remedy::ALL.iter().chain(declared).map(Remedy::as_str).collect()
    }

    /// What to tell a person, in the first of `languages` there is a text in.
    pub fn text(&self, remedy: Remedy, languages: &Languages) -> &str {
        let Some(entry) = self.entry(remedy) else { return remedy.text() };
        let wanted = languages.0.iter().find_map(|language| entry.texts.get(language));
        wanted.or_else(|| entry.texts.get(FALLBACK_LANGUAGE)).map_or(remedy.text(), String::as_str)
    }

    /// Where it is done or described.
    pub fn page(&self, remedy: Remedy) -> Option<&str> {
        self.entry(remedy)?.page.as_deref()
    }

    /// Who acts.
    pub fn who(&self, remedy: Remedy) -> Who {
        self.entry(remedy).map_or(Who::User, |entry| entry.who)
    }

    fn entry(&self, remedy: Remedy) -> Option<&RemedyEntry> {
        self.0.iter().find(|entry| entry.remedy.as_str() == remedy.as_str())
    }
}

/// The languages somebody reads, the best first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Languages(Vec<String>);

impl Languages {
    /// As a browser says (RFC 9110 §12.5.4). A language with a region stands for the language too, after all that were
    /// named; what is no language is passed over.
    pub fn accepted(header: &str) -> Self {
        let weighed = header.split(',').take(MAX_LANGUAGES).filter_map(|part| {
            let (tag, weight) = part.split_once(';').map_or((part, None), |(tag, rest)| (tag, Some(rest)));
            let weight = match weight {
                Some(weight) => weight.trim().strip_prefix("q=")?.parse::<f32>().ok()?,
                None => 1.0,
            };
            language(tag.trim()).filter(|_| weight > 0.0).map(|tag| (weight, tag))
        });
        let mut weighed: Vec<(f32, String)> = weighed.collect();
        weighed.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let named: Vec<String> = weighed.into_iter().map(|(_, tag)| tag).collect();
        let roots = named.iter().filter_map(|tag| tag.split_once('-').map(|(root, _)| root.to_owned()));
        let roots: Vec<String> = roots.collect();
        Self(named.into_iter().chain(roots).collect())
    }
}

/// A language tag in the one form it is compared in (RFC 5646, lower case), if it is one: `de`, `pt-br`.
pub fn language(tag: &str) -> Option<String> {
    let is_part = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let root = tag.split('-').next().unwrap_or_default();
    let is_root = (2..=3).contains(&root.len()) && root.bytes().all(|byte| byte.is_ascii_alphabetic());
    (is_root && tag.len() <= 35 && tag.split('-').all(is_part)).then(|| tag.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(id: &str) -> Remedy {
        Remedy::Own(OwnRemedy::new(id, FixKind::Device, 4).unwrap())
    }

    #[test]
    fn every_remedy_is_read_back_from_its_token() {
        for remedy in Remedy::ALL.iter().copied().chain([own("help_desk"), own("abcdefghijklmnopqrstuvwx")]) {
            assert_eq!(remedy.token().parse(), Ok(remedy));
        }
        for token in ["", "prayer", "a/device", "a/device/0", "a/device/21", "a/soul/3", "mfa/auth/3", "A/device/3"] {
            assert!(token.parse::<Remedy>().is_err(), "{token}");
        }
    }

    #[test]
    fn an_id_has_one_form_and_a_limit() {
        for id in ["", "1a", "_a", "help-desk", "Help", "a\0b", "é", "abcdefghijklmnopqrstuvwxy"] {
            assert!(OwnRemedy::new(id, FixKind::Auth, 1).is_err(), "{id}");
        }
        assert_eq!(own("a1_").as_str(), "a1_");
    }

    #[test]
    fn a_person_reads_the_first_language_there_is_a_text_in() {
        let texts = [("en", "Call us"), ("de", "Rufen Sie uns an"), ("pt-br", "Ligue")];
        let texts = texts.map(|(language, text)| (language.to_owned(), text.to_owned())).into();
        let (remedy, declared_at) = (own("call"), Arc::from("a.yaml:1"));
        let list = RemedyList::new(vec![RemedyEntry { remedy, who: Who::Admin, texts, page: None, declared_at }]);
        let read = |header: &str| list.text(remedy, &Languages::accepted(header));
        for (header, text) in [
            ("", "Call us"),
            ("de", "Rufen Sie uns an"),
            ("DE-at, en;q=0.5", "Call us"),
            ("de-AT", "Rufen Sie uns an"),
            ("en;q=0.5, de;q=0.8", "Rufen Sie uns an"),
            ("fr, *;q=0.1", "Call us"),
            ("de;q=0, pt-BR;q=0.1", "Ligue"),
            ("de;q=NaN", "Call us"),
            ("; , ;;q, \u{0}", "Call us"),
        ] {
            assert_eq!(read(header), text, "{header}");
        }
        assert_eq!(Languages::accepted(&"de,".repeat(10_000)).0.len(), MAX_LANGUAGES);
        assert_eq!(list.text(Remedy::Mfa, &Languages::default()), Remedy::Mfa.text());
        assert_eq!(list.text(own("gone"), &Languages::default()), "Do what your organisation asks for");
    }
}
