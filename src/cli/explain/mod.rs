//! `lictor explain`: where a request goes, and why. The running proxy is asked, which knows who is ejected, drained and loaded; where none
//! answers, it is worked out from the file and one look at Consul. It always says which of the two.

mod offline;
mod question;
mod words;

use serde_json::Value;

use super::window::{Place, Unanswered, Window};
use super::{Error, File};
use crate::config::{self, Environment};
use crate::explanation::Description;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: File,
    #[command(flatten)]
    place: Place,
    /// The host that is asked for, with a port if it has one
    #[arg(long)]
    host: String,
    /// Path and query
    #[arg(long, default_value = "/")]
    path: String,
    /// The method
    #[arg(long, default_value = "GET")]
    method: String,
    /// A header; may be given more than once
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// The address that it comes from
    #[arg(long, value_name = "ADDRESS")]
    client: Option<String>,
    /// http or https; as the listener has it if left out
    #[arg(long)]
    scheme: Option<String>,
    /// The name in the TLS handshake; the host if left out
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Who the client proves to be; may be given more than once
    #[arg(long, value_name = "NAME")]
    identity: Vec<String>,
    /// The listener that it comes to; the first for HTTP if left out
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Do not ask the running proxy: go by the file and one look at Consul
    #[arg(long)]
    offline: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn explain(arguments: &Arguments) -> Result<(), Error> {
    let config = config::load(&arguments.file.config, &Environment::process())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let description = arguments.description();
    let window = if arguments.offline { None } else { arguments.place.find_by(&config)? };
    let (by, explanation) = runtime.block_on(async {
        let unanswered = match &window {
            Some(window) => match ask(window, &description).await {
                Ok(explanation) => return Ok((format!("the running proxy at {}", window.name()), explanation)),
                Err(Unanswered::Refused(why)) => return Err(Error::Other(why)),
                Err(Unanswered::Nobody(why)) => format!("; no proxy answers: {why}"),
            },
            None => String::new(),
        };
        let (sources, explanation) = offline::explain(config, &description).await?;
        let file = arguments.file.config.display();
        Ok::<_, Error>((format!("{file}, as a new proxy would see it{sources}{unanswered}"), explanation))
    })?;
    let text = if arguments.json { json(by, explanation)? } else { words::written(&by, &explanation) };
    super::write_out(text.as_bytes())
}

/// What the running proxy says.
async fn ask(window: &Window, description: &Description) -> Result<Value, Unanswered> {
    let answer = window.ask(&question::written(description)).await?;
    let foreign = || Unanswered::Refused(format!("{}: that is no lictor's admin listener", window.name()));
    let body = answer.bytes().await.map_err(|_| foreign())?;
    serde_json::from_slice(&body).map_err(|_| foreign())
}

/// The explanation, and where it is from.
fn json(by: String, mut explanation: Value) -> Result<String, Error> {
    if let Value::Object(fields) = &mut explanation {
        fields.insert("by".to_owned(), Value::String(by));
    }
    let text = serde_json::to_string_pretty(&explanation).map_err(|error| Error::Other(error.to_string()))?;
    Ok(text + "\n")
}

impl Arguments {
    fn description(&self) -> Description {
        Description {
            listener: self.listener.clone(),
            method: Some(self.method.clone()),
            host: self.host.clone(),
            path: Some(self.path.clone()),
            headers: self.header.clone(),
            client: self.client.clone(),
            scheme: self.scheme.clone(),
            server_name: self.server_name.clone(),
            identities: self.identity.clone(),
        }
    }
}
