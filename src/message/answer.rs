//! An answer on its way to a client.

use http::{Response, StatusCode, request};

use super::Fields;

/// An answer: its head, and what its body comes by.
#[derive(Debug)]
pub struct Answer<B> {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub fields: Fields,
    /// The body.
    pub body: B,
    /// What is left of its request's head: whoever reads the next one can use the room.
    pub spent: Option<Box<request::Parts>>,
}

impl<B> Answer<B> {
    /// One with that head.
    pub fn new(status: StatusCode, fields: Fields, body: B) -> Self {
        Answer { status, fields, body, spent: None }
    }

    /// The same for HTTP/2, whose library wants a map.
    pub fn into_response(self) -> Response<B> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.fields.into_map();
        response
    }
}

impl<B> From<Response<B>> for Answer<B> {
    fn from(response: Response<B>) -> Self {
        let (head, body) = response.into_parts();
        Answer::new(head.status, head.headers.into(), body)
    }
}
