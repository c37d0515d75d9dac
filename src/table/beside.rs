//! What is known of the documents that stand beside the file: for operators, and for whoever waits until all is told.

/// How documents are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beside {
    /// What their keys begin with.
    pub prefix: String,
    /// How many times they were taken over; 0 before the first.
    pub generation: u64,
    /// The keys of those that count.
    pub keys: Vec<String>,
    /// True if those that count were kept from before the start, and have not been read since.
    pub from_disk: bool,
    /// How many times they were not taken over for what is wrong with them.
    pub refusals: u64,
    /// What is wrong with those that stand there now, if they do not count.
    pub refused: Option<String>,
    /// Why they cannot be read, if they cannot.
    pub unread: Option<String>,
}

impl Beside {
    /// True once some counted, be they none.
    pub fn is_known(&self) -> bool {
        self.generation > 0
    }
}
