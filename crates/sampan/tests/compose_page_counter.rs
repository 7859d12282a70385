//! The main job: the tutorials' page counter, brought up with docker-compose 1.29 and with our own client.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{Daemon, Options, eventually};

const PORT: u16 = 5000;
const IMAGES: &[&str] = &["redis:alpine", "python:3.7-alpine"];

/// A daemon, and a copy of the example project that a test may edit.
struct Site {
    daemon: Daemon,
    project: PathBuf,
}

impl Site {
    fn open() -> Self {
        let daemon = Daemon::start(Options::with_images(IMAGES));
        let project = daemon.dir().join("counter");
        let example = testkit::workspace().join("examples/page-counter");
        let copied = Command::new("cp").arg("-r").args([&example, &project]).status().unwrap();
        assert!(copied.success());
        Site { daemon, project }
    }

    /// Runs docker-compose for the project `plana`; both outputs together.
    #[track_caller]
    fn compose(&self, args: &[&str]) -> String {
        self.compose_as("plana", PORT, args)
    }

    #[track_caller]
    fn compose_as(&self, name: &str, port: u16, args: &[&str]) -> String {
        let words = [&["-p", name], args].concat();
        let output =
            self.daemon.compose_with(&self.project, &[("PORT", &port.to_string())], &words);
        let said = format!("{}{}", output.stdout, output.stderr);
        output.ok();
        said
    }

    /// Runs our client in the project's folder; both outputs together.
    #[track_caller]
    fn sampan(&self, args: &[&str]) -> String {
        let output = self.daemon.sampan_in(&self.project, args);
        let said = format!("{}{}", output.stdout, output.stderr);
        output.ok();
        said
    }

    /// Requests the page once it answers, and returns its count.
    #[track_caller]
    fn count(&self, port: u16) -> u32 {
        let page = eventually("the page counts", || {
            self.daemon.fetch(port, "/").ok().filter(|page| page.status == 200)
        });
        let text = page.text();
        let number = text.split(' ').find_map(|word| word.parse().ok());
        number.unwrap_or_else(|| panic!("no number in {text:?}"))
    }

    #[track_caller]
    fn container_id(&self, name: &str) -> String {
        self.daemon.docker(&["inspect", "--format", "{{.Id}}", name]).ok()
    }
}

fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{from:?} is not in {}", file.display());
    fs::write(file, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn docker_compose_brings_the_counter_up_and_it_survives_stop_start_and_recreation() {
    let site = Site::open();

    let said = site.compose(&["up", "-d", "--build"]);
    for line in [
        "Creating network \"plana_default\" with the default driver",
        "Step 1/8 : FROM python:3.7-alpine",
        "Step 8/8 : CMD [\"flask\", \"run\"]",
        "Successfully tagged plana_webtest:latest",
        "Creating plana_redis_1",
        "Creating plana_webtest_1",
    ] {
        assert!(said.contains(line), "{line:?} is missing in\n{said}");
    }
    assert_eq!([site.count(PORT), site.count(PORT), site.count(PORT)], [1, 2, 3]);

    let listed = site.compose(&["ps"]);
    let webtest = listed
        .lines()
        .find(|line| line.starts_with("plana_webtest_1"))
        .unwrap_or(&listed)
        .to_owned();
    assert!(webtest.contains("Up") && webtest.contains("0.0.0.0:5000->5000/tcp"), "{listed}");
    let images = site.compose(&["images"]);
    let row = images
        .lines()
        .find(|line| line.starts_with("plana_webtest_1"))
        .unwrap_or(&images)
        .to_owned();
    assert!(
        row.contains("plana_webtest") && row.contains("latest") && row.contains("MB"),
        "{images}"
    );
    assert!(site.compose(&["logs", "webtest"]).contains("GET / HTTP/1.1"));

    site.compose(&["stop"]);
    assert!(site.daemon.fetch(PORT, "/").is_err(), "a stopped service must not listen");
    site.compose(&["start"]);
    assert_eq!(site.count(PORT), 4);

    let (redis, webtest) =
        (site.container_id("plana_redis_1"), site.container_id("plana_webtest_1"));
    let again = site.compose(&["up", "-d"]);
    assert!(
        again.contains("plana_redis_1 is up-to-date")
            && again.contains("plana_webtest_1 is up-to-date"),
        "{again}"
    );

    edit(
        &site.project.join("docker-compose.yml"),
        "build: ./composetest",
        "build: ./composetest\n    environment: {COLOUR: red}",
    );
    site.compose(&["up", "-d"]);
    assert_eq!(site.container_id("plana_redis_1"), redis, "redis was not touched by the edit");
    assert_ne!(site.container_id("plana_webtest_1"), webtest, "webtest was");
    assert_eq!(site.count(PORT), 5);

    // Redis keeps its count in an anonymous volume, which goes on to the new container.
    edit(
        &site.project.join("docker-compose.yml"),
        "image: \"redis:alpine\"",
        "image: \"redis:alpine\"\n    labels: {a: b}",
    );
    site.compose(&["up", "-d"]);
    assert_ne!(site.container_id("plana_redis_1"), redis);
    assert_eq!(site.count(PORT), 6);

    site.compose(&["stop"]);
    site.compose(&["rm", "-f"]);
    assert_eq!(site.daemon.docker(&["ps", "-aq"]).ok(), "");
    site.compose(&["down", "-v", "--rmi", "all"]);
    assert!(!site.daemon.docker(&["images"]).ok().contains("plana_webtest"));
    assert!(!site.daemon.docker(&["network", "ls"]).ok().contains("plana_default"));
}

#[test]
fn two_projects_run_beside_each_other_and_know_nothing_of_one_another() {
    let site = Site::open();
    site.compose(&["up", "-d"]);
    site.compose_as("planb", 5001, &["up", "-d"]);

    assert_eq!([site.count(5000), site.count(5000), site.count(5001)], [1, 2, 1]);
    assert!(!site.compose_as("planb", 5001, &["ps"]).contains("plana"));
    // Without -p the project is named after its folder, and there is none of that name.
    let unnamed = site.daemon.compose(&site.project, &["ps"]).ok();
    assert!(!unnamed.contains("webtest"), "{unnamed}");

    site.compose(&["down"]);
    assert_eq!(site.count(5001), 2, "the other project goes on");
    site.compose_as("planb", 5001, &["down", "-v"]);
}

#[test]
fn down_leaves_no_trace_of_a_project() {
    let mut site = Site::open();
    site.compose(&["up", "-d"]);
    site.count(PORT);
    site.compose(&["down", "-v"]);
    site.daemon.rebase();
    site.compose(&["up", "-d"]);
    site.count(PORT);
    site.compose(&["down", "-v"]);
    assert_eq!(site.daemon.leaks(), Vec::<String>::new());
}

#[test]
fn our_own_client_brings_the_counter_up_and_docker_compose_sees_it() {
    let site = Site::open();

    let said = site.sampan(&["compose", "-p", "plana", "up", "-d"]);
    assert!(said.contains("Step 8/8 : CMD"), "{said}");
    assert_eq!([site.count(PORT), site.count(PORT)], [1, 2]);
    assert!(site.compose(&["ps"]).contains("plana-webtest-1"), "docker-compose sees the project");
    assert!(site.sampan(&["compose", "-p", "plana", "logs", "webtest"]).contains("GET / HTTP/1.1"));

    let webtest = site.container_id("plana-webtest-1");
    site.sampan(&["compose", "-p", "plana", "up", "-d"]);
    assert_eq!(site.container_id("plana-webtest-1"), webtest, "a second up changes nothing");

    let file = site.project.join("docker-compose.yml");
    edit(&file, "image: \"redis:alpine\"", "image: \"redis:alpine\"\n    labels: {a: b}");
    site.sampan(&["compose", "-p", "plana", "up", "-d"]);
    assert_eq!(site.container_id("plana-webtest-1"), webtest, "only redis was edited");
    assert_eq!(site.count(PORT), 3, "the anonymous volume went on to the new container");

    site.sampan(&["compose", "-p", "plana", "stop"]);
    site.sampan(&["compose", "-p", "plana", "start"]);
    assert_eq!(site.count(PORT), 4);
    site.sampan(&["compose", "-p", "plana", "down", "-v"]);
    assert_eq!(site.daemon.docker(&["ps", "-aq"]).ok(), "");
    assert!(!site.daemon.docker(&["network", "ls"]).ok().contains("plana_default"));
}
