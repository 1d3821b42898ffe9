//! The binary `duolog`: reads the command line, runs one command, turns the outcome into an exit code.

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    duolog_server::main()
}
