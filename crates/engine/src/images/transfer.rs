//! Images on their way in and out: registries, archives, plain tars.
//!
//! Progress goes to the caller's bounded channel. An error before the first message is an HTTP status;
//! after it, it is the caller's to send as the stream's last message.

use super::nodes::described;
use super::{invalid, platform, reference_of};
use crate::{Body, ByteStream, Engine, Error, Result, fetch};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use image::{ImportOptions, Progress, ProgressSender, PullOptions, PushOptions, Reference};
use tokio_util::io::StreamReader;
use types::container::Config;
use types::image::{AuthConfig, Descriptor, DistributionInspect, DistributionPlatform};

/// `POST /images/create?fromImage=`.
#[derive(Debug, Clone, Default)]
pub struct PullRequest {
    pub image: String,
    /// A tag or a digest; empty with a name that has neither means all tags.
    pub tag: String,
    /// `os/arch[/variant]`, or empty.
    pub platform: String,
    pub auth: AuthConfig,
}

/// Where an imported archive comes from.
pub enum ImportSource {
    /// The request's body.
    Body(Body),
    /// Somewhere else; `http://` is what a name without a scheme means.
    Url(String),
}

/// `POST /images/create?fromSrc=`.
#[derive(Debug, Clone, Default)]
pub struct ImportRequest {
    /// Empty: the image gets no name.
    pub repo: String,
    pub tag: String,
    pub message: String,
    /// Dockerfile lines.
    pub changes: Vec<String>,
    pub platform: String,
}

impl Engine {
    /// Fetches one image, or all tags of a repository.
    pub async fn image_pull(&self, request: PullRequest, progress: ProgressSender) -> Result<()> {
        let reference = reference_of(&request.image, &request.tag)?;
        let options =
            PullOptions { platform: platform::parse(&request.platform)?, auth: request.auth };
        if reference.tag().is_some() || reference.digest().is_some() {
            return self.pull_one(&reference, &options, &progress).await;
        }
        let tags = self
            .0
            .images
            .remote_tags(&reference, &options.auth)
            .await
            .map_err(Error::from_lower)?;
        for tag in tags {
            let tagged = reference.with_tag(&tag).map_err(invalid)?;
            self.pull_one(&tagged, &options, &progress).await?;
        }
        Ok(())
    }

    async fn pull_one(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: &ProgressSender,
    ) -> Result<()> {
        let outcome = match self.0.images.pull(reference, options, progress).await {
            Ok(outcome) => outcome,
            // What no registry has, or none that answers, another node may have.
            Err(err) => match self.image_fetch(reference, options, progress).await {
                Some(image) => {
                    let name = reference.clone().or_latest().familiar();
                    let status = format!("Status: Downloaded newer image for {name}");
                    send(progress, Progress::status(format!("Image: {}", image.id))).await;
                    send(progress, Progress::status(status)).await;
                    return Ok(());
                }
                None => return Err(Error::from_lower(err)),
            },
        };
        for message in outcome.closing(reference) {
            send(progress, message).await;
        }
        self.image_event("pull", &outcome.image.id, &reference.familiar());
        Ok(())
    }

    /// `POST /images/{name}/push`; without a tag all tags are pushed.
    pub async fn image_push(
        &self,
        name: &str,
        tag: &str,
        auth: AuthConfig,
        progress: ProgressSender,
    ) -> Result<()> {
        let reference = reference_of(name, tag)?;
        let options = PushOptions { auth };
        self.0.images.push(&reference, &options, &progress).await.map_err(Error::from_lower)?;
        if let Some(id) = self.image_id_of(&reference.familiar()) {
            self.image_event("push", &id, &reference.familiar());
        }
        Ok(())
    }

    /// `POST /images/load`. `Loaded image: …` lines come as `stream` messages.
    pub async fn image_load(
        &self,
        archive: Body,
        platform: Option<image::Platform>,
        progress: ProgressSender,
    ) -> Result<()> {
        let images = self.0.images.load_for(archive, platform, progress).await;
        let images = images.map_err(Error::from_lower)?;
        for image in images {
            self.image_event("load", &image.id, image.id.as_str());
        }
        Ok(())
    }

    /// `GET /images/get`: several images in one archive. Fails before the first byte when one is missing.
    pub fn image_save(&self, names: &[String]) -> Result<ByteStream> {
        let stream = self.0.images.save(names).map_err(Error::from_lower)?;
        for id in names.iter().filter_map(|name| self.image_id_of(name)) {
            self.image_event("save", &id, id.as_str());
        }
        Ok(stream)
    }

    /// A root file system's tar as an image. The last message is its id, as dockerd has it.
    pub async fn image_import(
        &self,
        request: ImportRequest,
        source: ImportSource,
        progress: ProgressSender,
    ) -> Result<()> {
        let reference = match request.repo.as_str() {
            "" => None,
            repo => Some(reference_of(repo, &request.tag)?),
        };
        let config = dockerfile::change(Config::default(), &request.changes)
            .map_err(|err| Error::invalid(errdefs::chain(&err)))?;
        let platform = platform::parse(&request.platform)?;
        let options = ImportOptions { config, message: request.message, platform, reference };
        let tar = match source {
            ImportSource::Body(body) => body,
            ImportSource::Url(url) => download(&url, &progress).await?,
        };
        let image = self.0.images.import(tar, options).await.map_err(Error::from_lower)?;
        send(&progress, Progress::status(image.id.as_str())).await;
        self.image_event("import", &image.id, image.id.as_str());
        Ok(())
    }

    /// `GET /distribution/{name}/json`.
    pub async fn distribution_inspect(
        &self,
        name: &str,
        auth: AuthConfig,
    ) -> Result<DistributionInspect> {
        let reference = Reference::parse(name).map_err(invalid)?;
        let meant = self.meant_in_cluster(&reference).await?;
        // No registry has what was made here, or it has another image of that name.
        if let Some(made) = meant.as_ref().filter(|meant| meant.digests.is_empty()) {
            return Ok(described(made, &made.id));
        }
        let found = match self.0.images.distribution(&reference, &auth).await {
            Ok(found) => found,
            // Whoever has it from its registry can tell as much as the registry could.
            Err(err) => match meant.as_ref().and_then(|meant| Some((meant, meant.digests.last()?)))
            {
                Some((pulled, digest)) => return Ok(described(pulled, digest)),
                None => return Err(Error::from_lower(err)),
            },
        };
        let (media_type, digest, size, platforms) = found;
        let platforms = platforms.into_iter().map(|its| DistributionPlatform {
            architecture: its.architecture,
            os: its.os,
            variant: its.variant,
        });
        let descriptor = Descriptor {
            media_type,
            digest: digest.to_string(),
            size: i64::try_from(size).unwrap_or(i64::MAX),
        };
        Ok(DistributionInspect { descriptor, platforms: platforms.collect() })
    }
}

/// The bytes of `url`, told as they come.
async fn download(url: &str, progress: &ProgressSender) -> Result<Body> {
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let body = fetch::open(&url).await?.into_body();
    send(progress, Progress::status(format!("Downloading from {url}"))).await;
    let total = body.size_hint().exact().unwrap_or(0);
    let (progress, mut done) = (progress.clone(), 0);
    let told = body.into_data_stream().map(move |read| {
        let bytes = read.map_err(std::io::Error::other)?;
        done += bytes.len() as u64;
        let so_far = Progress { id: None, ..Progress::bytes("", "Importing", done, total) };
        let _a_slow_client_misses_it = progress.try_send(so_far);
        Ok::<_, std::io::Error>(bytes)
    });
    Ok(Box::pin(StreamReader::new(told)))
}

async fn send(progress: &ProgressSender, message: Progress) {
    let _nobody_listens = progress.send(message).await;
}
