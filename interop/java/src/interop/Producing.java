package interop;

import static interop.Main.Scenario;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidTimestampException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.record.TimestampType;

/** What a producer hands over is what a consumer gets. */
final class Producing {
    private Producing() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            all.put("produce: " + codec + " is read as it was written", broker -> codec(broker, codec));
        }
        for (String acks : List.of("0", "1", "all")) {
            all.put("produce: with acks=" + acks + " everything arrives", broker -> acks(broker, acks));
        }
        all.put("produce: keys, headers and nulls survive", Producing::nulls);
        all.put("produce: a key always goes to the same partition, in order", Producing::keyOrder);
        all.put("produce: an idempotent producer writes each record once and in order", Producing::idempotent);
        all.put("produce: a record near the limit passes", Producing::nearTheLimit);
        all.put("produce: the client refuses a record above max.request.size", Producing::tooLargeForTheClient);
        all.put("produce: the broker refuses a record above max.message.bytes", Producing::tooLargeForTheTopic);
        all.put("produce: a topic's max.message.bytes can be raised", Producing::raisedLimit);
        all.put("produce: LogAppendTime replaces the producer's time", Producing::logAppendTime);
        all.put("produce: CreateTime keeps the producer's time", Producing::createTime);
        all.put("produce: a time far in the future is refused", Producing::future);
        all.put("produce: an invalid topic name is refused", Producing::invalidName);
        all.put("produce: a partition that is not there is not written", Producing::noSuchPartition);
        all.put("produce: a topic is created by its first use", Producing::autoCreate);
        all.put("produce: a topic's compression.type decides what is stored", Producing::topicCodec);
        all.put("produce: records with a delay arrive at their time", Producing::delayed);
        return all;
    }

    private static void codec(Broker broker, String codec) throws Exception {
        String topic = broker.topic(1);
        List<String> sent = IntStream.range(0, 500).mapToObj(number -> number + "-" + "word ".repeat(number % 40)).toList();
        send(broker, topic, sent, "compression.type", codec, "linger.ms", 20);
        Check.equal(sent, Broker.values(broker.contents(topic, 1)));
    }

    private static void topicCodec(Broker broker) throws Exception {
        String topic = broker.topic(1, "compression.type", "gzip");
        List<String> sent = IntStream.range(0, 300).mapToObj(number -> "value " + number).toList();
        send(broker, topic, sent, "compression.type", "lz4", "linger.ms", 20);
        Check.equal(sent, Broker.values(broker.contents(topic, 1)));
    }

    private static void acks(Broker broker, String acks) throws Exception {
        String topic = broker.topic(1);
        List<String> sent = IntStream.range(0, 200).mapToObj(Integer::toString).toList();
        List<RecordMetadata> answers = send(broker, topic, sent, "acks", acks, "enable.idempotence", false);
        Check.that(answers.stream().allMatch(answer -> answer.hasOffset() != acks.equals("0")), "an offset exactly when acks are asked for");
        Check.eventually("all records", () -> broker.contents(topic, 1).size() == sent.size());
        Check.equal(sent, Broker.values(broker.contents(topic, 1)));
    }

    private static void nulls(Broker broker) throws Exception {
        String topic = broker.topic(1);
        try (Producer<String, String> producer = broker.producer()) {
            ProducerRecord<String, String> full = new ProducerRecord<>(topic, "key \u00e9", "value \u6f22");
            full.headers().add("trace", "1".getBytes(StandardCharsets.UTF_8)).add("trace", "2".getBytes(StandardCharsets.UTF_8));
            full.headers().add("empty", new byte[0]).add("none", null);
            producer.send(full).get();
            producer.send(new ProducerRecord<>(topic, null, "no key")).get();
            producer.send(new ProducerRecord<>(topic, "tombstone", null)).get();
            producer.send(new ProducerRecord<>(topic, "", "")).get();
            producer.send(new ProducerRecord<>(topic, null, null)).get();
        }
        List<ConsumerRecord<String, String>> records = broker.contents(topic, 1);
        List<String> seen = records.stream().map(record -> record.key() + "=" + record.value()).toList();
        Check.equal(List.of("key \u00e9=value \u6f22", "null=no key", "tombstone=null", "=", "null=null"), seen);
        Headers headers = records.get(0).headers();
        Check.equal(4, headers.toArray().length);
        Check.equal("2", new String(headers.lastHeader("trace").value(), StandardCharsets.UTF_8));
        Check.equal(0, headers.lastHeader("empty").value().length);
        Check.equal(null, headers.lastHeader("none").value());
        Check.equal(0, records.get(1).headers().toArray().length);
    }

    private static void keyOrder(Broker broker) throws Exception {
        String topic = broker.topic(6);
        try (Producer<String, String> producer = broker.producer("linger.ms", 5)) {
            for (int number = 0; number < 600; number++) {
                producer.send(new ProducerRecord<>(topic, "key" + number % 20, Integer.toString(number)));
            }
        }
        Map<String, Integer> partition = new TreeMap<>();
        Map<String, Integer> last = new TreeMap<>();
        List<ConsumerRecord<String, String>> records = broker.contents(topic, 6);
        Check.equal(600, records.size());
        for (ConsumerRecord<String, String> record : records) {
            Check.equal(record.partition(), partition.computeIfAbsent(record.key(), key -> record.partition()));
            int number = Integer.parseInt(record.value());
            Integer before = last.put(record.key(), number);
            Check.that(before == null || before + 20 == number, record.key() + ": " + number + " came after " + before);
        }
        Check.that(new java.util.HashSet<>(partition.values()).size() > 1, "keys spread over partitions");
    }

    private static void idempotent(Broker broker) throws Exception {
        String topic = broker.topic(1);
        List<String> sent = IntStream.range(0, 2000).mapToObj(Integer::toString).toList();
        // Small batches, so that many are in flight at once.
        send(broker, topic, sent, "enable.idempotence", true, "batch.size", 200, "max.in.flight.requests.per.connection", 5);
        List<ConsumerRecord<String, String>> records = broker.contents(topic, 1);
        Check.equal(sent, Broker.values(records));
        Check.equal(1999L, records.get(1999).offset());
    }

    private static void nearTheLimit(Broker broker) throws Exception {
        String topic = broker.topic(1);
        String value = "x".repeat(1_048_588 - 300);
        send(broker, topic, List.of(value, "small"), "max.request.size", 2_000_000);
        Check.equal(List.of(value, "small"), Broker.values(broker.contents(topic, 1)));
    }

    private static void tooLargeForTheClient(Broker broker) throws Exception {
        String topic = broker.topic(1);
        Check.fails(RecordTooLargeException.class, () -> send(broker, topic, List.of("x".repeat(2_000_000))));
    }

    private static void tooLargeForTheTopic(Broker broker) throws Exception {
        String topic = broker.topic(1, "max.message.bytes", "10000");
        Check.fails(RecordTooLargeException.class, () -> send(broker, topic, List.of("x".repeat(20_000))));
        send(broker, topic, List.of("fits"));
        Check.equal(List.of("fits"), Broker.values(broker.contents(topic, 1)));
    }

    private static void raisedLimit(Broker broker) throws Exception {
        String topic = broker.topic(1, "max.message.bytes", "4000000");
        String value = "y".repeat(3_000_000);
        send(broker, topic, List.of(value, "after"), "max.request.size", 4_000_000);
        Check.equal(List.of(value, "after"), Broker.values(broker.contents(topic, 1)));
    }

    private static void logAppendTime(Broker broker) throws Exception {
        String topic = broker.topic(1, "message.timestamp.type", "LogAppendTime");
        long before = System.currentTimeMillis();
        RecordMetadata answer = sendAt(broker, topic, 1_000L);
        ConsumerRecord<String, String> record = broker.contents(topic, 1).get(0);
        Check.equal(TimestampType.LOG_APPEND_TIME, record.timestampType());
        Check.that(record.timestamp() >= before - 1000, "the broker's time, not the producer's");
        Check.equal(record.timestamp(), answer.timestamp());
    }

    private static void createTime(Broker broker) throws Exception {
        String topic = broker.topic(1);
        long time = System.currentTimeMillis() - 60_000;
        Check.equal(time, sendAt(broker, topic, time).timestamp());
        ConsumerRecord<String, String> record = broker.contents(topic, 1).get(0);
        Check.equal(TimestampType.CREATE_TIME, record.timestampType());
        Check.equal(time, record.timestamp());
    }

    private static void future(Broker broker) throws Exception {
        String topic = broker.topic(1, "message.timestamp.after.max.ms", "3600000");
        Check.fails(InvalidTimestampException.class, () -> sendAt(broker, topic, System.currentTimeMillis() + 7_200_000));
        Check.equal(0, broker.contents(topic, 1).size());
    }

    private static void invalidName(Broker broker) {
        Check.fails(InvalidTopicException.class, () -> send(broker, "not a topic!", List.of("x"), "max.block.ms", 5000));
    }

    private static void noSuchPartition(Broker broker) throws Exception {
        String topic = broker.topic(1);
        try (Producer<String, String> producer = broker.producer("max.block.ms", 1000)) {
            Check.fails(TimeoutException.class, () -> producer.send(new ProducerRecord<>(topic, 7, null, "x")).get());
        }
    }

    private static void autoCreate(Broker broker) throws Exception {
        String topic = Broker.name("java-automatic");
        send(broker, topic, List.of("first"));
        Check.equal(List.of("first"), Broker.values(broker.contents(topic, 1)));
    }

    private static RecordMetadata sendAt(Broker broker, String topic, long time) throws Exception {
        try (Producer<String, String> producer = broker.producer()) {
            return producer.send(new ProducerRecord<>(topic, 0, time, null, "x")).get();
        }
    }

    private static void delayed(Broker broker) throws Exception {
        String topic;
        try {
            topic = broker.topic(1, "duolog.delay.enable", "true");
        } catch (ExecutionException refused) {
            Check.that(refused.getCause() instanceof InvalidConfigurationException, refused.toString());
            return; // This server does not delay records of Kafka's producers.
        }
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        long before;
        try (Producer<String, String> producer = broker.producer("linger.ms", 50)) {
            sent.add(producer.send(new ProducerRecord<>(topic, "0")));
            sent.get(0).get();
            // From now on the producer is quick.
            before = System.currentTimeMillis();
            for (int number = 1; number < 20; number++) {
                ProducerRecord<String, String> record = new ProducerRecord<>(topic, Integer.toString(number));
                if (number % 2 == 1) {
                    record.headers().add("duolog-deliver-at", Long.toString(before + 4000).getBytes(StandardCharsets.UTF_8));
                }
                sent.add(producer.send(record));
            }
            for (int number = 0; number < 20; number++) {
                Check.equal((long) number, sent.get(number).get().offset());
            }
        }
        try (Consumer<String, String> consumer = broker.consumer()) {
            consumer.assign(Broker.partitions(topic, 1));
            List<String> expected = new ArrayList<>();
            for (int number = 0; number < 40; number += 2) {
                expected.add(Integer.toString(number < 20 ? number : number - 19));
            }
            List<ConsumerRecord<String, String>> found = Broker.take(consumer, 20);
            Check.that(System.currentTimeMillis() >= before + 4000, "nothing comes before its time");
            Check.equal(expected, Broker.values(found));
            Check.that(found.stream().noneMatch(record -> record.headers().iterator().hasNext()), "what delayed a record is gone");
        }
    }

    private static List<RecordMetadata> send(Broker broker, String topic, List<String> values, Object... overrides) throws Exception {
        try (Producer<String, String> producer = broker.producer(overrides)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (String value : values) {
                sent.add(producer.send(new ProducerRecord<>(topic, value)));
            }
            List<RecordMetadata> answers = new ArrayList<>();
            for (Future<RecordMetadata> one : sent) {
                answers.add(one.get());
            }
            return answers;
        }
    }
}
