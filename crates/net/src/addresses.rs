//! How many connections each client address has open: the acceptors ask here before they serve one.

use hashbrown::HashMap;
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;

/// The addresses that have connections, and how many.
pub(crate) struct Addresses {
    /// Most connections of one address.
    most: usize,
    /// Guards the counts; held for one look-up.
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that is counted until this is dropped.
pub(crate) struct Place {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    pub(crate) fn new(most: usize) -> Arc<Addresses> {
        Arc::new(Addresses { most, open: Mutex::default() })
    }

    /// Counts one more connection of the address; `None` if it has as many as it may.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        // A client has the same address whichever kind of socket it came to.
        let address = address.to_canonical();
        let mut open = self.open.lock();
        let count = open.entry(address).or_insert(0);
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place { addresses: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.addresses.open.lock();
        let Some(count) = open.get_mut(&self.address) else { return };
        *count -= 1;
        if *count == 0 {
            open.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_own_count_and_leaves_nothing_behind() {
        let addresses = Addresses::new(2);
        let [one, same, other] = ["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let (first, second) = (addresses.enter(one), addresses.enter(same));
        assert!(first.is_some() && second.is_some() && addresses.enter(one).is_none());
        let third = addresses.enter(other);
        assert!(third.is_some());
        drop(first);
        assert!(addresses.enter(same).is_some());
        drop((second, third));
        assert!(addresses.open.lock().is_empty());
    }
}
