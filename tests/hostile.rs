//! Nothing hostile gets through: tables of requests, answers and frames that are malformed or mean two things, each with the section
//! that it breaks and what must become of it: what we answer, and every byte that reaches the other side.
//!
//! A row that fails is printed by its name; a section prints all of its failures. A new attack is a new row.

mod answers;
mod bed;
mod chunked;
mod framing;
mod heads;
mod hops;
mod lies;
mod replies;
mod row;
mod strict;
mod targets;
mod witness;
