package chaos;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Kafka's own Java client with its defaults: an idempotent producer with acks=all, a consumer of all partitions. */
final class KafkaClient {
    private static final int IN_FLIGHT = 500;
    /** Some 400 records a second: the run is about faults, and its checker remembers every record. */
    private static final int AT_ONCE = 4;
    private static final int PAUSE_MS = 10;
    private static final int MOST_REPLICAS = 3;
    private static final Duration POLL = Duration.ofMillis(200);

    private KafkaClient() {}

    static void create(Main.Task task) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", task.addresses()))) {
            int nodes = task.addresses().split(",").length;
            // A node that has just started is not there for a moment.
            while (admin.describeCluster().nodes().get().size() < nodes) {
                Thread.sleep(PAUSE_MS);
            }
            short replicas = (short) Math.min(nodes, MOST_REPLICAS);
            admin.createTopics(List.of(new NewTopic(task.topic(), task.partitions(), replicas))).all().get();
        }
    }

    static void produce(Main.Task task) throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", task.addresses());
        Semaphore free = new Semaphore(IN_FLIGHT);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (long number = 0; task.running(); number++) {
                while (!free.tryAcquire(POLL.toMillis(), TimeUnit.MILLISECONDS)) {
                    if (!task.running()) {
                        return;
                    }
                }
                int partition = (int) (number % task.partitions());
                String value = task.value(number);
                task.events().sent(partition, value, number);
                producer.send(new ProducerRecord<>(task.topic(), partition, null, Main.padded(value)), (answer, error) -> {
                    free.release();
                    if (error == null) {
                        task.events().acked(partition, value, answer.offset());
                    } else {
                        task.events().unknown(partition, value, error);
                    }
                });
                if (number % AT_ONCE == AT_ONCE - 1) {
                    Thread.sleep(PAUSE_MS);
                }
            }
        }
    }

    static void consume(Main.Task task) {
        Map<String, Object> settings = Map.of("bootstrap.servers", task.addresses(), "auto.offset.reset", "earliest");
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            List<TopicPartition> partitions = new ArrayList<>();
            for (int partition = 0; partition < task.partitions(); partition++) {
                partitions.add(new TopicPartition(task.topic(), partition));
            }
            consumer.assign(partitions);
            for (TopicPartition partition : partitions) {
                task.events().sought(partition.partition(), 0);
                consumer.seek(partition, 0);
            }
            while (task.running()) {
                report(task, consumer.poll(POLL));
            }
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
                report(task, consumer.poll(POLL));
            }
            ends.forEach((partition, end) -> task.events().end(partition.partition(), end));
        }
    }

    private static void report(Main.Task task, ConsumerRecords<String, String> records) {
        for (TopicPartition partition : records.partitions()) {
            Events.Poll poll = task.events().new Poll(partition.partition());
            for (ConsumerRecord<String, String> record : records.records(partition)) {
                poll.add(record.offset(), Main.unpadded(record.value()));
            }
            poll.flush();
        }
    }
}
