//! The page around plots and tables: readable on a phone, in the dark and on paper.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    plot,
    section::{Section, Table},
};
use crate::bench::{run::Run, target::Target};

const STYLE: &str = include_str!("page.css");

/// All of it.
pub fn page(sections: &[Section<'_>]) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "lb: what was measured" }
                style { (PreEscaped(plot::STYLE)) (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "lb: what was measured" }
                    @for section in sections { (summary(section)) }
                }
                main { @for section in sections { (body(section)) } }
            }
        }
    }
}

/// A line at the top: where the section is, and how its targets stand.
fn summary(section: &Section<'_>) -> Markup {
    let targets = &section.run.targets;
    let met = targets.iter().filter(|target| target.met).count();
    let missed: Vec<&Target> = targets.iter().filter(|target| !target.met).collect();
    html! {
        p.summary {
            a href={ "#" (section.id) } { (section.title) }
            ": " (met) " of " (targets.len()) " targets met"
            @if section.run.quick == Some(true) { ", in a quick run" }
            @if !missed.is_empty() { "; missed:" }
        }
        @if !missed.is_empty() {
            ul.missed {
                @for target in missed {
                    li { (target.what) ": " (target.measured()) " (target " (target.wanted()) ")" }
                }
            }
        }
    }
}

fn body(section: &Section<'_>) -> Markup {
    html! {
        section id=(section.id) {
            h2 { (section.title) }
            p { (section.method) }
            (facts(section))
            @for note in &section.notes { p.note { (note) } }
            div.plots { @for plot in &section.plots { (plot.figure()) } }
            (targets(&section.run.targets))
            @for of in &section.tables { (table(of)) }
        }
    }
}

fn facts(section: &Section<'_>) -> Markup {
    let Run { machine, date, quick, .. } = section.run;
    let effort = match quick {
        Some(true) => "quick run (--quick): the figures are not for publishing",
        Some(false) => "full run",
        None => "not recorded whether full or quick",
    };
    let processor = match machine.cpus {
        0 => "not recorded".to_owned(),
        cpus => format!("{cpus} CPUs, {}; load {} at the start", machine.processor, machine.load),
    };
    let kernel = if machine.kernel.is_empty() { "not recorded" } else { &machine.kernel };
    let facts = [
        ("Machine", processor.as_str()),
        ("Kernel", kernel),
        ("Mode", &section.mode),
        ("Date", date.as_deref().unwrap_or("not recorded")),
        ("Effort", effort),
        ("Samples", &section.samples),
    ];
    html! { dl { @for (name, value) in facts { div { dt { (name) } dd { (value) } } } } }
}

/// All targets, met or not.
fn targets(targets: &[Target]) -> Markup {
    html! {
        @if !targets.is_empty() {
            h3 { "Targets" }
            table {
                thead { tr { th { "figure" } th { "measured" } th { "target" } th { "" } } }
                tbody {
                    @for target in targets {
                        tr {
                            th scope="row" { (target.what) }
                            td { (target.measured()) }
                            td { (target.wanted()) }
                            @if target.met { td.met { "met" } } @else { td.miss { "missed" } }
                        }
                    }
                }
            }
        }
    }
}

fn table(table: &Table) -> Markup {
    html! {
        h3 { (table.caption) }
        div.scroll tabindex="0" {
            table {
                thead { tr { @for head in &table.head { th { (head) } } } }
                tbody {
                    @for row in &table.rows {
                        tr {
                            @for (column, cell) in row.iter().enumerate() {
                                @if column == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}
