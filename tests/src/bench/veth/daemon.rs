//! Proxies as child processes: the distribution's HAProxy and nginx, one thread each.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::{
    scene::measured_cpu,
    sched::{self, Priority},
};
use crate::{
    bpffs::TempDir,
    cluster::{ECHO_PORT, HTTP_PORT},
    packages::Program,
    topology::{Topology, VIP4},
};

/// A running proxy; killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    _program: Program,
    _directory: TempDir,
}

impl Daemon {
    /// HAProxy in TCP mode.
    pub fn haproxy(topology: &Topology) -> Result<Self> {
        let program = Program::find("haproxy", &["haproxy"])?;
        let mut text = "global\n nbthread 1\n maxconn 4000\ndefaults\n mode tcp\n timeout connect 5s\n \
                        timeout client 60s\n timeout server 60s\n"
            .to_owned();
        for port in [ECHO_PORT, HTTP_PORT] {
            text += &format!("listen p{port}\n bind {VIP4}:{port}\n balance roundrobin\n");
            for (index, backend) in topology.backends.iter().enumerate() {
                text += &format!(" server b{index} {}:{port}\n", backend.v4);
            }
        }
        Self::start(topology, program, &text, |_, file| vec!["-db".into(), "-f".into(), file.into()])
    }

    /// nginx as a stream proxy.
    pub fn nginx(topology: &Topology) -> Result<Self> {
        let program = Program::find("nginx", &["nginx", "libnginx-mod-stream"])?;
        let module = program.file("usr/lib/nginx/modules/ngx_stream_module.so");
        let load = format!("load_module {};\n", module.display());
        let mut text = if module.is_file() { load } else { String::new() };
        text += "user root;\ndaemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\n\
                 events { worker_connections 8000; }\nstream {\n";
        for port in [ECHO_PORT, HTTP_PORT] {
            text += &format!("upstream p{port} {{\n");
            for backend in &topology.backends {
                text += &format!("server {}:{port};\n", backend.v4);
            }
            text += &format!("}}\nserver {{ listen {VIP4}:{port}; proxy_pass p{port}; }}\n");
        }
        text += "}\n";
        Self::start(topology, program, &text, |directory, file| {
            vec!["-p".into(), directory.into(), "-e".into(), "stderr".into(), "-c".into(), file.into()]
        })
    }

    fn start(
        topology: &Topology,
        program: Program,
        configuration: &str,
        arguments: impl FnOnce(&Path, &Path) -> Vec<std::ffi::OsString>,
    ) -> Result<Self> {
        let lb = &topology.lb;
        // A proxy owns the address, and needs many ports towards its few backends.
        lb.ip(&[format!("addr add {VIP4}/32 dev lo")])?;
        lb.sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
        lb.sysctl("net/ipv4/tcp_tw_reuse", "1")?;
        let directory = TempDir::new()?;
        let file = directory.path().join("configuration");
        fs::write(&file, configuration)?;
        let mut command: Command = program.command(lb);
        command.args(arguments(directory.path(), &file)).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().context("can't start a proxy")?;
        let this = Self { child, _program: program, _directory: directory };
        sched::settle_process(this.process(), measured_cpu(), Priority::High)?;
        Ok(this)
    }

    /// Its number.
    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("can't end a proxy: {error}");
        }
    }
}
