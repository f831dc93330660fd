//! `[[audit.sink]]`: where the record goes beside the log (AUD-38).

use std::path::PathBuf;
use std::time::Duration;

use model::record::RecordType;
use serde::Deserialize;
use toml::Spanned;

use super::Reader;
use crate::problem::{Problem, choices};
use crate::text;

/// The most sinks: each reads the whole log.
const MAX_SINKS: usize = 16;
/// Records and bytes of a batch unless said otherwise, and the most.
const BATCH_RECORDS: usize = 500;
const MAX_BATCH_RECORDS: usize = 10_000;
const BATCH_BYTES: u64 = 1 << 20;
const MAX_BATCH_BYTES: u64 = 16 << 20;
/// How long a batch waits unless said otherwise, and at most.
const BATCH_AGE: Duration = Duration::from_secs(5);
const MAX_BATCH_AGE: Duration = Duration::from_secs(300);
/// When a silent receiver is an alert.
const ALERT_AFTER: Duration = Duration::from_secs(60);
/// Rotation of files.
const ROTATE_BYTES: u64 = 100 << 20;
const MIN_ROTATE_BYTES: u64 = 1 << 20;
const KEEP: u32 = 10;
const MAX_KEEP: u32 = 10_000;

/// A sink.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SinkConfig {
    /// Its name.
    pub name: String,
    /// Where to.
    pub to: SinkTarget,
    /// Types of records; empty for all.
    pub types: Vec<RecordType>,
    /// Whether a new sink begins with the oldest record.
    pub is_from_start: bool,
    /// Most records of a batch.
    pub batch_records: usize,
    /// Bytes at which a batch ends.
    pub batch_bytes: u64,
    /// How long a batch waits for more.
    pub batch_age: Duration,
    /// How long a receiver may take nothing.
    pub alert_after: Duration,
}

/// Where a sink delivers to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SinkTarget {
    /// A file of lines.
    File {
        /// Which.
        path: PathBuf,
        /// When it is rotated.
        rotate_bytes: u64,
        /// How many rotated files are kept.
        keep: u32,
    },
    /// An address that takes POST.
    Webhook {
        /// Where.
        url: WebhookUrl,
        /// Roots to trust instead of the system's.
        ca: Option<PathBuf>,
        /// File with the secret that signs.
        secret_file: Option<PathBuf>,
        /// File with a bearer token.
        token_file: Option<PathBuf>,
    },
}

/// An address taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebhookUrl {
    /// Without it only this machine is spoken to.
    pub is_tls: bool,
    /// Host in canonical form, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query; begins with `/`.
    pub path: String,
}

impl std::fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        // What a query holds may be a key of the receiver's.
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{host}:{}{path}", self.port)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sink {
    /// Names its cursor in `data_dir/sinks`; another name is a new sink.
    ///
    /// Type: name; default: required.
    name: Spanned<String>,
    /// What it is.
    ///
    /// Type: `file` or `webhook`; default: required.
    #[serde(rename = "type")]
    kind: Spanned<String>,
    /// `file`: lines are appended here.
    ///
    /// Type: path; default: required for `file`.
    path: Option<PathBuf>,
    /// `file`: renamed to `.1`, `.2` … before it grows beyond this; at least 1 MiB.
    ///
    /// Type: size; default: `100MiB`.
    rotate: Option<Spanned<String>>,
    /// `file`: how many renamed files are kept, 1 to 10,000; older ones are removed.
    ///
    /// Type: number; default: `10`.
    keep: Option<Spanned<u32>>,
    /// `webhook`: where batches are sent by POST; `http://` only to this machine. Redirects are not followed.
    ///
    /// Type: URL; default: required for `webhook`.
    url: Option<Spanned<String>>,
    /// `webhook`: PEM file with the roots the receiver is verified against.
    ///
    /// Type: path; default: the system's.
    ca: Option<PathBuf>,
    /// `webhook`: file with a secret `whsec_…` that batches are signed with (Standard Webhooks); read again for each batch.
    ///
    /// Type: path; default: not signed.
    secret_file: Option<PathBuf>,
    /// `webhook`: file with a token sent as `Authorization: Bearer`; read again for each batch.
    ///
    /// Type: path; default: none.
    token_file: Option<PathBuf>,
    /// Types of records it gets.
    ///
    /// Type: list of types, like `access.decision`; default: all.
    #[serde(default)]
    types: Vec<Spanned<String>>,
    /// Where a sink without a cursor begins: with the oldest record there is, or with the next one.
    ///
    /// Type: `start` or `now`; default: `start`.
    from: Option<Spanned<String>>,
    /// Records of a batch, 1 to 10,000.
    ///
    /// Type: number; default: `500`.
    batch_records: Option<Spanned<usize>>,
    /// A batch ends with the record that reaches this size; at most 16 MiB.
    ///
    /// Type: size; default: `1MiB`.
    batch_bytes: Option<Spanned<String>>,
    /// How long a batch that is not full waits for more; at most `5m`.
    ///
    /// Type: duration; default: `5s`.
    batch_age: Option<Spanned<String>>,
    /// Nothing taken for so long, with something to deliver, is an alert; 1s to 1h.
    ///
    /// Type: duration; default: `1m`.
    alert_after: Option<Spanned<String>>,
}

impl Reader<'_> {
    pub(super) fn sinks(&mut self, sinks: &[Spanned<Sink>]) -> Vec<SinkConfig> {
        if let Some(surplus) = sinks.get(MAX_SINKS) {
            self.refuse(surplus, format!("there can be {MAX_SINKS} sinks"));
        }
        let mut read: Vec<SinkConfig> = Vec::new();
        for sink in sinks {
            let Some(config) = self.sink(sink) else { continue };
            if read.iter().any(|known| known.name == config.name) {
                self.refuse(&sink.get_ref().name, format!("there are two sinks called `{}`", config.name));
            }
            read.push(config);
        }
        read
    }

    fn sink(&mut self, spanned: &Spanned<Sink>) -> Option<SinkConfig> {
        let sink = spanned.get_ref();
        let name = self.parsed(&sink.name, |name| text::name(name).map(str::to_owned));
        let to = match sink.kind.get_ref().as_str() {
            "file" => self.file_target(spanned),
            "webhook" => self.webhook_target(spanned),
            other => {
                let at = self.at(sink.kind.span().start);
                let problem = Problem::error(self.name, at, format!("`{other}` is no type of sink"));
                self.problems.push(problem.hint(choices(other, &["file", "webhook"])));
                None
            }
        };
        let types = sink.types.iter().filter_map(|word| self.record_type(word)).collect();
        let from = self.one_of(sink.from.as_ref(), &["start", "now"], "start");
        let batch_records = self.bounded(sink.batch_records.as_ref(), 1..=MAX_BATCH_RECORDS, BATCH_RECORDS);
        let batch_bytes = self.sized(sink.batch_bytes.as_ref(), 1..=MAX_BATCH_BYTES, BATCH_BYTES);
        let second = Duration::from_secs(1);
        let batch_age = self.lasting(sink.batch_age.as_ref(), Duration::ZERO..=MAX_BATCH_AGE, BATCH_AGE);
        let alert_after = self.lasting(sink.alert_after.as_ref(), second..=second * 3_600, ALERT_AFTER);
        let is_from_start = from == "start";
        Some(SinkConfig {
            name: name?,
            to: to?,
            types,
            is_from_start,
            batch_records,
            batch_bytes,
            batch_age,
            alert_after,
        })
    }

    fn file_target(&mut self, spanned: &Spanned<Sink>) -> Option<SinkTarget> {
        let sink = spanned.get_ref();
        let foreign = [
            ("url", sink.url.is_some()),
            ("ca", sink.ca.is_some()),
            ("secret_file", sink.secret_file.is_some()),
            ("token_file", sink.token_file.is_some()),
        ];
        self.no_foreign(spanned, &foreign);
        let rotate_bytes = self.sized(sink.rotate.as_ref(), MIN_ROTATE_BYTES..=u64::MAX, ROTATE_BYTES);
        let keep = self.bounded(sink.keep.as_ref(), 1..=MAX_KEEP, KEEP);
        let Some(path) = sink.path.clone() else {
            self.refuse(spanned, "a sink of type `file` needs a `path`");
            return None;
        };
        Some(SinkTarget::File { path, rotate_bytes, keep })
    }

    fn webhook_target(&mut self, spanned: &Spanned<Sink>) -> Option<SinkTarget> {
        let sink = spanned.get_ref();
        let foreign = [("path", sink.path.is_some()), ("rotate", sink.rotate.is_some()), ("keep", sink.keep.is_some())];
        self.no_foreign(spanned, &foreign);
        let Some(url) = &sink.url else {
            self.refuse(spanned, "a sink of type `webhook` needs a `url`");
            return None;
        };
        let url = self.parsed(url, webhook_url)?;
        let (ca, secret_file, token_file) = (sink.ca.clone(), sink.secret_file.clone(), sink.token_file.clone());
        Some(SinkTarget::Webhook { url, ca, secret_file, token_file })
    }

    fn no_foreign(&mut self, spanned: &Spanned<Sink>, foreign: &[(&str, bool)]) {
        for (key, _) in foreign.iter().filter(|(_, is_there)| *is_there) {
            self.refuse(spanned, format!("`{key}` is no key of a sink of type `{}`", spanned.get_ref().kind.get_ref()));
        }
    }

    fn record_type(&mut self, word: &Spanned<String>) -> Option<RecordType> {
        let found = word.get_ref().parse().ok();
        if found.is_none() {
            let names: Vec<&str> = RecordType::ALL.iter().map(|kind| kind.as_str()).collect();
            let at = self.at(word.span().start);
            let problem = Problem::error(self.name, at, format!("`{}` is no type of record", word.get_ref()));
            self.problems.push(problem.hint(choices(word.get_ref(), &names)));
        }
        found
    }

    fn bounded<T: Copy + PartialOrd + std::fmt::Display>(
        &mut self,
        value: Option<&Spanned<T>>,
        range: std::ops::RangeInclusive<T>,
        default: T,
    ) -> T {
        let Some(value) = value else { return default };
        if !range.contains(value.get_ref()) {
            self.refuse(value, format!("`{}` is outside {} to {}", value.get_ref(), range.start(), range.end()));
        }
        *value.get_ref()
    }

    fn sized(&mut self, value: Option<&Spanned<String>>, range: std::ops::RangeInclusive<u64>, default: u64) -> u64 {
        let Some(value) = value else { return default };
        let Some(size) = self.parsed(value, text::size) else { return default };
        if !range.contains(&size) {
            self.refuse(value, format!("`{}` is outside {} to {} bytes", value.get_ref(), range.start(), range.end()));
        }
        size
    }

    fn lasting(
        &mut self,
        value: Option<&Spanned<String>>,
        range: std::ops::RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let Some(value) = value else { return default };
        let Some(duration) = self.parsed(value, text::duration) else { return default };
        if !range.contains(&duration) {
            let (least, most) = (range.start().as_secs(), range.end().as_secs());
            self.refuse(value, format!("`{}` is outside {least}s to {most}s", value.get_ref()));
        }
        duration
    }
}

/// `https://host[:port]/path`, or `http://` to this machine.
fn webhook_url(url: &str) -> Result<WebhookUrl, String> {
    let refuse =
        |why: &str| format!("`{url}` is no address of a webhook: {why}; write e.g. `https://siem.example.org/in`");
    let (scheme, rest) = url.split_once("://").ok_or_else(|| refuse("the scheme is missing"))?;
    let is_tls = match scheme {
        "https" => true,
        "http" => false,
        _ => return Err(refuse("the scheme must be https")),
    };
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(at).unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err(refuse("no user or password; use `token_file`"));
    }
    if path.contains('#') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refuse("the path has a `#` or a character that needs escaping"));
    }
    let (host, port) = text::split_port(authority).ok_or_else(|| refuse("the port is not a number from 1 to 65535"))?;
    let host = text::host(host).map_err(|why| refuse(&why))?;
    if !is_tls && !matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1") {
        return Err(refuse("without TLS the record is sent to this machine only"));
    }
    let path = match path.strip_prefix('/') {
        Some(_) => path.to_owned(),
        None => format!("/{path}"),
    };
    Ok(WebhookUrl { is_tls, host, port: port.unwrap_or(if is_tls { 443 } else { 80 }), path })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ServerConfig;

    const SERVER: &str = "auth_url = \"https://auth.corp.test\"\n[[certificate]]\nname = \"corp\"\ncert = \"a\"\nkey = \"b\"\n\
                          [[listener]]\naddress = \"127.0.0.1:443\"\ncertificates = [\"corp\"]\n";

    fn read(sinks: &str) -> Result<Vec<SinkConfig>, String> {
        let config = ServerConfig::parse("server.toml", &format!("{SERVER}{sinks}"));
        config.map(|config| config.audit.sinks).map_err(|problems| problems.to_string())
    }

    #[test]
    fn both_types_read_with_their_defaults() {
        let sinks = read(
            "[[audit.sink]]\nname = \"copy\"\ntype = \"file\"\npath = \"/var/log/x.jsonl\"\n\
             [[audit.sink]]\nname = \"soc\"\ntype = \"webhook\"\nurl = \"https://SIEM.corp.test:8088/in?x=1\"\n\
             types = [\"access.decision\", \"audit.alert\"]\nfrom = \"now\"\nbatch_age = \"250ms\"\n",
        )
        .unwrap();
        let file = SinkTarget::File { path: "/var/log/x.jsonl".into(), rotate_bytes: 100 << 20, keep: 10 };
        assert_eq!((&sinks[0].to, sinks[0].is_from_start, sinks[0].batch_records), (&file, true, 500));
        let SinkTarget::Webhook { url, .. } = &sinks[1].to else { panic!("{sinks:?}") };
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("siem.corp.test", 8088, "/in?x=1"));
        assert_eq!(url.to_string(), "https://siem.corp.test:8088/in", "a query may hold a key");
        assert_eq!(sinks[1].types, [RecordType::AccessDecision, RecordType::AuditAlert]);
        assert_eq!((sinks[1].is_from_start, sinks[1].batch_age), (false, Duration::from_millis(250)));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_would_be_right() {
        let refused = |line: &str, why: &str| {
            let webhook = "[[audit.sink]]\nname = \"soc\"\ntype = \"webhook\"\n";
            let error = read(&format!("{webhook}{line}\n")).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        };
        refused("", "needs a `url`");
        for (url, why) in [
            ("siem.corp.test", "the scheme is missing"),
            ("ftp://siem.corp.test", "the scheme must be https"),
            ("http://siem.corp.test/", "to this machine only"),
            ("https://user:pw@siem.corp.test/", "use `token_file`"),
            ("https://siem.corp.test:0/", "the port"),
            ("https://siem.corp.test/a b", "escaping"),
            ("https:///in", "is not a host name"),
        ] {
            refused(&format!("url = \"{url}\""), why);
        }
        let good = "url = \"http://127.0.0.1:9000\"";
        refused(&format!("{good}\npath = \"x\""), "`path` is no key of a sink of type `webhook`");
        refused(&format!("{good}\ntypes = [\"acces.decision\"]"), "access.decision");
        refused(&format!("{good}\nfrom = \"end\""), "`end` is not valid here");
        refused(&format!("{good}\nbatch_records = 0"), "outside 1 to 10000");
        refused(&format!("{good}\nbatch_bytes = \"17MiB\""), "outside");
        refused(&format!("{good}\nalert_after = \"2h\""), "outside 1s to 3600s");
        refused(
            &format!("{good}\n[[audit.sink]]\nname = \"soc\"\ntype = \"file\"\npath = \"x\""),
            "two sinks called `soc`",
        );
        assert!(read("[[audit.sink]]\nname = \"S\"\ntype = \"fle\"\n").unwrap_err().contains("file"));
        let many: String = (0..=MAX_SINKS)
            .map(|n| format!("[[audit.sink]]\nname = \"s{n}\"\ntype = \"file\"\npath = \"x{n}\"\n"))
            .collect();
        assert!(read(&many).unwrap_err().contains("16 sinks"));
    }
}
