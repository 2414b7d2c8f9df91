//! Links of the documentation: the file must exist, and the heading in it.

use std::{fs, path::Path};

/// Line numbers of links that lead nowhere.
pub fn check(path: &Path, text: &str) -> Vec<(usize, String)> {
    let directory = path.parent().unwrap_or(path);
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for target in targets(line).filter(|target| !target.contains("://")) {
            if !leads_somewhere(directory, text, target) {
                found.push((index + 1, format!("link to {target}, which is not there")));
            }
        }
    }
    found
}

/// What stands in the parentheses of `[text](target)`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next())
}

fn leads_somewhere(directory: &Path, own_text: &str, target: &str) -> bool {
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = directory.join(file);
    if heading.is_empty() {
        return path.exists();
    }
    let other = (!file.is_empty()).then(|| fs::read_to_string(&path).unwrap_or_default());
    let text = other.as_deref().unwrap_or(own_text);
    text.lines().filter_map(|line| line.strip_prefix('#')).any(|title| anchor(title) == heading)
}

/// The anchor that renderers make of a heading.
fn anchor(title: &str) -> String {
    let kept = title
        .trim_start_matches('#')
        .trim()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_as_renderers_make_them() {
        assert_eq!(anchor("## Limits, said honestly"), "limits-said-honestly");
    }

    #[test]
    fn a_link_to_nothing_is_found() {
        let text = "# Title\n[here](#title) [nowhere](#other) [gone](no-such-file.md) [out](https://example.org/x)\n";
        let found = check(Path::new("README.md"), text);
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 2]);
    }
}
