//! Machines outside of the cluster that its networks know ([`types::swarm::external`]): this node asks those that its own
//! containers may be led to whether they are healthy, and leads nobody to one that is not.
//!
//! Each node by itself: whether a machine can be reached depends on from where.

use super::follow::cluster_networks;
use super::{Networks, State};
use crate::Engine;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use types::NetworkId;
use types::swarm::endpoint::{EndpointRow, EndpointState, EndpointTable};
use types::swarm::external::Check;

/// Between two questions to each.
const EVERY: Duration = Duration::from_secs(2);
/// Who has not answered by then is not healthy.
const WITHIN: Duration = Duration::from_secs(2);
/// So many bad answers in a row are believed.
const BELIEVED: u32 = 2;

pub(super) type Question = (Ipv4Addr, Check);
/// Bad answers in a row, of each that was asked.
pub(super) type Answers = BTreeMap<Question, u32>;

impl Engine {
    /// How this node finds the machines outside that the network knows: by service and address.
    pub async fn outside_health(
        &self,
        network: &NetworkId,
    ) -> BTreeMap<String, BTreeMap<String, String>> {
        let state = self.0.networks.state.lock().await;
        let mut found: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let Some(table) = state.following.as_ref().map(|it| it.table().clone()) else {
            return found;
        };
        for row in table.endpoints.iter().filter(|row| row.is_outside()) {
            let Some(service) =
                table.services.iter().find(|it| Some(&it.id) == row.service.as_ref())
            else {
                continue;
            };
            if row.network != *network {
                continue;
            }
            let health = match &service.check {
                None => "unchecked",
                Some(check) => match state.outside.get(&(row.address, check.clone())) {
                    None => "unknown",
                    Some(0..BELIEVED) => "healthy",
                    Some(_) => "unhealthy",
                },
            };
            let of = found.entry(service.name.clone()).or_default();
            of.insert(row.address.to_string(), health.to_owned());
        }
        found
    }

    /// Asks until the engine closes.
    pub(super) async fn watch_outside(self) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _tick = ticks.tick() => self.0.networks.ask_outside().await,
                () = self.0.closing.cancelled() => return,
            }
        }
    }
}

impl Networks {
    async fn ask_outside(&self) {
        let questions = self.state.lock().await.questions();
        let mut asked = JoinSet::new();
        for question in questions {
            asked.spawn(async move {
                let is_well = tokio::time::timeout(WITHIN, ask(&question)).await;
                (question, matches!(is_well, Ok(Ok(true))))
            });
        }
        let answers = asked.join_all().await;
        let mut state = self.state.lock().await;
        if answers.is_empty() && state.outside.is_empty() {
            return;
        }
        let before = std::mem::take(&mut state.outside);
        let mut is_new = false;
        for (question, is_well) in answers {
            let known = before.get(&question);
            let failures = if is_well { 0 } else { known.map_or(BELIEVED, |known| known + 1) };
            is_new |= known.map(|known| *known < BELIEVED) != Some(failures < BELIEVED);
            state.outside.insert(question, failures);
        }
        if !is_new {
            return;
        }
        let used = cluster_networks(&state);
        self.refresh_names(&mut state, &used);
        if let Err(err) = self.apply_overlay(&mut state).await {
            tracing::warn!(error = %err, "failed to apply the cluster's networks");
        }
    }
}

impl State {
    /// Whom containers of this node may be led to.
    fn questions(&self) -> Vec<Question> {
        let Some(following) = &self.following else { return Vec::new() };
        let (table, used) = (following.table(), cluster_networks(self));
        let rows = table.endpoints.iter().filter(|row| row.is_outside());
        let rows = rows.filter(|row| used.contains(&row.network));
        let mut questions: Vec<Question> =
            rows.filter_map(|row| Some((row.address, check_of(table, row)?.clone()))).collect();
        questions.sort_unstable();
        questions.dedup();
        questions
    }

    /// Nobody is led to a machine that is not known to be healthy; whether that changed anything of the table.
    pub(super) fn leave_out_the_sick(&self, table: &EndpointTable) -> Option<EndpointTable> {
        // Most tables have none, and are large.
        table.services.iter().find(|service| service.check.is_some())?;
        let is_sick = |row: &&EndpointRow| {
            let question = check_of(table, row).map(|check| (row.address, check.clone()));
            let answer = question.map(|question| self.outside.get(&question).copied());
            answer.is_some_and(|failures| failures.is_none_or(|failures| failures >= BELIEVED))
        };
        let sick: Vec<_> =
            table.endpoints.iter().filter(|row| row.is_outside()).filter(is_sick).collect();
        if sick.is_empty() {
            return None;
        }
        let mut new = table.clone();
        for row in sick {
            let row = EndpointRow { state: EndpointState::Starting, ..row.clone() };
            new.endpoints.put(Arc::new(row));
        }
        Some(new)
    }
}

fn check_of<'a>(table: &'a EndpointTable, row: &EndpointRow) -> Option<&'a Check> {
    table.services.get(row.service.as_ref()?)?.check.as_ref()
}

async fn ask((address, check): &Question) -> std::io::Result<bool> {
    let (port, path) = match check {
        Check::Tcp(port) => (*port, None),
        Check::Http(port, path) => (*port, Some(path)),
    };
    let mut stream = TcpStream::connect((*address, port)).await?;
    let Some(path) = path else { return Ok(true) };
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    // `HTTP/1.1 200`
    let mut line = [0; 12];
    stream.read_exact(&mut line).await?;
    Ok(line.starts_with(b"HTTP/1.") && matches!(line[9], b'2' | b'3'))
}
