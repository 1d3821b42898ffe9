package interop;

import static interop.Main.Scenario;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.NoOffsetForPartitionException;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.common.TopicPartition;

/** Where a consumer reads, and what it is told when it cannot. */
final class Consuming {
    private Consuming() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        all.put("consume: seek goes to any offset, the beginning and the end", Consuming::seek);
        all.put("consume: a paused partition is silent until it is resumed", Consuming::pause);
        all.put("consume: without a position it begins where auto.offset.reset says", Consuming::reset);
        all.put("consume: an offset out of range is an error or a reset", Consuming::outOfRange);
        all.put("consume: a pattern sees a topic that is created later", Consuming::pattern);
        all.put("consume: fetch.min.bytes holds the answer back for fetch.max.wait.ms", Consuming::minBytes);
        all.put("consume: small fetch limits still deliver everything in order", Consuming::smallFetches);
        all.put("consume: many partitions are read by one consumer", Consuming::manyPartitions);
        all.put("consume: read_committed reads what was written without transactions", Consuming::readCommitted);
        return all;
    }

    private static void seek(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.fill(topic, 1, 100);
        TopicPartition partition = new TopicPartition(topic, 0);
        try (Consumer<String, String> consumer = broker.consumer()) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, 42);
            Check.equal("42", Broker.take(consumer, 1).get(0).value());
            consumer.seekToBeginning(List.of(partition));
            Check.equal("0", Broker.take(consumer, 1).get(0).value());
            consumer.seekToEnd(List.of(partition));
            Check.equal(100L, consumer.position(partition));
            Check.equal(Map.of(partition, 0L), consumer.beginningOffsets(List.of(partition)));
            Check.equal(Map.of(partition, 100L), consumer.endOffsets(List.of(partition)));
        }
    }

    private static void pause(Broker broker) throws Exception {
        String topic = broker.topic(2);
        broker.fill(topic, 2, 10);
        TopicPartition paused = new TopicPartition(topic, 0);
        try (Consumer<String, String> consumer = broker.consumer()) {
            consumer.assign(Broker.partitions(topic, 2));
            consumer.pause(List.of(paused));
            Check.that(Broker.take(consumer, 10).stream().allMatch(record -> record.partition() == 1), "only the other partition");
            Check.equal(0, consumer.poll(Duration.ofMillis(300)).count());
            consumer.resume(List.of(paused));
            Check.that(Broker.take(consumer, 10).stream().allMatch(record -> record.partition() == 0), "the partition that was paused");
        }
    }

    private static void reset(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.fill(topic, 1, 5);
        TopicPartition partition = new TopicPartition(topic, 0);
        try (Consumer<String, String> consumer = broker.consumer("auto.offset.reset", "earliest")) {
            consumer.assign(List.of(partition));
            Check.equal(5, Broker.take(consumer, 5).size());
        }
        try (Consumer<String, String> consumer = broker.consumer("auto.offset.reset", "latest")) {
            consumer.assign(List.of(partition));
            Check.equal(5L, consumer.position(partition));
            broker.fill(topic, 1, 1);
            Check.equal(5L, Broker.take(consumer, 1).get(0).offset());
        }
        try (Consumer<String, String> consumer = broker.consumer("auto.offset.reset", "none", "group.id", Broker.name("none"))) {
            consumer.assign(List.of(partition));
            Check.fails(NoOffsetForPartitionException.class, () -> consumer.position(partition));
        }
    }

    private static void outOfRange(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.fill(topic, 1, 5);
        TopicPartition partition = new TopicPartition(topic, 0);
        try (Consumer<String, String> consumer = broker.consumer("auto.offset.reset", "none")) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, 1_000_000);
            OffsetOutOfRangeException refused = Check.fails(OffsetOutOfRangeException.class, () -> Broker.take(consumer, 1));
            Check.equal(Set.of(partition), refused.partitions());
        }
        try (Consumer<String, String> consumer = broker.consumer()) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, 1_000_000);
            Check.equal("0", Broker.take(consumer, 1).get(0).value());
        }
    }

    private static void pattern(Broker broker) throws Exception {
        String prefix = Broker.name("pattern");
        try (Consumer<String, String> consumer = broker.consumer("group.id", Broker.name("group"))) {
            try (var admin = broker.admin()) {
                admin.createTopics(List.of(new org.apache.kafka.clients.admin.NewTopic(prefix + "-one", 1, (short) 1))).all().get();
                broker.fill(prefix + "-one", 1, 1);
                consumer.subscribe(Pattern.compile(Pattern.quote(prefix) + "-.*"));
                Check.equal(prefix + "-one", Broker.take(consumer, 1).get(0).topic());
                consumer.commitSync();
                admin.createTopics(List.of(new org.apache.kafka.clients.admin.NewTopic(prefix + "-two", 1, (short) 1))).all().get();
                broker.fill(prefix + "-two", 1, 1);
                Check.equal(prefix + "-two", Broker.take(consumer, 1).get(0).topic());
            }
        }
    }

    private static void minBytes(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.fill(topic, 1, 1);
        try (Consumer<String, String> consumer = broker.consumer("fetch.min.bytes", 100_000, "fetch.max.wait.ms", 1000)) {
            consumer.assign(Broker.partitions(topic, 1));
            long start = System.nanoTime();
            Check.equal(1, Broker.take(consumer, 1).size());
            Check.that(System.nanoTime() - start >= 900_000_000, "one small record is not enough to answer at once");
        }
    }

    private static void smallFetches(Broker broker) throws Exception {
        String topic = broker.topic(2);
        broker.fill(topic, 2, 2000);
        try (Consumer<String, String> consumer =
                broker.consumer("max.partition.fetch.bytes", 500, "fetch.max.bytes", 700, "max.poll.records", 37)) {
            consumer.assign(Broker.partitions(topic, 2));
            inOrder(Broker.take(consumer, 4000), 2);
        }
    }

    private static void manyPartitions(Broker broker) throws Exception {
        String topic = broker.topic(60);
        broker.fill(topic, 60, 10);
        inOrder(broker.contents(topic, 60), 60);
    }

    private static void readCommitted(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.fill(topic, 1, 10);
        try (Consumer<String, String> consumer = broker.consumer("isolation.level", "read_committed")) {
            consumer.assign(Broker.partitions(topic, 1));
            inOrder(Broker.take(consumer, 10), 1);
        }
    }

    private static void inOrder(List<ConsumerRecord<String, String>> records, int partitions) {
        long[] next = new long[partitions];
        for (ConsumerRecord<String, String> record : records) {
            Check.equal(next[record.partition()], record.offset());
            Check.equal(Long.toString(next[record.partition()]), record.value());
            next[record.partition()]++;
        }
    }
}
