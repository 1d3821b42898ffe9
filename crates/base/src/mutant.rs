//! Bugs that a test can plant, to show that the simulator finds them.
//!
//! Without the feature `mutants` [`planted`] is a constant `false` and nothing of this is left in the program. Each name says which
//! rule is broken where it is asked; `docs/testing.md` has the table.

/// A safety rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    LeaderCountsUnsynced,
    FollowerReportsUnsynced,
    TruncateToHighWatermark,
    RecoverySkipsHole,
    OptimisticShrink,
    PendingExpansionIgnored,
    NoEpochStartCheck,
    HighWatermarkBelowMinInSync,
    RestartWithSameEpoch,
    StaleDurableEnd,
    IgnoredSyncError,
    UncleanElection,
    WipedDiskKeepsIdentity,
    NoRegistrationGate,
    StaleAnswersApplied,
    TruncationsIgnoredInRecovery,
    NoGenerationCheck,
    NoSyncInRecovery,
    NoBrokerEpochInFetch,
    NoVersionCheck,
    RefusedProposalForgotten,
    DivergingFetchCounted,
    JoinBelowHighWatermark,
    RemovedReplicaStaysEligible,
    RemovalWithinEpoch,
    AnswersBeforeCommit,
    ReplaySkipsRecords,
    GroupRecordDropsOffsets,
    StaleGenerationCommits,
    AssignmentNotRecorded,
    ServesBeforeReplayCommitted,
    DeposedCoordinatorAnswers,
    CoordinatorOutlivesLeadership,
    TornTailTrusted,
    RecoveredPrefixUnsynced,
    TruncationFramesSkipped,
    AcknowledgedUnstored,
    StaleLeaderWrites,
    StateEpochIgnored,
    ReleaseNotStored,
    AnybodyAcknowledges,
    DeliveredWithoutLimit,
    RenewalForgotten,
    DeliveryNotIdempotent,
    HalfCommittedTwice,
    QuestionNotCounted,
    RecallNotWritten,
    ClockSlipBelieved,
    RollbackForgotten,
    UncommittedTimersCount,
    ProducerOfTimersReused,
    KeyOrderIgnored,
}

/// All of them.
pub const MUTANTS: [Mutant; 52] = [
    Mutant::LeaderCountsUnsynced,
    Mutant::FollowerReportsUnsynced,
    Mutant::TruncateToHighWatermark,
    Mutant::RecoverySkipsHole,
    Mutant::OptimisticShrink,
    Mutant::PendingExpansionIgnored,
    Mutant::NoEpochStartCheck,
    Mutant::HighWatermarkBelowMinInSync,
    Mutant::RestartWithSameEpoch,
    Mutant::StaleDurableEnd,
    Mutant::IgnoredSyncError,
    Mutant::UncleanElection,
    Mutant::WipedDiskKeepsIdentity,
    Mutant::NoRegistrationGate,
    Mutant::StaleAnswersApplied,
    Mutant::TruncationsIgnoredInRecovery,
    Mutant::NoGenerationCheck,
    Mutant::NoSyncInRecovery,
    Mutant::NoBrokerEpochInFetch,
    Mutant::NoVersionCheck,
    Mutant::RefusedProposalForgotten,
    Mutant::DivergingFetchCounted,
    Mutant::JoinBelowHighWatermark,
    Mutant::RemovedReplicaStaysEligible,
    Mutant::RemovalWithinEpoch,
    Mutant::AnswersBeforeCommit,
    Mutant::ReplaySkipsRecords,
    Mutant::GroupRecordDropsOffsets,
    Mutant::StaleGenerationCommits,
    Mutant::AssignmentNotRecorded,
    Mutant::ServesBeforeReplayCommitted,
    Mutant::DeposedCoordinatorAnswers,
    Mutant::CoordinatorOutlivesLeadership,
    Mutant::TornTailTrusted,
    Mutant::RecoveredPrefixUnsynced,
    Mutant::TruncationFramesSkipped,
    Mutant::AcknowledgedUnstored,
    Mutant::StaleLeaderWrites,
    Mutant::StateEpochIgnored,
    Mutant::ReleaseNotStored,
    Mutant::AnybodyAcknowledges,
    Mutant::DeliveredWithoutLimit,
    Mutant::RenewalForgotten,
    Mutant::DeliveryNotIdempotent,
    Mutant::HalfCommittedTwice,
    Mutant::QuestionNotCounted,
    Mutant::RecallNotWritten,
    Mutant::ClockSlipBelieved,
    Mutant::RollbackForgotten,
    Mutant::UncommittedTimersCount,
    Mutant::ProducerOfTimersReused,
    Mutant::KeyOrderIgnored,
];

#[cfg(not(feature = "mutants"))]
/// Whether this bug is planted: never.
pub const fn planted(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use switch::{Planted, plant, planted};

#[cfg(feature = "mutants")]
mod switch {
    use super::Mutant;
    use std::cell::Cell;
    use std::marker::PhantomData;

    thread_local! {
        static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Whether this bug is planted in this thread.
    pub fn planted(mutant: Mutant) -> bool {
        PLANTED.get() == Some(mutant)
    }

    /// Plants a bug in this thread until the answer is dropped.
    pub fn plant(mutant: Option<Mutant>) -> Planted {
        Planted { before: PLANTED.replace(mutant), thread: PhantomData }
    }

    /// A planted bug.
    #[must_use]
    pub struct Planted {
        before: Option<Mutant>,
        /// It is about the thread that planted it.
        thread: PhantomData<*const ()>,
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            PLANTED.set(self.before);
        }
    }
}
