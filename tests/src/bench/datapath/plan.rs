//! Which cases are measured, and which of them together because they are compared.

use super::case::{Algorithm, Case, MANY, Mode, State};

/// Cases that are measured in turns, so that their ratios are of one moment.
pub struct Group {
    /// What it is about.
    pub name: String,
    /// The cases.
    pub cases: Vec<Case>,
    /// What is compared.
    pub comparisons: Vec<Comparison>,
}

/// A case beside another one.
pub struct Comparison {
    /// In words.
    pub name: String,
    /// The case.
    pub case: Case,
    /// What it is compared with.
    pub to: Case,
    /// How much more it may cost.
    pub limit: Limit,
}

/// How much more than another a case may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// So many times as much.
    Ratio(f64),
    /// So many ns more.
    Ns(f64),
    /// The comparison is for information.
    None,
}

const FLOWS: [u32; 5] = [1, 1 << 10, 1 << 16, 1 << 20, 1 << 22];
/// Services of the largest table that is measured.
const MANY_SERVICES: u32 = 10_000;

/// All groups, or those of a quick run. With a filter only cases whose label contains it.
pub fn groups(quick: bool, filter: Option<&str>) -> Vec<Group> {
    let groups = if quick { few() } else { all() };
    let wanted = |case: &Case| filter.is_none_or(|text| case.label().contains(text));
    let filtered = groups.into_iter().map(|group| Group {
        name: group.name,
        cases: group.cases.into_iter().filter(|case| wanted(case)).collect(),
        comparisons: group
            .comparisons
            .into_iter()
            .filter(|comparison| wanted(&comparison.case) && wanted(&comparison.to))
            .collect(),
    });
    filtered.filter(|group| !group.cases.is_empty()).collect()
}

fn all() -> Vec<Group> {
    let mut groups = Vec::new();
    for mode in [Mode::L2, Mode::Ipip, Mode::Gue] {
        groups.push(untracked(mode, &FLOWS));
    }
    for mode in [Mode::L2, Mode::Ipip] {
        for family in [4, 6] {
            let tracked = |flows| Case::new(mode, family).state(State::Tracked).flows(flows);
            groups.push(plain(&format!("{mode} v{family} tracked"), FLOWS.map(tracked).to_vec()));
        }
    }
    groups.extend([passed(), services(&[1, 100, MANY_SERVICES]), backends(), algorithms(MANY), new()]);
    groups
}

/// Something of everything.
fn few() -> Vec<Group> {
    let tracked = Case::new(Mode::L2, 4).state(State::Tracked).flows(1 << 16);
    let ipip = [4, 6].map(|family| Case::new(Mode::Ipip, family));
    let gue = [4, 6].map(|family| Case::new(Mode::Gue, family));
    vec![
        untracked(Mode::L2, &[1, MANY]),
        plain("ipip", ipip.to_vec()),
        plain("gue", gue.to_vec()),
        plain("tracked", vec![tracked]),
        passed(),
        services(&[1, 100]),
        algorithms(1 << 16),
        new(),
    ]
}

fn plain(name: &str, cases: Vec<Case>) -> Group {
    Group { name: name.to_owned(), cases, comparisons: Vec::new() }
}

/// Steady, and with one slot of a hundred moving.
fn untracked(mode: Mode, flows: &[u32]) -> Group {
    let mut group = plain(&mode.to_string(), Vec::new());
    for flows in flows {
        for state in [State::Steady, State::MovingFew] {
            let case = |family| Case::new(mode, family).state(state).flows(*flows);
            group.cases.extend([4, 6].map(case));
        }
    }
    let most = flows.iter().copied().max().unwrap_or(MANY);
    for family in [4, 6] {
        let many = Case::new(mode, family);
        group.comparisons.extend([
            Comparison {
                name: format!("{mode} v{family}: {} flows to 1", super::case::in_short(most)),
                case: many.flows(most),
                to: many.flows(1),
                limit: Limit::Ratio(1.25),
            },
            Comparison {
                name: format!("{mode} v{family}: 1% of slots moving to none"),
                case: many.state(State::MovingFew),
                to: many,
                limit: Limit::Ratio(1.10),
            },
        ]);
    }
    group.comparisons.push(Comparison {
        name: format!("{mode}: v6 to v4"),
        case: Case::new(mode, 6),
        to: Case::new(mode, 4),
        limit: Limit::Ns(10.0),
    });
    group
}

fn passed() -> Group {
    let states = [State::OtherPort, State::OtherAddress];
    let cases = states.into_iter().flat_map(|state| [4, 6].map(|f| Case::new(Mode::Pass, f).state(state)));
    plain("pass", cases.collect())
}

/// Packets for one of the services, whose number must not matter, and for all of them, which reads as many tables.
fn services(numbers: &[u32]) -> Group {
    let mut group = plain("services", Vec::new());
    let case = |services, hit| Case::new(Mode::L2, 4).services(services, hit);
    group.cases.extend(numbers.iter().map(|services| case(*services, 1)));
    for services in numbers.iter().filter(|services| **services > 1) {
        group.cases.push(case(*services, *services));
    }
    let most = numbers.iter().copied().max().unwrap_or(1);
    let compared = [("packets for one", 1, Limit::Ratio(1.25)), ("packets for all", most, Limit::None)];
    for (packets, hit, limit) in compared {
        group.comparisons.push(Comparison {
            name: format!("{most} services, {packets}, to 1 service"),
            case: case(most, hit),
            to: case(1, 1),
            limit,
        });
    }
    group
}

fn backends() -> Group {
    let case = |backends| Case::new(Mode::L2, 4).backends(backends);
    let mut group = plain("backends", [10, 100, 10_000].map(case).to_vec());
    group.comparisons.push(Comparison {
        name: "10000 backends to 10".to_owned(),
        case: case(10_000),
        to: case(10),
        limit: Limit::None,
    });
    group
}

const TRACKED: [Algorithm; 2] = [Algorithm::RoundRobin, Algorithm::LeastConnections];

fn algorithms(flows: u32) -> Group {
    let case = |algorithm| Case::new(Mode::L2, 4).algorithm(algorithm).flows(flows);
    let mut cases = [Algorithm::Maglev, Algorithm::SourceHash].map(case).to_vec();
    cases.extend(TRACKED.map(case));
    plain("algorithms", cases)
}

fn new() -> Group {
    let case = Case::new(Mode::L2, 4);
    let mut cases = vec![case.state(State::New), case.state(State::NewMoving)];
    cases.extend(TRACKED.map(|algorithm| case.algorithm(algorithm).state(State::New)));
    plain("new connections", cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compared_is_measured_in_the_same_group() {
        for quick in [true, false] {
            for group in groups(quick, None) {
                for Comparison { name, case, to, .. } in &group.comparisons {
                    assert!(group.cases.contains(case) && group.cases.contains(to), "{name}");
                }
            }
        }
    }

    #[test]
    fn labels_tell_the_cases_of_a_group_apart() {
        for group in groups(false, None) {
            let mut labels: Vec<_> = group.cases.iter().map(Case::label).collect();
            labels.sort_unstable();
            labels.dedup();
            assert_eq!(labels.len(), group.cases.len(), "{}", group.name);
        }
    }

    #[test]
    fn a_filter_leaves_the_cases_whose_label_contains_it() {
        let groups = groups(false, Some("l2/4/1M/steady"));
        assert!(
            groups.iter().flat_map(|group| &group.cases).all(|case| case.label().contains("l2/4/1M/steady"))
        );
        assert!(groups.iter().any(|group| group.name == "l2" && group.cases.len() == 1));
    }
}
