//! The one owner of all tasks' machines: takes in what managers want and what containers do, asks
//! `taskfsm::step`, has the effects done, says and writes down what came of it.

use crate::assigned::{Changed, Share};
use crate::content;
use crate::executor::{Executor, Preparation};
use crate::files::Wanted;
use crate::journal::{Journal, Kept};
use crate::local::{Job, Local};
use crate::outbox::Outbox;
use crate::spec::{self, NodeFacts};
use engine::Sight;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use taskfsm::{Effect, Event, Phase};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::swarm::session::{Assignments, Removed, TaskReport};
use types::swarm::task::{Task, TaskState, TaskStatus};
use types::{NetworkId, TaskId, Timestamp};

/// After the journal could not be written: the disk may have room again.
const REWRITE: Duration = Duration::from_secs(5);

/// What the worker hears.
pub(crate) enum Input {
    Assignments(Assignments),
    Written(Vec<TaskReport>),
    /// A job has ended.
    Done(Done),
    /// A container as its watcher sees it.
    Seen {
        task: String,
        sight: Sight,
    },
    /// Takes everything away and ends.
    Leave,
}

/// What came of a job.
#[derive(Default)]
pub(crate) struct Done {
    task: String,
    event: Option<Event>,
    container: Option<String>,
    ports: Option<Vec<types::swarm::service::PortConfig>>,
    pid: Option<i32>,
}

/// Shared with the session.
#[derive(Default)]
pub(crate) struct Mail {
    pub(crate) outbox: Mutex<Outbox>,
    /// There is something new in it.
    pub(crate) news: Notify,
}

impl Mail {
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Outbox) -> T) -> T {
        work(&mut self.outbox.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(crate) struct Worker {
    pub(crate) node: NodeFacts,
    pub(crate) share: Share,
    pub(crate) journal: Journal,
    pub(crate) executor: Executor,
    pub(crate) mail: Arc<Mail>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    /// Where jobs and watchers answer to.
    pub(crate) answers: mpsc::UnboundedSender<Input>,
    locals: BTreeMap<String, Local>,
    /// Containers found on the node, by task.
    found: BTreeMap<String, String>,
    timers: BTreeSet<(Timestamp, String)>,
    began: (Timestamp, Instant),
    leaving: bool,
    /// When a journal that could not be written is tried again.
    rewrite_at: Option<Instant>,
}

impl Worker {
    #[expect(clippy::too_many_arguments, reason = "the one place that puts a worker together")]
    pub(crate) fn new(
        node: NodeFacts,
        journal: Journal,
        kept: Kept,
        executor: Executor,
        mail: Arc<Mail>,
        tasks: TaskTracker,
        stop: CancellationToken,
        answers: mpsc::UnboundedSender<Input>,
    ) -> Self {
        let found = executor.containers(node.id.as_str()).into_iter().collect();
        let mut worker = Worker {
            node,
            share: kept.share,
            journal,
            executor,
            mail,
            tasks,
            stop,
            answers,
            locals: BTreeMap::new(),
            found,
            timers: BTreeSet::new(),
            began: (Timestamp::from(SystemTime::now()), Instant::now()),
            leaving: false,
            rewrite_at: None,
        };
        worker.assign_networks();
        let known: Vec<Arc<Task>> = worker.share.tasks.values().cloned().collect();
        for task in known {
            let status = kept.statuses.get(task.id.as_str()).cloned();
            worker.take_up(&task, status);
        }
        worker
    }

    /// Works until the agent stops, or has left.
    pub(crate) async fn run(
        mut self,
        mut session: mpsc::Receiver<Input>,
        mut jobs: mpsc::UnboundedReceiver<Input>,
    ) {
        loop {
            self.flush();
            if self.leaving && self.locals.is_empty() {
                self.close().await;
                return;
            }
            let timer = self.timers.first().map(|(at, _)| self.instant(*at));
            let wake = timer.into_iter().chain(self.rewrite_at).min();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                Some(input) = jobs.recv() => self.hear(input).await,
                Some(input) = session.recv() => self.hear(input).await,
                () = sleep_until(wake) => self.ring(),
            }
            // What has gathered meanwhile is written down and said together.
            while let Ok(input) = jobs.try_recv() {
                self.hear(input).await;
            }
        }
    }

    async fn hear(&mut self, input: Input) {
        match input {
            Input::Assignments(message) => self.assign(message).await,
            Input::Written(reports) => self.mail.with(|outbox| outbox.written(&reports)),
            Input::Done(done) => self.done(done),
            Input::Seen { task, sight } if !self.leaving => self.seen(&task, sight),
            Input::Seen { .. } => {}
            Input::Leave => self.leave(),
        }
    }

    async fn assign(&mut self, message: Assignments) {
        if self.leaving {
            return;
        }
        let complete = message.complete;
        for assigned in &message.put {
            self.journal.put(assigned);
        }
        let before = self.share.clone();
        let changed = self.share.take(message);
        self.assign_networks();
        self.write_removals(&before);
        for id in &changed.gone {
            self.feed(id, Event::Unassigned);
        }
        for id in &changed.tasks {
            let Some(task) = self.share.tasks.get(id).cloned() else { continue };
            match self.locals.get_mut(id) {
                Some(local) => {
                    local.task = task.clone();
                    self.feed(id, Event::Desired(task.desired_state));
                }
                None => self.take_up(&task, None),
            }
        }
        if complete {
            self.say_again();
            self.sweep().await;
        }
        self.resume_waiting();
        self.refresh(&changed);
        if complete || !changed.gone.is_empty() {
            self.sweep_networks();
            self.executor.keep_services(|service| self.share.services.contains_key(service));
        }
    }

    fn write_removals(&mut self, before: &Share) {
        macro_rules! gone {
            ($table:ident, $kind:ident) => {
                for id in before.$table.keys().filter(|id| !self.share.$table.contains_key(*id)) {
                    self.journal.removed(Removed::$kind(id.clone()));
                }
            };
        }
        gone!(tasks, Task);
        gone!(services, Service);
        gone!(networks, Network);
        gone!(volumes, Volume);
    }

    /// Begins with a task that this agent has not had before.
    fn take_up(&mut self, task: &Arc<Task>, status: Option<TaskStatus>) {
        let id = task.id.to_string();
        let status = status.unwrap_or_else(|| task.status.clone());
        let said = status.state;
        let mut local = Local::new(task.clone(), status, spec::stop_grace(task));
        local.container = self.found.get(&id).cloned();
        let looks = matches!(local.machine.phase, Phase::Running | Phase::Ended);
        self.locals.insert(id.clone(), local);
        if said > TaskState::Assigned {
            self.tell(&id);
        }
        if looks {
            self.push(&id, Job::Look);
        }
        self.feed(&id, Event::Begin);
        self.feed(&id, Event::Desired(task.desired_state));
    }

    /// Managers that know less than was said hear it again: their store may have lost it.
    fn say_again(&mut self) {
        let behind: Vec<String> = self
            .locals
            .iter()
            .filter(|(_, local)| local.task.status.state < local.status.state)
            .map(|(id, _)| id.clone())
            .collect();
        for id in behind {
            self.tell(&id);
        }
    }

    /// A complete list names every task of the node: containers and files of others go.
    async fn sweep(&mut self) {
        for (task, container) in self.executor.containers(self.node.id.as_str()) {
            if !self.locals.contains_key(&task) {
                self.found.remove(&task);
                let executor = self.executor.clone();
                self.tasks.spawn(async move {
                    executor.remove(&task, Some(&container)).await;
                });
            }
        }
        for task in self.executor.files.tasks() {
            if !self.locals.contains_key(&task) {
                self.executor.remove(&task, None).await;
            }
        }
    }

    /// Before anything is begun that needs them.
    fn assign_networks(&self) {
        let networks = self.share.networks.keys().map(|id| NetworkId::new(id.as_str()));
        self.executor.engine.assign_cluster_networks(networks.collect());
    }

    fn sweep_networks(&self) {
        let engine = self.executor.engine.clone();
        self.tasks.spawn(async move { engine.sweep_cluster_networks().await });
    }

    /// Tasks whose secrets, configs or networks have come.
    fn resume_waiting(&mut self) {
        let ready: Vec<String> = self
            .locals
            .iter()
            .filter(|(_, local)| local.waits && self.share.missing(&local.task).is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for id in ready {
            if let Some(local) = self.locals.get_mut(&id) {
                local.waits = false;
            }
            self.push(&id, Job::Prepare);
        }
    }

    /// Secrets and configs that changed are changed in the containers that have them.
    fn refresh(&mut self, changed: &Changed) {
        let uses = |local: &Local| {
            let spec = local.task.spec.container_spec.as_ref();
            let live =
                matches!(local.machine.phase, Phase::Ready | Phase::Starting | Phase::Running);
            live && spec.is_some_and(|spec| {
                spec.secrets.iter().any(|it| changed.files.contains(&it.secret_id))
                    || spec.configs.iter().any(|it| changed.files.contains(&it.config_id))
            })
        };
        let stale: Vec<String> =
            self.locals.iter().filter(|(_, local)| uses(local)).map(|(id, _)| id.clone()).collect();
        for id in stale {
            self.push(&id, Job::Refresh);
        }
    }

    fn ring(&mut self) {
        let now = self.now();
        while let Some((at, id)) = self.timers.first().cloned() {
            if at > now {
                return;
            }
            self.timers.pop_first();
            self.feed(&id, Event::Tick);
        }
    }

    fn done(&mut self, done: Done) {
        let id = done.task;
        if self.leaving {
            self.locals.remove(&id);
            return;
        }
        if let Some(local) = self.locals.get_mut(&id) {
            local.busy = false;
            if let Some(container) = done.container {
                local.container = Some(container);
            }
            if let Some(ports) = done.ports {
                local.publishes(ports);
            }
            local.pid = done.pid.unwrap_or(local.pid);
        }
        match done.event {
            Some(Event::Started) => {
                // The image may bring a health check of its own.
                let container = self.locals.get(&id).and_then(|local| local.container.clone());
                let sight = container.and_then(|container| self.executor.look(&container));
                if let (Some(sight), Some(local)) = (&sight, self.locals.get_mut(&id)) {
                    local.machine.rules.health_check = sight.health.is_some();
                    local.pid = sight.pid;
                }
                self.feed(&id, Event::Started);
                if let Some(sight) = sight {
                    self.seen(&id, sight);
                }
                self.watch(&id);
            }
            Some(event) => self.feed(&id, event),
            None => {}
        }
        self.drop_files(&id);
        self.next_job(&id);
    }

    /// Nobody reads the files of a task that has ended.
    fn drop_files(&self, id: &str) {
        let Some(local) = self.locals.get(id) else { return };
        if local.machine.phase == Phase::Ended && !local.busy {
            self.executor.drop_files(id);
        }
    }

    /// What a container's looks mean to its machine.
    fn seen(&mut self, id: &str, sight: Sight) {
        if let Some(local) = self.locals.get_mut(id)
            && sight.running
        {
            local.pid = sight.pid;
        }
        let health = sight.health.as_deref().unwrap_or_default();
        let event = match (sight.running, health) {
            _ if sight.removed => Event::Vanished,
            (true, "healthy") => Event::Healthy,
            (true, "unhealthy") => Event::Unhealthy,
            (false, _) if sight.has_run => Event::Exited { code: sight.exit_code },
            _ => return,
        };
        self.feed(id, event);
    }

    /// As dockerd: a node that leaves lets its containers go without a grace. Only jobs under way are waited
    /// for.
    fn leave(&mut self) {
        self.leaving = true;
        self.executor.cancel_pulls();
        self.share = Share::default();
        self.timers.clear();
        self.locals.retain(|_, local| {
            local.jobs.clear();
            local.cancel.cancel();
            local.stop_watching();
            local.busy
        });
    }

    /// The last of a node that has left.
    async fn close(&mut self) {
        let mut removals = tokio::task::JoinSet::new();
        for (task, container) in self.executor.containers(self.node.id.as_str()) {
            let executor = self.executor.clone();
            removals.spawn(async move { executor.remove(&task, Some(&container)).await });
        }
        removals.join_all().await;
        self.executor.engine.assign_cluster_networks(BTreeSet::new());
        self.executor.engine.sweep_cluster_networks().await;
        if let Err(err) = self.executor.files.close() {
            tracing::warn!(error = %err, "failed to remove the secrets' directory");
        }
    }

    /// One step of one machine, with all that follows.
    fn feed(&mut self, id: &str, event: Event) {
        let now = self.now();
        let Some(local) = self.locals.get_mut(id) else { return };
        let (machine, effects) = taskfsm::step(local.machine.clone(), event, now);
        local.machine = machine;
        if matches!(local.machine.phase, Phase::Ended | Phase::Removing) {
            local.stop_watching();
        }
        for effect in effects {
            self.effect(id, effect);
        }
        self.drop_files(id);
        let removed = self.locals.get(id).is_some_and(|it| it.machine.phase == Phase::Removed);
        if removed {
            self.locals.remove(id);
            self.found.remove(id);
            self.sweep_networks();
            self.mail.with(|outbox| outbox.forget(&TaskId::new(id)));
            // It may have been assigned again meanwhile.
            if let Some(task) = self.share.tasks.get(id).cloned() {
                self.take_up(&task, None);
            }
        }
    }

    fn effect(&mut self, id: &str, effect: Effect) {
        match effect {
            Effect::Prepare => self.push(id, Job::Prepare),
            Effect::Start => self.push(id, Job::Start),
            Effect::Stop => {
                self.cancel(id);
                self.push(id, Job::Stop);
            }
            Effect::Kill => self.push(id, Job::Kill),
            Effect::Remove => {
                self.cancel(id);
                self.push(id, Job::Remove);
            }
            Effect::CancelPrepare => self.cancel(id),
            Effect::WakeAt(at) => drop(self.timers.insert((at, id.to_owned()))),
            Effect::Report(report) => {
                let Some(local) = self.locals.get_mut(id) else { return };
                local.say(report, Timestamp::from(SystemTime::now()));
                self.tell(id);
            }
        }
    }

    fn cancel(&mut self, id: &str) {
        if let Some(local) = self.locals.get_mut(id) {
            local.cancel.cancel();
            local.waits = false;
        }
    }

    fn tell(&mut self, id: &str) {
        let Some(local) = self.locals.get(id) else { return };
        let (task, status) = (local.task.id.clone(), local.status.clone());
        self.journal.status(TaskReport { task: task.clone(), status: status.clone() });
        self.mail.with(|outbox| outbox.put(task, status));
    }

    /// Writes down, then lets the session speak.
    fn flush(&mut self) {
        let (share, locals) = (&self.share, &self.locals);
        let kept = || Kept {
            share: share.clone(),
            statuses: locals.iter().map(|(id, it)| (id.clone(), it.status.clone())).collect(),
        };
        let now = Instant::now();
        if self.rewrite_at.is_none_or(|at| at <= now) {
            self.rewrite_at = match self.journal.flush(kept) {
                Ok(()) => None,
                Err(err) => {
                    tracing::error!(error = %err, "failed to write the agent's journal");
                    Some(now + REWRITE)
                }
            };
        }
        if self.mail.with(|outbox| !outbox.is_empty()) {
            self.mail.news.notify_one();
        }
    }

    fn push(&mut self, id: &str, job: Job) {
        if let Some(local) = self.locals.get_mut(id) {
            local.push(job);
        }
        self.next_job(id);
    }

    fn next_job(&mut self, id: &str) {
        let Some(local) = self.locals.get_mut(id) else { return };
        if local.busy {
            return;
        }
        let Some(job) = local.jobs.pop_front() else { return };
        if job == Job::Prepare
            && let Some(missing) = self.share.missing(&local.task)
        {
            tracing::debug!(task = id, missing, "a task waits");
            local.waits = true;
            return;
        }
        local.busy = true;
        self.perform(id, job);
    }

    fn perform(&mut self, id: &str, job: Job) {
        let Some(local) = self.locals.get(id) else { return };
        let (executor, task) = (self.executor.clone(), local.task.clone());
        let (container, cancel) = (local.container.clone(), local.cancel.clone());
        let service = self.share.services.get(task.service_id.as_str()).cloned();
        let id = id.to_owned();
        let answers = self.answers.clone();
        let answer = move |done: Done| drop(answers.send(Input::Done(done)));
        match job {
            Job::Prepare => {
                let wanted = self.preparation(&task);
                self.tasks.spawn(async move {
                    let (event, container) = match wanted {
                        Ok(wanted) => executor.prepare(wanted, &cancel).await,
                        Err(err) => (Event::PrepareFailed(err), None),
                    };
                    answer(Done { task: id, event: Some(event), container, ..Done::default() });
                });
            }
            Job::Start => {
                let name = service.as_ref().map(|service| spec::name(&task, service));
                let found = container.or_else(|| executor.find(&name?));
                let binds = !task.record.host_ports.is_empty();
                self.tasks.spawn(async move {
                    let Some(container) = found else {
                        let event = Some(Event::Vanished);
                        return answer(Done { task: id, event, ..Done::default() });
                    };
                    let event = executor.start(&container, &cancel).await;
                    let ports = match binds && event == Event::Started {
                        true => Some(executor.bound_ports(&container).await),
                        false => None,
                    };
                    let (event, container) = (Some(event), Some(container));
                    answer(Done { task: id, event, container, ports, pid: None });
                });
            }
            Job::Look => {
                let sight = container.as_deref().and_then(|container| executor.look(container));
                let event = match &sight {
                    None => Some(Event::Vanished),
                    Some(sight) if !sight.running && !sight.has_run => Some(Event::Vanished),
                    Some(_) => None,
                };
                if event.is_none() {
                    self.watch(&id);
                }
                answer(Done { task: id, event, ..Done::default() });
            }
            Job::Stop | Job::Kill => {
                self.tasks.spawn(async move {
                    let event = match &container {
                        Some(container) if job == Job::Kill => executor.kill(container).await,
                        Some(container) => executor.stop(container).await,
                        None => Some(Event::Vanished),
                    };
                    answer(Done { task: id, event, ..Done::default() });
                });
            }
            Job::Refresh => {
                let files = self.files(&task);
                let signal = content::signal(&task, &self.share);
                self.tasks.spawn(async move {
                    executor.refresh(&id, files, container.as_deref(), signal.as_deref()).await;
                    answer(Done { task: id, ..Done::default() });
                });
            }
            Job::Remove => {
                self.tasks.spawn(async move {
                    let gone = executor.remove(&id, container.as_deref()).await;
                    let event = gone.then_some(Event::Removed);
                    answer(Done { task: id, event, ..Done::default() });
                });
            }
        }
    }

    fn files(&self, task: &Task) -> Result<Vec<Wanted>, String> {
        content::files(task, &self.share, &self.node)
    }

    fn preparation(&self, task: &Arc<Task>) -> Result<Preparation, String> {
        let spec = task.spec.container_spec.as_ref();
        let spec =
            spec.ok_or_else(|| format!("runtime {:?} is not supported", task.spec.runtime))?;
        let service = self.share.services.get(task.service_id.as_str());
        let service = service.ok_or("its service is not known")?;
        let attached = task.networks_attachments.iter();
        let networks = attached
            .filter_map(|it| self.share.networks.get(&it.network))
            .filter(|network| !matches!(network.spec.driver.as_str(), "host" | "none" | "null"))
            .cloned()
            .collect();
        Ok(Preparation {
            task: task.id.to_string(),
            name: spec::name(task, service),
            service: task.service_id.to_string(),
            forced: task.spec.force_update,
            auth: spec::auth(spec),
            networks,
            files: self.files(task)?,
            request: spec::request(task, &self.share, &self.node)?,
        })
    }

    /// Has the container looked at from now on.
    fn watch(&mut self, id: &str) {
        let Some(local) = self.locals.get_mut(id) else { return };
        let Some(container) = local.container.clone() else { return };
        local.stop_watching();
        let Ok(mut watch) = self.executor.engine.container_watch(&container) else { return };
        let (answers, task) = (self.answers.clone(), id.to_owned());
        let stop = self.stop.clone();
        let watching = self.tasks.spawn(async move {
            loop {
                let sight = watch.look();
                let last = sight.removed;
                if answers.send(Input::Seen { task: task.clone(), sight }).is_err() || last {
                    return;
                }
                tokio::select! {
                    () = watch.changed() => {}
                    () = stop.cancelled() => return,
                }
            }
        });
        local.watcher = Some(watching.abort_handle());
    }

    /// Time that does not jump: what machines count in.
    fn now(&self) -> Timestamp {
        self.began.0.after(self.began.1.elapsed())
    }
    fn instant(&self, at: Timestamp) -> Instant {
        self.began.1 + at.since(self.began.0)
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
