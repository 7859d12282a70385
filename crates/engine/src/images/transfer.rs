//! Images on their way in and out: registries, archives, plain tars.
//!
//! Progress goes to the caller's bounded channel. An error before the first message is an HTTP status;
//! after it, it is the caller's to send as the stream's last message.

use super::{invalid, reference_of};
use crate::{Body, ByteStream, Engine, Error, Result};
use image::{
    ImportOptions, Platform, Progress, ProgressSender, PullOptions, PushOptions, Reference,
};
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

/// `POST /images/create?fromSrc=-`.
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
        let options = PullOptions { platform: platform(&request.platform)?, auth: request.auth };
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
        let outcome =
            self.0.images.pull(reference, options, progress).await.map_err(Error::from_lower)?;
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
    pub async fn image_load(&self, archive: Body, progress: ProgressSender) -> Result<()> {
        let images = self.0.images.load(archive, progress).await.map_err(Error::from_lower)?;
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
        tar: Body,
        progress: ProgressSender,
    ) -> Result<()> {
        let reference = match request.repo.as_str() {
            "" => None,
            repo => Some(reference_of(repo, &request.tag)?),
        };
        let config = dockerfile::change(Config::default(), &request.changes)
            .map_err(|err| Error::invalid(errdefs::chain(&err)))?;
        let platform = platform(&request.platform)?;
        let options = ImportOptions { config, message: request.message, platform, reference };
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
        let found =
            self.0.images.distribution(&reference, &auth).await.map_err(Error::from_lower)?;
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

fn platform(text: &str) -> Result<Option<Platform>> {
    let bad = || Error::invalid(format!("\"{text}\" is an invalid platform: invalid argument"));
    if text.is_empty() { Ok(None) } else { Platform::parse(text).map(Some).ok_or_else(bad) }
}

async fn send(progress: &ProgressSender, message: Progress) {
    let _nobody_listens = progress.send(message).await;
}
