//! The demo: a story told with real traffic, and checked while it is told.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

pub mod checks;
mod screen;
mod scene;
mod story;

use checks::Checks;
use scene::Scene;
use screen::Screen;

use crate::{signals, wait};

/// Tells the whole story. True if every check held; an error if it could not be told to its end. Nothing stays behind
/// either way.
pub fn run(keep: bool, json: Option<&Path>) -> Result<bool> {
    signals::interrupt_waits()?;
    let started = Instant::now();
    let mut screen = Screen::new();
    let mut checks = Checks::default();
    let told = tell(&mut screen, &mut checks, keep);
    if let Err(error) = told {
        screen.broken_off(&error);
        let left = scene::left_behind()?;
        anyhow::ensure!(left.is_empty(), "left behind: {}", left.join(", "));
        if wait::check_interrupted().is_err() {
            return Ok(false);
        }
        return Err(error);
    }
    let left = scene::left_behind()?;
    checks.add("left_behind", left.is_empty(), left.len(), "objects", "namespaces and mounts left behind");
    screen.summary(&checks, started.elapsed());
    if let Some(path) = json {
        std::fs::write(path, checks.json()).with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(checks.all_held())
}

fn tell(screen: &mut Screen, checks: &mut Checks, keep: bool) -> Result<()> {
    let mut scene = story::set_up(screen)?;
    story::spread(screen, checks, &scene)?;
    story::add_and_drain(screen, checks, &scene)?;
    story::kill_backend(screen, checks, &mut scene)?;
    story::ipv6(screen, checks, &scene)?;
    story::tunnels(screen, checks, &mut scene)?;
    story::kill_agent(screen, checks, &mut scene)?;
    if keep {
        look_around(screen, &scene)?;
    }
    Ok(())
}

/// Stays until somebody presses Ctrl-C.
fn look_around(screen: &mut Screen, scene: &Scene) -> Result<()> {
    screen.say(&scene.how_to_look_around()?);
    while wait::check_interrupted().is_ok() {
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
