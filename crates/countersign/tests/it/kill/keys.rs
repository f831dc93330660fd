//! `kill -9` while a signing key changes (AUD-7): what is published is in the record, and what the record tells of is
//! published.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign::client::Client;
use serde_json::{Value, json};

use super::product::Product;
use super::rng::Rng;

/// Folders, each with a key of each purpose to change: a second change waits for ten minutes.
const FOLDERS: usize = 6;
/// A change takes less.
const CHANGE_MICROS: usize = 12_000;

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_key_changes_the_ring_and_the_record_tell_of_the_same_keys() {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).unwrap();
    let mut rng = Rng::new(u64::from_ne_bytes(seed));
    for _ in 0..FOLDERS {
        let mut product = Product::new();
        product.start();
        for purpose in ["assertion", "receipt"] {
            let client = product.client();
            let change =
                tokio::spawn(
                    async move { client.post(&format!("/api/v1/keys/{purpose}/rotate"), &json!({})).await.ok() },
                );
            tokio::time::sleep(Duration::from_micros(rng.below(CHANGE_MICROS) as u64)).await;
            product.kill();
            let answered = change.await.unwrap();
            product.start();
            let client = product.client();
            let (published, recorded) = (published(&client).await, recorded(&client).await);
            assert_eq!(recorded.len(), recorded.iter().collect::<BTreeSet<_>>().len(), "each once: {recorded:?}");
            assert_eq!(recorded.into_iter().collect::<BTreeSet<_>>(), published);
            if let Some(line) = answered {
                assert!(published.contains(line["kid"].as_str().unwrap()), "what was answered is there");
            }
        }
        product.kill();
    }
}

async fn published(client: &Client) -> BTreeSet<String> {
    let answer = client.get("/api/v1/keys").await.unwrap();
    answer["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

async fn recorded(client: &Client) -> Vec<String> {
    let mut kids = Vec::new();
    for kind in ["key.issued", "key.rotated"] {
        let answer = client.get_with("/api/v1/audit/records", &[("type", kind.to_owned())]).await.unwrap();
        let kid = |record: &Value| record["object_id"].as_str().unwrap().to_owned();
        kids.extend(answer["records"].as_array().unwrap().iter().map(kid));
    }
    kids
}
