//! How the names of a tenant are kept within its limit though shards know nothing of each other.
//!
//! Before a shard is handed commands it is asked what they make. Each new name of a tenant takes a place of
//! those that all shards share; where there is none left the shard is told so before the command, and
//! refuses it. What the places were taken for, and what has gone, is settled after the round.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewire_core::shard::{Command, Shard, TenantTable, TenantUse};

use super::{Tenant, Tenants};

/// The counts of one shard.
#[derive(Debug, Default)]
pub(crate) struct Names {
    table: Arc<TenantTable>,
    /// In the order of the table.
    seats: Vec<Counted>,
}

/// What is counted of one tenant for the shard.
#[derive(Debug)]
struct Counted {
    tenant: Arc<Tenant>,
    used: TenantUse,
    /// Names after the last round. Those of the present one are taken already, and may not come to be.
    settled: u64,
    /// Whether the shard takes it to have all its names.
    is_full: bool,
}

impl Names {
    /// Of a shard that has begun, or has been read again.
    pub(in crate::server) fn begin(tenants: &Tenants, shard: &Shard) -> Self {
        let mut names = Self::default();
        names.take(tenants, Arc::clone(shard.tenants()));
        names.settle(shard);
        names
    }

    /// Puts before each command that makes a name what the shard has to know for it.
    pub(in crate::server) fn look_at(
        &mut self,
        tenants: &Tenants,
        shard: &Shard,
        commands: &mut Vec<Command>,
    ) {
        let is_other = |command: &Command| matches!(command, Command::Tenants(_));
        if self.seats.is_empty() && !commands.iter().any(is_other) {
            return;
        }
        let mut looked_at = Vec::with_capacity(commands.len());
        for command in commands.drain(..) {
            looked_at.extend(self.before(tenants, shard, &command));
            looked_at.push(command);
        }
        *commands = looked_at;
    }

    /// What the shard has to be told before this command, which it is told next.
    pub(in crate::server) fn before(
        &mut self,
        tenants: &Tenants,
        shard: &Shard,
        command: &Command,
    ) -> Option<Command> {
        if let Command::Tenants(table) = command {
            self.take(tenants, Arc::clone(table));
            return None;
        }
        if self.seats.is_empty() { None } else { self.said_before(shard, command) }
    }

    /// The shard is not counted here any more.
    pub(in crate::server) fn end(self) {
        self.seats.into_iter().for_each(Counted::give_back);
    }

    fn said_before(&mut self, shard: &Shard, command: &Command) -> Option<Command> {
        let name = shard.makes(command)?;
        let seat = self.seats.get_mut(self.table.find(name)? as usize)?;
        let is_full = !seat.tenant.take_name();
        if !is_full {
            seat.used.names += 1;
        }
        let prefix = &self.table.of(name)?.prefix;
        let is_new = std::mem::replace(&mut seat.is_full, is_full) != is_full;
        is_new.then(|| Command::TenantFull { prefix: prefix.clone(), is_full })
    }

    /// Counts what the shard has after a round. Returns whether it has other numbers of names than before.
    pub(in crate::server) fn settle(&mut self, shard: &Shard) -> bool {
        let mut is_news = false;
        for (seat, (_, now)) in self.seats.iter_mut().zip(shard.tenant_uses()) {
            is_news |= std::mem::replace(&mut seat.settled, now.names) != now.names;
            if seat.used == now {
                continue;
            }
            let before = std::mem::replace(&mut seat.used, now);
            seat.tenant.settle_names(before.names, now.names);
            seat.tenant.settle_bytes(before.bytes, now.bytes);
            // It begins anew with other tenants.
            let evicted = now.evicted_bytes.checked_sub(before.evicted_bytes);
            seat.tenant.add_evicted(evicted.unwrap_or(now.evicted_bytes));
        }
        is_news
    }

    /// Names of each tenant that has some, by its prefix.
    pub(in crate::server) fn by_prefix(&self) -> BTreeMap<String, u64> {
        let there = self.seats.iter().filter(|seat| seat.settled > 0);
        there.map(|seat| (seat.tenant.prefix().to_owned(), seat.settled)).collect()
    }

    /// Counts for other tenants from now on.
    fn take(&mut self, tenants: &Tenants, table: Arc<TenantTable>) {
        let mut before = std::mem::take(&mut self.seats);
        let seat = |prefix: &str| {
            let known = before.iter().position(|seat| seat.tenant.prefix() == prefix);
            let known = known.map(|at| before.swap_remove(at));
            let tenant = tenants.get(prefix);
            match (known, tenant) {
                // The shard is told with the table that it is not full.
                (Some(known), Some(tenant)) if Arc::ptr_eq(&known.tenant, &tenant) => {
                    Counted { is_full: false, ..known }
                }
                (known, tenant) => {
                    if let Some(known) = known {
                        known.give_back();
                    }
                    // One that has gone again meanwhile is counted for nobody.
                    let tenant = tenant.unwrap_or_else(|| Tenants::unlisted(prefix));
                    Counted { tenant, used: TenantUse::default(), settled: 0, is_full: false }
                }
            }
        };
        let table_seats = table.iter().map(|share| share.prefix.as_str()).map(seat).collect();
        before.into_iter().for_each(Counted::give_back);
        self.seats = table_seats;
        self.table = table;
    }
}

impl Counted {
    /// Its tenant is not there any more, or another.
    fn give_back(self) {
        self.tenant.settle_names(self.used.names, 0);
        self.tenant.settle_bytes(self.used.bytes, 0);
    }
}

#[cfg(test)]
mod tests {
    use tidewire_core::shard::{Origin, Request, SessionId, ShardConfig};
    use tidewire_core::topic::PolicyTable;
    use tidewire_core::{SHARDS, shard_of};
    use tidewire_protocol::Name;
    use tidewire_protocol::frame::CounterOp;
    use tidewire_protocol::options::CounterOptions;

    use super::*;
    use crate::config::Config;

    const NAMES_MAX: u64 = 10;

    fn config(names_max: u64) -> Config {
        toml::from_str(&format!("[[tenant]]\nprefix = \"acme\"\nnames_max = {names_max}\n"))
            .unwrap()
    }

    fn shard(number: u16) -> Shard {
        let (policies, limits) =
            (Arc::new(PolicyTable::default()), config(NAMES_MAX).shard_limits(SHARDS));
        Shard::new(ShardConfig { shard: number, epoch: 1, seed: 1, policies, limits })
    }

    fn counter(tenant: &str, number: u64, op: CounterOp) -> (u16, Command) {
        let name = Name::parse(&format!("{tenant}.{number}")).unwrap();
        let session = SessionId { dispatcher: 0, slot: 1, generation: 1 };
        let (shard, options) = (shard_of(&name), CounterOptions::default());
        let operand = i64::from(op == CounterOp::Add);
        let request = Request::Counter { name, op, operand, options };
        (shard, Command::Request(Origin { session, stream: 0, req: 1 }, request))
    }

    struct World {
        tenants: Tenants,
        shards: Vec<(Shard, Names)>,
        /// What each shard was told.
        told: Vec<Vec<Command>>,
    }

    impl World {
        fn turn(&mut self, number: u16, mut commands: Vec<Command>) {
            let (shard, names) = &mut self.shards[usize::from(number)];
            names.look_at(&self.tenants, shard, &mut commands);
            self.told[usize::from(number)].extend(commands.iter().cloned());
            commands.into_iter().for_each(|command| shard.handle(command, 1));
            shard.seal();
            names.settle(shard);
        }

        fn there(&self, tenant: &str) -> u64 {
            let all = self.shards.iter().flat_map(|(shard, _)| shard.inventory().counters);
            let prefix = format!("{tenant}.");
            all.filter(|counter| counter.name.as_str().starts_with(&prefix)).count() as u64
        }
    }

    fn world() -> World {
        let tenants = Tenants::of(&config(NAMES_MAX), SHARDS);
        let shards = (0..SHARDS).map(shard).map(|shard| (Names::begin(&tenants, &shard), shard));
        let shards = shards.map(|(names, shard)| (shard, names)).collect();
        World { tenants, shards, told: (0..SHARDS).map(|_| Vec::new()).collect() }
    }

    #[test]
    fn a_small_quota_over_many_shards_is_kept_exactly_and_repeated_exactly() {
        let mut world = world();
        for number in 0..200 {
            // In one turn, so that places are taken before it is known what becomes of them.
            let (shard, make) = counter("acme", number, CounterOp::Add);
            let other = counter("acme", number, CounterOp::Add).1;
            world.turn(shard, vec![make, other]);
            assert_eq!(world.there("acme"), NAMES_MAX.min(number + 1));
            let (shard, free) = counter("globex", number, CounterOp::Add);
            world.turn(shard, vec![free]);
        }
        assert_eq!((world.there("globex"), world.tenants.infos()[0].names), (200, NAMES_MAX));
        for number in 0..4 {
            let (shard, remove) = counter("acme", number, CounterOp::Reset);
            world.turn(shard, vec![remove]);
        }
        assert_eq!(world.tenants.infos()[0].names, NAMES_MAX - 4);
        for number in 300..400 {
            let (shard, make) = counter("acme", number, CounterOp::Add);
            world.turn(shard, vec![make]);
        }
        assert_eq!(world.there("acme"), NAMES_MAX);
        // Who repeats what each shard was told needs to know of no other.
        for (number, told) in (0..SHARDS).zip(&world.told) {
            let mut again = shard(number);
            told.iter().cloned().for_each(|command| again.handle(command, 1));
            again.seal();
            let counters = |shard: &Shard| format!("{:?}", shard.inventory().counters);
            assert_eq!(counters(&again), counters(&world.shards[usize::from(number)].0));
        }
    }

    #[test]
    fn other_tenants_are_counted_from_the_turn_on_in_which_a_shard_is_told() {
        let mut world = world();
        for number in 0..50 {
            for tenant in ["acme", "globex"] {
                let (shard, make) = counter(tenant, number, CounterOp::Add);
                world.turn(shard, vec![make]);
            }
        }
        let other: Config =
            toml::from_str("[[tenant]]\nprefix = \"globex\"\nnames_max = 60\n").unwrap();
        world.tenants.reload(&other, SHARDS);
        let table = Arc::clone(&world.tenants.tables().borrow());
        for shard in 0..SHARDS {
            world.turn(shard, vec![Command::Tenants(Arc::clone(&table))]);
        }
        let infos = world.tenants.infos();
        assert_eq!((infos.len(), infos[0].prefix.as_str(), infos[0].names), (1, "globex", 50));
        for number in 50..100 {
            for tenant in ["acme", "globex"] {
                let (shard, make) = counter(tenant, number, CounterOp::Add);
                world.turn(shard, vec![make]);
            }
        }
        assert_eq!((world.there("globex"), world.there("acme")), (60, NAMES_MAX + 50));
    }
}
