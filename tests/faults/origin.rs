//! An origin: a process of its own, so that killing and stopping it is what it is in life. It does what its parent tells it by a
//! line on its standard input, says on its standard output when that is in force, and counts what reached it.
//!
//! Only requests with an id are treated badly in answers: whoever asks for the origin's health is told that all is well.

use std::cell::Cell;
use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use crate::behaviour::Behaviour;
use crate::wire::{Framing, Head, Wire};
use crate::{content, process, wild};

/// The first argument of this program where it is to be an origin.
pub const ROLE: &str = "origin";
/// Ports that the system does not give to connections by itself, so that one is still free when its origin comes back.
const PORTS: std::ops::Range<u16> = 15_000..31_000;
const BACKLOG: i32 = 1024;
/// Between what is sent and the reset behind it, so that one does not overtake the other.
const BEFORE_RESET: Duration = Duration::from_millis(3);
/// A connection that does not stand after this long on loopback was not let in.
const KNOCK: Duration = Duration::from_millis(30);

/// What all connections of an origin share.
#[derive(Debug)]
struct Origin {
    name: String,
    told: watch::Sender<Behaviour>,
    requests: Cell<u64>,
}

/// A request as it was read.
pub struct Asked {
    pub id: Option<u64>,
    pub body: Vec<u8>,
    /// Bytes wanted behind the first line of the answer.
    pub length: usize,
    pub chunked: bool,
}

/// The child's main: its name and its port, 0 for any.
pub fn main(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    process::die_with_parent();
    let (name, port) = (arguments.next().unwrap(), arguments.next().unwrap().parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).unwrap();
    runtime.block_on(async {
        let listener = listen(port);
        println!("port {}", listener.local_addr().unwrap().port());
        let origin = Rc::new(Origin { name, told: watch::channel(Behaviour::Well).0, requests: Cell::default() });
        tokio::task::spawn_local(accept(listener, Rc::clone(&origin)));
        let mut lines = lines();
        while let Some(line) = lines.recv().await {
            match &*line {
                "count" => println!("count {}", origin.requests.get()),
                line => drop(origin.told.send_replace(line.parse().unwrap())),
            }
        }
    });
    ExitCode::SUCCESS
}

/// Standard input, which ends with the parent.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    lines
}

fn listen(port: u16) -> TcpListener {
    let mut chance = fastrand::Rng::new();
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        let chosen = if port == 0 { chance.u16(PORTS) } else { port };
        let address = SocketAddr::from(([127, 0, 0, 1], chosen));
        if socket.bind(&address.into()).and_then(|()| socket.listen(BACKLOG)).is_ok() {
            return TcpListener::from_std(socket.into()).unwrap();
        }
        assert_eq!(port, 0, "port {port} was taken while its origin was away");
    }
}

async fn accept(listener: TcpListener, origin: Rc<Origin>) {
    let mut told = origin.told.subscribe();
    loop {
        // Any other is confirmed below, where it counts as seen: here it could be seen and never confirmed.
        if *told.borrow() == Behaviour::BlackHole {
            told.mark_unchanged();
            let held = fill_the_queue(&listener).await;
            println!("done");
            while told.changed().await.is_ok() && *told.borrow_and_update() == Behaviour::BlackHole {
                println!("done");
            }
            drop(held);
            SockRef::from(&listener).listen(BACKLOG).unwrap();
            println!("done");
        }
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                let origin = Rc::clone(&origin);
                tokio::task::spawn_local(async move { origin.serve(stream).await });
            },
            _ = told.changed() => if *told.borrow() != Behaviour::BlackHole {
                println!("done");
            },
        }
    }
}

/// Has the kernel drop whoever knocks: a queue with room for one, which is taken.
async fn fill_the_queue(listener: &TcpListener) -> Vec<TcpStream> {
    SockRef::from(listener).listen(0).unwrap();
    let (address, mut held) = (listener.local_addr().unwrap(), Vec::new());
    while let Ok(Ok(stream)) = tokio::time::timeout(KNOCK, TcpStream::connect(address)).await {
        held.push(stream);
    }
    held
}

impl Origin {
    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut wire = Wire::new(stream);
        loop {
            self.while_told(Behaviour::BlackHole).await;
            let Some(head) = wire.head().await? else { return Ok(()) };
            self.while_told(Behaviour::BlackHole).await;
            let id = head.field("x-id").map(|id| id.parse().unwrap());
            if let Some(id) = id {
                self.requests.set(self.requests.get() + 1);
                if head.first[0] == "POST" {
                    println!("seen {id}");
                }
            }
            if !self.answer(&mut wire, &head, id).await? {
                return Ok(());
            }
        }
    }

    /// Answers, or does what it was told instead. False if the connection is over.
    async fn answer(&self, wire: &mut Wire, head: &Head, id: Option<u64>) -> io::Result<bool> {
        let now = *self.told.borrow();
        if let (Behaviour::Wild { percent }, Some(id)) = (now, id)
            && fastrand::u8(0..100) < percent
        {
            return wild::answer(wire, head, id, &self.name).await;
        }
        let asked = Asked::read(wire, head, id).await?;
        let answer = asked.answer(&self.name);
        match now {
            Behaviour::Slow(time) => tokio::time::sleep(time).await,
            Behaviour::Mute => {
                self.while_told(Behaviour::Mute).await;
                return Ok(false);
            }
            Behaviour::ResetInHead if id.is_some() => return reset(wire, &answer[..20]).await,
            Behaviour::ResetInBody if id.is_some() => return reset(wire, &answer[..answer.len() / 2]).await,
            Behaviour::Status { code, percent } if id.is_some() && fastrand::u8(0..100) < percent => {
                wire.write(&status(code)).await?;
                return Ok(true);
            }
            _ => {}
        }
        self.while_told(Behaviour::BlackHole).await;
        wire.write(&answer).await?;
        Ok(true)
    }

    async fn while_told(&self, behaviour: Behaviour) {
        if *self.told.borrow() == behaviour {
            let _ = self.told.subscribe().wait_for(|told| *told != behaviour).await;
        }
    }
}

impl Asked {
    pub async fn read(wire: &mut Wire, head: &Head, id: Option<u64>) -> io::Result<Asked> {
        let body = wire.body(head.framing(Framing::Length(0))?).await?;
        let length = head.field("x-want").and_then(|length| length.parse().ok()).unwrap_or_default();
        Ok(Asked { id, body, length, chunked: head.field("x-framing") == Some("chunked") })
    }

    /// The right answer, as it goes over the wire.
    pub fn answer(&self, name: &str) -> Vec<u8> {
        let body = content::answer(self.id.unwrap_or_default(), name, &self.body, self.length);
        let head = format!("HTTP/1.1 200 OK\r\nx-origin: {name}\r\n");
        if !self.chunked {
            let head = format!("{head}content-length: {}\r\n\r\n", body.len());
            return [head.as_bytes(), &body].concat();
        }
        let mut answer = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
        chunked(&mut answer, &body);
        answer
    }
}

/// A body in chunks of chance sizes, with its end.
pub fn chunked(to: &mut Vec<u8>, mut body: &[u8]) {
    while !body.is_empty() {
        let (now, later) = body.split_at(fastrand::usize(1..=body.len().min(30_000)));
        to.extend_from_slice(format!("{:x}\r\n", now.len()).as_bytes());
        to.extend_from_slice(now);
        to.extend_from_slice(b"\r\n");
        body = later;
    }
    to.extend_from_slice(b"0\r\n\r\n");
}

/// An answer that only says that there is none.
pub fn status(code: u16) -> Vec<u8> {
    format!("HTTP/1.1 {code} Ill\r\ncontent-length: 4\r\n\r\nill\n").into_bytes()
}

/// Sends this and breaks the connection.
pub async fn reset(wire: &mut Wire, part: &[u8]) -> io::Result<bool> {
    wire.write(part).await?;
    tokio::time::sleep(BEFORE_RESET).await;
    SockRef::from(&wire.stream).set_linger(Some(Duration::ZERO))?;
    Ok(false)
}
