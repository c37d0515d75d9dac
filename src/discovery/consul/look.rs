//! A look at a name that is asked for: whether anybody has it, before it is followed. A blocking query would be held open for a minute
//! whoever asked for what, and one on a name that nobody has wakes with every registration of any other.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::{debug, warn};

use super::follow::Rights;
use super::model::{self, About};
use super::{Shared, rights};
use crate::config::{Consistency, Lookup, Name, Selection};
use crate::consul::{Agent, Failure};
use crate::endpoint::List;
use crate::table::Absent;

/// What a look has shown.
#[derive(Debug)]
pub struct Looked {
    /// Whose name it was.
    pub name: Name,
    /// Who has it, and what they say of themselves; or why nobody is known.
    pub found: Result<(List, About), Absent>,
}

/// Looks, for so long at most.
pub(super) async fn look(shared: Arc<Shared>, name: Name, within: Duration) -> Looked {
    if name.lookup() == Lookup::Connect && !shared.in_mesh {
        warn!(%name, "is asked for by way of the mesh, of which lictor is no member without [mesh]");
        return Looked { name, found: Err(Absent::Refused) };
    }
    let half = within / 2;
    let found = match timeout(half, ask(&shared, &name, Consistency::Default)).await {
        Ok(Ok(found)) => conclude(&shared, &name, found).await,
        Ok(Err(failure)) if is_nowhere(&failure) => Err(refused(&name, &failure)),
        // Nobody leads, or nobody is there: a follower may still know of somebody. That it knows of nobody says nothing.
        Ok(Err(Failure::Unavailable { .. } | Failure::Unreachable(_) | Failure::Garbled(_))) | Err(_) => {
            match timeout(half, ask(&shared, &name, Consistency::Stale)).await {
                Ok(Ok(Some(found))) => Ok(found),
                Ok(Err(failure)) => Err(refused(&name, &failure)),
                Ok(Ok(None)) | Err(_) => Err(Absent::Unheard),
            }
        }
        Ok(Err(failure)) => Err(refused(&name, &failure)),
    };
    Looked { name, found }
}

/// Who has the name; none if nobody has.
async fn ask(shared: &Shared, name: &Name, mode: Consistency) -> Result<Option<(List, About)>, Failure> {
    let selection = name.selection();
    shared.agent.supports(&selection).await?;
    let answer = match shared.agent.health(&selection, mode, (0, Duration::ZERO), 0).await {
        Ok(answer) => answer,
        // There is no prepared query of that name.
        Err(Failure::Unavailable { status, .. }) if status.as_u16() == 404 => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let (body, _) = answer.body().await?;
    let said = model::read(&body, &selection, &shared.place.zone_key)?;
    let fits = |tag: &str| said.list.iter().any(|listed| listed.carries(tag));
    let is_there = !said.list.is_empty() && name.tag().is_none_or(fits);
    Ok(is_there.then_some((said.list, said.about)))
}

/// Somebody has it, or nobody: unless they are hidden from us.
async fn conclude(shared: &Shared, name: &Name, found: Option<(List, About)>) -> Result<(List, About), Absent> {
    if let Some(found) = found {
        return Ok(found);
    }
    if name.lookup() == Lookup::Query {
        return Err(Absent::Unknown);
    }
    let selection = name.selection();
    let question = rights::question_of_any(&selection);
    match rights::ask(&shared.agent, &shared.agent.catalogue(&selection), question).await {
        Rights::Whole => {
            debug!(%name, "nobody has this name");
            Err(Absent::Unknown)
        }
        Rights::Hidden => {
            warn!(%name, "is hidden from us, if it is there: the token needs service:read for it, and node:read for its nodes");
            Err(Absent::Hidden)
        }
    }
}

/// A list as the agent has it now, asked for once.
pub async fn list(agent: &Agent, selection: &Selection, zone_key: &str) -> Result<List, Failure> {
    agent.supports(selection).await?;
    let answer = agent.health(selection, Consistency::Default, (0, Duration::ZERO), 0).await?;
    let (body, _) = answer.body().await?;
    Ok(model::read(&body, selection, zone_key)?.list)
}

fn refused(name: &Name, failure: &Failure) -> Absent {
    warn!(%name, error = %failure, "cannot be looked for");
    match failure {
        Failure::Denied { .. } => Absent::Hidden,
        failure if is_nowhere(failure) => Absent::Refused,
        Failure::Refused { .. } | Failure::Unsupported(_) => Absent::Refused,
        Failure::Unreachable(_) | Failure::Unavailable { .. } | Failure::Garbled(_) | Failure::Incomplete(_) => {
            Absent::Unheard
        }
    }
}

/// There is no such datacenter, or no way to it.
fn is_nowhere(failure: &Failure) -> bool {
    matches!(failure, Failure::Unavailable { message, .. } if message.contains("No path to datacenter"))
}
