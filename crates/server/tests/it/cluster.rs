//! Clusters of real processes on 127.0.0.1: made, used, struck, shrunk.

mod command;
mod faults;
mod forming;
mod lag;
mod site;
