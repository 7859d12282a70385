//! What the agent says of its machine.

use engine::Engine;
use types::swarm::node::{EngineDescription, NodeDescription, PluginDescription};
use types::swarm::task::{Platform, Resources};

const BILLION: i64 = 1_000_000_000;

pub(crate) async fn describe(engine: &Engine) -> NodeDescription {
    let info = engine.system_info().await;
    let plugins = |kind: &str, names: Vec<String>| -> Vec<PluginDescription> {
        let plugin = |name| PluginDescription { kind: kind.to_owned(), name };
        names.into_iter().map(plugin).collect()
    };
    let mut all = plugins("Log", info.plugins.log);
    all.extend(plugins("Network", info.plugins.network));
    all.extend(plugins("Volume", info.plugins.volume));
    let label = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    NodeDescription {
        hostname: info.name,
        platform: Platform { architecture: info.architecture, os: info.os_type },
        resources: Resources {
            nano_cpus: i64::try_from(info.n_cpu).unwrap_or(0).saturating_mul(BILLION),
            memory_bytes: i64::try_from(info.mem_total).unwrap_or(i64::MAX),
            ..Resources::default()
        },
        engine: EngineDescription {
            engine_version: info.server_version,
            labels: info.labels.iter().map(label).collect(),
            plugins: all,
        },
        tls_info: None,
        addr: String::new(),
        data_path_addr: String::new(),
        wire_key: engine.wire_key().await.unwrap_or_default(),
    }
}
