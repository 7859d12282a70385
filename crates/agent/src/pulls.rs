//! Images on their way: however many tasks wait for one image, it is fetched once.

use crate::asked::{Ask, Asked};
use engine::{Engine, PullRequest, Renew};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::image::AuthConfig;

/// Progress that nobody looks at.
const PROGRESS: usize = 16;

/// How a fetch ended; `None` while it lasts.
type Outcome = Option<Result<(), String>>;
/// An image, for whom, and how.
type Key = (String, String, Renew);
type UnderWay = Arc<Mutex<HashMap<Key, watch::Receiver<Outcome>>>>;

/// What a task needs.
pub(crate) struct Wish<'a> {
    pub(crate) service: &'a str,
    pub(crate) image: &'a str,
    /// How often the service's update was forced.
    pub(crate) forced: u64,
    pub(crate) auth: &'a AuthConfig,
}

#[derive(Clone)]
pub(crate) struct Pulls {
    engine: Engine,
    tasks: TaskTracker,
    under_way: UnderWay,
    asked: Arc<Mutex<Asked>>,
    /// Nobody needs an image any more.
    stop: CancellationToken,
}

impl Pulls {
    /// `stop` is the agent's.
    pub(crate) fn new(engine: Engine, tasks: TaskTracker, stop: &CancellationToken) -> Self {
        Pulls {
            engine,
            tasks,
            under_way: Arc::default(),
            asked: Arc::default(),
            stop: stop.child_token(),
        }
    }

    /// Ends all fetches, and those that are asked for later.
    pub(crate) fn cancel(&self) {
        self.stop.cancel();
    }

    /// Returns once the image is here as the task means it, or could not be had. A caller that gives up does not stop
    /// a fetch: others wait for it.
    pub(crate) async fn obtain(&self, wish: Wish<'_>) -> Result<(), String> {
        let Some(mut outcome) = self.outcome(&wish) else { return Ok(()) };
        let ended = outcome.wait_for(Option::is_some).await;
        ended.ok().and_then(|ended| ended.clone()).unwrap_or_else(|| Err("interrupted".to_owned()))
    }

    /// The fetch to wait for, if any.
    fn outcome(&self, wish: &Wish<'_>) -> Option<watch::Receiver<Outcome>> {
        let is_here = self.engine.image_exists(wish.image);
        // Pinned by its digest: what is here is what was meant. A tag may have come to mean another image.
        if wish.image.contains('@') {
            return (!is_here).then(|| self.join(wish.image, wish.auth, Renew::No));
        }
        // Held until the fetch is known to others, who would else begin with what is here.
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        match asked.decide(wish.service, wish.image, wish.forced, Instant::now()) {
            _ if !is_here => {
                let coming = self.coming(wish.image, wish.auth);
                Some(coming.unwrap_or_else(|| self.join(wish.image, wish.auth, Renew::No)))
            }
            Ask::Registry => Some(self.join(wish.image, wish.auth, Renew::Yes)),
            Ask::Nodes => Some(self.join(wish.image, wish.auth, Renew::No)),
            Ask::Nobody => self.coming(wish.image, wish.auth),
        }
    }

    /// Forgets what was asked for services that this node has nothing of any more.
    pub(crate) fn keep_services(&self, has: impl Fn(&str) -> bool) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).keep(has);
    }

    /// The fetch that is under way, the one that was forced first.
    fn coming(&self, image: &str, auth: &AuthConfig) -> Option<watch::Receiver<Outcome>> {
        let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        [Renew::Yes, Renew::No]
            .into_iter()
            .find_map(|renew| under_way.get(&key(image, auth, renew)).cloned())
    }

    fn join(&self, image: &str, auth: &AuthConfig, renew: Renew) -> watch::Receiver<Outcome> {
        let key = key(image, auth, renew);
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = under_way.get(&key) {
            return outcome.clone();
        }
        let (tell, outcome) = watch::channel(None);
        under_way.insert(key.clone(), outcome.clone());
        let (engine, all, image) = (self.engine.clone(), self.under_way.clone(), image.to_owned());
        let (stop, auth) = (self.stop.clone(), auth.clone());
        self.tasks.spawn(async move {
            let fetched = tokio::select! {
                biased;
                () = stop.cancelled() => Err("interrupted".to_owned()),
                fetched = fetch(&engine, &image, auth, renew) => fetched,
            };
            all.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            tell.send_replace(Some(fetched));
        });
        outcome
    }
}

fn key(image: &str, auth: &AuthConfig, renew: Renew) -> Key {
    (image.to_owned(), serde_json::to_string(auth).unwrap_or_default(), renew)
}

async fn fetch(engine: &Engine, image: &str, auth: AuthConfig, renew: Renew) -> Result<(), String> {
    let (progress, mut unread) = tokio::sync::mpsc::channel(PROGRESS);
    let named = image.rsplit('/').next().unwrap_or(image);
    // A name alone means its latest, here: all tags is what nobody runs.
    let tag = if named.contains([':', '@']) { String::new() } else { "latest".to_owned() };
    let request = PullRequest { image: image.to_owned(), tag, platform: String::new(), auth };
    let reader = async { while unread.recv().await.is_some() {} };
    let (fetched, ()) = tokio::join!(engine.image_obtain(request, renew, progress), reader);
    fetched.map_err(|err| errdefs::chain(&err))
}
