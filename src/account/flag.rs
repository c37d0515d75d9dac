//! Why a request went as it did, in short codes that say whose side it was and what. The set is closed; `deploy/README.md` has it, and
//! a test holds that to this. In the manner of Envoy's response flags, which operators know.

/// One thing to be said of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// No route.
    NoRoute,
    /// Its path may lead to another route elsewhere.
    OddPath,
    /// What it says cannot be read, or not in one way only.
    Malformed,
    /// It goes in circles.
    Loop,
    /// What its route makes of its target is none.
    BadTarget,
    /// Whoever asks may not, or not for that.
    Barred,
    /// A service that is not there, or not to be had.
    NoService,
    /// No endpoint may serve.
    NoEndpoint,
    /// Nobody has said yet who serves.
    NoList,
    /// What was said is too old.
    Stale,
    /// As much is going on as may.
    Overload,
    /// No connection to an endpoint, TLS included.
    ConnectFailure,
    /// No connection in time.
    ConnectTimeout,
    /// No answer, or no more of it, in time.
    UpstreamTimeout,
    /// The endpoint broke off.
    UpstreamReset,
    /// What the endpoint said is no answer.
    UpstreamProtocol,
    /// The endpoint takes no more, or is leaving.
    UpstreamLeaving,
    /// The endpoint's protocol has no such request.
    Unsupported,
    /// Nothing moved in a tunnel for too long.
    Silence,
    /// Nothing left here to connect with: connections, descriptors, our own certificate.
    LocalResources,
    /// The request's own time is over.
    Deadline,
    /// The client left.
    ClientLeft,
    /// The client's body broke off.
    ClientBroke,
    /// The client's body, or head, did not come in time.
    ClientLate,
    /// Broken off here: the drain's time was over, or the mesh let its caller in no more.
    BrokenOff,
    /// Another attempt was wanted, and as many were made as may be.
    AttemptsSpent,
    /// Another attempt was wanted, and the budget for them was spent.
    BudgetSpent,
    /// Tried again.
    Retried,
    /// Tried at two endpoints at once.
    Hedged,
    /// So few endpoints were eligible that all served.
    Panic,
    /// Nobody on the list could serve: somebody did who had just gone from it.
    Suspect,
}

impl Flag {
    /// All of them, in the order in which they are written.
    pub const ALL: [Flag; 31] = [
        Flag::NoRoute,
        Flag::OddPath,
        Flag::Malformed,
        Flag::Loop,
        Flag::BadTarget,
        Flag::Barred,
        Flag::NoService,
        Flag::NoEndpoint,
        Flag::NoList,
        Flag::Stale,
        Flag::Overload,
        Flag::ConnectFailure,
        Flag::ConnectTimeout,
        Flag::UpstreamTimeout,
        Flag::UpstreamReset,
        Flag::UpstreamProtocol,
        Flag::UpstreamLeaving,
        Flag::Unsupported,
        Flag::Silence,
        Flag::LocalResources,
        Flag::Deadline,
        Flag::ClientLeft,
        Flag::ClientBroke,
        Flag::ClientLate,
        Flag::BrokenOff,
        Flag::AttemptsSpent,
        Flag::BudgetSpent,
        Flag::Retried,
        Flag::Hedged,
        Flag::Panic,
        Flag::Suspect,
    ];

    /// Those of an answer that did not come to its end for another reason than that the client left.
    pub const ENDINGS: [Flag; 9] = [
        Flag::UpstreamTimeout,
        Flag::UpstreamReset,
        Flag::UpstreamProtocol,
        Flag::UpstreamLeaving,
        Flag::Silence,
        Flag::Deadline,
        Flag::ClientBroke,
        Flag::ClientLate,
        Flag::BrokenOff,
    ];

    /// Its code.
    pub fn code(self) -> &'static str {
        match self {
            Flag::NoRoute => "NR",
            Flag::OddPath => "OP",
            Flag::Malformed => "DP",
            Flag::Loop => "LP",
            Flag::BadTarget => "BT",
            Flag::Barred => "FB",
            Flag::NoService => "NS",
            Flag::NoEndpoint => "NH",
            Flag::NoList => "NL",
            Flag::Stale => "SL",
            Flag::Overload => "OV",
            Flag::ConnectFailure => "UF",
            Flag::ConnectTimeout => "UC",
            Flag::UpstreamTimeout => "UT",
            Flag::UpstreamReset => "UR",
            Flag::UpstreamProtocol => "UP",
            Flag::UpstreamLeaving => "UL",
            Flag::Unsupported => "UU",
            Flag::Silence => "SI",
            Flag::LocalResources => "LR",
            Flag::Deadline => "DT",
            Flag::ClientLeft => "DC",
            Flag::ClientBroke => "DB",
            Flag::ClientLate => "DL",
            Flag::BrokenOff => "LB",
            Flag::AttemptsSpent => "RX",
            Flag::BudgetSpent => "RB",
            Flag::Retried => "R",
            Flag::Hedged => "H",
            Flag::Panic => "P",
            Flag::Suspect => "S",
        }
    }
}

/// What is to be said of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// Adds one.
    pub fn add(&mut self, flag: Flag) {
        self.0 |= 1 << flag as u8;
    }

    /// True if it is among them.
    pub fn has(self, flag: Flag) -> bool {
        self.0 & 1 << flag as u8 != 0
    }

    /// True if there is nothing to say.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        Flag::ALL.into_iter().filter(move |flag| self.has(*flag))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_flag_has_a_code_and_a_place_of_its_own() {
        let codes: BTreeSet<&str> = Flag::ALL.iter().map(|flag| flag.code()).collect();
        assert_eq!(codes.len(), Flag::ALL.len());
        for (place, flag) in Flag::ALL.into_iter().enumerate() {
            assert_eq!(flag as usize, place);
            let mut flags = Flags::default();
            flags.add(flag);
            assert!(flags.iter().eq([flag]) && !flags.is_empty());
        }
    }
}
