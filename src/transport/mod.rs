//! Transports: sockets in, frames to the core's dispatcher, frames out.
//!
//! A connection is an [`Outlet`] (its outbound side, filled by the dispatcher's loop when the
//! socket takes bytes) and a reader task (its inbound side). Both run on the connection's core.

mod caller;
mod connection;
mod hello;
mod http;
pub(crate) mod listener;
mod outbuf;
mod pages;
mod proxies;
mod quic;
mod requests;
mod stream;
mod tls;
mod websocket;

pub(crate) use connection::{Connection, Connections, close_all, pump, say_goodbye};
pub(crate) use http::{HttpFigures, document as openapi, figures as http_figures, switch};
pub(crate) use outbuf::OutBuf;
pub(crate) use pages::{CONTENT_SECURITY_POLICY, Page};
pub(crate) use proxies::Proxies;
pub(crate) use tls::{ClientCa, Tls, TlsError, certificate_for};
#[cfg(fuzzing)]
pub(crate) use websocket::fuzz;

use std::rc::Rc;

use tokio::sync::mpsc;

use crate::server::{Core, Place};

/// What is handed to a core.
pub(crate) enum Arrival {
    /// An accepted TCP connection.
    Tcp(std::net::TcpStream, Place),
    /// A WebSocket of the console's page, and what has been read from it already.
    Console(std::net::TcpStream, bytes::Bytes, Place),
    /// An incoming QUIC connection that nobody has answered yet.
    Quic(Box<quic::Arriving>, Place),
    /// The UDP socket that this core is to serve, handing connections to all cores.
    Endpoint(std::net::UdpSocket, Vec<mpsc::Sender<Arrival>>),
}

/// Takes in what the listeners hand to this core.
pub(crate) async fn receive(core: Rc<Core>, mut arrivals: mpsc::Receiver<Arrival>) {
    while let Some(arrival) = arrivals.recv().await {
        let core = Rc::clone(&core);
        match arrival {
            Arrival::Tcp(stream, place) => {
                tokio::task::spawn_local(http::serve(core, stream, place));
            }
            Arrival::Console(stream, first, place) => {
                tokio::task::spawn_local(caller::serve_console(core, stream, first, place));
            }
            Arrival::Quic(arriving, place) => {
                tokio::task::spawn_local(quic::serve(core, *arriving, place));
            }
            Arrival::Endpoint(socket, cores) => {
                tokio::task::spawn_local(quic::accept(core, socket, cores));
            }
        }
    }
}
