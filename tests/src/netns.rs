//! Network namespaces that disappear with their guard.
//!
//! A namespace is entered by `setns` on a thread of its own, or in a child process: `ip netns exec` would remount `/sys`
//! and hide bpffs.

use std::{
    fs::File,
    io::Write as _,
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::process::CommandExt as _,
    },
    panic,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, anyhow, ensure};

/// A network namespace of our own; deleted on drop with all that is in it.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
}

impl Netns {
    /// Makes a namespace with loopback up, no duplicate address detection and no reverse path filter.
    pub fn new(name: &str) -> Result<Self> {
        run(ip().args(["netns", "add", name])).context("network namespaces need root")?;
        let path = PathBuf::from("/run/netns").join(name);
        let opened = File::open(&path).with_context(|| format!("can't open {}", path.display()));
        let file = opened.inspect_err(|_| drop(run(ip().args(["netns", "delete", name]))))?;
        let this = Self { name: name.to_owned(), file };
        for (key, value) in [
            ("net/ipv6/conf/all/accept_dad", "0"),
            ("net/ipv6/conf/default/accept_dad", "0"),
            ("net/ipv6/conf/default/router_solicitations", "0"),
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
            // Replies spread over many source addresses must not be throttled as a scan would be.
            ("net/ipv4/icmp_ratelimit", "0"),
        ] {
            this.sysctl(key, value)?;
        }
        this.ip(&["link set lo up"])?;
        Ok(this)
    }

    /// Its name, as `ip netns` lists it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that names it, for `nsenter --net=`.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Runs `work` on a thread inside the namespace and hands on its result or panic. Sockets made there stay in the
    /// namespace, wherever they are used later.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let fd = self.file.as_raw_fd();
        let joined = thread::scope(|scope| scope.spawn(move || setns(fd).map(|()| work())).join());
        match joined {
            Ok(result) => result.with_context(|| format!("can't enter namespace {}", self.name)),
            Err(panicked) => panic::resume_unwind(panicked),
        }
    }

    /// Runs a future to its end on a thread inside the namespace.
    pub fn block_on<F: Future>(&self, make: impl FnOnce() -> F + Send) -> Result<F::Output>
    where
        F::Output: Send,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        self.enter(move || runtime.block_on(make()))
    }

    /// Starts a thread that lives inside the namespace. It ends at once, with the error, if it can't enter.
    pub fn spawn<T: Send + 'static>(
        &self,
        label: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<thread::JoinHandle<std::io::Result<T>>> {
        let file = self.file.try_clone()?;
        let inside = move || setns(file.as_raw_fd()).map(|()| work());
        Ok(thread::Builder::new().name(label.to_owned()).spawn(inside)?)
    }

    /// A command that will run inside the namespace, in a process group of its own: Ctrl-C is for its parent to handle.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let fd = self.file.as_raw_fd();
        let mut command = Command::new(program);
        command.process_group(0);
        // SAFETY: setns is a plain system call; nothing allocates between fork and exec. The descriptor is open as long
        // as `self`, and a closed one only makes the call fail.
        unsafe { command.pre_exec(move || setns(fd)) };
        command
    }

    /// Runs lines of `ip` in the namespace, all or an error that names the line.
    pub fn ip(&self, lines: &[impl AsRef<str>]) -> Result<()> {
        let script: String = lines.iter().map(|line| format!("{}\n", line.as_ref())).collect();
        let mut child = ip()
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("can't run `ip` (iproute2)")?;
        child.stdin.take().context("no stdin")?.write_all(script.as_bytes())?;
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip in {}: {}\n{script}", self.name, said.trim());
        Ok(())
    }

    /// Sets a kernel parameter of the namespace, named as under `/proc/sys`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        // /proc/sys/net shows the namespace of the thread that opens it.
        self.enter(|| std::fs::write(format!("/proc/sys/{key}"), value))?
            .with_context(|| format!("can't set {key} to {value} in {}", self.name))
    }

    /// Index of an interface of the namespace.
    pub fn ifindex(&self, interface: &str) -> Result<u32> {
        let name = std::ffi::CString::new(interface)?;
        // SAFETY: a valid C string; the call reads it and nothing else.
        let index = self.enter(|| unsafe { libc::if_nametoindex(name.as_ptr()) })?;
        ensure!(index != 0, "no interface {interface} in {}", self.name);
        Ok(index)
    }

    /// MAC address of an interface of the namespace.
    pub fn mac(&self, interface: &str) -> Result<[u8; 6]> {
        let output = ip().args(["-n", &self.name, "-json", "link", "show", interface]).output()?;
        let links: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let text = links[0]["address"].as_str().context("no address")?;
        let bytes: Result<Vec<u8>, _> = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
        bytes?.try_into().map_err(|_| anyhow!("{text} is no MAC address"))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(error) = run(ip().args(["netns", "delete", &self.name])) {
            eprintln!("can't remove namespace {}: {error:#}", self.name);
        }
    }
}

/// `ip` in a process group of its own, so that Ctrl-C does not cut a clean-up short.
fn ip() -> Command {
    let mut command = Command::new("ip");
    command.process_group(0).stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().context("can't run `ip` (iproute2)")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

fn setns(fd: RawFd) -> std::io::Result<()> {
    // SAFETY: a system call on a descriptor; it changes the calling thread only.
    match unsafe { libc::setns(fd, libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
