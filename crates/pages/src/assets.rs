//! Styles, scripts and the mark, embedded and addressed by content hash, so that they can be cached for good.

use std::sync::LazyLock;

/// The path under which assets are served on every host of ours.
pub const PREFIX: &str = "/.countersign/assets/";

/// How assets may be cached: for good, their address changes with their content.
pub const CACHE_CONTROL: &str = "public, max-age=31536000, immutable";

/// An embedded file.
#[derive(Debug)]
pub struct Asset {
    /// Its name in the source.
    pub name: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
    /// Its address: `<first 16 hex digits of SHA-256>.<ending>`.
    pub address: String,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    vec![
        load("client.js", "text/javascript; charset=utf-8", include_bytes!("../assets/client.js")),
        load("console.css", "text/css; charset=utf-8", include_bytes!("../assets/console.css")),
        load("countersign.css", "text/css; charset=utf-8", include_bytes!("../assets/countersign.css")),
        load("keys.js", "text/javascript; charset=utf-8", include_bytes!("../assets/keys.js")),
        load("live.js", "text/javascript; charset=utf-8", include_bytes!("../assets/live.js")),
        load("mark.svg", "image/svg+xml", include_bytes!("../assets/mark.svg")),
        load("passkey.js", "text/javascript; charset=utf-8", include_bytes!("../assets/passkey.js")),
    ]
});

fn load(name: &'static str, content_type: &'static str, bytes: &'static [u8]) -> Asset {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(bytes);
    let hash: String = data_encoding::HEXLOWER.encode(&digest).chars().take(16).collect();
    let ending = name.rsplit('.').next().unwrap_or_default();
    Asset { name, content_type, bytes, address: format!("{hash}.{ending}") }
}

/// The asset at `address` (the part after [`PREFIX`]).
pub fn find(address: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.address == address)
}

/// The asset called `name`, for those that also have an address that does not change.
pub fn named(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

/// The path of the asset called `name`; a page that names an unknown one is caught by the tests.
pub fn path(name: &str) -> String {
    let address = ASSETS.iter().find(|asset| asset.name == name).map(|asset| asset.address.as_str());
    format!("{PREFIX}{}", address.unwrap_or("missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asset_is_found_by_the_path_pages_use() {
        for asset in ASSETS.iter() {
            let address = path(asset.name).strip_prefix(PREFIX).map(str::to_owned).unwrap();
            assert_eq!(find(&address).map(|found| found.name), Some(asset.name));
        }
        assert!(find("missing").is_none());
    }

    #[test]
    fn what_a_security_team_has_to_read_stays_small() {
        const MOST_SCRIPT: usize = 8 * 1024;
        const MOST_STYLE: usize = 12 * 1024;
        let packed = |ending: &str| -> usize {
            let assets = ASSETS.iter().filter(|asset| asset.name.ends_with(ending));
            // Deflate, and the eighteen bytes around it in gzip.
            assets.map(|asset| miniz_oxide::deflate::compress_to_vec(asset.bytes, 9).len() + 18).sum()
        };
        assert!(packed(".js") <= MOST_SCRIPT, "{} bytes of script (UI-23)", packed(".js"));
        assert!(packed(".css") <= MOST_STYLE, "{} bytes of style", packed(".css"));
    }

    #[test]
    fn scripts_make_no_markup_from_text_and_leave_no_global() {
        for asset in ASSETS.iter().filter(|asset| asset.name.ends_with(".js")) {
            let text = str::from_utf8(asset.bytes).unwrap();
            assert!(text.contains("\n\"use strict\";\n"), "{}", asset.name);
            for banned in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "Function(",
                "globalThis",
                "var ",
            ] {
                assert!(!text.contains(banned), "{} uses {banned}", asset.name);
            }
        }
    }
}
