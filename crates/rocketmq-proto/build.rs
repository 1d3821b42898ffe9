//! Compiles `proto/messaging.proto` in Rust alone: no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["messaging.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // Bodies stay in the buffer they arrived in.
        .bytes(".apache.rocketmq.v2.Message.body")
        .compile_fds(descriptors)?;
    Ok(())
}
