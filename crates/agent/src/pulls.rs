//! Images on their way: however many tasks wait for one image, it is fetched once.

use engine::{Engine, PullRequest, Renew};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::image::AuthConfig;

/// Progress that nobody looks at.
const PROGRESS: usize = 16;

/// How a fetch ended; `None` while it lasts.
type Outcome = Option<Result<(), String>>;
type UnderWay = Arc<Mutex<HashMap<(String, String, Renew), watch::Receiver<Outcome>>>>;

#[derive(Clone)]
pub(crate) struct Pulls {
    engine: Engine,
    tasks: TaskTracker,
    under_way: UnderWay,
    /// Nobody needs an image any more.
    stop: CancellationToken,
}

impl Pulls {
    /// `stop` is the agent's.
    pub(crate) fn new(engine: Engine, tasks: TaskTracker, stop: &CancellationToken) -> Self {
        Pulls { engine, tasks, under_way: Arc::default(), stop: stop.child_token() }
    }

    /// Ends all fetches, and those that are asked for later.
    pub(crate) fn cancel(&self) {
        self.stop.cancel();
    }

    /// Returns once the image was fetched or could not be. A caller that gives up does not stop the fetch:
    /// others wait for it.
    pub(crate) async fn pull(
        &self,
        image: &str,
        auth: AuthConfig,
        renew: Renew,
    ) -> Result<(), String> {
        let mut outcome = self.join(image, auth, renew);
        let ended = outcome.wait_for(Option::is_some).await;
        ended.ok().and_then(|ended| ended.clone()).unwrap_or_else(|| Err("interrupted".to_owned()))
    }

    fn join(&self, image: &str, auth: AuthConfig, renew: Renew) -> watch::Receiver<Outcome> {
        let key = (image.to_owned(), serde_json::to_string(&auth).unwrap_or_default(), renew);
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = under_way.get(&key) {
            return outcome.clone();
        }
        let (tell, outcome) = watch::channel(None);
        under_way.insert(key.clone(), outcome.clone());
        let (engine, all, image) = (self.engine.clone(), self.under_way.clone(), image.to_owned());
        let stop = self.stop.clone();
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
