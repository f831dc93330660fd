//! Who may read an answer, on the wire (GW-10).

use tokio::io::AsyncWriteExt;

use super::support::{Running, VISITOR, next_request, request, upstream, wiki_with};

#[tokio::test]
async fn scripts_of_listed_origins_read_answers_and_no_others_whatever_the_app_says() {
    const EDITOR: &str = "https://editor.localhost";
    let loose = "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\
                 Vary: Accept\r\nContent-Length: 2\r\n\r\nok";
    let app = upstream(move |connection, mut stream| async move {
        let mut read = Vec::new();
        while next_request(connection, &mut stream, &mut read).await.is_some() {
            stream.write_all(loose.as_bytes()).await.unwrap();
        }
    })
    .await;
    let cors = model::app::CrossOrigin { origins: [EDITOR.to_owned()].into(), ..Default::default() };
    let door = Running::start(wiki_with(app, |wiki| wiki.cors = std::sync::Arc::new(cors)), |_| ()).await;
    let cookie = door.cookie(VISITOR);
    let mut client = door.client().await;
    for (origin, allowed) in [(Some(EDITOR), Some(EDITOR)), (Some("https://evil.test"), None), (None, None)] {
        let more = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
        client.send(request("GET", "/", &cookie, &more)).await;
        let answer = client.answer().await;
        assert_eq!(answer.header("access-control-allow-origin"), allowed, "{origin:?}");
        assert_eq!(answer.header("access-control-allow-credentials"), allowed.map(|_| "true"), "{origin:?}");
        assert!(answer.head.contains("vary: Origin") || answer.head.contains("Vary: Origin"), "{}", answer.head);
    }
}
