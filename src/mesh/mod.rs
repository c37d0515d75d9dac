//! Our part in Consul's service mesh (Connect): who we are there, whom to trust, and who may call us. Here it is asked; what follows
//! from the answers is `tls`'s (`tls::Mesh`, `tls::Gate`), where handshakes go by it.
//!
//! Everything is the agent's word, which keeps roots and our certificate for us and makes a new one in time. It all runs on the control
//! thread; a handshake waits for it only where nothing is known yet of who calls.

mod answers;
mod follow;
mod material;

use std::sync::Arc;

use crate::config::{self, Config};
use crate::consul::{Agent, Error};
use crate::metrics::{MeshSeries, Metrics};
use crate::tls::{Gate, Mesh, Questions};

use answers::Answers;
use follow::Follow;

/// What keeps our part in the mesh up.
pub struct Membership {
    agent: Arc<Agent>,
    settings: config::Mesh,
    consul: config::Consul,
    mesh: Arc<Mesh>,
    gate: Arc<Gate>,
    questions: Questions,
    series: Arc<MeshSeries>,
}

/// What handshakes go by, and who lets callers in.
pub type Ends = (Arc<Mesh>, Arc<Gate>);

impl Membership {
    /// The part that this configuration gives us, if it gives us one. Nothing is asked before it runs.
    pub fn of(config: &Config, metrics: &Metrics) -> Result<Option<(Ends, Self)>, Error> {
        let Some(settings) = &config.mesh else { return Ok(None) };
        let series = metrics.mesh(&settings.service);
        let mesh = Mesh::new(Arc::clone(&series));
        let (gate, questions) = Gate::new(settings.grace, Arc::clone(&series));
        let membership = Membership {
            agent: Arc::new(Agent::new(&config.consul)?),
            settings: settings.clone(),
            consul: config.consul.clone(),
            mesh: Arc::clone(&mesh),
            gate: Arc::clone(&gate),
            questions,
            series,
        };
        Ok(Some(((mesh, gate), membership)))
    }

    /// Runs for as long as we are in the mesh.
    pub async fn run(self) {
        let Membership { agent, settings, consul, mesh, gate, questions, series } = self;
        let follow = |material| Follow::new(&agent, &consul, material, (&mesh, &series));
        let roots = follow(material::Material::Roots);
        let leaf = follow(material::Material::Leaf(settings.service.clone()));
        let answers = Answers::new(&agent, &settings, (gate, questions));
        tokio::join!(roots.run(), leaf.run(), answers.run());
    }
}
