//! Files in the shapes that well-known applications and tutorials use, and what `config` makes of them:
//! `apps/<name>.yaml` gives `apps/<name>.out`. `UPDATE=1` rewrites the outputs, which are reviewed as prose.

use compose::{LoadOptions, Loaded, Report, json, load, yaml};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Files that the fixtures read beside themselves.
fn beside(path: &Path) -> io::Result<String> {
    match path.to_str() {
        Some("/app/db.env") => {
            Ok("MYSQL_PASSWORD=secret\nMYSQL_DATABASE=cloud # the name\n".to_owned())
        }
        Some("/app/one.labels") => Ok("shared=file\nfrom.file=\"a b\"\n".to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

fn run(text: &str) -> Result<Loaded, Report> {
    let read = |path: &Path| match path == Path::new("/app/compose.yaml") {
        true => Ok(text.to_owned()),
        false => beside(path),
    };
    let mut options = LoadOptions {
        files: vec!["/app/compose.yaml".into()],
        project_dir: "/app".into(),
        ..LoadOptions::default()
    };
    options.env.insert("HOME".to_owned(), "/root".to_owned());
    load(&options, &read)
}

fn config(text: &str) -> String {
    match run(text) {
        Ok(loaded) => {
            let mut out = yaml(loaded.project.tree().expect("a tree"));
            for warning in &loaded.warnings {
                out.push_str(&format!("---\n{}\n", warning.render(&loaded.sources)));
            }
            out
        }
        Err(report) => format!("{report}\n"),
    }
}

fn fixtures() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps");
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn applications_are_read_as_their_authors_meant() {
    let files = fixtures();
    assert!(files.len() >= 60, "only {} fixtures", files.len());
    let mut differ = Vec::new();
    for file in files {
        let got = config(&fs::read_to_string(&file).expect("readable"));
        let out = file.with_extension("out");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&out, got).expect("writable");
        } else if fs::read_to_string(&out).unwrap_or_default() != got {
            differ.push(format!("{}:\n{got}", file.display()));
        }
    }
    assert!(differ.is_empty(), "UPDATE=1 rewrites:\n{}", differ.join("\n"));
}

#[test]
fn config_of_config_is_the_same_for_every_application() {
    for file in fixtures() {
        let Ok(loaded) = run(&fs::read_to_string(&file).expect("readable")) else { continue };
        let once = yaml(loaded.project.tree().expect("a tree"));
        let again = run(&once).unwrap_or_else(|report| panic!("{}: {report}", file.display()));
        assert_eq!(yaml(again.project.tree().expect("a tree")), once, "{}", file.display());
    }
}

#[test]
fn the_json_of_every_application_reads_as_its_yaml_does() {
    for file in fixtures() {
        let Ok(loaded) = run(&fs::read_to_string(&file).expect("readable")) else { continue };
        let tree = loaded.project.tree().expect("a tree");
        let json = json(tree).to_string().replace('$', "$$");
        let again = run(&json).unwrap_or_else(|report| panic!("{}: {report}", file.display()));
        assert_eq!(yaml(again.project.tree().expect("a tree")), yaml(tree), "{}", file.display());
    }
}
