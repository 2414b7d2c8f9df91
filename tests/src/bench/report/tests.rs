//! The page and the plots of a run of every bench.

use super::*;

/// Small figures of all benches; those of `veth` as a file of before dates and targets has them.
const SAMPLE: &str = include_str!("sample.json");

/// All of them.
pub fn sample() -> Figures {
    Figures::parse(SAMPLE).expect("the sample is a file of figures")
}

/// As often as it is written on the page, escaped.
fn count(page: &str, text: &str) -> usize {
    page.matches(&maud::html! { (text) }.into_string()).count()
}

#[test]
fn every_figure_that_has_a_name_is_on_the_page() {
    let figures = sample();
    let page = html(&figures);
    let named = |name: &str| assert!(count(&page, name) > 0, "{name} is not on the page");
    let datapath = figures.datapath.as_ref().expect("it is in the sample");
    datapath.cases.iter().for_each(|row| named(&row.label));
    datapath.ratios.iter().for_each(|ratio| named(&ratio.name));
    let veth = figures.veth.as_ref().expect("it is in the sample");
    veth.balancers.iter().for_each(|row| named(&row.name));
    veth.ratios.keys().for_each(|pair| named(pair));
    let tables = figures.tables.as_ref().expect("it is in the sample");
    tables.steps.iter().for_each(|step| named(&step.step));
    let churn = figures.churn.as_ref().expect("it is in the sample");
    churn.scenarios.iter().for_each(|row| named(&row.scenario));
    for target in figures.targets() {
        named(&target.what);
    }
}

#[test]
fn targets_are_told_with_their_figures_met_or_missed() {
    let page = html(&sample());
    let row = |met: &str| format!("<td>at most 40 ns</td><td class=\"{met}\">");
    assert!(page.contains(&format!("<td>47 ns</td>{}missed", row("miss"))), "l2 takes too long");
    assert!(
        page.contains("<td>0.855</td><td>at least 0.85</td><td class=\"met\">met"),
        "lb to the bare hash"
    );
}

#[test]
fn each_section_tells_machine_kernel_mode_date_and_effort() {
    let page = html(&sample());
    let fact = |name: &str, text: &str| page.matches(&format!("<dt>{name}</dt><dd>{text}")).count();
    assert_eq!(fact("Machine", "2 CPUs, "), 4);
    assert_eq!(fact("Kernel", "6.18.0"), 4);
    assert_eq!(fact("Mode", ""), 4);
    assert_eq!(fact("Date", "2026-01-02T03:04:05Z"), 3);
    assert_eq!(fact("Date", "not recorded"), 1);
    assert_eq!(fact("Effort", "full run"), 2);
    assert_eq!(fact("Effort", "quick run (--quick)"), 1);
    assert_eq!(fact("Effort", "not recorded"), 1);
}

#[test]
fn what_the_machine_says_of_itself_is_escaped() {
    let page = html(&sample());
    assert!(
        page.contains("&lt;b&gt;&quot;Fast&quot; &amp; Sons&lt;/b&gt;")
            && page.contains("not &lt;installed&gt;")
    );
    assert!(!page.contains("<b>") && !page.contains("<installed>"));
}

#[test]
fn the_page_needs_no_other_file_and_no_script() {
    let page = html(&sample());
    for needs in ["<script", "<link", "<img", "src=", "url(", "@import"] {
        assert!(!page.contains(needs), "{needs}");
    }
    assert_eq!(page.matches("href=").count(), page.matches("href=\"#").count());
    assert!(!page.contains("NaN") && !page.contains("inf\""));
}

#[test]
fn figures_of_veth_are_told_as_such() {
    let page = html(&sample());
    assert!(page.contains("they say nothing about the line rate of a NIC"));
    for plot in &veth::section(sample().veth.as_ref().expect("it is in the sample")).plots {
        assert!(plot.title.starts_with("veth: "), "{}", plot.title);
    }
}

#[test]
fn a_page_has_only_the_benches_that_ran() {
    let page = html(&Figures { churn: None, tables: None, datapath: None, ..sample() });
    assert!(
        page.contains("id=\"veth\"") && !page.contains("id=\"churn\"") && !page.contains("id=\"datapath\"")
    );
}

#[test]
fn plots_have_names_of_their_own_and_become_files() {
    let figures = sample();
    let mut names: Vec<String> = sections(&figures)
        .iter()
        .flat_map(|section| section.plots.iter().map(|plot| format!("{}-{}.svg", section.id, plot.name)))
        .collect();
    let directory = std::env::temp_dir().join(crate::unique::name());
    fs::create_dir(&directory).expect("a directory of our own");
    let written = write_plots(&figures, &directory);
    let mut files: Vec<String> = fs::read_dir(&directory)
        .expect("it is there")
        .map(|entry| entry.expect("a file").file_name().into_string().expect("a plain name"))
        .collect();
    fs::remove_dir_all(&directory).expect("it is ours");
    written.expect("it can be written");
    names.sort();
    files.sort();
    assert_eq!(names, files);
    assert!(files.iter().any(|file| file == "datapath-steady.svg"), "{files:?}");
}

#[test]
fn every_mode_has_a_line_of_its_own_colour() {
    let figures = sample();
    let section = datapath::section(figures.datapath.as_ref().expect("it is in the sample"));
    let steady = section.plots.iter().find(|plot| plot.name == "steady").expect("slots at rest").file();
    for (name, colour) in [("l2 IPv4", 0), ("ipip IPv6", 3), ("gue IPv4", 4), ("gue IPv6", 5)] {
        assert!(steady.contains(name) && steady.contains(&format!("\"line s{colour}\"")), "{name}");
    }
}

#[test]
fn figures_that_are_written_are_read_again() {
    let figures = sample();
    let all = serde_json::to_string(&figures).expect("plain values");
    assert_eq!(html(&Figures::parse(&all).expect("just written")), html(&figures));
    let one = serde_json::to_value(&figures.datapath).expect("plain values");
    assert!(one["empty_ns"].is_number() && one["cases"][0]["added_ns"].is_number());
    assert_eq!(one["targets"][0]["met"], true);
    let alone = Figures::parse(&one.to_string()).expect("one bench's report");
    assert!(alone.datapath.is_some() && alone.veth.is_none());
}

#[test]
fn what_is_no_file_of_figures_is_refused() {
    for text in ["", "{}", "[]", "7", "{\"cases\": 7}", "{\"veth\": {}}"] {
        assert!(Figures::parse(text).is_err(), "{text}");
    }
}
