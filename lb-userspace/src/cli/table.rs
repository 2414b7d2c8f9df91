//! Aligned columns for people.

/// Lines of a table: columns two spaces apart, numbers where the heading begins with a space to the right.
pub(super) fn lines(headings: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let widths: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(column, heading)| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([heading.trim_start().chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(headings).zip(&widths).map(|((cell, heading), width)| {
            if heading.starts_with(' ') { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head = line(&mut headings.iter().map(|heading| heading.trim_start()));
    let body = rows.iter().map(|row| line(&mut row.iter().map(String::as_str)));
    std::iter::once(head).chain(body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align() {
        let rows = vec![vec!["web".to_owned(), "5".to_owned()], vec!["é".to_owned(), "1024".to_owned()]];
        assert_eq!(lines(&["NAME", " PACKETS"], &rows), ["NAME  PACKETS", "web         5", "é        1024"]);
    }
}
