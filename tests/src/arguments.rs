//! The command line that the benches share.

use anyhow::{Result, bail};

/// What a bench is asked for.
#[derive(Debug, Default)]
pub struct Arguments {
    /// Few samples: shows that the bench works.
    pub quick: bool,
    /// Where the figures go as well.
    pub json: Option<String>,
}

impl Arguments {
    /// Reads the command line of this process.
    ///
    /// # Errors
    /// It names something else.
    pub fn parse() -> Result<Self> {
        let mut parsed = Self::default();
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => parsed.quick = true,
                "--json" => parsed.json = arguments.next(),
                other => bail!("unknown argument {other}; known are --quick and --json FILE"),
            }
        }
        Ok(parsed)
    }
}
