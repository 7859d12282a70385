//! `up` and `create`: make it so.

use super::{Container, Observed, Operation, Plan, PlanError, Recreate, Replaced, UpOptions};
use crate::desired::{Desired, Service};
use crate::diagnostic::nearest;
use crate::graph;
use crate::model::Condition;
use std::collections::{BTreeMap, BTreeSet};

/// The operations that bring a project from `observed` to what it wants.
///
/// # Errors
/// A named service that does not exist, an external object that is not there.
pub fn plan(
    desired: &Desired,
    observed: &Observed,
    options: &UpOptions,
) -> Result<Plan, PlanError> {
    let chosen = chosen(desired, options)?;
    let mut planner = Planner {
        desired,
        observed,
        options,
        plan: Plan::default(),
        done: BTreeMap::new(),
        moved: BTreeSet::new(),
        removed: BTreeSet::new(),
    };
    planner.shared(&chosen)?;
    planner.checks(&chosen)?;
    let ground = planner.ground(&chosen)?;
    planner.orphans();
    for name in order(desired, &chosen) {
        if let Some(service) = desired.services.get(name) {
            planner.service(service, &ground);
        }
    }
    Ok(planner.plan)
}

/// The services to look at: those named and, unless refused, what they depend on.
fn chosen<'d>(desired: &'d Desired, options: &UpOptions) -> Result<BTreeSet<&'d str>, PlanError> {
    let known = || desired.services.keys().map(String::as_str);
    for name in options.services.iter().chain(options.scale.keys()) {
        if !desired.services.contains_key(name) {
            let near = nearest(name, known()).map(str::to_owned);
            return Err(PlanError::NoSuchService { name: name.clone(), near });
        }
    }
    if options.services.is_empty() {
        return Ok(known().collect());
    }
    let mut chosen = BTreeSet::new();
    let mut open: Vec<&str> = options.services.iter().map(String::as_str).collect();
    while let Some(name) = open.pop() {
        let Some((name, service)) = desired.services.get_key_value(name) else { continue };
        if chosen.insert(name.as_str()) && !options.no_deps {
            open.extend(service.depends_on.keys().map(String::as_str));
        }
    }
    Ok(chosen)
}

fn order<'d>(desired: &'d Desired, chosen: &BTreeSet<&'d str>) -> Vec<&'d str> {
    let edges: BTreeMap<&str, Vec<&str>> = desired
        .services
        .iter()
        .filter(|(name, _)| chosen.contains(name.as_str()))
        .map(|(name, service)| {
            (name.as_str(), service.depends_on.keys().map(String::as_str).collect())
        })
        .collect();
    graph::order(&edges)
}

/// What the steps of a planned service are, for those that depend on it.
#[derive(Default)]
struct Done {
    /// Steps after which its containers exist.
    created: Vec<usize>,
    /// Steps after which they were started.
    started: Vec<usize>,
    names: Vec<String>,
    /// At least one of them is another container than before.
    renewed: bool,
    /// The wait steps made for it so far.
    waits: BTreeMap<&'static str, usize>,
}

struct Planner<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    options: &'a UpOptions,
    plan: Plan,
    done: BTreeMap<String, Done>,
    /// Containers whose network is made anew.
    moved: BTreeSet<String>,
    /// Containers that went with a volume that is made anew.
    removed: BTreeSet<String>,
}

impl Planner<'_> {
    /// Compose's own condition, which the engine does not make.
    fn checks(&self, chosen: &BTreeSet<&str>) -> Result<(), PlanError> {
        let services = chosen.iter().filter_map(|name| self.desired.services.get(*name));
        let mut checks = services.filter_map(|s| s.template.config.healthcheck.as_ref());
        let wrong = checks.any(|check| check.start_interval != 0 && check.start_period == 0);
        if wrong { Err(PlanError::StartInterval) } else { Ok(()) }
    }

    /// Containers to share with are there, or will be.
    fn shared(&self, chosen: &BTreeSet<&str>) -> Result<(), PlanError> {
        for service in self.desired.services.values() {
            for (what, with) in &service.shares {
                let there = |c: &Container| !c.oneoff && c.service == *with;
                let missing = chosen.contains(service.name.as_str())
                    && !chosen.contains(with.as_str())
                    && !self.observed.containers.iter().any(there);
                if missing {
                    return Err(PlanError::NothingToShare { what, service: with.clone() });
                }
            }
        }
        Ok(())
    }

    /// Networks and volumes of the chosen services.
    fn ground(&mut self, chosen: &BTreeSet<&str>) -> Result<BTreeMap<String, usize>, PlanError> {
        let mut steps = BTreeMap::new();
        let services: Vec<&Service> =
            self.desired.services.values().filter(|s| chosen.contains(s.name.as_str())).collect();
        let all = self.options.all_resources;
        let mut networks: BTreeSet<&String> = services.iter().flat_map(|s| &s.networks).collect();
        networks.extend(self.desired.networks.keys().filter(|_| all));
        for key in networks {
            let Some(network) = self.desired.networks.get(key) else { continue };
            let name = network.request.name.clone();
            if matches!(name.as_str(), "host" | "none" | "bridge") {
                continue;
            }
            if let Some(hash) = self.observed.networks.get(&name) {
                let changed = hash.as_ref().is_some_and(|hash| *hash != network.hash);
                if changed && !network.external && self.options.recreate != Recreate::Never {
                    let step = self.remake_network(key, &name);
                    steps.insert(format!("network {key}"), step);
                }
                continue;
            }
            if network.external {
                return Err(PlanError::NoSuchNetwork { name });
            }
            let step = Operation::CreateNetwork { key: key.clone(), name };
            steps.insert(format!("network {key}"), self.plan.push(step, Vec::new()));
        }
        let mut volumes: BTreeSet<&String> = services.iter().flat_map(|s| &s.volumes).collect();
        volumes.extend(self.desired.volumes.keys().filter(|_| all));
        for key in volumes {
            let Some(volume) = self.desired.volumes.get(key) else { continue };
            let name = volume.request.name.clone();
            if let Some(hash) = self.observed.volumes.get(&name) {
                let changed = hash.as_ref().is_some_and(|hash| *hash != volume.hash);
                if changed && !volume.external && self.options.recreate != Recreate::Never {
                    match self.options.renew_volumes {
                        true => {
                            let step = self.remake_volume(key, &name);
                            steps.insert(format!("volume {key}"), step);
                        }
                        false => self.plan.changed_volumes.push(name),
                    }
                }
                continue;
            }
            if volume.external {
                return Err(PlanError::NoSuchVolume { name });
            }
            let step = Operation::CreateVolume { key: key.clone(), name };
            steps.insert(format!("volume {key}"), self.plan.push(step, Vec::new()));
        }
        Ok(steps)
    }

    /// A network whose settings changed: everything on it stops, it is made anew, and the containers with it.
    fn remake_network(&mut self, key: &str, name: &str) -> usize {
        let on_it = |c: &&Container| {
            let service = self.desired.services.get(&c.service);
            service.is_some_and(|service| service.networks.iter().any(|n| n == key))
        };
        let mut stops = Vec::new();
        for container in self.observed.containers.iter().filter(on_it) {
            self.moved.insert(container.id.clone());
            if container.is_running() {
                let Container { id, name, service, .. } = container.clone();
                stops.push(self.plan.push(Operation::Stop { service, id, name }, Vec::new()));
            }
        }
        let removed = self.plan.push(Operation::RemoveNetwork { name: name.to_owned() }, stops);
        let create = Operation::CreateNetwork { key: key.to_owned(), name: name.to_owned() };
        self.plan.push(create, vec![removed])
    }

    /// A volume whose settings changed: its containers go, it is made anew, and they after it.
    fn remake_volume(&mut self, key: &str, name: &str) -> usize {
        let uses = |c: &&Container| {
            let service = self.desired.services.get(&c.service);
            service.is_some_and(|service| service.volumes.iter().any(|v| v == key))
        };
        let users: Vec<&Container> = self.observed.containers.iter().filter(uses).collect();
        let mut gone = Vec::new();
        for container in users {
            if self.removed.insert(container.id.clone()) {
                self.take_away(container, Vec::new());
            }
            let last = self.plan.steps.iter().rposition(
                |step| matches!(&step.operation, Operation::Remove { id, .. } if *id == container.id),
            );
            gone.extend(last);
        }
        let removed = self.plan.push(Operation::RemoveVolume { name: name.to_owned() }, gone);
        let create = Operation::CreateVolume { key: key.to_owned(), name: name.to_owned() };
        self.plan.push(create, vec![removed])
    }

    /// Containers of services that the file does not have any more, and what `run` left.
    fn orphans(&mut self) {
        let orphans: Vec<&Container> = self
            .observed
            .containers
            .iter()
            .filter(|c| {
                let services = &self.desired.services;
                let known =
                    services.contains_key(&c.service) || self.desired.disabled.contains(&c.service);
                if c.oneoff { c.is_spent() } else { !known }
            })
            .collect();
        if orphans.is_empty() || (self.options.ignore_orphans && !self.options.remove_orphans) {
            return;
        }
        if !self.options.remove_orphans {
            let names: Vec<&str> = orphans.iter().map(|c| c.name.as_str()).collect();
            self.plan.warnings.push(format!(
                "Found orphan containers ([{}]) for this project. If you removed or renamed this service in your compose file, you can run this command with the --remove-orphans flag to clean it up.",
                names.join(" ")
            ));
            return;
        }
        for container in orphans {
            self.take_away(container, Vec::new());
        }
    }

    fn take_away(&mut self, container: &Container, after: Vec<usize>) {
        let Container { id, name, service, .. } = container.clone();
        let stop = Operation::Stop { service, id: id.clone(), name: name.clone() };
        let stopped = self.plan.push(stop, after);
        self.plan.push(Operation::Remove { id, name, volumes: false }, vec![stopped]);
    }

    fn service(&mut self, service: &Service, ground: &BTreeMap<String, usize>) {
        let wanted = self.options.scale.get(&service.name).copied().unwrap_or(service.replicas);
        let mut present: Vec<&Container> = self
            .observed
            .containers
            .iter()
            .filter(|c| !c.oneoff && c.service == service.name && !self.removed.contains(&c.id))
            .collect();
        // when there are too many, those that are out of date go first, then the highest numbers
        if present.len() > wanted as usize {
            present.sort_by_key(|c| (self.outdated(service, c), c.number, c.id.clone()));
            for container in present.split_off(wanted as usize) {
                self.take_away(container, Vec::new());
            }
        }
        present.sort_by_key(|c| (c.number, c.id.clone()));
        let before_create = self.before_create(service, ground);
        let mut done = Done::default();
        let mut starts = Vec::new();
        for container in &present {
            starts.push(self.existing(service, container, &before_create, &mut done));
        }
        for number in free_numbers(&present, wanted) {
            let name = service.container(&self.desired.project, number);
            let create = Operation::CreateContainer {
                service: service.name.clone(),
                number,
                name: name.clone(),
                replaces: None,
            };
            let created = self.plan.push(create, before_create.clone());
            done.created.push(created);
            done.renewed = true;
            starts.push(Some((name, Some(created))));
        }
        self.start(service, starts, &mut done);
        self.done.insert(service.name.clone(), done);
    }

    /// The networks and volumes in use, and the containers whose namespaces are shared or that are linked.
    fn before_create(&self, service: &Service, ground: &BTreeMap<String, usize>) -> Vec<usize> {
        let networks = service.networks.iter().map(|key| format!("network {key}"));
        let volumes = service.volumes.iter().map(|key| format!("volume {key}"));
        let mut after: Vec<usize> =
            networks.chain(volumes).filter_map(|key| ground.get(&key).copied()).collect();
        for (_, shared) in &service.shares {
            after.extend(self.done.get(shared).into_iter().flat_map(|done| &done.created));
        }
        // the daemon looks up links of its own bridge when the container is made
        if service.template.host_config.links.is_some() {
            let linked = service.depends_on.keys().filter_map(|on| self.done.get(on));
            after.extend(linked.flat_map(|done| &done.created));
        }
        after
    }

    /// A container that is there: kept, or made anew. Returns what has to be started.
    fn existing(
        &mut self,
        service: &Service,
        container: &Container,
        before_create: &[usize],
        done: &mut Done,
    ) -> Option<(String, Option<usize>)> {
        if self.diverged(service, container) {
            let name = service.container(&self.desired.project, container.number);
            let create = Operation::CreateContainer {
                service: service.name.clone(),
                number: container.number,
                name: name.clone(),
                replaces: Some(self.replaced(service, container)),
            };
            let created = self.plan.push(create, before_create.to_vec());
            done.created.push(created);
            done.renewed = true;
            return Some((name, Some(created)));
        }
        let name = container.name.clone();
        if !container.is_running() {
            return Some((name, None));
        }
        let service_name = service.name.clone();
        let shaken = service
            .depends_on
            .iter()
            .any(|(on, how)| how.restart && self.done.get(on).is_some_and(|done| done.renewed));
        if shaken && !self.options.no_start {
            let after = self.conditions(service);
            let restart = Operation::Restart { service: service_name, name: name.clone() };
            done.started.push(self.plan.push(restart, after));
        } else {
            self.plan
                .push(Operation::Running { service: service_name, name: name.clone() }, Vec::new());
        }
        done.names.push(name);
        None
    }

    fn diverged(&self, service: &Service, container: &Container) -> bool {
        if self.moved.contains(&container.id) {
            return true;
        }
        let named =
            self.options.services.is_empty() || self.options.services.contains(&service.name);
        match self.options.recreate {
            Recreate::Never => false,
            Recreate::Force if named || self.options.always_recreate_deps => true,
            _ if !named && self.options.always_recreate_deps => true,
            _ => self.outdated(service, container),
        }
    }

    /// Whether it is another container than the file asks for.
    fn outdated(&self, service: &Service, container: &Container) -> bool {
        let image = self.observed.images.get(&service.image);
        let shared = |name: &String| self.done.get(name).is_some_and(|done| done.renewed);
        // one by another name holds other data
        let elsewhere = |key: &String| {
            let volume = self.desired.volumes.get(key);
            volume.is_some_and(|volume| !container.volumes.contains(&volume.request.name))
        };
        container.hash != service.hash
            || image.is_some_and(|id| *id != container.image_id)
            || service.volumes.iter().any(elsewhere)
            || service.shares.iter().any(|(_, name)| shared(name))
            || matches!(container.state.as_str(), "dead" | "removing")
    }

    fn replaced(&self, service: &Service, container: &Container) -> Replaced {
        let renew = self.options.renew_anon_volumes;
        let inherit = container
            .anonymous
            .iter()
            .filter(|(destination, _)| !renew && !service.fills(destination))
            .map(|(destination, volume)| (destination.clone(), volume.clone()))
            .collect();
        Replaced {
            id: container.id.clone(),
            name: container.name.clone(),
            inherit,
            drop_volumes: renew,
        }
    }

    fn start(
        &mut self,
        service: &Service,
        starts: Vec<Option<(String, Option<usize>)>>,
        done: &mut Done,
    ) {
        if self.options.no_start {
            return;
        }
        let starts: Vec<_> = starts.into_iter().flatten().collect();
        let init = self.init(service, &starts, done);
        for (name, created) in starts {
            let mut after = self.conditions(service);
            after.extend(created);
            after.extend(init);
            let start = Operation::Start { service: service.name.clone(), name: name.clone() };
            done.started.push(self.plan.push(start, after));
            done.names.push(name);
        }
    }

    /// The step of the `pre_start` hooks: before the first container starts, and not while another one runs.
    fn init(
        &mut self,
        service: &Service,
        starts: &[(String, Option<usize>)],
        done: &Done,
    ) -> Option<usize> {
        if service.init.is_empty() || starts.is_empty() || !done.names.is_empty() {
            return None;
        }
        let mut after = self.conditions(service);
        after.extend(starts.iter().filter_map(|(_, created)| *created));
        let names = starts.iter().map(|(name, _)| name.clone()).collect();
        Some(self.plan.push(Operation::Init { service: service.name.clone(), names }, after))
    }

    /// The steps after which everything that `service` depends on is good enough.
    fn conditions(&mut self, service: &Service) -> Vec<usize> {
        let mut after = Vec::new();
        for (on, how) in &service.depends_on {
            let Some(done) = self.done.get_mut(on) else { continue };
            if how.condition == Condition::Started {
                after.extend(&done.started);
                continue;
            }
            let word = crate::desired::condition_word(how.condition);
            let wait = match done.waits.get(word) {
                Some(step) => *step,
                None => {
                    let operation = Operation::Wait {
                        service: on.clone(),
                        names: done.names.clone(),
                        condition: how.condition,
                        required: how.required,
                    };
                    let step = self.plan.push(operation, done.started.clone());
                    done.waits.insert(word, step);
                    step
                }
            };
            after.push(wait);
        }
        after
    }
}

/// The lowest numbers that no kept container has.
fn free_numbers(present: &[&Container], wanted: u32) -> Vec<u32> {
    let missing = (wanted as usize).saturating_sub(present.len());
    let taken: BTreeSet<u32> = present.iter().map(|c| c.number).collect();
    (1..).filter(|number| !taken.contains(number)).take(missing).collect()
}
