//! Opens connections: from as many loopback addresses as their number needs, and with the handshake of a WebSocket.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{error::Elapsed, timeout};

use crate::fleet::plan::secs;

/// Linux gives outgoing connections some 28,000 ports per pair of addresses; ports of a moment ago are still taken.
const PER_ADDRESS: usize = 14_000;
const LOOPBACK_ADDRESSES: usize = 250;
const HANDSHAKE_SECS: f64 = 60.0;
const LONGEST_ANSWER_BYTES: usize = 8 * 1024;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// TCP.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// The server answered the handshake with something else.
    #[error("the handshake was refused: {0}")]
    Refused(String),
    /// The server hung up, or sent more than an answer.
    #[error("the answer to the handshake cannot be read")]
    Unreadable,
    /// Nothing came.
    #[error("no answer to the handshake in time")]
    Late(#[from] Elapsed),
}

/// An open WebSocket, and what came right behind the handshake.
#[derive(Debug)]
pub struct Opened {
    /// The connection.
    pub stream: TcpStream,
    /// First bytes of frames.
    pub rest: Vec<u8>,
}

/// What is said to open a WebSocket.
#[derive(Debug)]
pub struct Handshake {
    request: String,
    protocol: Option<String>,
}

/// How connections to one server are opened.
#[derive(Debug)]
pub struct Door {
    target: SocketAddr,
    opened: Cell<usize>,
}

impl Door {
    /// The door of a server.
    ///
    /// # Errors
    /// The address is not one as numbers.
    pub fn new(address: &str) -> Result<Self, std::net::AddrParseError> {
        Ok(Self { target: address.parse()?, opened: Cell::new(0) })
    }

    /// Opens a connection; a deaf one has the smallest receive buffer there is.
    ///
    /// # Errors
    /// Nobody listens, or no port is free.
    pub async fn connect(&self, deaf: bool) -> std::io::Result<TcpStream> {
        let socket = if self.target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        let before = self.opened.replace(self.opened.get() + 1);
        if let Some(source) = self.source(before) {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        if deaf {
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
    pub async fn upgrade(&self, handshake: &Handshake, deaf: bool) -> Result<Opened, Fault> {
        timeout(secs(HANDSHAKE_SECS), self.shake_hands(handshake, deaf)).await?
    }

    async fn shake_hands(&self, handshake: &Handshake, deaf: bool) -> Result<Opened, Fault> {
        let mut stream = self.connect(deaf).await?;
        stream.write_all(handshake.request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(512);
        loop {
            if let Some(ends) = memchr::memmem::find(&answer, b"\r\n\r\n") {
                let rest = answer.split_off(ends + 4);
                if answer.starts_with(b"HTTP/1.1 101 ") {
                    return handshake.check(&answer).map(|()| Opened { stream, rest });
                }
                let status = answer.split(|&byte| byte == b'\r').next().unwrap_or_default();
                return Err(Fault::Refused(String::from_utf8_lossy(status).into_owned()));
            }
            if answer.len() > LONGEST_ANSWER_BYTES || stream.read_buf(&mut answer).await? == 0 {
                return Err(Fault::Unreadable);
            }
        }
    }

    /// Where connection number `number` comes from; `None` leaves it to the kernel.
    fn source(&self, number: usize) -> Option<IpAddr> {
        let turn = number / PER_ADDRESS % LOOPBACK_ADDRESSES;
        let last = u8::try_from(turn + 1).ok()?;
        (turn > 0 && self.target.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST)).then(|| Ipv4Addr::new(127, 0, 0, last).into())
    }
}

impl Handshake {
    /// For a path of a server. The key is a constant: no proxy stands between that could mistake an answer.
    pub fn new(address: &str, path: &str, token: &str, protocol: Option<&str>) -> Self {
        let wish = protocol.map(|name| format!("sec-websocket-protocol: {name}\r\n")).unwrap_or_default();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {wish}\r\n"
        );
        Self { request, protocol: protocol.map(str::to_owned) }
    }

    /// A server that does not speak the subprotocol opens the socket all the same, and would be measured for another.
    fn check(&self, answer: &[u8]) -> Result<(), Fault> {
        let Some(protocol) = &self.protocol else { return Ok(()) };
        let answer = String::from_utf8_lossy(answer).to_ascii_lowercase();
        if answer.contains(&format!("sec-websocket-protocol: {}\r\n", protocol.to_ascii_lowercase())) {
            return Ok(());
        }
        Err(Fault::Refused(format!("the server does not speak {protocol}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_connections_come_from_many_addresses() {
        let door = Door::new("127.0.0.1:8000").unwrap();
        assert_eq!(door.source(0), None);
        assert_eq!(door.source(13_999), None);
        assert_eq!(door.source(14_000), Some(Ipv4Addr::new(127, 0, 0, 2).into()));
        assert_eq!(door.source(250 * 14_000), None);
        assert_eq!(Door::new("192.0.2.1:80").unwrap().source(50_000), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_refusal_says_why() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = Door::new(&listener.local_addr().unwrap().to_string()).unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::with_capacity(4_096);
            stream.read_buf(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 401 Unauthorized\r\n\r\n").await.unwrap();
            request
        };
        let handshake = Handshake::new("localhost", "/ws", "secret", Some("a.b"));
        let (request, outcome) = tokio::join!(server, door.upgrade(&handshake, false));
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
