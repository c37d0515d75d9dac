//! What `consul tls` makes for one datacenter, and an agent that speaks TLS by it.

use std::net::TcpListener;
use std::process::Command;

use tempfile::TempDir;

use super::binary;

/// A CA, a server's certificate, and a client's.
pub struct Certificates {
    directory: TempDir,
    port: u16,
}

impl Certificates {
    /// Made anew, and a port for the agent.
    pub async fn new() -> Certificates {
        let (consul, directory) = (binary().await, TempDir::new().expect("a directory"));
        for arguments in [&["ca", "create"][..], &["cert", "create", "-server"], &["cert", "create", "-client"]] {
            let mut command = Command::new(&consul);
            let output = command.arg("tls").args(arguments).current_dir(directory.path()).output().expect("run consul");
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        // Taken anew by the agent in a moment; nobody else uses this address.
        let free = TcpListener::bind("127.0.0.3:0").expect("a port");
        Certificates { directory, port: free.local_addr().expect("its address").port() }
    }

    /// The port where the agent speaks TLS, at 127.0.0.3.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// For the agent's configuration.
    pub fn agent(&self) -> String {
        let [ca, certificate, key] = ["consul-agent-ca.pem", "dc1-server-consul-0.pem", "dc1-server-consul-0-key.pem"]
            .map(|name| self.file(name));
        format!(
            "addresses {{ https = \"127.0.0.3\" }}\nports {{ https = {} }}\nca_file = \"{ca}\"\ncert_file = \"{certificate}\"\n\
             key_file = \"{key}\"\n",
            self.port
        )
    }

    /// `[consul]` for lictor.
    pub fn lictor(&self) -> String {
        format!(
            "[consul]\naddress = \"https://127.0.0.3:{}\"\nca_file = \"{}\"\ntls_server_name = \"server.dc1.consul\"\n",
            self.port,
            self.file("consul-agent-ca.pem")
        )
    }

    /// The same for an agent that only talks to whoever has a certificate of its CA.
    pub fn strict_agent(&self) -> String {
        self.agent() + "verify_incoming = true\n"
    }

    /// `[consul]` for lictor, with a certificate of its own.
    pub fn lictor_with_certificate(&self) -> String {
        let [certificate, key] = ["dc1-client-consul-0.pem", "dc1-client-consul-0-key.pem"].map(|name| self.file(name));
        format!("{}client_cert = \"{certificate}\"\nclient_key = \"{key}\"\n", self.lictor())
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}
