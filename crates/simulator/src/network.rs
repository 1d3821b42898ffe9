//! A network that loses, delays, repeats and reorders, and whose links can be cut one way or both.

use crate::message::Address;
use duolog_sim::Random;
use std::collections::BTreeSet;

/// How unkind it is, in parts of a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    pub lost: u64,
    pub repeated: u64,
    /// Late by up to a third of a second.
    pub late: u64,
    /// Late by up to two seconds.
    pub very_late: u64,
}

#[derive(Debug, Default)]
pub struct Network {
    pub weather: Weather,
    cut: BTreeSet<(Address, Address)>,
}

impl Network {
    pub fn heal(&mut self) {
        self.weather = Weather::default();
        self.cut.clear();
    }

    pub fn join(&mut self) {
        self.cut.clear();
    }

    pub fn cut(&mut self, from: Address, to: Address) {
        self.cut.insert((from, to));
    }

    /// After how many milliseconds each copy of a message arrives; none if it is lost.
    pub fn send(&self, from: Address, to: Address, random: &mut Random) -> [Option<u64>; 2] {
        let weather = self.weather;
        if self.cut.contains(&(from, to)) || random.chance(weather.lost, 1000) {
            return [None, None];
        }
        let repeated = random.chance(weather.repeated, 1000);
        [Some(self.delay_ms(random)), repeated.then(|| self.delay_ms(random) + random.below(300))]
    }

    fn delay_ms(&self, random: &mut Random) -> u64 {
        let usual = 1 + random.below(4);
        if random.chance(self.weather.very_late, 1000) {
            return usual + random.below(2000);
        }
        if random.chance(self.weather.late, 1000) {
            return usual + random.below(330);
        }
        usual
    }
}
