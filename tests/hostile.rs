//! Nothing hostile gets through: tables of requests, answers and frames that are malformed or mean two things, each with the section
//! that it breaks and what must become of it: what we answer, and every byte that reaches the other side.
//!
//! A row that fails is printed by its name; a section prints all of its failures. A new attack is a new row.

mod answers;
mod attack;
mod bed;
mod chunked;
mod floods;
mod frames;
mod framing;
mod h2_frames;
mod h2_heads;
mod heads;
mod hops;
mod lies;
mod replies;
mod row;
mod strict;
mod targets;
mod witness;
