//! Ports for servers that are told theirs.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

/// Ports that are tried beyond those that are needed: they have to be free for TCP and UDP.
const TRIES: usize = 64;

/// An address of loopback that nothing listens on now.
///
/// # Errors
/// When there is no free port.
pub(crate) fn free_address() -> Result<SocketAddr, String> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| format!("a free port: {error}"))
}

/// As many different addresses of loopback, which nothing listens on now, neither for TCP nor for UDP.
///
/// # Errors
/// When there are too few free ports.
pub(crate) fn free_addresses(count: usize) -> Result<Vec<SocketAddr>, String> {
    let mut held = Vec::new();
    for _ in 0..count + TRIES {
        if held.len() == count {
            break;
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = listener.map_err(|error| format!("a free port: {error}"))?;
        let address = listener.local_addr().map_err(|error| format!("a free port: {error}"))?;
        if let Ok(socket) = UdpSocket::bind(address) {
            held.push((address, listener, socket));
        }
    }
    if held.len() < count {
        return Err(format!("{count} ports that are free for TCP and UDP were not found"));
    }
    Ok(held.into_iter().map(|(address, ..)| address).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_addresses_are_different_ones() {
        let mut addresses = free_addresses(9).unwrap();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 9);
    }
}
