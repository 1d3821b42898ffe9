package interop;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The server under test, as its clients see it, and how it is restarted. Scenarios share it, so each makes names of its own. */
final class Broker {
    private final String bootstrap;
    /** Empty when the server is not the run's to restart. */
    private final String control;

    Broker(String bootstrap, String control) {
        this.bootstrap = bootstrap;
        this.control = control;
    }

    String bootstrap() {
        return bootstrap;
    }

    boolean restarts() {
        return !control.isEmpty();
    }

    /** Ends the server with `kill -9` and starts it again on the same data and ports. */
    void killAndStart() throws IOException {
        ask("kill");
    }

    /** Lets the server end in its own way and starts it again on the same data and ports. */
    void stopAndStart() throws IOException {
        ask("stop");
    }

    private void ask(String what) throws IOException {
        int colon = control.lastIndexOf(':');
        try (Socket socket = new Socket(control.substring(0, colon), Integer.parseInt(control.substring(colon + 1)))) {
            socket.getOutputStream().write((what + "\n").getBytes(StandardCharsets.US_ASCII));
            String answer = new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.US_ASCII)).readLine();
            Check.equal("ok", answer);
        }
    }

    /** HOST:PORT of each node. */
    List<String> addresses() {
        return List.of(bootstrap.split(","));
    }

    /** A name nobody else has. */
    static String name(String kind) {
        return kind + "-" + UUID.randomUUID();
    }

    Admin admin() {
        return Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    /** Creates a topic; the rest are its configs, key after value. */
    String topic(int partitions, String... configs) throws Exception {
        String name = name("java");
        Map<String, String> map = new HashMap<>();
        for (int at = 0; at < configs.length; at += 2) {
            map.put(configs[at], configs[at + 1]);
        }
        try (Admin admin = admin()) {
            admin.createTopics(List.of(new NewTopic(name, partitions, (short) -1).configs(map))).all().get();
            online(admin, name, partitions);
        }
        return name;
    }

    /** Waits until every partition answers: a cluster may create a topic a moment before it serves all of it. */
    static void online(Admin admin, String topic, int partitions) throws Exception {
        Map<TopicPartition, OffsetSpec> all = new HashMap<>();
        partitions(topic, partitions).forEach(partition -> all.put(partition, OffsetSpec.latest()));
        Check.eventually(topic + " is online", () -> {
            try {
                return admin.listOffsets(all).all().get().size() == partitions;
            } catch (ExecutionException notYet) {
                Check.that(notYet.getCause() instanceof UnknownTopicOrPartitionException, notYet.toString());
                return false;
            }
        });
    }

    Producer<String, String> producer(Object... overrides) {
        return new KafkaProducer<>(with(Map.of("bootstrap.servers", bootstrap), overrides), new StringSerializer(), new StringSerializer());
    }

    /** Reads from the beginning and commits only when told, unless overridden. */
    Consumer<String, String> consumer(Object... overrides) {
        Map<String, Object> defaults = Map.of(
                "bootstrap.servers", bootstrap,
                "auto.offset.reset", "earliest",
                "enable.auto.commit", false,
                "session.timeout.ms", 6000,
                "heartbeat.interval.ms", 500,
                "metadata.max.age.ms", 1000);
        return new KafkaConsumer<>(with(defaults, overrides), new StringDeserializer(), new StringDeserializer());
    }

    private static Map<String, Object> with(Map<String, Object> defaults, Object... overrides) {
        Map<String, Object> all = new HashMap<>(defaults);
        for (int at = 0; at < overrides.length; at += 2) {
            all.put((String) overrides[at], overrides[at + 1]);
        }
        return all;
    }

    /** Produces values "0", "1", ... to each partition and waits for the acknowledgements. */
    void fill(String topic, int partitions, int each) throws Exception {
        try (Producer<String, String> producer = producer()) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int number = 0; number < each; number++) {
                for (int partition = 0; partition < partitions; partition++) {
                    sent.add(producer.send(new ProducerRecord<>(topic, partition, null, Integer.toString(number))));
                }
            }
            for (Future<RecordMetadata> one : sent) {
                one.get();
            }
        }
    }

    /** Everything a topic holds at partitions 0 .. n-1, read without a group. */
    List<ConsumerRecord<String, String>> contents(String topic, int partitions) throws Exception {
        try (Consumer<String, String> consumer = consumer()) {
            List<TopicPartition> all = partitions(topic, partitions);
            consumer.assign(all);
            long wanted = consumer.endOffsets(all).values().stream().mapToLong(Long::longValue).sum()
                    - consumer.beginningOffsets(all).values().stream().mapToLong(Long::longValue).sum();
            return take(consumer, (int) wanted);
        }
    }

    static List<TopicPartition> partitions(String topic, int count) {
        List<TopicPartition> all = new ArrayList<>();
        for (int partition = 0; partition < count; partition++) {
            all.add(new TopicPartition(topic, partition));
        }
        return all;
    }

    /** Polls until so many records have come. */
    static List<ConsumerRecord<String, String>> take(Consumer<String, String> consumer, int count) throws Exception {
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        Check.eventually(count + " records", () -> {
            if (records.size() < count) {
                consumer.poll(Duration.ofMillis(100)).forEach(records::add);
            }
            return records.size() >= count;
        });
        return records;
    }

    static List<String> values(List<ConsumerRecord<String, String>> records) {
        return records.stream().map(ConsumerRecord::value).toList();
    }
}
