//! What the README says, as commands and configurations.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};

const README: &str = include_str!("../../../../README.md");
const HEADING: &str = "\n## In front of HAProxy or nginx\n";
/// The README's proxies, of which the first is upgraded.
const ADDRESSES: [&str; 2] = ["192.0.2.21", "192.0.2.22"];

/// A command line of `lb`, without its name.
pub type Words = Vec<String>;

/// The section about proxies.
pub struct Recipe {
    section: &'static str,
    /// Its commands of `lb`.
    commands: Vec<&'static str>,
}

impl Recipe {
    pub fn read() -> Result<Self> {
        let (_, rest) = README.split_once(HEADING).context("the README has no section about proxies")?;
        let section = rest.split("\n## ").next().unwrap_or(rest);
        let lines = block(section, "sh")?.lines();
        let command = |line: &'static str| line.split(" #").next().unwrap_or(line).trim();
        let commands: Vec<_> = lines.filter_map(|line| command(line).strip_prefix("sudo lb ")).collect();
        ensure!(commands.len() == 4, "not service, backends, drain, ready: {commands:?}");
        Ok(Self { section, commands })
    }

    /// A configuration.
    pub fn block(&self, language: &str) -> Result<&'static str> {
        block(self.section, language)
    }

    /// The commands that make the service, for backends with these addresses.
    pub fn set_up(&self, addresses: &[IpAddr]) -> Vec<Words> {
        let adapted = |command: &&str| {
            let pairs = ADDRESSES.iter().zip(addresses);
            words(&pairs.fold((*command).to_owned(), |text, (old, new)| text.replace(old, &new.to_string())))
        };
        self.commands[..2].iter().map(adapted).collect()
    }

    /// The commands before and after the upgrade of the proxy of this index.
    pub fn upgrade(&self, addresses: &[IpAddr], index: usize) -> Result<[Words; 2]> {
        let [.., drain, ready] = self.commands[..] else { unreachable!("their number was checked") };
        let adapted = |command: &str| {
            ensure!(command.contains(ADDRESSES[0]), "{command} is not about {}", ADDRESSES[0]);
            // A test that fails should do so before long.
            let text = command.replace(ADDRESSES[0], &addresses[index].to_string()).replace(" 15m", " 60s");
            Ok(words(&text))
        };
        Ok([adapted(drain)?, adapted(ready)?])
    }
}

fn words(command: &str) -> Words {
    command.split_whitespace().map(str::to_owned).collect()
}

/// The first fenced block of a language.
fn block(section: &'static str, language: &str) -> Result<&'static str> {
    let (_, rest) =
        section.split_once(&format!("```{language}\n")).with_context(|| format!("no block of {language}"))?;
    Ok(rest.split("```").next().unwrap_or(rest))
}
