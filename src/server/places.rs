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
    address: IpAddr,
    places: Option<Arc<Mutex<HashMap<IpAddr, usize>>>>,
    _permit: OwnedSemaphorePermit,
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
        let address = address.to_canonical();
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        if self.per_address == 0 {
            return Some(Place { address, places: None, _permit: permit });
        }
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(network(address)).or_default();
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        Some(Place { address, places: Some(Arc::clone(&self.taken)), _permit: permit })
    }
}

impl Place {
    /// The address that the connection comes from.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }
}

impl Drop for Place {
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
    fn without_a_limit_nothing_is_counted() {
        let places = Places::new(3, 0);
        let _place = places.take(IpAddr::from([10, 0, 0, 1])).unwrap();
        assert!(places.taken.lock().unwrap().is_empty());
    }
}
