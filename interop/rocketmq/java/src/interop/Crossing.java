package interop;

import static interop.Main.Scenario;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Kafka clients write, RocketMQ clients read; both see the same groups. The other direction is part of every scenario. */
final class Crossing {
    private Crossing() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            all.put("crossing: a consumer reads Kafka's batches compressed with " + codec, scope -> codec(scope, codec));
        }
        all.put("crossing: headers are properties and a key is KEYS", Crossing::headers);
        all.put("crossing: tags that Kafka wrote are filtered by", Crossing::tags);
        all.put("crossing: records without a value hold nothing up", Crossing::withoutValue);
        all.put("crossing: both kinds of producer share one run of offsets", Crossing::interleaved);
        all.put("crossing: a topic of Kafka's has a route", Crossing::route);
        all.put("crossing: Kafka's administrator sees and moves a RocketMQ group", Crossing::group);
        return all;
    }

    private static Producer<byte[], byte[]> kafka(Scope scope, Object... settings) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", scope.server.kafka, "linger.ms", 20));
        for (int at = 0; at < settings.length; at += 2) {
            all.put((String) settings[at], settings[at + 1]);
        }
        return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static void codec(Scope scope, String codec) throws Exception {
        String topic = scope.topic(2);
        List<String> expected = new ArrayList<>();
        try (Producer<byte[], byte[]> producer = kafka(scope, "compression.type", codec)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int number = 0; number < 300; number++) {
                String value = number + " " + "x".repeat(number);
                expected.add(value);
                sent.add(producer.send(new ProducerRecord<>(topic, number % 2, bytes("key " + number), bytes(value))));
            }
            for (Future<RecordMetadata> one : sent) {
                one.get();
            }
        }
        List<MessageExt> messages = scope.receive(topic).take(300);
        for (MessageExt message : messages) {
            int number = (int) message.getQueueOffset() * 2 + message.getQueueId();
            Check.equal(expected.get(number), Inbox.body(message));
            Check.equal("key " + number, message.getKeys());
        }
        Check.equal(300L, Inbox.places(messages));
    }

    private static void headers(Scope scope) throws Exception {
        String topic = scope.topic(1);
        try (Producer<byte[], byte[]> producer = kafka(scope)) {
            ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, 0, 1_700_000_000_123L, bytes("the key"), bytes("the value"));
            record.headers().add("colour", bytes("gr\u00fcn")).add("repeated", bytes("first")).add("repeated", bytes("last"));
            record.headers().add("binary", new byte[] {0, 1, 2, (byte) 0xff});
            producer.send(record).get();
        }
        MessageExt message = scope.receive(topic).take(1).get(0);
        Check.equal("the value", Inbox.body(message));
        Check.equal("the key", message.getKeys());
        Check.equal("gr\u00fcn", message.getProperty("colour"));
        Check.equal("last", message.getProperty("repeated"));
        Check.that(message.getProperty("binary") != null, "the binary header is there in some form");
        Check.equal(1_700_000_000_123L, message.getBornTimestamp());
    }

    private static void tags(Scope scope) throws Exception {
        String topic = scope.topic(1);
        try (Producer<byte[], byte[]> producer = kafka(scope)) {
            for (String tag : List.of("red", "green", "red", "blue")) {
                ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, 0, null, bytes(tag));
                record.headers().add("TAGS", bytes(tag));
                producer.send(record).get();
            }
            producer.send(new ProducerRecord<>(topic, 0, null, bytes("no tag"))).get();
        }
        Inbox inbox = new Inbox(scope);
        DefaultMQPushConsumer consumer = scope.push(Scope.name("tags"));
        consumer.subscribe(topic, "red || blue");
        consumer.registerMessageListener(inbox.concurrently());
        consumer.start();
        Check.equal(List.of("blue", "red", "red"), Inbox.bodies(inbox.take(3)));
    }

    /** Clients before 5.3.2 would never go on behind a message whose body is empty: they are given one byte and told so. */
    private static void withoutValue(Scope scope) throws Exception {
        String topic = scope.topic(1);
        try (Producer<byte[], byte[]> producer = kafka(scope)) {
            producer.send(new ProducerRecord<>(topic, 0, bytes("gone"), null)).get();
            producer.send(new ProducerRecord<>(topic, 0, bytes("empty"), new byte[0])).get();
            producer.send(new ProducerRecord<>(topic, 0, bytes("here"), bytes("value"))).get();
        }
        List<MessageExt> messages = Inbox.byOffset(scope.receive(topic).take(3));
        Check.equal(List.of("gone", "empty", "here"), messages.stream().map(MessageExt::getKeys).toList());
        Check.equal(List.of("", "", "value"), messages.stream().map(Crossing::meaning).toList());
        Check.equal("true", messages.get(0).getProperty("duolog.null.value"));
        Check.equal(null, messages.get(1).getProperty("duolog.null.value"));
    }

    /** A message's body, unless it only stands for an empty one. */
    private static String meaning(MessageExt message) {
        boolean hasNone = message.getBody() == null || KafkaView.standsForNothing(message);
        return hasNone ? "" : Inbox.body(message);
    }

    private static void interleaved(Scope scope) throws Exception {
        String topic = scope.topic(1);
        DefaultMQProducer rocketmq = scope.producer();
        MessageQueue queue = Scope.queues(rocketmq, topic).get(0);
        List<String> expected = new ArrayList<>();
        try (Producer<byte[], byte[]> producer = kafka(scope, "linger.ms", 0)) {
            for (int number = 0; number < 20; number += 2) {
                Check.equal((long) number, scope.send(rocketmq, Scope.message(topic, "rocketmq " + number), queue).getQueueOffset());
                Check.equal(number + 1L, producer.send(new ProducerRecord<>(topic, 0, null, bytes("kafka " + number))).get().offset());
                expected.add("rocketmq " + number);
                expected.add("kafka " + number);
            }
        }
        List<MessageExt> messages = Inbox.byOffset(scope.receive(topic).take(20));
        Check.equal(Map.of(0, expected), Inbox.byQueue(messages));
    }

    private static void route(Scope scope) throws Exception {
        String topic = Scope.name("kafka");
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", scope.server.kafka))) {
            admin.createTopics(List.of(new org.apache.kafka.clients.admin.NewTopic(topic, 5, (short) 1))).all().get();
        }
        scope.uses(topic);
        DefaultMQProducer producer = scope.producer();
        Check.eventually("five queues", () -> Scope.found(producer, topic) == 5);
        scope.fill(producer, topic, 2);
        scope.receive(topic).take(10);
    }

    private static void group(Scope scope) throws Exception {
        String topic = scope.topic(2);
        String group = Scope.name("shared");
        DefaultMQProducer producer = scope.producer();
        scope.fill(producer, topic, 10);
        Inbox inbox = new Inbox(scope);
        DefaultMQPushConsumer consumer = scope.push(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(inbox.concurrently());
        consumer.start();
        inbox.take(20);
        TopicPartition first = new TopicPartition(topic, 0);
        TopicPartition second = new TopicPartition(topic, 1);
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", scope.server.kafka))) {
            Check.eventually("the administrator sees what was consumed", () -> {
                Map<TopicPartition, OffsetAndMetadata> offsets = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
                return offsets.get(first) != null && offsets.get(first).offset() == 10
                        && offsets.get(second) != null && offsets.get(second).offset() == 10;
            });
            consumer.shutdown();
            DefaultMQPullConsumer pull = scope.pull(group);
            List<MessageQueue> queues = Scope.queues(producer, topic);
            // What the consumer said last is stored a moment after it has left.
            Check.eventually("the offset is moved", () -> {
                admin.alterConsumerGroupOffsets(group, Map.of(first, new OffsetAndMetadata(4))).all().get();
                return pull.fetchConsumeOffset(queues.get(0), true) == 4;
            });
            Check.equal(10L, pull.fetchConsumeOffset(queues.get(1), true));
        }
    }
}
