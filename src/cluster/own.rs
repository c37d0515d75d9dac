//! What a process has of its own among all that serve the same clusters.

/// What tells this process from others, and says nothing about it to a log.
pub struct Own {
    /// Makes it prefer other endpoints than others do.
    pub seed: u64,
    /// Signs where no secret is given.
    pub secret: [u8; 32],
}

impl Own {
    /// Drawn by chance; none if the system has no randomness to give.
    pub fn draw() -> Option<Self> {
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret).ok()?;
        Some(Own { seed: fastrand::u64(..), secret })
    }
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Own")
    }
}
