//! An image by what its name means now, so that all nodes run the same one: what docker's client does before it sends a
//! service.

use http::Method;
use serde_json::Value;

use crate::client::{Client, Query, image_segment};
use crate::ctx::Ctx;

/// `busybox` becomes `busybox:latest@sha256:…`. `None` when nobody knows what it means, or when it is pinned already.
pub(crate) async fn pinned(ctx: &Ctx, client: &Client, image: &str) -> Option<String> {
    if image.contains('@') {
        return None;
    }
    let path = format!("/distribution/{}/json", image_segment(image));
    let headers = crate::image::auth_header(&ctx.config().ok()?.for_image(image)).ok()?;
    let body = crate::client::no_body();
    let response = client.send(Method::GET, &path, &Query::new(), headers, body).await.ok()?;
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await.ok()?.to_bytes();
    let answer: Value = serde_json::from_slice(&bytes).ok()?;
    Some(with_digest(image, answer["Descriptor"]["digest"].as_str()?))
}

fn with_digest(image: &str, digest: &str) -> String {
    let named = image.rsplit('/').next().unwrap_or(image);
    let tag = if named.contains(':') { "" } else { ":latest" };
    format!("{image}{tag}@{digest}")
}

/// Pins the image of a service's spec; says so when it cannot.
pub(super) async fn pin(ctx: &Ctx, client: &Client, spec: &mut Value) {
    let image = spec["TaskTemplate"]["ContainerSpec"]["Image"].as_str().unwrap_or_default();
    if image.is_empty() || image.contains('@') {
        return;
    }
    match pinned(ctx, client, image).await {
        Some(pinned) => spec["TaskTemplate"]["ContainerSpec"]["Image"] = pinned.into(),
        // docker's words
        None => eprintln!(
            "image {image} could not be accessed on a registry to record\nits digest. Each node will access {image} independently,\npossibly leading to different nodes running different\nversions of the image.\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::with_digest;

    #[test]
    fn a_name_alone_is_its_latest() {
        for (image, want) in [
            ("busybox", "busybox:latest@d"),
            ("busybox:1", "busybox:1@d"),
            ("localhost:5000/busybox", "localhost:5000/busybox:latest@d"),
        ] {
            assert_eq!(with_digest(image, "d"), want);
        }
    }
}
