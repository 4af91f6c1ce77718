//! The physical floor: a blocking loop that writes the same bytes to all sockets, in a process of
//! its own so that its CPU time is its own.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use super::Running;
use crate::connection::{Target, Transport};
use crate::server::{Host, Preparation, Server};
use crate::session::floor::{FRAME_BYTES, GREETING};

/// Frames of a large write: what fits into 64 KiB.
pub(super) const LARGE: usize = 64 * 1024 / FRAME_BYTES;

pub(super) fn start(host: &Host, sockets: usize, frames: usize) -> Result<Running, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let mut command = Command::new(program);
    command.args(["--write-loop", &format!("{sockets}x{frames}")]);
    let (server, line) = Server::start_announced(host, command, Preparation::new()?)?;
    let address: SocketAddr =
        line.trim().parse().map_err(|error| format!("'{}': {error}", line.trim()))?;
    Ok(Running { server, target: Target { address, transport: Transport::Tcp } })
}

/// What the process does: says where it listens, takes so many sockets, and writes so many frames
/// to each in turn until one is closed. `what` is `SOCKETSxFRAMES`.
///
/// # Errors
/// When `what` is something else, or nothing can be written at all.
pub(crate) fn write_loop(what: &str, announce: impl FnOnce(&str)) -> Result<(), String> {
    let (sockets, frames) = sizes(what).ok_or_else(|| format!("'{what}' is no SOCKETSxFRAMES"))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listener = listener.map_err(|error| format!("listening: {error}"))?;
    let address = listener.local_addr().map_err(|error| format!("listening: {error}"))?;
    announce(&address.to_string());
    let take = || -> io::Result<TcpStream> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        stream.write_all(&[GREETING])?;
        Ok(stream)
    };
    let streams: io::Result<Vec<_>> = (0..sockets).map(|_| take()).collect();
    let mut streams = streams.map_err(|error| format!("taking connections: {error}"))?;
    let bytes = vec![b'x'; frames * FRAME_BYTES];
    loop {
        for stream in &mut streams {
            // The load closes its sockets when it has seen enough.
            if stream.write_all(&bytes).is_err() {
                return Ok(());
            }
        }
    }
}

fn sizes(what: &str) -> Option<(usize, usize)> {
    let (sockets, frames) = what.split_once('x')?;
    let positive = |number: &str| number.parse().ok().filter(|number| *number > 0);
    Some((positive(sockets)?, positive(frames)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::sync::mpsc;

    #[test]
    fn the_loop_greets_all_and_writes_to_all() {
        let (tell, told) = mpsc::channel();
        let writing = std::thread::spawn(move || {
            write_loop("2x3", |address| tell.send(address.to_owned()).unwrap())
        });
        let address = told.recv().unwrap();
        let mut streams: Vec<_> = (0..2).map(|_| TcpStream::connect(&address).unwrap()).collect();
        for stream in &mut streams {
            let mut bytes = [0; 1 + 6 * FRAME_BYTES];
            stream.read_exact(&mut bytes).unwrap();
            assert_eq!((bytes[0], bytes[1]), (GREETING, b'x'));
        }
        drop(streams);
        writing.join().unwrap().unwrap();
    }

    #[test]
    fn sizes_are_two_positive_numbers() {
        assert_eq!(sizes("100x468"), Some((100, 468)));
        for bad in ["", "100", "0x1", "1x0", "ax1", "1x2x3"] {
            assert_eq!(sizes(bad), None, "{bad}");
        }
        assert!(write_loop("no", |_| {}).is_err());
    }
}
