//! `GET /images/search`.

use crate::{Engine, Error, Filters, Result};
use types::image::{AuthConfig, SearchResult};

const FILTERS: &[&str] = &["is-automated", "is-official", "stars"];
/// What registries give in one page, and what is given unless another number is asked for.
const MOST: usize = 100;
const USUAL: usize = 25;

impl Engine {
    /// Repositories that `term` finds; `limit` 0 is the usual number.
    pub async fn image_search(
        &self,
        term: &str,
        limit: i64,
        filters: Filters,
        auth: AuthConfig,
    ) -> Result<Vec<SearchResult>> {
        filters.validate(FILTERS)?;
        let (official, automated) = (filters.flag("is-official")?, filters.flag("is-automated")?);
        let stars = stars(&filters)?;
        let limit = match usize::try_from(limit) {
            Ok(0) => USUAL,
            Ok(limit @ 1..=MOST) => limit,
            _ => {
                let text = format!("invalid limit {limit}: must be in the range [1, {MOST}]");
                return Err(Error::invalid(text));
            }
        };
        let mut found =
            self.0.images.search(term, limit, &auth).await.map_err(Error::from_lower)?;
        found.retain(|hit| {
            official.is_none_or(|wanted| hit.is_official == wanted)
                && automated.is_none_or(|wanted| hit.is_automated == wanted)
                && hit.star_count >= stars
        });
        Ok(found)
    }
}

/// The most of the wanted stars.
fn stars(filters: &Filters) -> Result<i64> {
    let mut most = 0;
    for text in filters.get("stars") {
        let stars: i64 =
            text.parse().map_err(|_| Error::invalid(format!("invalid filter 'stars={text}'")))?;
        most = most.max(stars);
    }
    Ok(most)
}
