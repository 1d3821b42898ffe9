package duolog.oracle;

/** What a sample looks like. Fields that the version lacks keep their defaults in all of them. */
public enum Shape {
    /** As constructed; only what may not be null is set. */
    DEFAULTS,
    /** Null where null is allowed, empty elsewhere, no tagged field. */
    NULLS,
    /** Empty strings, bytes and arrays where {@link #NULLS} has null. */
    EMPTY,
    /** Every field set, tagged ones too, with one element in each array. */
    FULL,
    /** Anything, by chance. */
    RANDOM_1,
    RANDOM_2,
    RANDOM_3,
    RANDOM_4
}
