//! The program `kirkwood`: arguments → library calls. See `kirkwood --help`.

mod cli;

/// Tensors of a few hundred kilobytes come and go at every step; the allocator of the C library maps
/// and unmaps them each time, which costs more than the arithmetic of small networks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
