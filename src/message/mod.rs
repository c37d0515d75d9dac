//! HTTP messages apart from any connection: which headers end here, which are added, a request body that says how far it got, how
//! bodies go past this process; and the PROXY protocol's header, which stands before all of them.

mod answer;
mod duplex;
mod fields;
mod forwarded;
pub mod framing;
mod headers;
mod marks;
mod parameters;
pub mod path;
mod pipe;
pub mod proxy_protocol;
mod trace;
mod trust;
mod spare;
mod upload;
mod websocket;

pub use answer::Answer;
pub use duplex::Duplex;
pub use fields::{Fields, Lines, Places};
pub use forwarded::{Way, is_ours, way};
pub use framing::{Framing, Step};
pub use headers::{
    accepts_trailers, end_to_end, end_to_end_of_answer, frames, is_grpc, is_host, is_of_grpc, switches, upgrade,
};
pub use marks::Marks;
pub use parameters::{cookie, cookies, query_parameter, query_values};
pub use pipe::{Moved, Passing, Pipe};
pub use spare::Spare;
pub use trace::{TraceParent, take_trace, unrecord};
pub use trust::{Downstream, Security, Sender, Trusted};
pub use upload::{Broken, Incoming, Tally, Upload};
pub use websocket::{Switch, websocket_accept};
