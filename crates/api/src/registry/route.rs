//! What a path of the registry is about. Names may hold slashes.

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Base,
    Catalog,
    Tags,
    Manifest(String),
    Blob(String),
    /// A new upload.
    Uploads,
    Upload(String),
}

/// A path taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    /// The repository; empty where none is in the path.
    pub(super) name: String,
    pub(super) target: Target,
}

impl Route {
    /// `None` when it is no path of the protocol.
    pub(super) fn parse(path: &str) -> Option<Route> {
        let path = crate::path::decode(path);
        let rest = path.strip_prefix("/v2")?;
        let of = |name: &str, target| Some(Route { name: name.to_owned(), target });
        match rest.trim_start_matches('/') {
            "" => return of("", Target::Base),
            "_catalog" => return of("", Target::Catalog),
            _ => {}
        }
        let rest = rest.strip_prefix('/')?;
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return of(name, Target::Tags);
        }
        if let Some(name) =
            rest.strip_suffix("/blobs/uploads/").or(rest.strip_suffix("/blobs/uploads"))
        {
            return of(name, Target::Uploads);
        }
        let (before, last) = rest.rsplit_once('/')?;
        if let Some(name) = before.strip_suffix("/blobs/uploads") {
            return of(name, Target::Upload(last.to_owned()));
        }
        if let Some(name) = before.strip_suffix("/manifests") {
            return of(name, Target::Manifest(last.to_owned()));
        }
        let name = before.strip_suffix("/blobs")?;
        of(name, Target::Blob(last.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_slashes_are_taken_whole() {
        let told = |path: &str| Route::parse(path).map(|route| (route.name, route.target));
        let of = |name: &str, target| Some((name.to_owned(), target));
        assert_eq!(told("/v2/"), of("", Target::Base));
        assert_eq!(told("/v2"), of("", Target::Base));
        assert_eq!(told("/v2/_catalog"), of("", Target::Catalog));
        assert_eq!(told("/v2/a/b/tags/list"), of("a/b", Target::Tags));
        assert_eq!(told("/v2/a/manifests/v1"), of("a", Target::Manifest("v1".to_owned())));
        assert_eq!(
            told("/v2/blobs/uploads/manifests/v1"),
            of("blobs/uploads", Target::Manifest("v1".to_owned()))
        );
        assert_eq!(told("/v2/a/b/blobs/sha256:1"), of("a/b", Target::Blob("sha256:1".to_owned())));
        assert_eq!(told("/v2/a/blobs/uploads/"), of("a", Target::Uploads));
        assert_eq!(told("/v2/a/blobs/uploads/7"), of("a", Target::Upload("7".to_owned())));
        for path in ["/", "/v1/", "/v2/a", "/v2/a/b", "/v3/a/manifests/b"] {
            assert_eq!(told(path), None, "{path}");
        }
    }
}
