//! `docs/benchmarks.md`: a section for each program that measures. Writing one leaves the others as they are.

use std::fs;

use anyhow::{Context, Result};

const TITLE: &str = "# Benchmarks\n";

/// Writes the section of this heading anew.
pub(crate) fn write(heading: &str, text: &str) -> Result<()> {
    let path = testkit::workspace().join("docs/benchmarks.md");
    let page = fs::read_to_string(&path).unwrap_or_default();
    fs::write(&path, with(&page, heading, text))
        .with_context(|| format!("writing {}", path.display()))?;
    println!("written to {}", path.display());
    Ok(())
}

/// What a figure depends on: `2 CPUs, Linux 6.1.0, load average 0.12`.
pub(crate) fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    format!("{cpus} CPUs, Linux {}, load average {load}", kernel.trim())
}

/// The page with this section in its old place, or at the end if it is new.
fn with(page: &str, heading: &str, text: &str) -> String {
    let mut sections: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix(TITLE).unwrap_or(page);
    while let Some(next) = rest.get(1..).and_then(|later| later.find("\n## ")) {
        let (section, later) = rest.split_at(next + 2);
        sections.push(section.trim());
        rest = later;
    }
    sections.push(rest.trim());
    let new = format!("## {heading}\n\n{}", text.trim());
    let is_old = |section: &&&str| section.lines().next() == new.lines().next();
    let known = sections.iter().any(|section| is_old(&section));
    let mut page = TITLE.to_owned();
    for section in sections.iter().filter(|section| !section.is_empty()) {
        page += &format!("\n{}\n", if is_old(&section) { new.as_str() } else { section });
    }
    if !known {
        page += &format!("\n{new}\n");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::with;

    #[test]
    fn a_section_is_replaced_in_its_place_and_the_others_stay() {
        let page = with("", "One", "1\n\n| a |\n");
        assert_eq!(page, "# Benchmarks\n\n## One\n\n1\n\n| a |\n");
        let page = with(&page, "Two", "2");
        assert_eq!(page, "# Benchmarks\n\n## One\n\n1\n\n| a |\n\n## Two\n\n2\n");
        let page = with(&page, "One", "3\n");
        assert_eq!(page, "# Benchmarks\n\n## One\n\n3\n\n## Two\n\n2\n");
        assert_eq!(with(&page, "Two", "2"), page);
    }
}
