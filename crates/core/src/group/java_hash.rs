//! Which partition of `__consumer_offsets` a group lives on: Kafka's rule, so that tools agree with us.

use duolog_base::PartitionIndex;

/// Java's `String.hashCode`, made positive as Kafka does it, modulo the number of partitions.
pub fn partition_for(group_id: &str, partitions: i32) -> PartitionIndex {
    assert!(partitions > 0, "a topic has partitions");
    let hash = group_id.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    let positive = if hash == i32::MIN { 0 } else { hash.abs() };
    PartitionIndex(positive % partitions)
}

#[cfg(test)]
mod tests {
    use super::partition_for;
    use duolog_base::PartitionIndex;

    #[test]
    fn groups_live_where_kafka_puts_them() {
        // Java's hash of "hello" is 99162322, that of "" is 0.
        assert_eq!(partition_for("", 50), PartitionIndex(0));
        assert_eq!(partition_for("hello", 50), PartitionIndex(22));
        // Java's hash of this one is the smallest integer, which has no absolute value.
        assert_eq!(partition_for("polygenelubricants", 50), PartitionIndex(0));
    }
}
