//! HAProxy and nginx as processes in backends' namespaces.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{bpffs::TempDir, netns::Netns, packages::Program, wait};

use super::{TLS_PORT, tls::Identity};

/// A kind of proxy.
pub struct Kind {
    /// Its program, package, and language of its configuration.
    pub name: &'static str,
    /// What a distribution has around the part that the README shows: one process in the foreground, logging to a file.
    before: &'static str,
    after: &'static str,
    /// Arguments before the file's name.
    arguments: &'static [&'static str],
}

pub const NGINX: Kind = Kind {
    name: "nginx",
    before: "user root; daemon off; master_process off; pid nginx.pid; error_log stderr;\n\
             events { worker_connections 1024; }\nhttp {\naccess_log /dev/stdout;\n\
             client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
             uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n",
    after: "}\n",
    arguments: &["-e", "stderr", "-p", ".", "-c"],
};

// One thread: of several that log at the same moment, all but one drop their lines.
pub const HAPROXY: Kind = Kind {
    name: "haproxy",
    before: "global\n nbthread 1\n log stdout format raw daemon\ndefaults\n log global\n mode http\n option httplog\n \
             timeout connect 5s\n timeout client 60s\n timeout server 60s\n",
    after: "",
    arguments: &["-db", "-f"],
};

/// A proxy; its process is killed when it is dropped.
pub struct Proxy<'a> {
    kind: &'a Kind,
    program: &'a Program,
    netns: Arc<Netns>,
    directory: TempDir,
    child: Child,
    /// Processes that there have been, each with a log.
    processes: usize,
}

impl<'a> Proxy<'a> {
    /// Starts one with a configuration as the README has it, and waits until it takes connections.
    pub fn start(
        kind: &'a Kind,
        program: &'a Program,
        netns: &Arc<Netns>,
        configuration: &str,
        identity: &Identity,
    ) -> Result<Self> {
        let directory = TempDir::new()?;
        let path = directory.path();
        let (certificate, key) = (&identity.certificate_pem, &identity.key_pem);
        fs::write(path.join("shop.crt"), certificate)?;
        fs::write(path.join("shop.key"), key)?;
        fs::write(path.join("shop.pem"), format!("{certificate}{key}"))?;
        let configuration = configuration.replace("/etc/ssl", &path.display().to_string());
        fs::write(path.join("configuration"), [kind.before, &configuration, kind.after].concat())?;
        let child = spawn(kind, program, netns, path, 0)?;
        let mut this = Self { kind, program, netns: Arc::clone(netns), directory, child, processes: 1 };
        this.wait_until_it_listens()?;
        Ok(this)
    }

    /// Kills the process and starts another.
    pub fn replace(&mut self) -> Result<()> {
        let before = self.child.id();
        self.kill()?;
        self.child = spawn(self.kind, self.program, &self.netns, self.directory.path(), self.processes)?;
        self.processes += 1;
        ensure!(self.child.id() != before, "process {before} again");
        self.wait_until_it_listens()
    }

    /// What each process has logged.
    pub fn logs(&self) -> Result<Vec<String>> {
        let read = |process| Ok(fs::read_to_string(log(self.directory.path(), process))?);
        (0..self.processes).map(read).collect()
    }

    fn wait_until_it_listens(&mut self) -> Result<()> {
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, TLS_PORT));
        let name = self.kind.name;
        wait::until_true("a proxy to listen", || {
            let ended = self.child.try_wait()?.is_some();
            Ok(ended || self.netns.enter(|| TcpStream::connect(target))?.is_ok())
        })?;
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "{name} ended at once, {ended:?}: {}", self.logs()?.join("\n"));
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        self.child.kill().context("can't kill a proxy")?;
        self.child.wait().context("can't wait for a proxy")?;
        Ok(())
    }
}

impl Drop for Proxy<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{error:#}");
        }
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}", self.kind.name, self.logs().unwrap_or_default().join("\n"));
        }
    }
}

fn log(directory: &Path, process: usize) -> PathBuf {
    directory.join(format!("log-{process}"))
}

fn spawn(kind: &Kind, program: &Program, netns: &Netns, directory: &Path, process: usize) -> Result<Child> {
    let log = File::options().create(true).append(true).open(log(directory, process))?;
    let mut command = program.command(netns);
    command.current_dir(directory).args(kind.arguments).arg("configuration").stdin(Stdio::null());
    command.stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("can't start {}", kind.name))
}

/// Clients' addresses in a log, one per line: it stands first, with HAProxy followed by the port.
pub fn clients(log: &str) -> impl Iterator<Item = &str> {
    log.lines().filter_map(|line| line.split([' ', ':']).next())
}
