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
        load("console.css", "text/css; charset=utf-8", include_bytes!("../assets/console.css")),
        load("countersign.css", "text/css; charset=utf-8", include_bytes!("../assets/countersign.css")),
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
}
