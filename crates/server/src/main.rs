//! The binary `duolog`: reads the command line, runs one command, turns the outcome into an exit code.

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // mimalloc asks for huge pages, which makes a process that uses little of many of them a third larger and, as measured, no
    // faster. A kernel without the switch does no harm.
    #[cfg(all(feature = "mimalloc", target_os = "linux"))]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    duolog_server::main()
}
