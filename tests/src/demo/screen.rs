//! What the demo looks like: 80 columns, redrawn in place on a terminal, plain text elsewhere.

use std::{
    io::{IsTerminal as _, Write as _, stdout},
    time::{Duration, Instant},
};

use super::checks::Checks;

const WIDTH: usize = 80;
const BAR: usize = 24;
const CHAPTERS: usize = 9;
const SPINNER: [&str; 8] = ["⠋", "⠙", "⠸", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// One line of the live table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name of the backend.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Requests that it answered in this chapter.
    pub requests: usize,
    /// Of all requests of this chapter.
    pub total: usize,
    /// Long connections that it holds.
    pub long: usize,
    /// What happens to it.
    pub note: &'static str,
}

/// The terminal.
pub struct Screen {
    terminal: bool,
    number: usize,
    chapter: Option<Chapter>,
    /// Lines on the terminal that the next redrawing replaces.
    drawn: usize,
    frame: usize,
}

struct Chapter {
    title: String,
    started: Instant,
    commands: Vec<String>,
    rows: Vec<Row>,
    results: Vec<(bool, String)>,
}

impl Screen {
    /// Greets.
    pub fn new() -> Self {
        let this = Self { terminal: stdout().is_terminal(), number: 0, chapter: None, drawn: 0, frame: 0 };
        if this.terminal {
            this.write("\x1b[?25l");
        }
        this.write(&format!(
            "\n {}\n {}\n",
            this.paint("1", "lb: a client, the balancer and four backends, each a network namespace"),
            this.paint("2", "real HTTP over veth, XDP in native mode, direct return; ends by itself"),
        ));
        this
    }

    /// Opens a chapter.
    pub fn begin(&mut self, title: &str) {
        self.number += 1;
        let (commands, rows, results) = (Vec::new(), Vec::new(), Vec::new());
        self.chapter =
            Some(Chapter { title: title.to_owned(), started: Instant::now(), commands, rows, results });
        self.draw(false);
    }

    /// Shows a command that is being run.
    pub fn command(&mut self, words: &[&str]) {
        if let Some(chapter) = &mut self.chapter {
            chapter.commands.extend(wrapped(words));
        }
        self.draw(false);
    }

    /// Shows the live table.
    pub fn rows(&mut self, rows: Vec<Row>) {
        if let Some(chapter) = &mut self.chapter {
            chapter.rows = rows;
        }
        self.draw(false);
    }

    /// Notes what came out.
    pub fn result(&mut self, ok: bool, text: impl Into<String>) {
        if let Some(chapter) = &mut self.chapter {
            chapter.results.push((ok, text.into()));
        }
    }

    /// Closes the chapter; what is shown stays.
    pub fn end(&mut self) {
        self.draw(true);
        self.chapter = None;
        self.drawn = 0;
    }

    /// Text between chapters.
    pub fn say(&mut self, text: &str) {
        self.write(&format!("\n{text}\n"));
    }

    /// The story ends early.
    pub fn broken_off(&mut self, error: &anyhow::Error) {
        self.result(false, format!("{:#}", error).lines().next().unwrap_or_default().to_owned());
        self.draw(true);
        self.write("\n everything that was set up has been removed\n");
    }

    /// The checks, at the end.
    pub fn summary(&mut self, checks: &Checks, took: Duration) {
        self.write(&format!("\n {}\n", self.paint("1", "What had to hold")));
        for check in checks.iter() {
            let value = format!("{} {}", grouped(check.value), check.unit);
            let text = clip(&check.text, WIDTH - 26);
            self.write(&format!(
                "  {} {text:<width$} {value:>20}\n",
                self.mark(check.ok),
                width = WIDTH - 26
            ));
        }
        let (held, all) = (checks.iter().filter(|check| check.ok).count(), checks.iter().count());
        let verdict =
            if held == all { self.paint("1;32", "all held") } else { self.paint("1;31", "NOT all held") };
        self.write(&format!("\n {held} of {all} checks: {verdict}, in {:.0} s\n\n", took.as_secs_f64()));
    }

    fn draw(&mut self, last: bool) {
        if !self.terminal && !last {
            return;
        }
        let Some(chapter) = &self.chapter else { return };
        let lines = self.lines(chapter, last);
        let back = if self.drawn > 0 { format!("\x1b[{}A\x1b[J", self.drawn) } else { String::new() };
        self.write(&format!("{back}{}\n", lines.join("\n")));
        self.drawn = lines.len();
        self.frame += 1;
    }

    fn lines(&self, chapter: &Chapter, last: bool) -> Vec<String> {
        let ok = chapter.results.iter().all(|(ok, _)| *ok);
        let state = if last { self.mark(ok) } else { SPINNER[self.frame / 2 % SPINNER.len()].to_owned() };
        let heading = format!("{}/{CHAPTERS}  {}", self.number, chapter.title);
        let seconds = format!("{:.1} s", chapter.started.elapsed().as_secs_f64());
        let title = clip(&heading, WIDTH - 14);
        let padding = " ".repeat(WIDTH - 14 - title.chars().count());
        let mut lines =
            vec![String::new(), format!(" {}{padding}{state} {seconds:>8}", self.paint("1", &title))];
        lines.extend(
            chapter.commands.iter().map(|line| format!("    {}", self.paint("36", &clip(line, WIDTH - 5)))),
        );
        lines.extend(chapter.rows.iter().map(|row| self.row(row)));
        lines.extend(
            chapter
                .results
                .iter()
                .map(|(ok, text)| format!("    {} {}", self.mark(*ok), clip(text, WIDTH - 7))),
        );
        lines
    }

    fn row(&self, row: &Row) -> String {
        let filled = (row.requests * BAR + row.total / 2).checked_div(row.total).unwrap_or(0);
        let share = (row.requests * 1_000).checked_div(row.total).unwrap_or(0);
        let bar = format!("{}{}", "█".repeat(filled), "·".repeat(BAR - filled));
        let long = if row.long > 0 { format!("{} long", row.long) } else { String::new() };
        let share = format!("{}.{} %", share / 10, share % 10);
        let note = self.paint("33", row.note);
        let requests = grouped(row.requests);
        let bar = self.paint("32", &bar);
        let line =
            format!("    {:<3} {:<9} {bar} {share:>7} {requests:>8} {long:>8} {note}", row.name, row.address);
        line.trim_end().to_owned()
    }

    fn mark(&self, ok: bool) -> String {
        if ok { self.paint("1;32", "✓") } else { self.paint("1;31", "✗") }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.terminal && std::env::var_os("NO_COLOR").is_none() && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn write(&self, text: &str) {
        // Nobody may be listening any more; the story, and above all its end, goes on.
        let _ = stdout().write_all(text.as_bytes());
        let _ = stdout().flush();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.terminal {
            self.write("\x1b[?25h");
        }
    }
}

/// With a comma between thousands.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A command as one types it, on as many lines as it needs.
fn wrapped(words: &[&str]) -> Vec<String> {
    let mut lines = vec!["$ lb".to_owned()];
    for word in words {
        let last = lines.len() - 1;
        if lines[last].chars().count() + word.chars().count() + 8 > WIDTH {
            lines[last].push_str(" \\");
            lines.push(format!("    {word}"));
        } else {
            lines[last].push(' ');
            lines[last].push_str(word);
        }
    }
    lines
}

fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let screen = Screen { terminal: false, number: 1, chapter: None, drawn: 0, frame: 0 };
        let row = Row {
            name: "b1".into(),
            address: "fd00::b".into(),
            requests: 123_456,
            total: 123_456,
            long: 12,
            note: "draining",
        };
        let chapter = Chapter {
            title: "x".repeat(100),
            started: Instant::now(),
            commands: vec!["y".repeat(100)],
            rows: vec![row],
            results: vec![(true, "z".repeat(100))],
        };
        for line in screen.lines(&chapter, true) {
            assert!(line.chars().count() <= WIDTH, "{} columns: {line}", line.chars().count());
        }
    }
}
