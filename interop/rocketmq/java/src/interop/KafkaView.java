package interop;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.rocketmq.common.message.MessageExt;

/** Everything a topic holds, as a Kafka consumer without a group sees it. */
final class KafkaView {
    private final Map<TopicPartition, Map<Long, ConsumerRecord<byte[], byte[]>>> records = new HashMap<>();
    private final String topic;

    private KafkaView(String topic) {
        this.topic = topic;
    }

    static KafkaView of(Server server, String topic) throws Exception {
        KafkaView view = new KafkaView(topic);
        Map<String, Object> settings = Map.of("bootstrap.servers", server.kafka, "isolation.level", "read_committed");
        try (Consumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> all = consumer.partitionsFor(topic).stream().map(info -> new TopicPartition(topic, info.partition())).toList();
            consumer.assign(all);
            consumer.seekToBeginning(all);
            Map<TopicPartition, Long> ends = consumer.endOffsets(all);
            Check.eventually("a Kafka consumer reads " + topic + " to its end", () -> {
                consumer.poll(Duration.ofMillis(100)).forEach(record -> view.records
                        .computeIfAbsent(new TopicPartition(topic, record.partition()), any -> new HashMap<>())
                        .put(record.offset(), record));
                return all.stream().allMatch(partition -> consumer.position(partition) >= ends.get(partition));
            });
        }
        return view;
    }

    /** How many records there are. */
    int size() {
        return records.values().stream().mapToInt(Map::size).sum();
    }

    ConsumerRecord<byte[], byte[]> at(int partition, long offset) {
        ConsumerRecord<byte[], byte[]> record = records.getOrDefault(new TopicPartition(topic, partition), Map.of()).get(offset);
        Check.that(record != null, "a Kafka consumer finds a record at " + partition + "@" + offset);
        return record;
    }

    /** The record at an offset whose message has this id; in which partition it is is not known. A producer may have sent it twice. */
    ConsumerRecord<byte[], byte[]> of(String uniqueKey, long offset) {
        return records.values().stream().map(partition -> partition.get(offset)).filter(record -> record != null && uniqueKey.equals(uniqueKey(record)))
                .findFirst().orElseThrow(() -> new AssertionError("a Kafka consumer finds no record of the message " + uniqueKey + " at " + offset));
    }

    private static String uniqueKey(ConsumerRecord<byte[], byte[]> record) {
        Header header = record.headers().lastHeader("UNIQ_KEY");
        return header == null ? null : text(header.value());
    }

    /** Holds a message that a RocketMQ client received against the record. */
    void check(MessageExt message) {
        ConsumerRecord<byte[], byte[]> record = at(message.getQueueId(), message.getQueueOffset());
        byte[] value = record.value() == null ? new byte[0] : record.value();
        byte[] body = message.getBody() == null || standsForNothing(message) ? new byte[0] : message.getBody();
        Check.that(Arrays.equals(body, value), "body and value are the same at " + message.getQueueId() + "@" + message.getQueueOffset());
        Check.equal(message.getKeys(), text(record.key()));
        boolean delayed = message.getProperty("REAL_TOPIC") != null && message.getProperty("TRAN_MSG") == null;
        Check.equal(delayed ? message.getStoreTimestamp() : message.getBornTimestamp(), record.timestamp());
        for (String property : List.of("TAGS", "UNIQ_KEY")) {
            Header header = record.headers().lastHeader(property);
            Check.equal(message.getProperty(property), header == null ? null : text(header.value()));
        }
    }

    /** Whether the body is there only because the client could not bear an empty one. */
    static boolean standsForNothing(MessageExt message) {
        return "true".equals(message.getProperty("duolog.empty.body"));
    }

    private static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
    }
}
