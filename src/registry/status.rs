//! `/v1/status`: who leads. This one process always does.

use super::answer::{Answer, Refusal};
use super::call::Call;
use hyper::Method;

/// Where the leader's servers talk; nobody listens there.
const LEADER: &str = "127.0.0.1:8300";

/// Answers `/v1/status/{rest}`.
pub fn serve(call: &Call, rest: &str) -> Result<Answer, Refusal> {
    match rest {
        "leader" => {
            call.only(&[Method::GET])?;
            Answer::json(&LEADER)
        }
        "peers" => {
            call.only(&[Method::GET])?;
            Answer::json(&[LEADER])
        }
        _ => Err(Refusal::unknown()),
    }
}
