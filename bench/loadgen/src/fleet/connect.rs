//! Opens TCP connections and WebSockets, from as many loopback addresses as their number needs.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{error::Elapsed, timeout};

use crate::fleet::plan::secs;

/// Linux has some 28,000 ports per pair of addresses for outgoing connections; recently closed ones are not free yet.
const PER_ADDRESS: usize = 14_000;
const LOOPBACK_ADDRESSES: usize = 250;
const HANDSHAKE_TIMEOUT_SECS: f64 = 60.0;
const MAX_ANSWER_BYTES: usize = 8 * 1024;

/// Error of opening a connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// TCP error.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// The server refused the handshake.
    #[error("the handshake was refused: {0}")]
    Refused(String),
    /// The server closed the connection, or sent no readable answer.
    #[error("the answer to the handshake cannot be read")]
    Unreadable,
    /// The handshake timed out.
    #[error("no answer to the handshake in time")]
    Late(#[from] Elapsed),
}

/// Open WebSocket, with the bytes that followed the handshake.
#[derive(Debug)]
pub struct Opened {
    /// The connection.
    pub stream: TcpStream,
    /// First bytes of frames, received with the handshake.
    pub rest: Vec<u8>,
}

/// Request that opens a WebSocket.
#[derive(Debug)]
pub struct Handshake {
    request: String,
    protocol: Option<String>,
}

/// Opens connections to one server.
#[derive(Debug)]
pub struct Endpoint {
    target: SocketAddr,
    opened: Cell<usize>,
}

impl Endpoint {
    /// Creates an endpoint.
    ///
    /// # Errors
    /// The address is not an IP address with a port.
    pub fn new(address: &str) -> Result<Self, std::net::AddrParseError> {
        Ok(Self { target: address.parse()?, opened: Cell::new(0) })
    }

    /// Opens a connection; a stalled one has the smallest receive buffer.
    ///
    /// # Errors
    /// No server listens, or no local port is free.
    pub async fn connect(&self, stalled: bool) -> std::io::Result<TcpStream> {
        let socket = if self.target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        let before = self.opened.replace(self.opened.get() + 1);
        if let Some(source) = self.source(before) {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        if stalled {
            socket.set_recv_buffer_size(4_096)?;
        }
        let stream = socket.connect(self.target).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Opens a WebSocket.
    ///
    /// # Errors
    /// There is no connection, or the handshake was refused.
    pub async fn upgrade(&self, handshake: &Handshake, stalled: bool) -> Result<Opened, ConnectError> {
        timeout(secs(HANDSHAKE_TIMEOUT_SECS), self.upgrade_once(handshake, stalled)).await?
    }

    async fn upgrade_once(&self, handshake: &Handshake, stalled: bool) -> Result<Opened, ConnectError> {
        let mut stream = self.connect(stalled).await?;
        stream.write_all(handshake.request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(512);
        loop {
            if let Some(ends) = memchr::memmem::find(&answer, b"\r\n\r\n") {
                let rest = answer.split_off(ends + 4);
                if answer.starts_with(b"HTTP/1.1 101 ") {
                    return handshake.check(&answer).map(|()| Opened { stream, rest });
                }
                let status = answer.split(|&byte| byte == b'\r').next().unwrap_or_default();
                return Err(ConnectError::Refused(String::from_utf8_lossy(status).into_owned()));
            }
            if answer.len() > MAX_ANSWER_BYTES || stream.read_buf(&mut answer).await? == 0 {
                return Err(ConnectError::Unreadable);
            }
        }
    }

    /// Returns the source address of connection `number`; `None` lets the kernel choose.
    fn source(&self, number: usize) -> Option<IpAddr> {
        let turn = number / PER_ADDRESS % LOOPBACK_ADDRESSES;
        let last = u8::try_from(turn + 1).ok()?;
        (turn > 0 && self.target.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST)).then(|| Ipv4Addr::new(127, 0, 0, last).into())
    }
}

impl ConnectError {
    /// Short name for counting.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Io(_) => "connect",
            Self::Refused(_) => "refused",
            Self::Unreadable => "unreadable",
            Self::Late(_) => "late",
        }
    }
}

impl Handshake {
    /// Creates the request for a path. The key is a constant: there is no proxy that could cache an answer.
    pub fn new(address: &str, path: &str, token: &str, protocol: Option<&str>) -> Self {
        let protocol_header = protocol.map(|name| format!("sec-websocket-protocol: {name}\r\n")).unwrap_or_default();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {protocol_header}\r\n"
        );
        Self { request, protocol: protocol.map(str::to_owned) }
    }

    /// Checks the granted subprotocol: a server without it opens the socket all the same.
    fn check(&self, answer: &[u8]) -> Result<(), ConnectError> {
        let Some(protocol) = &self.protocol else { return Ok(()) };
        let answer = String::from_utf8_lossy(answer).to_ascii_lowercase();
        if answer.contains(&format!("sec-websocket-protocol: {}\r\n", protocol.to_ascii_lowercase())) {
            return Ok(());
        }
        Err(ConnectError::Refused(format!("the server does not speak {protocol}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_connections_come_from_many_addresses() {
        let endpoint = Endpoint::new("127.0.0.1:8000").unwrap();
        assert_eq!(endpoint.source(0), None);
        assert_eq!(endpoint.source(13_999), None);
        assert_eq!(endpoint.source(14_000), Some(Ipv4Addr::new(127, 0, 0, 2).into()));
        assert_eq!(endpoint.source(250 * 14_000), None);
        assert_eq!(Endpoint::new("192.0.2.1:80").unwrap().source(50_000), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_refusal_says_why() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::new(&listener.local_addr().unwrap().to_string()).unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::with_capacity(4_096);
            stream.read_buf(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 401 Unauthorized\r\n\r\n").await.unwrap();
            request
        };
        let handshake = Handshake::new("localhost", "/ws", "secret", Some("a.b"));
        let (request, outcome) = tokio::join!(server, endpoint.upgrade(&handshake, false));
        assert!(String::from_utf8(request).unwrap().contains("sec-websocket-protocol: a.b\r\n"));
        assert_eq!(outcome.unwrap_err().to_string(), "the handshake was refused: HTTP/1.1 401 Unauthorized");
    }

    #[test]
    fn a_subprotocol_that_is_not_granted_is_a_refusal() {
        let handshake = Handshake::new("localhost", "/ws", "secret", Some("a.b"));
        assert!(handshake.check(b"HTTP/1.1 101 x\r\nSec-WebSocket-Protocol: a.b\r\n").is_ok());
        assert!(handshake.check(b"HTTP/1.1 101 x\r\nupgrade: websocket\r\n").is_err());
        assert!(Handshake::new("localhost", "/ws", "secret", None).check(b"HTTP/1.1 101 x\r\n").is_ok());
    }
}
