//! The page in a real browser, where there is one: nothing is wider than a phone.

use std::{env, ffi::OsString, fs, io::Write as _, path::PathBuf, process::Command};

use super::{html, tests::sample};
use crate::unique;

/// Widths of phones, of a desk, and of A4 less its margins, CSS pixels.
const WIDTHS: [u32; 4] = [320, 360, 688, 1280];

fn browser() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    env::split_paths(&path)
        .flat_map(|directory| names.map(|name| directory.join(name)))
        .find(|file| file.is_file())
}

/// The page in a frame of a width, since no window is narrower than 500 pixels; its title tells the widths.
fn framed(page: &str, width: u32) -> String {
    let frame = maud::html! { iframe id="page" style={ "border:0;height:900px;width:" (width) "px" } srcdoc=(page) {} };
    let script = "onload = () => { const root = page.contentDocument.documentElement;
        document.title = `${root.clientWidth} ${root.scrollWidth}`; }";
    format!("<!DOCTYPE html><title></title><body>{}<script>{script}</script>", frame.into_string())
}

/// Width of the page and of what is on it.
fn widths(browser: &PathBuf, width: u32) -> (u32, u32) {
    let directory = env::temp_dir().join(unique::name());
    fs::create_dir(&directory).expect("a directory of our own");
    let file = directory.join("page.html");
    fs::write(&file, framed(&html(&sample()), width)).expect("it can be written");
    let mut profile = OsString::from("--user-data-dir=");
    profile.push(directory.join("profile"));
    // Nobody waits for a browser that hangs.
    let output = Command::new("timeout")
        .args(["--kill-after=5", "120"])
        .arg(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000", "--dump-dom"])
        .arg(profile)
        .arg(&file)
        .output();
    // The browser's helpers may still write there: what they leave is in the system's directory for such.
    let removed = fs::remove_dir_all(&directory).or_else(|_| fs::remove_dir_all(&directory));
    let output = output.expect("coreutils' timeout is there");
    removed.expect("it is ours");
    let text = String::from_utf8_lossy(&output.stdout);
    let title = text.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next());
    let numbers: Vec<u32> =
        title.unwrap_or_default().split(' ').filter_map(|number| number.parse().ok()).collect();
    assert_eq!(numbers.len(), 2, "the browser told no widths: {}", String::from_utf8_lossy(&output.stderr));
    (numbers[0], numbers[1])
}

#[test]
fn nothing_is_wider_than_the_screen() {
    let Some(browser) = browser() else {
        // Straight to standard error: what is printed would be shown of failed tests only.
        let _ = writeln!(std::io::stderr(), "SKIPPED the page in a browser: no chromium in PATH");
        return;
    };
    for width in WIDTHS {
        let (page, content) = widths(&browser, width);
        assert!(page.abs_diff(width) <= 20, "a frame of {width} shows {page}: a scroll bar takes less");
        assert!(content <= page, "at a width of {width}, {content} are taken on {page}");
    }
}
