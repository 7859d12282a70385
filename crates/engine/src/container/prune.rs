//! Taking all stopped containers away.

use crate::{Engine, Error, Filters, Result};
use std::collections::BTreeMap;
use std::time::SystemTime;
use types::container::Status;
use types::{ContainerId, Timestamp};

impl Engine {
    /// `POST /containers/prune`: ids removed and bytes freed.
    pub async fn container_prune(&self, filters: Filters) -> Result<(Vec<ContainerId>, u64)> {
        filters.validate(&["label", "label!", "until"])?;
        let until = until(&filters)?;
        let empty = BTreeMap::new();
        let (mut removed, mut freed) = (Vec::new(), 0);
        for container in self.0.containers.all() {
            let record = container.snapshot();
            let labels = record.config.labels.as_ref().unwrap_or(&empty);
            let stopped =
                matches!(record.state.status, Status::Created | Status::Exited | Status::Dead);
            let wanted = stopped
                && until.is_none_or(|until| record.created < until)
                && filters.matches_labels("label", labels)
                && (!filters.contains("label!") || !filters.matches_labels("label!", labels));
            if !wanted {
                continue;
            }
            let size = self.rootfs_size(&container.id).await.unwrap_or(0);
            match self.remove(&container, false).await {
                Ok(()) => {
                    freed += u64::try_from(size).unwrap_or(0);
                    removed.push(record.id);
                }
                Err(err) => {
                    tracing::warn!(container = record.id.short(), error = %err, "failed to prune")
                }
            }
        }
        Ok((removed, freed))
    }
}

/// The `until` filter: a timestamp, or a duration before now.
pub(crate) fn until(filters: &Filters) -> Result<Option<Timestamp>> {
    let mut values = filters.get("until");
    let Some(text) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::invalid("more than one until filter specified"));
    }
    let invalid = || Error::invalid(format!("invalid filter 'until={text}'"));
    let now = Timestamp::from(SystemTime::now());
    if let Ok(seconds) = text.parse::<f64>() {
        return Ok(Some(Timestamp((seconds * 1e9) as i64)));
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Some(at));
    }
    go_duration(text).map(|nanos| Some(Timestamp(now.0.saturating_sub(nanos)))).ok_or_else(invalid)
}

/// Go's `1h30m`, in nanoseconds.
fn go_duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end =
            rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let scale = match &rest[digits..unit_end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number * scale;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gos_durations_are_read() {
        assert_eq!(go_duration("1h30m"), Some(5_400_000_000_000));
        assert_eq!(go_duration("10ms"), Some(10_000_000));
        assert_eq!(go_duration("10"), None);
        assert_eq!(go_duration(""), None);
    }
}
