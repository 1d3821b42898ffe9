//! Scenarios of the storage engine, over the operating system's disk and the simulated one.

mod contents;
mod model;
mod scenario;

mod basics;
mod compaction;
mod corruption;
mod crash;
mod damage;
mod dedicated;
mod dedicated_adoption;
mod dedicated_cleaning;
mod dedicated_crash;
mod dedicated_damage;
mod dedicated_model;
mod dedicated_replica;
mod faults;
mod files;
mod idempotence;
mod inspection;
mod keys;
mod replica;
mod retention;
mod tags;
mod tidying;
mod together;
