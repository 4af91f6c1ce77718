//! Places of connections: so many in all, and so many of one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::rates::network;
use crate::config::LimitsConfig;

/// The places of a server.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    per_address: usize,
    /// Connections by address; none where there is no limit.
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place, taken before anything is read and given back when the connection has ended, handshake or
/// not.
#[derive(Debug)]
pub(crate) struct Place {
    peer: IpAddr,
    share: Option<Share>,
    _permit: OwnedSemaphorePermit,
}

/// What a connection takes of its address's share.
#[derive(Debug)]
pub(crate) struct Share {
    address: IpAddr,
    places: Option<Arc<Mutex<HashMap<IpAddr, usize>>>>,
}

impl Places {
    pub(crate) fn of(limits: &LimitsConfig) -> Self {
        Self::new(limits.connections_max, limits.address_connections_max)
    }

    /// So many in all, and so many of one address; 0: no limit of its own.
    fn new(all: usize, per_address: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), per_address, taken: Arc::default() }
    }

    /// Whether an address has a limit of its own: then it has to be proven before it counts.
    pub(crate) fn counts_addresses(&self) -> bool {
        self.per_address > 0
    }

    /// A place for a connection from this address, if there is one.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Place> {
        let mut place = self.take_for_another(address)?;
        place.share = Some(self.share(address)?);
        Some(place)
    }

    /// A place for a connection of which this peer has yet to say whose it is: it counts among all.
    pub(crate) fn take_for_another(&self, peer: IpAddr) -> Option<Place> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Place { peer: peer.to_canonical(), share: None, _permit: permit })
    }

    /// One more connection of this address, if it may have one.
    pub(crate) fn share(&self, address: IpAddr) -> Option<Share> {
        let address = address.to_canonical();
        if self.per_address == 0 {
            return Some(Share { address, places: None });
        }
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(network(address)).or_default();
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        Some(Share { address, places: Some(Arc::clone(&self.taken)) })
    }
}

impl Place {
    /// The address that the connection comes from, be it a proxy's.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Whether it counts for an address already.
    pub(crate) fn has_share(&self) -> bool {
        self.share.is_some()
    }

    /// It is known now whose it is.
    pub(crate) fn give(&mut self, share: Share) {
        self.share = Some(share);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(places) = &self.places else { return };
        let mut taken = places.lock().unwrap_or_else(PoisonError::into_inner);
        let network = network(self.address);
        if let Some(count) = taken.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_of_all_places() {
        let places = Places::new(5, 2);
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let first = places.take(address(1)).unwrap();
        let _second = places.take(address(1)).unwrap();
        assert!(places.take(address(1)).is_none());
        drop(first);
        let _third = places.take(address(1)).unwrap();
        let _others: Vec<Place> = (2..=4).map(|last| places.take(address(last)).unwrap()).collect();
        assert!(places.take(address(9)).is_none(), "all are taken");
        drop((_second, _third, _others));
        assert!(places.taken.lock().unwrap().is_empty());
        assert_eq!(places.all.available_permits(), 5);
    }

    #[test]
    fn who_is_behind_a_proxy_has_a_share_of_their_own() {
        let places = Places::new(3, 1);
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut first = places.take_for_another(address(9)).unwrap();
        let mut second = places.take_for_another(address(9)).unwrap();
        assert!(!first.has_share());
        first.give(places.share(address(1)).unwrap());
        assert!(places.share(address(1)).is_none());
        second.give(places.share(address(2)).unwrap());
        let third = places.take_for_another(address(9)).unwrap();
        assert!(places.take_for_another(address(9)).is_none(), "all are taken, known or not");
        drop((first, second, third));
        assert!(places.taken.lock().unwrap().is_empty());
        assert_eq!(places.all.available_permits(), 3);
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let places = Places::new(3, 0);
        let _place = places.take(IpAddr::from([10, 0, 0, 1])).unwrap();
        assert!(places.taken.lock().unwrap().is_empty());
    }
}
