//! What the table says of a key, and where a value can come from.

/// One configuration key.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub scope: Scope,
    pub kind: Kind,
    /// As a user would write it; `None` where the key is unset unless given.
    pub default: Option<&'static str>,
    /// For a topic's key: the broker's key that supplies the default.
    pub broker_default: Option<&'static str>,
    /// Other names of the same setting, in order of falling precedence.
    pub synonyms: &'static [Synonym],
    /// Whether it can be changed while the server runs.
    pub dynamic: bool,
    pub effect: Effect,
    pub doc: &'static str,
}

/// Another name for a key, whose value counts in another unit.
#[derive(Debug)]
pub struct Synonym {
    pub name: &'static str,
    /// How many of the key's units one of the synonym's is.
    pub factor: i64,
}

/// Where a key may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Broker,
    Topic,
    Group,
}

/// Type and range of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Boolean,
    Short {
        min: i16,
        max: i16,
    },
    Int {
        min: i32,
        max: i32,
    },
    Long {
        min: i64,
        max: i64,
    },
    Double {
        min: f64,
        max: f64,
    },
    Text,
    /// Text that is never shown.
    Secret,
    /// `earliest`, `latest` or `by_duration:` with an ISO 8601 duration.
    StartOffset,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A comma-separated list of some of these words; any words if empty.
    List(&'static [&'static str]),
}

/// Whether anything happens when a key is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The server does what the key says.
    Honoured,
    /// Kept and shown, so that tools which set it work; the text says why nothing else happens.
    Stored(&'static str),
}

/// Where a value was set. Later ones win over earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Default,
    File,
    Environment,
    Flag,
    /// Set at run time for all nodes.
    DynamicCluster,
    /// Set at run time for this node.
    DynamicNode,
    /// Set on the topic.
    Topic,
    /// Set on the group.
    Group,
}

impl Source {
    /// Known at start and fixed until the next one.
    pub fn is_static(self) -> bool {
        matches!(self, Source::File | Source::Environment | Source::Flag)
    }
}
