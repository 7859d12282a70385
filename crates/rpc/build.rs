//! Compiles the protos, without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["proto/cluster.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // Channels of tonic's own are not used: connections are ours, so that certificates can change.
        .build_transport(false)
        .bytes(".")
        // Frames carry join tokens: nothing may print them.
        .skip_debug(["."])
        .compile_fds(files)?;
    Ok(())
}
