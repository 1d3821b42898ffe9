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
        // Hash codes as Java gives them: "" 0, "hello" 99162322, "test-group" -1019333543, "🦀" 1772909.
        assert_eq!(partition_for("", 50), PartitionIndex(0));
        assert_eq!(partition_for("hello", 50), PartitionIndex(22));
        // The one string length where the absolute value has no positive form.
        assert_eq!(partition_for("polygenelubricants", 50), PartitionIndex(0));
    }
}
