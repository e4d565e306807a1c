//! Posts bodies over a persistent HTTP/1.1 connection.
//!
//! Not a general client: that would cost more processor time than the server spends on an empty answer.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::args::HttpArgs;
use crate::outcomes::Receipt;
use crate::sender::{Run, Sender};

const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// A request that takes longer fails, and its connection is closed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Error of a request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// The server closed the connection before the answer was complete.
    #[error("the server closed the connection")]
    Closed,
    /// The answer has a form that this client does not support.
    #[error("the answer cannot be read")]
    Unreadable,
    /// The answer timed out.
    #[error("no answer in time")]
    Late(#[from] tokio::time::error::Elapsed),
}

impl RequestError {
    /// Short name for counting.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Io(_) => "io",
            Self::Closed => "closed",
            Self::Unreadable => "unreadable",
            Self::Late(_) => "late",
        }
    }
}

/// Persistent connection.
pub struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

/// Parsed head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Status code.
    pub status: u16,
    body_starts: usize,
    body_bytes: usize,
    /// Whether the server closes the connection after the answer.
    pub closes: bool,
}

impl Connection {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// No server listens there.
    pub async fn open(address: &str) -> Result<Self, RequestError> {
        Ok(Self::over(TcpStream::connect(address).await?)?)
    }

    /// Uses an open TCP connection.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn over(stream: TcpStream) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: Vec::with_capacity(2 * 1024), answer: Vec::with_capacity(1024) })
    }

    /// Sends one request and reads the answer. `head` is the request head without the content length.
    ///
    /// # Errors
    /// There is no answer, or it has an unsupported form.
    pub async fn exchange(&mut self, head: &[u8], body: &[u8]) -> Result<Head, RequestError> {
        self.request.clear();
        self.request.extend_from_slice(head);
        self.request.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        self.request.extend_from_slice(body);
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err(RequestError::Closed);
            }
            if let Some(head) = parse_head(&self.answer)?
                && self.answer.len() >= head.body_starts + head.body_bytes
            {
                return Ok(head);
            }
        }
    }

    /// Returns the body of the last answer.
    pub fn body(&self, head: Head) -> &[u8] {
        self.answer.get(head.body_starts..).unwrap_or_default()
    }

    /// Returns the bytes of the last request and of its answer.
    pub fn exchanged_bytes(&self) -> (usize, usize) {
        (self.request.len(), self.answer.len())
    }
}

/// Parses status and length; `None` while the head is incomplete.
fn parse_head(answer: &[u8]) -> Result<Option<Head>, RequestError> {
    let Some(ends) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = str::from_utf8(answer.get(..ends).unwrap_or_default()).map_err(|_| RequestError::Unreadable)?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let mut head =
        Head { status: status.ok_or(RequestError::Unreadable)?, body_starts: ends + 4, body_bytes: 0, closes: false };
    let mut has_length = false;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            head.body_bytes = value.trim().parse().map_err(|_| RequestError::Unreadable)?;
            has_length = true;
        } else if name.eq_ignore_ascii_case("connection") {
            head.closes = value.trim().eq_ignore_ascii_case("close");
        }
    }
    // Chunked answers would need a decoder, and no receipt is chunked.
    if has_length { Ok(Some(head)) } else { Err(RequestError::Unreadable) }
}

/// Sends until the run is over; returns a time after the last fix.
pub async fn send_all(args: &HttpArgs, mut connection: Connection, mut sender: Sender, run: Run) -> i64 {
    let load = &args.load;
    let path = args.path.as_deref().unwrap_or(if args.empty { "/bench/empty" } else { "/api/driver/location" });
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n",
        load.address, load.token
    );
    while let Some(due) = run.next_due().await {
        if sender.prepare().is_none() {
            break;
        }
        let outcome = timeout(ANSWER_TIMEOUT, connection.exchange(head.as_bytes(), &sender.body)).await;
        match outcome.unwrap_or_else(|late| Err(late.into())) {
            Ok(answer) => {
                count(args, &run, due, &connection, answer, sender.fixes);
                if answer.closes && !reconnect(&mut connection, args, &run).await {
                    break;
                }
            }
            Err(fault) => {
                run.outcomes.borrow_mut().error(fault.name());
                if !reconnect(&mut connection, args, &run).await {
                    break;
                }
            }
        }
    }
    sender.last_fix_millis()
}

fn count(args: &HttpArgs, run: &Run, due: Instant, connection: &Connection, answer: Head, fixes: usize) {
    let mut outcomes = run.outcomes.borrow_mut();
    let (sent, received) = connection.exchanged_bytes();
    outcomes.bytes(sent, received);
    if answer.status != 200 {
        outcomes.answer(&answer.status.to_string(), fixes);
        return;
    }
    let latency = due.elapsed();
    match serde_json::from_slice::<Receipt>(connection.body(answer)) {
        Ok(receipt) => outcomes.success("200", latency, fixes, (!args.empty).then_some(&receipt)),
        Err(_) => outcomes.error("receipt"),
    }
}

/// Reconnects with retries until the run is over; returns whether it succeeded.
async fn reconnect(connection: &mut Connection, args: &HttpArgs, run: &Run) -> bool {
    loop {
        if let Ok(fresh) = Connection::open(&args.load.address).await {
            *connection = fresh;
            return true;
        }
        run.outcomes.borrow_mut().error("connect");
        if run.arrivals.borrow().is_over(Instant::now()) {
            return false;
        }
        sleep(RECONNECT_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_whatever_the_case_of_their_names() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 12\r\nCONNECTION: close\r\n\r\nhello";
        let head = parse_head(answer).unwrap().unwrap();
        assert_eq!(head, Head { status: 503, body_starts: answer.len() - 5, body_bytes: 12, closes: true });
    }

    #[test]
    fn a_head_that_is_not_whole_is_waited_for() {
        assert!(parse_head(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n").unwrap().is_none());
    }

    #[test]
    fn answers_without_a_length_are_refused() {
        assert!(parse_head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(parse_head(b"gibberish\r\n\r\n").is_err());
    }
}
