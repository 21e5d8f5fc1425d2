//! What hostile senders try. After every attempt the streams are as they were.

use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::door::{Door, NEXT_SECRET, SECRET, answer, push, sign};

#[tokio::test(flavor = "multi_thread")]
async fn forged_unsigned_and_altered_webhooks_are_refused() {
    let door = Door::open().await;
    let body = push('a', 'b').to_string();
    let good = sign(SECRET, body.as_bytes());
    let digits = good.trim_start_matches("sha256=").to_owned();
    let with =
        |signature: &str| door.unsigned("push", body.as_bytes()).header("X-Hub-Signature-256", signature);
    let altered = body.replace("Ada", "Eve");
    let reordered = serde_json::to_string_pretty(&push('a', 'b')).expect("JSON");
    let named = |name: &str| body.replace("dev/shop-web\"", &format!("{name}\""));
    let (open, other, unknown) = (named("dev/open"), named("dev/other"), named("dev/nobody"));
    let attempts = vec![
        door.unsigned("push", body.as_bytes()),
        with(""),
        with(&format!("sha1={digits}")),
        with(&digits),
        with(&good.to_uppercase()),
        with(&good[..good.len() - 2]),
        with(&format!("{good}00")),
        with(&good).header("X-Hub-Signature-256", good.as_str()),
        with(&sign("", body.as_bytes())),
        with(&sign("guess", body.as_bytes())),
        with(&sign("another secret", body.as_bytes())),
        door.unsigned("push", altered.as_bytes()).header("X-Hub-Signature-256", good.as_str()),
        door.unsigned("push", reordered.as_bytes()).header("X-Hub-Signature-256", good.as_str()),
        // A repository without a secret accepts nothing, not even what an empty or another repository's secret signed.
        door.unsigned("push", open.as_bytes()).header("X-Hub-Signature-256", sign("", open.as_bytes())),
        door.request("push", open.as_bytes()),
        door.request("push", other.as_bytes()),
        door.request("push", unknown.as_bytes()),
        door.request("push", b"{}"),
        door.unsigned("push", b"{}").header("X-Hub-Signature-256", sign(NEXT_SECRET, b"[]")),
    ];
    for (number, attempt) in attempts.into_iter().enumerate() {
        let (status, said) = answer(attempt).await;
        assert_eq!(status, 401, "attempt {number}: {said}");
        assert!(said["next"].as_str().is_some_and(|next| !next.is_empty()));
        assert!(!said.to_string().contains(SECRET));
    }
    assert_eq!(door.sequences().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_compressed_and_malformed_bodies_are_refused() {
    let door = Door::open().await;
    let huge = vec![b' '; (25 << 20) + 1];
    let signature = sign(SECRET, &huge);
    let sized = door.unsigned("push", &huge).header("X-Hub-Signature-256", &signature);
    assert_eq!(answer(sized).await.0, 413);
    let chunks = futures::stream::iter(
        huge.chunks(1 << 16).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect::<Vec<_>>(),
    );
    let chunked = door
        .client
        .post(door.url())
        .header("X-GitHub-Event", "push")
        .header("X-Hub-Signature-256", &signature)
        .body(reqwest::Body::wrap_stream(chunks));
    assert_eq!(answer(chunked).await.0, 413);
    let body = push('a', 'b').to_string();
    assert_eq!(answer(door.request("push", body.as_bytes()).header("Content-Encoding", "gzip")).await.0, 415);
    let form = format!("payload={body}");
    let request = door.client.post(door.url()).header("Content-Type", "application/x-www-form-urlencoded");
    let request = request.header("X-Hub-Signature-256", sign(SECRET, form.as_bytes())).body(form);
    assert_eq!(answer(request).await.0, 415);
    let deep = format!("{{\"repository\":{{\"full_name\":\"dev/shop-web\"}},\"a\":{}", "[".repeat(1 << 20));
    let twice = br#"{"repository":{"full_name":"dev/other"},"repository":{"full_name":"dev/shop-web"}}"#;
    let no_push = br#"{"repository":{"full_name":"dev/shop-web"},"ref":7}"#;
    for bytes in [deep.as_bytes(), twice, no_push, b"", b"\xff", b"nonsense"] {
        assert_eq!(answer(door.request("push", bytes)).await.0, 400);
    }
    let keys: String = (0..500_000).map(|n| format!("\"k{n}\":0,")).collect();
    let wide = format!("{{{keys}{}", &body[1..]);
    assert_eq!(answer(door.request("push", wide.as_bytes())).await.0, 202, "large but good");
    assert_eq!(door.sequences().await.0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_senders_are_cut_off_and_hold_up_nobody() {
    let door = Door::open().await;
    let head = "POST /webhooks/github HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: ";
    let body_of = format!("{head}{}\r\nContent-Length: 1000\r\n\r\n", sign(SECRET, b"x"));
    let started = Instant::now();
    let slow = (0..300).map(|n| trickle(&door, if n % 2 == 0 { head } else { &body_of }));
    let (answers, ()) = tokio::join!(join_all(slow), async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = Instant::now();
        assert_eq!(door.deliver(&push('a', 'b')).await.0, 202);
        assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    });
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
    assert!(answers.iter().all(|answer| answer.is_empty() || answer.starts_with("HTTP/1.1 408")));
    assert!(answers.iter().skip(1).step_by(2).all(|answer| answer.starts_with("HTTP/1.1 408")));
    assert_eq!(door.sequences().await.0, 1);
}

/// Sends `start`, then a byte a second until the other side has had enough. Returns what it said.
async fn trickle(door: &Door, start: &str) -> String {
    let mut stream = TcpStream::connect(door.address).await.expect("connects");
    stream.write_all(start.as_bytes()).await.expect("sent");
    let mut said = Vec::new();
    let (mut read, mut write) = stream.split();
    tokio::select! {
        // A reset is as good as an end.
        end = read.read_to_end(&mut said) => drop(end),
        () = async {
            while write.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            std::future::pending::<()>().await;
        } => {}
    }
    String::from_utf8_lossy(&said).into_owned()
}
