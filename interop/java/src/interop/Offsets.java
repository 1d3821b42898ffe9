package interop;

import static interop.Main.Scenario;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsSpec;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.GroupSubscribedToTopicException;
import org.apache.kafka.common.errors.UnknownMemberIdException;

/** Committed offsets, offsets by time, and groups as an administrator sees them. */
final class Offsets {
    private Offsets() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        all.put("offsets: a committed position is where the next member begins", Offsets::commitSync);
        all.put("offsets: an asynchronous commit reports when it is done", Offsets::commitAsync);
        all.put("offsets: automatic commits happen on close", Offsets::commitAutomatically);
        all.put("offsets: metadata and several partitions are committed at once", Offsets::metadata);
        all.put("offsets: a time finds the first record at or after it", Offsets::byTime);
        all.put("offsets: an administrator finds the earliest, the latest and the youngest record", Offsets::listOffsets);
        all.put("offsets: a member that was thrown out cannot commit", Offsets::unknownMember);
        all.put("offsets: an administrator lists, describes and deletes a group", Offsets::groups);
        all.put("offsets: an administrator moves and deletes a group's offsets", Offsets::alter);
        all.put("offsets: an active group is protected from the administrator", Offsets::activeGroup);
        all.put("offsets: an unknown group is empty to some and an error to others", Offsets::unknownGroup);
        all.put("offsets: a member can be removed from its group", Offsets::removeMember);
        return all;
    }

    private static void commitSync(Broker broker) throws Exception {
        String topic = broker.topic(1);
        String group = Broker.name("commit");
        broker.fill(topic, 1, 20);
        try (Consumer<String, String> first = broker.consumer("group.id", group, "max.poll.records", 7)) {
            first.subscribe(List.of(topic));
            Check.equal(7, Broker.take(first, 7).size());
            first.commitSync();
        }
        try (Consumer<String, String> second = broker.consumer("group.id", group)) {
            second.subscribe(List.of(topic));
            Check.equal("7", Broker.take(second, 1).get(0).value());
        }
    }

    private static void commitAsync(Broker broker) throws Exception {
        String topic = broker.topic(1);
        TopicPartition partition = new TopicPartition(topic, 0);
        broker.fill(topic, 1, 3);
        try (Consumer<String, String> consumer = broker.consumer("group.id", Broker.name("async"))) {
            consumer.assign(List.of(partition));
            Broker.take(consumer, 3);
            AtomicReference<Map<TopicPartition, OffsetAndMetadata>> done = new AtomicReference<>();
            consumer.commitAsync((offsets, failure) -> {
                if (failure == null) {
                    done.set(offsets);
                }
            });
            Check.eventually("the callback", () -> {
                consumer.poll(Duration.ofMillis(20));
                return done.get() != null;
            });
            Check.equal(3L, done.get().get(partition).offset());
            Check.equal(3L, consumer.committed(Set.of(partition)).get(partition).offset());
        }
    }

    private static void commitAutomatically(Broker broker) throws Exception {
        String topic = broker.topic(1);
        TopicPartition partition = new TopicPartition(topic, 0);
        String group = Broker.name("automatic");
        broker.fill(topic, 1, 10);
        try (Consumer<String, String> consumer = broker.consumer("group.id", group, "enable.auto.commit", true)) {
            consumer.subscribe(List.of(topic));
            Broker.take(consumer, 10);
        }
        try (Consumer<String, String> consumer = broker.consumer("group.id", group)) {
            Check.equal(10L, consumer.committed(Set.of(partition)).get(partition).offset());
        }
    }

    private static void metadata(Broker broker) throws Exception {
        String topic = broker.topic(3);
        TopicPartition first = new TopicPartition(topic, 0);
        TopicPartition last = new TopicPartition(topic, 2);
        try (Consumer<String, String> consumer = broker.consumer("group.id", Broker.name("metadata"))) {
            consumer.commitSync(Map.of(
                    first, new OffsetAndMetadata(5, "where \u00e9"),
                    last, new OffsetAndMetadata(9, Optional.of(0), "")));
            Map<TopicPartition, OffsetAndMetadata> committed = consumer.committed(Set.copyOf(Broker.partitions(topic, 3)));
            Check.equal("where \u00e9", committed.get(first).metadata());
            Check.equal(5L, committed.get(first).offset());
            Check.equal(9L, committed.get(last).offset());
            Check.equal(Optional.of(0), committed.get(last).leaderEpoch());
            Check.equal(null, committed.get(new TopicPartition(topic, 1)));
        }
    }

    private static void byTime(Broker broker) throws Exception {
        String topic = broker.topic(1);
        TopicPartition partition = new TopicPartition(topic, 0);
        long time = fillWithTimes(broker, topic);
        try (Consumer<String, String> consumer = broker.consumer()) {
            Check.equal(new OffsetAndTimestamp(3, time + 3000, Optional.of(0)), find(consumer, partition, time + 2500));
            Check.equal(new OffsetAndTimestamp(3, time + 3000, Optional.of(0)), find(consumer, partition, time + 3000));
            Check.equal(0L, find(consumer, partition, 0).offset());
            Check.equal(null, find(consumer, partition, time + 9001));
        }
    }

    private static OffsetAndTimestamp find(Consumer<String, String> consumer, TopicPartition partition, long time) {
        return consumer.offsetsForTimes(Map.of(partition, time)).get(partition);
    }

    /** Ten records a second apart, the youngest at offset 5; gives the time of offset 0. */
    private static long fillWithTimes(Broker broker, String topic) throws Exception {
        long time = System.currentTimeMillis() - 60_000;
        try (Producer<String, String> producer = broker.producer()) {
            for (int number = 0; number < 10; number++) {
                long own = number == 5 ? time + 9000 : time + Math.min(number, 8) * 1000L;
                producer.send(new ProducerRecord<>(topic, 0, own, null, "x")).get();
            }
        }
        return time;
    }

    private static void listOffsets(Broker broker) throws Exception {
        String topic = broker.topic(1);
        TopicPartition partition = new TopicPartition(topic, 0);
        long time = fillWithTimes(broker, topic);
        try (Admin admin = broker.admin()) {
            Check.equal(0L, offset(admin, partition, OffsetSpec.earliest()));
            Check.equal(10L, offset(admin, partition, OffsetSpec.latest()));
            Check.equal(5L, offset(admin, partition, OffsetSpec.maxTimestamp()));
            Check.equal(4L, offset(admin, partition, OffsetSpec.forTimestamp(time + 3001)));
            Check.equal(-1L, offset(admin, partition, OffsetSpec.forTimestamp(time + 9001)));
        }
    }

    private static long offset(Admin admin, TopicPartition partition, OffsetSpec spec) throws Exception {
        return admin.listOffsets(Map.of(partition, spec)).partitionResult(partition).get().offset();
    }

    private static void unknownMember(Broker broker) throws Exception {
        String topic = broker.topic(1);
        String group = Broker.name("thrown-out");
        broker.fill(topic, 1, 5);
        try (Consumer<String, String> late = broker.consumer("group.id", group, "max.poll.interval.ms", 1500)) {
            late.subscribe(List.of(topic));
            Broker.take(late, 5);
            try (Admin admin = broker.admin()) {
                Check.eventually("the group is empty", () -> members(admin, group) == 0);
            }
            Check.fails(CommitFailedException.class, () -> {
                late.commitSync();
                return null;
            });
        }
    }

    private static int members(Admin admin, String group) throws Exception {
        return admin.describeConsumerGroups(List.of(group)).describedGroups().get(group).get().members().size();
    }

    @SuppressWarnings({"deprecation", "removal"})
    private static boolean listed(Admin admin, String group) throws Exception {
        return admin.listConsumerGroups().all().get().stream().anyMatch(one -> one.groupId().equals(group));
    }

    @SuppressWarnings({"deprecation", "removal"})
    private static void groups(Broker broker) throws Exception {
        String topic = broker.topic(2);
        String group = Broker.name("described");
        try (Admin admin = broker.admin()) {
            try (Consumer<String, String> consumer = broker.consumer("group.id", group, "client.id", "reader")) {
                consumer.subscribe(List.of(topic));
                Check.eventually("an assignment", () -> {
                    consumer.poll(Duration.ofMillis(50));
                    return consumer.assignment().size() == 2;
                });
                Check.that(listed(admin, group), "the group is listed");
                ConsumerGroupDescription description = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
                Check.equal("STABLE", description.state().name());
                Check.equal("range", description.partitionAssignor());
                var member = description.members().iterator().next();
                Check.equal("reader", member.clientId());
                Check.equal(Set.copyOf(Broker.partitions(topic, 2)), member.assignment().topicPartitions());
                Check.that(member.host().contains("127.0.0.1"), "the member's address: " + member.host());
                consumer.commitSync(Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(0)));
            }
            Check.equal("EMPTY", admin.describeConsumerGroups(List.of(group)).all().get().get(group).state().name());
            admin.deleteConsumerGroups(List.of(group)).all().get();
            Check.that(!listed(admin, group), "the group is gone");
        }
    }

    private static void alter(Broker broker) throws Exception {
        String topic = broker.topic(2);
        String group = Broker.name("altered");
        TopicPartition first = new TopicPartition(topic, 0);
        TopicPartition second = new TopicPartition(topic, 1);
        broker.fill(topic, 2, 10);
        try (Admin admin = broker.admin()) {
            admin.alterConsumerGroupOffsets(group, Map.of(first, new OffsetAndMetadata(4), second, new OffsetAndMetadata(6))).all().get();
            Check.equal(Map.of(first, 4L, second, 6L), committed(admin, group));
            try (Consumer<String, String> consumer = broker.consumer("group.id", group)) {
                consumer.subscribe(List.of(topic));
                Check.equal(10, Broker.take(consumer, 10).size());
            }
            admin.deleteConsumerGroupOffsets(group, Set.of(first)).all().get();
            Check.equal(Map.of(second, 6L), committed(admin, group));
        }
    }

    private static Map<TopicPartition, Long> committed(Admin admin, String group) throws Exception {
        Map<TopicPartition, Long> all = new java.util.HashMap<>();
        admin.listConsumerGroupOffsets(Map.of(group, new ListConsumerGroupOffsetsSpec())).partitionsToOffsetAndMetadata(group).get()
                .forEach((partition, offset) -> all.put(partition, offset.offset()));
        return all;
    }

    private static void activeGroup(Broker broker) throws Exception {
        String topic = broker.topic(1);
        TopicPartition partition = new TopicPartition(topic, 0);
        String group = Broker.name("active");
        broker.fill(topic, 1, 1);
        try (Admin admin = broker.admin(); Consumer<String, String> consumer = broker.consumer("group.id", group)) {
            consumer.subscribe(List.of(topic));
            Broker.take(consumer, 1);
            consumer.commitSync();
            Check.fails(GroupNotEmptyException.class, () -> admin.deleteConsumerGroups(List.of(group)).all().get());
            Check.fails(GroupSubscribedToTopicException.class,
                    () -> admin.deleteConsumerGroupOffsets(group, Set.of(partition)).partitionResult(partition).get());
            Check.fails(UnknownMemberIdException.class,
                    () -> admin.alterConsumerGroupOffsets(group, Map.of(partition, new OffsetAndMetadata(0))).all().get());
            Check.equal(Map.of(partition, 1L), committed(admin, group));
        }
    }

    private static void unknownGroup(Broker broker) throws Exception {
        String group = Broker.name("nobody");
        try (Admin admin = broker.admin()) {
            Check.equal(Map.of(), committed(admin, group));
            Check.that(!listed(admin, group), "asking does not create it");
            Check.fails(GroupIdNotFoundException.class, () -> admin.deleteConsumerGroups(List.of(group)).all().get());
            Check.fails(GroupIdNotFoundException.class,
                    () -> admin.deleteConsumerGroupOffsets(group, Set.of(new TopicPartition("x", 0))).all().get());
        }
    }

    private static void removeMember(Broker broker) throws Exception {
        String topic = broker.topic(1);
        String group = Broker.name("removed");
        try (Admin admin = broker.admin();
                Consumer<String, String> consumer = broker.consumer("group.id", group, "group.instance.id", "one", "session.timeout.ms", 30_000)) {
            consumer.subscribe(List.of(topic));
            Check.eventually("an assignment", () -> {
                consumer.poll(Duration.ofMillis(50));
                return !consumer.assignment().isEmpty();
            });
            var options = new org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions(
                    List.of(new org.apache.kafka.clients.admin.MemberToRemove("one")));
            admin.removeMembersFromConsumerGroup(group, options).all().get();
            Check.equal(0, members(admin, group));
        }
    }
}
