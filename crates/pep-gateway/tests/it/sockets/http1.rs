//! HTTP/1.1 on the wire (GW-36, GW-40).

use model::record::{EndCause, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::support::{
    PATIENCE, Running, Scripted, VISITOR, WIKI, find, next_request, ok, request, soon, upstream, wiki_with,
};
use crate::core::world::BOB;

#[tokio::test]
async fn an_upstream_sees_exactly_what_was_judged() {
    let mut wiki = Scripted::echo().await;
    let door = Running::wiki_at(wiki.address).await;
    let cookie = door.cookie(VISITOR);
    let mut client = door.client().await;
    let more = "Cookie: theme=dark\r\nX-Custom: One, Two\r\nAccept: a\r\nAccept: b\r\nContent-Length: 5\r\n";
    client.send(request("POST", "/a%20b/c?q=%2F..&x", &cookie, more) + "hello").await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let asked = wiki.next().await;
    assert_eq!(asked.line(), "POST /a%20b/c?q=%2F..&x HTTP/1.1");
    assert_eq!(asked.all("host"), [format!("{WIKI}:8443")]);
    assert_eq!(asked.all("cookie"), ["theme=dark"]);
    assert_eq!(asked.all("x-custom"), ["One, Two"]);
    assert_eq!(asked.all("accept"), ["a", "b"]);
    assert_eq!(asked.all("content-length"), ["5"]);
    assert_eq!(asked.all("x-countersign-assertion").len(), 1);
    assert_eq!(asked.body, b"hello");
    let allowed = [
        "accept",
        "content-length",
        "cookie",
        "host",
        "traceparent",
        "x-countersign-assertion",
        "x-countersign-decision",
        "x-custom",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-request-id",
    ];
    for line in asked.head.lines().skip(1).filter(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap();
        assert!(allowed.contains(&name), "`{name}` comes from nowhere");
    }
    let completion = door.completion().await.completion;
    assert_eq!(
        (completion.status, completion.bytes_in, completion.end_cause),
        (Some(200), Some(5), Some(EndCause::Closed))
    );
    assert_eq!(completion.upstream.as_deref(), Some(&*format!("http://{}", wiki.address)));
}

#[tokio::test]
async fn pipelined_requests_are_judged_one_by_one_and_share_a_connection() {
    let mut wiki = Scripted::echo().await;
    let door = Running::wiki_at(wiki.address).await;
    let cookie = door.cookie(VISITOR);
    let mut client = door.client().await;
    let stranger = format!("GET /2 HTTP/1.1\r\nHost: {WIKI}:8443\r\n\r\n");
    client.send(request("GET", "/1", &cookie, "") + &stranger + &request("GET", "/3", &cookie, "")).await;
    let statuses = [client.answer().await.status, client.answer().await.status, client.answer().await.status];
    assert_eq!(statuses, [200, 401, 200]);
    let asked = [wiki.next().await, wiki.next().await];
    assert_eq!(asked.each_ref().map(|asked| asked.line().to_owned()), ["GET /1 HTTP/1.1", "GET /3 HTTP/1.1"]);
    assert_eq!(asked.map(|asked| asked.connection), [0, 0], "the upstream connection is used again");
    assert_eq!(door.world.recorder.of_type(RecordType::AccessDecision).len(), 3);
}

#[tokio::test]
async fn atk_4_a_request_behind_an_unknown_upgrade_is_judged_alone() {
    let mut wiki = Scripted::echo().await;
    let door = Running::wiki_at(wiki.address).await;
    let cookie = door.cookie(VISITOR);
    let mut client = door.client().await;
    let behind = format!("GET /admin HTTP/1.1\r\nHost: {WIKI}:8443\r\n\r\n");
    client.send(request("GET", "/", &cookie, "Connection: upgrade\r\nUpgrade: foo\r\n") + &behind).await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(client.answer().await.status, 401);
    assert_eq!(wiki.next().await.all("upgrade"), [""; 0]);
    assert!(wiki.so_far().is_empty());
}

#[tokio::test]
async fn the_client_is_asked_for_its_body_only_after_the_decision() {
    let mut wiki = Scripted::echo().await;
    let door = Running::wiki_at(wiki.address).await;
    let more = "Expect: 100-continue\r\nContent-Length: 5\r\n";
    let mut refused = door.client().await;
    refused.send(request("POST", "/", &door.cookie(BOB), more)).await;
    assert_eq!(refused.answer().await.status, 403, "no 100 comes before the refusal");
    let mut allowed = door.client().await;
    allowed.send(request("POST", "/", &door.cookie(VISITOR), more)).await;
    assert_eq!(allowed.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    allowed.send("hello").await;
    assert_eq!(allowed.answer().await.status, 200);
    assert_eq!(wiki.next().await.body, b"hello");
}

#[tokio::test]
async fn a_chunked_body_arrives_chunked_and_whole() {
    let mut wiki = Scripted::echo().await;
    let door = Running::wiki_at(wiki.address).await;
    let mut client = door.client().await;
    let body = "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    client.send(request("POST", "/", &door.cookie(VISITOR), "Transfer-Encoding: chunked\r\n") + body).await;
    assert_eq!(client.answer().await.status, 200);
    let asked = wiki.next().await;
    assert_eq!(asked.all("transfer-encoding"), ["chunked"]);
    assert_eq!(String::from_utf8(asked.body).unwrap(), body);
}

#[tokio::test]
async fn atk_7_a_broken_chunk_in_the_middle_never_looks_like_the_end_upstream() {
    let (sender, mut seen) = mpsc::unbounded_channel();
    let address = upstream(move |_, mut stream| {
        let sender = sender.clone();
        async move {
            let mut read = Vec::new();
            while find(&read, b"hello").is_none() {
                stream.read_buf(&mut read).await.unwrap();
            }
            sender.send(Vec::new()).unwrap();
            // However it ends.
            let _ = stream.read_to_end(&mut read).await;
            sender.send(read).unwrap();
        }
    })
    .await;
    let door = Running::wiki_at(address).await;
    let mut client = door.client().await;
    client.send(request("POST", "/", &door.cookie(VISITOR), "Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n").await;
    soon(seen.recv()).await.unwrap();
    client.send("zz\r\n").await;
    assert_eq!(client.answer().await.status, 400);
    let seen = soon(seen.recv()).await.unwrap();
    assert!(find(&seen, b"0\r\n\r\n").is_none(), "{}", String::from_utf8_lossy(&seen));
}

#[tokio::test]
async fn each_chunk_passes_before_the_next_is_made() {
    // Made only when asked for: a door that waits for more would wait for ever.
    let (make, wanted) = mpsc::channel::<&str>(1);
    let wanted = std::sync::Arc::new(tokio::sync::Mutex::new(wanted));
    let address = upstream(move |connection, mut stream| {
        let wanted = wanted.clone();
        async move {
            next_request(connection, &mut stream, &mut Vec::new()).await;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            while let Some(event) = wanted.lock().await.recv().await {
                stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await.unwrap();
            }
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let door = Running::wiki_at(address).await;
    let mut client = door.client().await;
    client.send(request("GET", "/events", &door.cookie(VISITOR), "")).await;
    assert!(client.head().await.contains("text/event-stream"));
    for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
        make.send(event).await.unwrap();
        assert_eq!(client.chunk().await, event.as_bytes());
    }
    drop(make);
    assert!(client.chunk().await.is_empty());
}

#[tokio::test]
async fn an_upload_flows_while_the_response_does() {
    let address = upstream(|_, mut stream| async move {
        let mut read = Vec::new();
        while find(&read, b"\r\n\r\n").is_none() {
            stream.read_buf(&mut read).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n").await.unwrap();
        let mut byte = [0; 1];
        for _ in 0..4 {
            stream.read_exact(&mut byte).await.unwrap();
            stream.write_all(&byte.map(|byte| byte.to_ascii_uppercase())).await.unwrap();
        }
    })
    .await;
    let door = Running::wiki_at(address).await;
    let mut client = door.client().await;
    client.send(request("POST", "/", &door.cookie(VISITOR), "Content-Length: 4\r\n")).await;
    client.head().await;
    for (sent, expected) in [("a", b"A"), ("b", b"B"), ("c", b"C"), ("d", b"D")] {
        client.send(sent).await;
        assert_eq!(client.exactly(1).await, expected);
    }
}

/// More than every buffer on the way together.
const BIG: usize = 64 * 1024 * 1024;
/// What the buffers on the way may hold: sockets of the system on two hops, and ours.
const HELD_ON_THE_WAY: usize = 24 * 1024 * 1024;

#[tokio::test]
async fn a_big_upload_waits_for_its_upstream_and_arrives_whole() {
    let (go, gone) = tokio::sync::watch::channel(false);
    let address = upstream(move |_, mut stream| {
        let mut gone = gone.clone();
        async move {
            gone.wait_for(|go| *go).await.unwrap();
            let mut read = Vec::new();
            while find(&read, b"\r\n\r\n").is_none() {
                stream.read_buf(&mut read).await.unwrap();
            }
            let mut count = read.len() - find(&read, b"\r\n\r\n").unwrap() - 4;
            let mut piece = vec![0; 64 * 1024];
            while count < BIG {
                count += stream.read(&mut piece).await.unwrap();
            }
            stream.write_all(&ok(count.to_string().as_bytes())).await.unwrap();
        }
    })
    .await;
    let door = Running::wiki_at(address).await;
    let mut client = door.client().await;
    client.send(request("POST", "/", &door.cookie(VISITOR), &format!("Content-Length: {BIG}\r\n"))).await;
    let piece = vec![7; 64 * 1024];
    let mut sent = 0;
    let stall = std::time::Duration::from_millis(300);
    while sent < BIG {
        // The upstream reads nothing yet, so the client must be stopped long before the end.
        match tokio::time::timeout(stall, client.stream.write(&piece[..piece.len().min(BIG - sent)])).await {
            Ok(count) => sent += count.unwrap(),
            Err(_) => {
                assert!(!*go.borrow(), "the upload stalled for good after {sent} bytes");
                assert!(sent < HELD_ON_THE_WAY, "{sent} bytes are held on the way");
                go.send(true).unwrap();
            }
        }
    }
    client.stream.flush().await.unwrap();
    assert!(*go.borrow(), "nothing held the client back");
    assert_eq!(client.answer().await.text(), BIG.to_string());
}

#[tokio::test]
async fn a_big_download_waits_for_its_client_and_arrives_whole() {
    let written = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = written.clone();
    let address = upstream(move |connection, mut stream| {
        let count = count.clone();
        async move {
            next_request(connection, &mut stream, &mut Vec::new()).await;
            stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {BIG}\r\n\r\n").as_bytes()).await.unwrap();
            let piece = vec![7; 64 * 1024];
            for _ in 0..BIG / piece.len() {
                stream.write_all(&piece).await.unwrap();
                count.fetch_add(piece.len(), std::sync::atomic::Ordering::SeqCst);
            }
        }
    })
    .await;
    let door = Running::wiki_at(address).await;
    let mut client = door.client().await;
    client.send(request("GET", "/", &door.cookie(VISITOR), "")).await;
    client.head().await;
    let mut before = usize::MAX;
    loop {
        let now = written.load(std::sync::atomic::Ordering::SeqCst);
        if now == before {
            break;
        }
        before = now;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert!(before < HELD_ON_THE_WAY, "{before} bytes are held on the way");
    let mut got = client.read.len();
    let mut piece = vec![0; 64 * 1024];
    while got < BIG {
        got += soon(client.stream.read(&mut piece)).await.unwrap();
    }
    assert_eq!(got, BIG);
}

#[tokio::test]
async fn a_client_that_hangs_up_takes_its_upstream_request_along() {
    let (sender, mut ended) = mpsc::unbounded_channel();
    let address = upstream(move |connection, mut stream| {
        let sender = sender.clone();
        async move {
            next_request(connection, &mut stream, &mut Vec::new()).await;
            sender.send("asked").unwrap();
            let mut byte = [0; 1];
            let _ = stream.read(&mut byte).await;
            sender.send("hung up").unwrap();
        }
    })
    .await;
    let door = Running::wiki_at(address).await;
    let mut client = door.client().await;
    client.send(request("GET", "/", &door.cookie(VISITOR), "")).await;
    assert_eq!(soon(ended.recv()).await, Some("asked"));
    drop(client);
    assert_eq!(soon(ended.recv()).await, Some("hung up"));
    assert_eq!(door.completion().await.completion.end_cause, Some(EndCause::ClientAbort));
}

#[tokio::test]
async fn atk_11_a_huge_body_for_an_endpoint_of_ours_is_not_read() {
    let door = Running::wiki_at(super::support::nobody().await).await;
    for framing in ["Content-Length: 9000000000", "Transfer-Encoding: chunked"] {
        let mut client = door.client().await;
        client.send(format!("POST /login HTTP/1.1\r\nHost: localhost:8443\r\n{framing}\r\n\r\n")).await;
        let chunk = [b"4000\r\n".as_slice(), &[b'x'; 0x4000], b"\r\n"].concat();
        let mut sent = 0;
        while framing.starts_with('T') && sent < 8 && client.stream.write_all(&chunk).await.is_ok() {
            sent += 1;
        }
        let _ = client.stream.flush().await;
        assert_eq!(client.answer().await.status, 413, "{framing}");
    }
    assert!(door.world.reserved.calls().is_empty());
}

#[tokio::test]
async fn an_endpoint_of_ours_gets_the_whole_body() {
    let door = Running::wiki_at(super::support::nobody().await).await;
    let mut client = door.client().await;
    client.send("POST /login HTTP/1.1\r\nHost: localhost:8443\r\nContent-Length: 5\r\n\r\nhello").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "ours"));
    assert_eq!(door.world.reserved.calls(), ["POST https://localhost:8443/login"]);
}

#[tokio::test]
async fn a_body_beyond_the_limit_of_its_route_is_refused_before_its_end() {
    let mut wiki = Scripted::echo().await;
    let apps = wiki_with(wiki.address, |app| app.routes[0].max_body_bytes = Some(10));
    let door = Running::start(apps, |_| ()).await;
    let bodies = [("Transfer-Encoding: chunked\r\n", "b\r\nhello world\r\n"), ("Content-Length: 11\r\n", "")];
    for (framing, body) in bodies {
        let mut client = door.client().await;
        client.send(request("POST", "/", &door.cookie(VISITOR), framing) + body).await;
        assert_eq!(client.answer().await.status, 413, "{framing}");
    }
    let mut client = door.client().await;
    client.send(request("POST", "/", &door.cookie(VISITOR), "Content-Length: 10\r\n") + "just right").await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(wiki.next().await.body, b"just right");
    assert!(wiki.so_far().is_empty());
}

#[tokio::test]
async fn a_stopping_door_finishes_what_it_has_begun_and_then_ends() {
    let (answer, wanted) = tokio::sync::watch::channel(false);
    let (sender, mut asked) = mpsc::unbounded_channel();
    let address = upstream(move |connection, mut stream| {
        let (mut wanted, sender) = (wanted.clone(), sender.clone());
        async move {
            next_request(connection, &mut stream, &mut Vec::new()).await;
            sender.send(()).unwrap();
            wanted.wait_for(|wanted| *wanted).await.unwrap();
            stream.write_all(&ok(b"done")).await.unwrap();
        }
    })
    .await;
    let door = Running::wiki_at(address).await;
    let mut idle = door.client().await;
    let mut client = door.client().await;
    client.send(request("GET", "/", &door.cookie(VISITOR), "")).await;
    soon(asked.recv()).await.unwrap();
    door.shutdown.cancel();
    assert_eq!(idle.rest().await, (Vec::new(), true), "an idle connection is closed at once");
    answer.send(true).unwrap();
    assert_eq!(client.answer().await.text(), "done");
    assert_eq!(client.rest().await, (Vec::new(), true));
    tokio::time::timeout(PATIENCE, door.serving).await.expect("the door ends").unwrap();
}
